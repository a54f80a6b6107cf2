"""The suite `scaling` at tiny shapes: fits, rows, hybrid against dense, tables, pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from sgif.bench import environment
from sgif.bench.result import OURS, Result, Row, Settings, Timing, case_text
from sgif.bench.roofline import GRAPH_LAUNCH_SECONDS
from sgif.bench.scaling import hybrid
from sgif.bench.scaling import suite as scaling
from sgif.bench.scaling.hybrid import DENSE, GENERATOR, NOT_YET, STEP, hybrid_rows, hybrid_table, ways_of_clip
from sgif.bench.scaling.suite import (
    LAUNCH_BOUND,
    SERIES,
    Series,
    count_step,
    draw,
    exponent_rows,
    power_law,
    series_rows,
    table,
)
from sgif.bench.step import seconds as step_seconds
from sgif.bench.timing import timing_of
from sgif.engine.pyramid import plan_scales
from sgif.kernels import dispatch

CPU, GPU = torch.device("cpu"), torch.device("cuda")
F32 = torch.float32
CLIP = (18, 18, 4)
FITTED = ["flops", "bytes", "peak_bytes", "predicted H100 SXM"]
needs_triton = pytest.mark.skipif(not dispatch.HAS_TRITON, reason="needs Triton")


def settings(**changes: Any) -> Settings:
    return Settings(**{"device": CPU, "timed": False, "dtypes": (F32,), **changes})


def result(rows: list[Row], device: torch.device = CPU) -> Result:
    described = {"kind": device.type, "cpu": "a CPU", "cores": 1, "threads": 1}
    return Result(suite="scaling", command="sgif bench scaling", commit="0" * 40, device=described,
                  versions={"sgif": "0"}, cases="small", rows=tuple(rows))


# ---- Exponents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.0, 1.98])
def test_a_power_law_is_found(exponent: float) -> None:
    x = [1.0, 3.0, 8.0, 100.0]
    assert power_law(x, [7 * value**exponent for value in x]) == pytest.approx((exponent, 1.0))


def test_what_is_no_power_law_has_less_r2() -> None:
    exponent, r2 = power_law([1, 2, 4], [1, 4, 4])
    assert (exponent, r2) == pytest.approx((1.0, 0.75))


def test_a_law_needs_two_sizes_above_zero() -> None:
    for x, y in (([2, 2], [1, 3]), ([1, 2], [0, 3])):
        with pytest.raises(ValueError, match="two different x, all above 0"):
            power_law(x, y)


def step_row(frames: int, *, predicted: float, seconds: float | None) -> Row:
    return Row(case={"what": "step", "axis": "T", "clip": None, "scale": None, "shape": [32, frames, 6, 7],
                     "dtype": "float32", "of": None}, way=OURS,
               seconds=Timing(median=seconds, p20=seconds, p80=seconds, rounds=3) if seconds else None,
               counters={"launches": 100, "flops": frames, "bytes": frames**2, "peak_bytes": 5},
               values={"predicted H100 SXM": predicted})


def test_seconds_are_fitted_where_launches_do_not_decide() -> None:
    launches = 100 * GRAPH_LAUNCH_SECONDS
    rows = [step_row(1, predicted=launches, seconds=1.9e-4), step_row(2, predicted=4.0, seconds=8.0),
            step_row(4, predicted=16.0, seconds=64.0), step_row(8, predicted=64.0, seconds=512.0)]
    found = {row.case["of"]: row for row in exponent_rows("T", F32, rows, GPU)}
    assert {name: row.values["exponent"] for name, row in found.items()} == {
        "flops": 1, "bytes": 2, "peak_bytes": 0, "predicted H100 SXM": 2, "seconds": 3}
    assert [found[name].values["points"] for name in ("flops", "predicted H100 SXM", "seconds")] == [4, 3, 3]
    assert found["bytes"].case["shape"] == [32, "T", 6, 7]


def test_what_launches_decide_has_no_exponent() -> None:
    rows = [step_row(frames, predicted=100 * GRAPH_LAUNCH_SECONDS, seconds=None) for frames in (1, 2, 4)]
    found = {row.case["of"]: row for row in exponent_rows("T", F32, rows, GPU)}
    assert "seconds" not in found
    assert found["predicted H100 SXM"].note == LAUNCH_BOUND
    assert found["predicted H100 SXM"].values == {}


# ---- Steps -----------------------------------------------------------------------------------------------------------


def test_no_case_is_there_twice() -> None:
    cases = [(series.axis, shape) for series in SERIES for shape in series.shapes()]
    assert len(set(cases)) == len(cases)
    assert all(series.base in series.shapes() for series in SERIES)


@needs_triton
def test_a_step_s_operations_grow_as_its_convolutions() -> None:
    """With twice the frames twice as many but for convolution_mean's weights, which hang on no frame."""
    once, twice = (count_step((8, frames, 6, 7), F32) for frames in (4, 8))
    of_weights = 2 * once["flops"] - twice["flops"]
    assert 0 < of_weights < 0.02 * once["flops"]
    assert once["launches"] <= twice["launches"]
    assert 1.5 * once["bytes"] < twice["bytes"] < 2 * once["bytes"]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that were timed; steps cost nothing to count here and take a second per frame."""
    timed: list[tuple[int, ...]] = []

    def count(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, int]:
        c, t, h, w = shape
        return {"launches": 700, "bytes": 10**6 * c * t * h * w, "flops": 10**6 * c * c * t * h * w,
                "peak_bytes": 100 * c * t * h * w}

    def time_step(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Timing:
        timed.append(shape)
        return timing_of([float(shape[1])])
    monkeypatch.setattr(scaling, "count_step", count)
    monkeypatch.setattr(scaling, "time_step", time_step)
    return timed


def test_a_cpu_times_small_shapes_once_and_says_what_it_did_not(counted: list[tuple[int, ...]]) -> None:
    rows = list(series_rows(SERIES, F32, settings(timed=True)))
    steps = [row for row in rows if row.case["what"] == "step"]
    assert len(counted) == len(set(counted)) == 8
    assert (32, 8, 96, 96) in counted
    assert (32, 8, 128, 128) not in counted
    assert all((row.seconds is None) == (row.note == NOT_YET) for row in steps)
    exponents = {(row.case["axis"], row.case["of"]): row.values.get("exponent") for row in rows
                 if row.case["what"] == "exponent" and 32 in row.case["shape"][2:]}
    assert exponents["T", "seconds"] == 1.0
    assert exponents["C", "flops"] == 2.0
    assert len({case_text(row.case) for row in rows}) == len(rows)


def test_a_gpu_times_all_and_one_that_is_not_there_none(counted: list[tuple[int, ...]],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_there", lambda device: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    rows = list(series_rows(SERIES[:1], F32, settings(device=GPU, timed=True)))
    assert len(counted) == len(SERIES[0].sizes)
    assert all("fraction of the bound" in row.values for row in rows if row.seconds)
    assert "% of the bound" in table(result(rows, GPU))
    monkeypatch.setattr(environment, "is_there", lambda device: False)
    rows = list(series_rows(SERIES[:1], F32, settings(device=GPU, timed=True)))
    assert len(counted) == len(SERIES[0].sizes)
    assert {row.note for row in rows if row.case["what"] == "step"} == {NOT_YET}
    assert f"Seconds on a GPU: {NOT_YET}." in table(result(rows, GPU))


def test_bfloat16_is_timed_where_it_is_not_emulated(counted: list[tuple[int, ...]],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (False, True):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has)
        list(series_rows(SERIES[3:4], torch.bfloat16, settings(timed=True)))
        assert len(counted) == 3 * has


def test_a_step_is_timed() -> None:
    """Every step of training, in turn with another."""
    config = ways_of_clip(CLIP, False)
    plans = {way: plan_scales(*CLIP, changed) for way, changed in config.items()}
    makers = {way: partial(step_seconds.engine_step, plans[way], 0, CLIP[2], config[way], CPU) for way in plans}
    found = step_seconds.step_seconds(makers, CPU, seconds=0, min_rounds=2, max_rounds=2)
    assert found.keys() == {OURS, DENSE}
    assert all(timing.rounds == 2 and 0 < timing.p20 <= timing.median for timing in found.values())


def test_steps_without_room_have_no_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError
    monkeypatch.setattr(step_seconds, "engine_trainer", full)
    assert scaling.time_step((8, 4, 6, 7), F32, CPU) is None


# ---- Hybrid against dense --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyramid() -> list[Row]:
    pytest.importorskip("triton")
    return list(hybrid_rows(settings(), CLIP))


def test_only_the_generator_differs(pyramid: list[Row]) -> None:
    """So the critics' part, which is the rest of the step, takes the same operations in both."""
    at = {(row.case["of"], row.way): row.counters["flops"] for row in pyramid if row.case["scale"] == 0}
    assert at[STEP, OURS] - at[GENERATOR, OURS] == at[STEP, DENSE] - at[GENERATOR, DENSE] > 0
    assert at[GENERATOR, OURS] < 0.2 * at[GENERATOR, DENSE]


