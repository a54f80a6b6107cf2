"""The suite `ops` at tiny shapes: who is right, what is counted, what its table and picture say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sgif.bench import environment
from sgif.bench.ops import suite as ops
from sgif.bench.ops.bench import OpBench, OpCase
from sgif.bench.ops.gate import GATE_ELEMENTS, Verdict, gate_shape, results_of, tolerance
from sgif.bench.ops.operators import (
    ATEN,
    ATEN_LAST,
    COMPILED,
    DENSE,
    FOLDED,
    OPERATORS,
    OURS_COMPILED,
    Draw,
    folded_separable,
)
from sgif.bench.ops.passes import FORWARD, Directions
from sgif.bench.ops.report import NOT_MEASURED, draw, table
from sgif.bench.result import GATE_FAILED, OURS, Result, Row, Settings, Timing, dtype_name
from sgif.bench.roofline import FRACTION
from sgif.kernels.fusion import fused_functions

CPU = torch.device("cpu")
TINY = (1, 4, 3, 9, 8)
DTYPES = (torch.float32, torch.bfloat16)
BY_NAME = {operator.name: operator for operator in OPERATORS}


def op_case(op: str, step: str, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = TINY) -> OpCase:
    operator = BY_NAME[op]
    found, = (one for one in operator.passes if one.name == step)
    return OpCase(operator=operator, step=found, shape=shape, dtype=dtype)


ALL = [op_case(operator.name, step.name, dtype) for operator in OPERATORS for step in operator.passes
       for dtype in DTYPES]


@pytest.fixture(scope="module")
def bench():
    bench = OpBench(CPU, compiled=False)
    with bench.ready():
        yield bench


# ---- The gate --------------------------------------------------------------------------------------------------------


def named(case):
    return f"{case.operator.name}-{case.step.name}-{dtype_name(case.dtype)}"


@pytest.mark.parametrize("case", ALL, ids=named)
def test_every_way_is_right(bench, case):
    for name, verdict in bench.verdicts(case).items():
        assert isinstance(verdict, Verdict)
        assert verdict.passed, (name, verdict)


@pytest.mark.parametrize("case", ALL, ids=named)
def test_one_number_that_is_off_by_a_twentieth_of_its_terms_is_rejected(case):
    problem = case.problem(CPU)
    allows = tolerance(problem, problem.plain, problem.inputs, case.step, case.dtype)
    assert allows.judge(allows.exact).passed
    for place, size in enumerate(allows.sizes):
        results = [value.clone() for value in allows.exact]
        results[place][(-1,) * results[place].dim()] += size / 20
        assert not allows.judge(results).passed


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize(("op", "step", "wrong"), [
    ("separable_conv3d", "forward", lambda x, spatial, *rest: folded_separable(x, spatial.mT, *rest)),
    ("separable_conv3d", "weight gradients", lambda x, spatial, *rest: folded_separable(x, spatial.mT, *rest)),
    ("batch_norm_act", "backward", lambda x, gamma, beta: torch.nn.functional.leaky_relu(
        torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True), 0.21)),
    ("convolution_mean", "double backward",
     lambda x, weight: torch.conv3d(x, weight * weight, padding=1).mean((2, 3, 4))),
    ("upsample_tanh_residual", "forward", lambda x, g: torch.tanh(g)),
    ("frame_color_statistics", "forward", lambda x: torch.full((3, 12), float("nan"))),
], ids=["filter turned", "gradient of a filter turned", "another slope", "not linear", "a part missing", "no number"])
def test_a_wrong_way_is_rejected(monkeypatch, bench, op, step, wrong, dtype):
    case = op_case(op, step, dtype)
    ways = OpBench.ways

    def with_a_wrong_one(self, case, problem):
        return {name: replace(way, function=wrong) if name == ATEN else way
                for name, way in ways(self, case, problem).items()}
    monkeypatch.setattr(OpBench, "ways", with_a_wrong_one)
    rows = ops.measured(case, bench, {}, seconds=0)
    assert rows[ATEN].seconds is None
    assert rows[ATEN].note.startswith(GATE_FAILED)
    assert not rows[ATEN].values["error"] <= rows[ATEN].values["allowed"]
    assert rows[OURS].seconds.median > 0
    assert not rows[OURS].note.startswith(GATE_FAILED)


def test_a_library_that_errs_in_16_bits_does_not_set_the_tolerance():
    """As oneDNN's bfloat16 does on some processors."""
    case = op_case("convolution 3x3x3", "forward", torch.bfloat16)
    problem = case.problem(CPU)

    def plain(x, weight):
        y = torch.conv3d(x, weight, padding=1)
        return 2 * y if x.dtype == torch.bfloat16 else y
    wrong = results_of(FORWARD.prepare(plain, problem.inputs, frozenset(), Directions(torch.bfloat16)).run)
    assert not tolerance(problem, plain, problem.inputs, FORWARD, torch.bfloat16).judge(wrong).passed


