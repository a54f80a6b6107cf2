"""The suite `step`: every way counted and timed, phases, and what its table and picture show."""

from __future__ import annotations

import pytest
import torch

from sgif.bench.environment import conditions, result
from sgif.bench.result import OURS, Result, Settings, ways_of
from sgif.bench.step import suite as step
from sgif.bench.step.report import draw, table
from sgif.bench.step.suite import AUTOCAST, PLAIN, SINGAN, TWO, case_rows, coarsest, of_clip

CPU = torch.device("cpu")
TINY = coarsest(6, 8, frames=3, channels=4)


@pytest.fixture(scope="module")
def found() -> Result:
    pytest.importorskip("triton")
    patch = pytest.MonkeyPatch()
    patch.setattr(step, "cases", lambda _chosen: [TINY])
    patch.setattr(step, "SECONDS", 0.0)
    patch.setattr("sgif.bench.step.seconds.set_fusion", lambda *_: None)  # compiles
    settings = Settings(device=CPU)
    rows = step.collect(settings)
    patch.undo()
    return result("step", "measure", settings, rows, conditions(CPU))


def test_every_way_is_counted_and_timed(found: Result) -> None:
    whole = [ways for ways in ways_of(found.rows).values() if next(iter(ways.values())).case["what"] == "step"]
    assert [list(ways) for ways in whole] == [[OURS, PLAIN, TWO, SINGAN], [OURS, PLAIN, TWO, AUTOCAST]]
    for ways in whole:
        for row in ways.values():
            assert all(count > 0 for count in row.counters.values())
            if row.case["dtype"] == "float32":
                assert row.seconds is not None
                assert row.seconds.median > 0


def test_phases_add_up_to_the_step(found: Result) -> None:
    for dtype in ("float32", "bfloat16"):
        whole, = (row for row in found.rows
                  if row.case["what"] == "step" and row.way == OURS and row.case["dtype"] == dtype)
        phases = [row for row in found.rows if row.case["what"] == "phase" and row.case["dtype"] == dtype]
        assert {"D/video_gp", "G/backward"} <= {row.case["phase"] for row in phases}
        for name in ("launches", "bytes", "flops"):
            assert sum(row.counters[name] for row in phases) == whole.counters[name]
        assert max(row.counters["peak_bytes"] for row in phases) == whole.counters["peak_bytes"]
        if dtype == "float32":
            assert all(row.values["seconds"] > 0 for row in phases if row.case["phase"] != "other")


def test_nothing_is_timed_where_only_counters_are_wanted() -> None:
    pytest.importorskip("triton")
    rows = list(case_rows(TINY, torch.float32, Settings(device=torch.device("cuda"), timed=False)))
    assert all(row.seconds is None for row in rows)
    assert all("not yet measured" in row.note for row in rows if row.case["what"] == "step")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_step_takes_half_the_launches_of_a_plain_one(dtype: torch.dtype) -> None:
    pytest.importorskip("triton")
    rows = {row.way: row for row in case_rows(coarsest(25, 44), dtype, Settings(device=CPU, timed=False))
            if row.case["what"] == "step"}
    plain = rows[AUTOCAST if dtype == torch.bfloat16 else PLAIN]
    assert rows[OURS].counters["launches"] <= plain.counters["launches"] / 2


def test_cases_of_clips_are_their_scales() -> None:
    for chosen in ("paper", "large"):
        for case in step.cases(chosen):
            assert case.plan is case.plans[case.scale]
            assert case.num_frames >= case.plan.frames_per_step
    assert of_clip((168, 298, 16), 7).plan.size == (168, 298)


def test_table_and_picture_show_every_case_and_phase(found: Result) -> None:
    text = table(found)
    assert text.count("fp32 4x3x6x8") == 5  # times, three ways counted, phases
    assert "| D/video_gp |" in text
    svg, = draw(found).values()
    assert all(words in svg for words in ("fp32 4x3x6x8", TWO, "D/video_gp"))