def test_dense_is_three_dimensional_at_every_scale() -> None:
    ways = ways_of_clip((256, 256, 16), True)
    kinds = {way: {plan.kind for plan in plan_scales(256, 256, 16, config)} for way, config in ways.items()}
    assert kinds == {OURS: {"3D", "2D"}, DENSE: {"3D"}}
    assert ways[DENSE] == replace(ways[OURS], separable="dense", num_3d_scales=-1)


def test_sums_are_those_of_the_scales(pyramid: list[Row]) -> None:
    def of(scale: int | str, way: str) -> Row:
        return next(row for row in pyramid if (row.case["scale"], row.way, row.case["of"]) == (scale, way, STEP))
    assert of("an iteration of each", OURS).counters == of(0, OURS).counters  # this clip has one scale
    whole = of("all iterations", DENSE)
    assert whole.counters["flops"] == 8000 * of(0, DENSE).counters["flops"]
    assert whole.counters["peak_bytes"] == of(0, DENSE).counters["peak_bytes"]
    assert whole.values["predicted L4"] == pytest.approx(8000 * of(0, DENSE).values["predicted L4"], rel=1e-3)
    assert len({(case_text(row.case), row.way) for row in pyramid}) == len(pyramid) == 12


def test_counters_of_several_scales_add_but_peaks_do_not() -> None:
    counted = [{"launches": 1, "bytes": 2, "flops": 3, "peak_bytes": 9},
               {"launches": 10, "bytes": 20, "flops": 30, "peak_bytes": 4}]
    assert hybrid._sum(counted) == {"launches": 11, "bytes": 22, "flops": 33, "peak_bytes": 9}