def test_a_large_shape_is_checked_on_a_crop_of_the_same_channels_and_frames():
    assert gate_shape(TINY) == TINY
    n, c, t, h, w = gate_shape((1, 128, 8, 512, 512))
    assert (n, c, t) == (1, 128, 8)
    assert n * c * t * h * w <= GATE_ELEMENTS < n * c * t * (h + 1) * (w + 1)
    assert gate_shape((2, 128, 32, 512, 512))[3:] >= (8, 8)


def test_a_crop_is_said(bench, monkeypatch):
    monkeypatch.setattr("sgif.bench.ops.gate.GATE_ELEMENTS", 4 * 3 * 64)
    row = ops.measured(op_case("batch_norm_act", "forward"), bench, {}, seconds=0)[OURS]
    assert row.note == "checked at 1x4x3x8x8"
    assert row.seconds


# ---- Ways ------------------------------------------------------------------------------------------------------------


def test_ways_of_a_case(bench):
    case = op_case("separable_conv3d", "forward")
    assert list(bench.ways(case, case.problem(CPU))) == [OURS, ATEN, ATEN_LAST, FOLDED, DENSE]
    compiling = OpBench(CPU)
    compiling.compiled = True
    assert COMPILED in compiling.ways(case, case.problem(CPU))
    twice = op_case("batch_norm_act", "double backward")
    compiling._fused[torch.float32] = {}
    assert COMPILED not in compiling.ways(twice, twice.problem(CPU))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="without oneDNN ATen has nothing else")
@pytest.mark.parametrize(("op", "clips", "filters"), [("convolution 3x3x3", 1, "3x3x3"), ("convolution 3x3x3", 2, ""),
                                                      ("convolution 3x3", 1, ""), ("convolution_mean", 1, "3x3x3"),
                                                      ("separable_conv3d", 2, "3x1x1")])
def test_slow_conv3d_is_noted_where_aten_picks_it(bench, op, clips, filters):
    case = op_case(op, "forward", shape=(clips, *TINY[1:]))
    ways = bench.ways(case, case.problem(CPU))
    assert ways[ATEN].note == (f"ATen picks slow_conv3d for {filters}" if filters else "")
    assert ways[OURS].note == ""


