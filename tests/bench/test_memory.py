"""The suite `memory` at tiny shapes: rows, tables, picture."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from sgif.bench import memory
from sgif.bench.memory import NOT_YET, PLAIN, draw, fit_rows, fits_table, plans_of, scale_rows, table
from sgif.bench.result import OURS, Result, Row, Settings, case_text
from sgif.engine.profiling import budget
from sgif.kernels import dispatch

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TINY = (24, 32, 4)  # in smaller frames what oneDNN takes by itself weighs more than forecasts may err: docs/memory.md
OPTIONS = ["as set", "--amp", "--checkpointing", "--amp --checkpointing"]

pytestmark = pytest.mark.skipif(not dispatch.HAS_TRITON, reason="needs Triton")


def settings(**changes: Any) -> Settings:
    return Settings(**{"device": CPU, "timed": False, **changes})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Of a clip's only scale, measured."""
    assert len(plans_of(TINY)) == 1
    return list(scale_rows(TINY, 0, settings(timed=True)))


def result(rows: list[Row], device: torch.device = CPU) -> Result:
    described = {"kind": device.type, "cpu": "a CPU", "cores": 1, "threads": 1}
    return Result(suite="memory", command="sgif bench memory", commit="0" * 40, device=described,
                  versions={"sgif": "0"}, cases="small", rows=tuple(rows))


def test_a_scale_has_four_rows_of_ours_and_two_plain_ones(rows: list[Row]) -> None:
    ways = [(row.way, row.case["options"]) for row in rows]
    assert sorted(ways) == sorted([*((OURS, options) for options in OPTIONS), (PLAIN, "as set"), (PLAIN, "--amp")])
    assert len({case_text(row.case) for row in rows}) == 4
    assert len({tuple(row.case) for row in [*rows, *fit_rows(settings(), budgets_gib=())]}) == 1


def test_options_save_memory_and_the_plain_step_takes_most(rows: list[Row]) -> None:
    peaks = {(row.way, row.case["options"]): row.counters["peak_bytes"] for row in rows}
    ours = [peaks[OURS, options] for options in OPTIONS]
    assert ours[3] < min(ours[1:3]) < max(ours[1:3]) < ours[0] < peaks[PLAIN, "as set"]
    assert peaks[PLAIN, "--amp"] < peaks[PLAIN, "as set"]


def test_counters_are_whole_and_the_peak_is_that_of_a_phase(rows: list[Row]) -> None:
    for row in rows:
        assert row.counters.keys() == {"launches", "bytes", "flops", "peak_bytes"}
        assert all(value > 0 for value in row.counters.values())
    of_phases = {name: value for name, value in rows[0].values.items() if name.startswith("peak ")}
    assert max(of_phases.values()) == rows[0].counters["peak_bytes"]
    assert "peak D/video_gp" in of_phases


def test_what_is_measured_is_near_its_forecast(rows: list[Row]) -> None:
    measured = [row for row in rows if "measured_bytes" in row.values]
    assert [row.case["options"] for row in measured] == OPTIONS
    for row in measured:
        assert row.values["forecast_bytes"] == pytest.approx(row.values["measured_bytes"], rel=0.1)


def test_large_scales_are_not_measured_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEASURED_NUMBERS", 1000)
    monkeypatch.setattr(memory, "measure_scale", lambda *_, **__: pytest.fail("measured"))
    row = next(scale_rows(TINY, 0, settings(timed=True, dtypes=(torch.float32,))))
    assert row.note == "not measured on a CPU: over 1,000 numbers per activation"


def test_what_has_no_room_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1 << 10)
    monkeypatch.setattr(memory, "measure_scale", lambda *_, **__: pytest.fail("measured"))
    row = next(scale_rows(TINY, 0, settings(timed=True, dtypes=(torch.float32,))))
    assert re.fullmatch(r"not measured: \d+ MiB are needed, 0 MiB are free", row.note)
    assert row.values["forecast_bytes"] > 1 << 20


def test_a_gpu_that_is_not_there_is_not_yet_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "is_there", lambda device: False)
    found = list(scale_rows(TINY, 0, settings(device=GPU, timed=True, dtypes=(torch.float32,))))
    assert {row.note for row in found if row.way == OURS} == {NOT_YET}
    assert "forecast_bytes" not in found[0].values
    assert f"Peak memory on a GPU: {NOT_YET}." in table(result(found, GPU))


def test_only_the_precisions_that_are_asked_for(rows: list[Row]) -> None:
    found = scale_rows(TINY, 0, settings(dtypes=(torch.bfloat16,)))
    assert {row.case["options"] for row in found} == {"--amp", "--amp --checkpointing"}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """For a step that takes 1 GiB at 256x256, half of it with each option."""
    class Forecast:
        def __init__(self, height: int, width: int, num_frames: int, config: Any, device: torch.device) -> None:
            self.peak_bytes, self.host_bytes = (height * width << 14) >> config.amp >> config.checkpointing, 1
    monkeypatch.setattr(budget, "forecast_largest", Forecast)
    return fit_rows(settings(), budgets_gib=(0, 8, 24))


def test_what_fits_is_a_row_per_memory_and_options(fits: list[Row]) -> None:
    assert len(fits) == 3 * 5
    sides = {(row.case["gib"], row.case["options"]): row.values["height"] for row in fits}
    assert sides[0, "as set"] == 0 < sides[8, "as set"] < sides[24, "as set"] < sides[24, "--amp"]
    lines = fits_table(result(fits))
    assert f"| as set | 8 | - | {sides[8, 'as set']:.0f}x{sides[8, 'as set']:.0f} |" in lines[4]


def test_tables_show_every_figure(rows: list[Row], fits: list[Row]) -> None:
    text = table(result([*rows, *fits]))
    for row in rows:
        assert f"{row.counters['peak_bytes'] / 2**20:,.0f} |" in text
    assert "CPU, without compiled norms" in text
    assert f"Peak memory on a GPU: {NOT_YET}." in text


def test_the_picture_has_a_line_per_options(rows: list[Row]) -> None:
    pytest.importorskip("matplotlib")
    finer = [replace(row, case={**row.case, "scale": 1}) for row in rows]
    svg = draw(result([*rows, *finer]))["bench-memory.svg"]
    words = " ".join(ElementTree.fromstring(svg).itertext())
    assert all(word in words for word in ("as set", "--checkpointing", "plain step, --amp", "24x32", "C 32 T 4"))
    assert draw(result(rows)) == {}