def test_without_a_gpu_nothing_is_said_to_be_measured(pyramid: list[Row]) -> None:
    assert {row.note for row in pyramid if row.case["of"] == STEP} == {NOT_YET}
    assert not any(row.seconds for row in pyramid)
    lines = hybrid_table(result(pyramid))
    assert f"measured ones: {NOT_YET}." in lines[0]
    assert "**predicted** lower bounds for H100 SXM" in lines[0]


def test_measured_seconds_are_compared(pyramid: list[Row]) -> None:
    timed = [replace(row, seconds=timing_of([2.0 if row.way == OURS else 2.5]))
             if row.case["of"] == STEP and row.case["scale"] == 0 else row for row in pyramid]
    assert "measured ones: float32 2 / 2.5 (-20 %)." in hybrid_table(result(timed))[0]


def test_the_table_has_the_figures_of_both(pyramid: list[Row]) -> None:
    text = "\n".join(hybrid_table(result(pyramid)))
    ours, dense = (next(row for row in pyramid if row.way == way).counters for way in (OURS, DENSE))
    assert f"{ours['launches']} / {dense['launches']} (" in text
    assert "| 0, 32x4x18x18 |" in text


# ---- Pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("counted")
def test_pictures_have_a_panel_per_figure_and_axis(pyramid: list[Row]) -> None:
    pytest.importorskip("matplotlib")
    rows = [*series_rows(SERIES, F32, settings(timed=True)), *pyramid]
    found = {name: " ".join(ElementTree.fromstring(svg).itertext()) for name, svg in draw(result(rows)).items()}
    assert found.keys() == {"bench-scaling.svg", "bench-hybrid.svg"}
    words = ("~ C^2.00", "~ T^1.00", "frames T; C 32, 128x128", "frames T; C 32, 32x32", "s, measured on a CPU")
    assert all(word in found["bench-scaling.svg"] for word in words)
    assert all(word in found["bench-hybrid.svg"] for word in ("generator: TFLOP", "ours, % of dense", DENSE, "18x18"))


@pytest.mark.usefixtures("counted")
def test_seconds_are_drawn_only_where_there_are_some() -> None:
    pytest.importorskip("matplotlib")
    rows = list(series_rows([Series(axis="T", base=(32, 8, 4, 4), sizes=(8, 16, 32))], F32, settings()))
    assert "measured" not in draw(result(rows))["bench-scaling.svg"]