def test_calls_go_round_copies_of_their_inputs(bench, monkeypatch):
    case = op_case("upsample_tanh_residual", "forward")
    problem = case.problem(CPU)
    seen = set()
    way = replace(problem.ways()[ATEN], function=lambda x, g: seen.add(x.data_ptr()) or x)
    monkeypatch.setattr(bench, "cache_bytes", 10_000)
    call = bench.call(case, problem, way)
    for _ in range(100):
        call()
    each = sum(x.numel() * 4 for x in problem.inputs.values())
    assert len(seen) == 1 + -(-10_000 // each)


def test_fused_forms_are_active_inside_a_call_alone(bench, monkeypatch):
    function = fused_functions()[0]
    active = []

    def form(*args):
        active.append(True)
        return function.plain(*args)
    monkeypatch.setattr(bench, "_fused", {torch.float32: {function: form}})
    monkeypatch.setattr(bench, "compiled", True)
    case = op_case("batch_norm_act", "forward")
    way = bench.ways(case, case.problem(CPU))[OURS_COMPILED]
    case_run = way.prepare(case.step, frozenset(), case.dtype).run
    case_run()
    assert active == [True]
    assert function.active is function.plain


def test_a_compiler_that_fails_costs_its_row_the_time_and_no_other(monkeypatch):
    def fails(*_):
        raise RuntimeError("no such instruction")
    bench = OpBench(CPU)
    bench.compiled = True
    monkeypatch.setattr("sgif.bench.ops.bench._compiled", lambda function: fails)
    with bench.ready():
        rows = ops.measured(op_case("upsample_tanh_residual", "forward"), bench, {}, seconds=0)
    assert rows[COMPILED].seconds is None
    assert rows[COMPILED].note == "torch.compile failed (RuntimeError)"
    assert rows[OURS].seconds
    assert rows[ATEN].seconds


def test_a_way_without_room_has_no_time(bench, monkeypatch):
    call = OpBench.call

    def without_room(self, case, problem, way):
        if way.name == ATEN:
            raise torch.OutOfMemoryError
        return call(self, case, problem, way)
    monkeypatch.setattr(OpBench, "call", without_room)
    rows = ops.measured(op_case("batch_norm_act", "forward"), bench, {}, seconds=0)
    assert (rows[ATEN].seconds, rows[ATEN].note) == (None, "out of memory")
    assert rows[OURS].seconds


def test_the_fraction_of_the_bound_stands_beside_a_gpus_time(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H100 80GB HBM3")
    counted = Row(case={}, way=OURS, values={"predicted H100 SXM": 2e-6, "predicted L4": 9e-6})
    timing = Timing(median=8e-6, p20=7e-6, p80=9e-6, rounds=5)
    timed = ops._timed(counted, timing, True, torch.device("cuda"))
    assert timed.values[FRACTION] == 0.25
    assert timed.note == "no CUDA graph takes it"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "another")
    assert FRACTION not in ops._timed(counted, timing, False, torch.device("cuda")).values
    assert ops._timed(counted, timing, False, CPU).values == counted.values


# ---- Counters --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted() -> dict[tuple[str, str, str], Row]:
    pytest.importorskip("triton")
    cases = [op_case("convolution 3x3x3", "forward"), op_case("batch_norm_act", "forward", torch.bfloat16),
             op_case("norm_act_separable_conv3d", "forward"), op_case("upsample_add_noise, drawn noise", "forward")]
    return {(case.operator.name, case.step.name, way): row for case in cases for way, row in ops.counted(case).items()}


def test_counters_of_a_convolution_are_exact(counted):
    row = counted["convolution 3x3x3", "forward", OURS]
    n, c, t, h, w = TINY
    numbers, weights = n * c * t * h * w, 27 * c * c
    assert row.counters["launches"] == 1
    assert row.counters["bytes"] == 4 * (2 * numbers + weights)
    inside = (3 * t - 2) * (3 * h - 2) * (3 * w - 2)  # taps that meet no zero
    assert row.counters["flops"] in (2 * numbers * 27 * c, 2 * n * c * c * inside)
    assert row.counters == counted["convolution 3x3x3", "forward", ATEN].counters


def test_counters_are_tritons_where_ours_has_kernels(counted):
    norm = counted["batch_norm_act", "forward", OURS].counters
    numbers = 4 * 3 * 9 * 8
    assert norm["launches"] in (2, 3)
    assert 3 * 2 * numbers <= norm["bytes"] < 4 * 2 * numbers  # two reads and a write of bfloat16, and the sums
    drawn = counted["upsample_add_noise, drawn noise", "forward", OURS].counters
    assert drawn["launches"] == 1
    assert drawn["bytes"] < counted["upsample_add_noise, drawn noise", "forward", ATEN].counters["bytes"]


def test_an_operator_that_a_cpu_does_not_run_is_counted_and_not_timed(bench):
    pytest.importorskip("triton")
    rows = ops.rows_of(op_case("norm_act_separable_conv3d", "forward"), bench, Settings(device=CPU))
    assert {row.way for row in rows} == {OURS, ATEN, ATEN_LAST}
    for row in rows:
        assert row.seconds is None
        assert row.note.startswith("not timed")
        assert row.counters["launches"] > 0
        assert row.values["predicted H100 SXM"] > 0


def test_untimed_rows_have_counters_of_every_way_but_compilers(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(ops, "op_cases", lambda cases, dtypes: [op_case("separable_conv3d", "forward")])
    told = []
    rows = ops.collect(Settings(device=torch.device("cuda"), timed=False, tell=told.append))  # which need not be there
    assert [row.way for row in rows] == [OURS, ATEN, ATEN_LAST, FOLDED, DENSE]
    assert told == ["separable_conv3d, forward, 1x4x3x9x8, float32"]
    assert rows[0].case == {"op": "separable_conv3d", "pass": "forward", "shape": [1, 4, 3, 9, 8], "dtype": "float32"}
    assert all(row.counters and row.seconds is None and not row.note for row in rows)


def test_inputs_are_the_same_numbers_every_time():
    one, another = (Draw(CPU, torch.float32).normal(3, 4) for _ in range(2))
    assert torch.equal(one, another)


# ---- Table and picture -----------------------------------------------------------------------------------------------


def row(op: str, way: str, ms: float | None, *, step: str = "forward", dtype: str = "float32",
        shape: tuple[int, ...] = TINY, note: str = "", predicted_us: float = 0.0) -> Row:
    seconds = None if ms is None else Timing(median=ms / 1000, p20=ms / 1000, p80=ms / 1000, rounds=5)
    values = {"predicted H100 SXM": predicted_us / 1e6} if predicted_us else {}
    return Row(case={"op": op, "pass": step, "shape": list(shape), "dtype": dtype}, way=way, seconds=seconds, note=note,
               values=values, counters={"launches": 3} if predicted_us else {})


def result(*rows: Row) -> Result:
    before = environment.conditions(CPU)
    return environment.result("ops", "sgif bench ops", Settings(device=CPU), rows, before)


def test_table_has_a_line_per_form_and_marks_where_a_baseline_wins():
    found = table(result(
        row("norm", OURS, 2.0), row("norm", OURS_COMPILED, 1.0), row("norm", ATEN, 1.5), row("norm", ATEN_LAST, 1.05),
        row("norm", OURS, 1.0, dtype="bfloat16"), row("norm", ATEN, 4.0, dtype="bfloat16"))).splitlines()
    assert found[0] == ("| operator | pass | shape | fp32 sgif, ms | fp32 best baseline, ms | fp32 times "
                        "| bf16 sgif, ms | bf16 best baseline, ms | bf16 times |")
    assert found[2:4] == [
        "| norm | forward | 1x4x3x9x8 | **2** | 1.05 aten channels_last | **0.53** | 1 | 4 aten contiguous | 4.00 |",
        "| norm | forward, compiled | 1x4x3x9x8 | 1 | 1.05 aten channels_last | 1.05 |  |  |  |"]
    assert found[-1].startswith("`sgif bench ops`. ")


def test_table_shows_another_function_apart_and_never_as_the_best():
    found = table(result(row("separable_conv3d", OURS, 2.0), row("separable_conv3d", ATEN, 3.0),
                         row("separable_conv3d", DENSE, 1.0)))
    assert "| separable_conv3d | forward | 1x4x3x9x8 | 2 | 3 aten contiguous | 1.50 |" in found
    assert "| separable_conv3d | forward | 1x4x3x9x8 | 2 | 1 | 0.50 |" in found
    assert found.index("3 aten contiguous") < found.index("another function") < found.index("| 2 | 1 | 0.50 |")


def test_table_names_what_failed_the_gate_without_a_time():
    found = table(result(row("norm", OURS, 2.0), row("norm", ATEN, 3.0),
                         row("norm", ATEN_LAST, None, note=f"{GATE_FAILED}0.5 where 0.1 is allowed")))
    assert "- norm, forward, 1x4x3x9x8, float32: aten channels_last is off by 0.5 where 0.1 is allowed" in found


def test_predictions_stand_apart_and_are_called_so():
    found = table(result(row("norm", OURS, None, predicted_us=2.0), row("norm", ATEN, None, predicted_us=5.0)))
    assert found.startswith(NOT_MEASURED)
    title, line = found.index("**Predicted, not measured**"), found.index("| 3 | 2 | 5 aten contiguous | 2.50 |")
    assert title < line


def test_picture_has_a_panel_per_timed_operator_and_says_what_it_shows():
    pytest.importorskip("matplotlib")
    larger = (1, 4, 3, 18, 16)
    pictures = draw(result(
        row("norm", OURS, 2.0), row("norm", ATEN, 1.0), row("norm", OURS, 2.0, shape=larger),
        row("norm", ATEN, 8.0, shape=larger), row("tanh", OURS, 1.0, dtype="bfloat16"),
        row("tanh", ATEN, 3.0, dtype="bfloat16"), row("counted", OURS, None)))
    svg, = pictures.values()
    assert list(pictures) == ["bench-ops.svg"]
    for words in ("norm", "tanh", "9x8", "18x16", "forward", "float32", "bfloat16", "times as fast"):
        assert f">{words}<" in svg, words
    assert ">counted<" not in svg
    assert draw(result(row("counted", OURS, None))) == {}


def test_suite_names_the_document_that_has_its_markers():
    text = (Path(ops.__file__).resolve().parents[2] / ops.OPS.document).read_text(encoding="utf-8")
    assert text.count("<!-- bench-ops:begin -->") == text.count("<!-- bench-ops:end -->") == 1
