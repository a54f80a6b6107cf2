"""The suite `ops`: each operator of `kernels/`, pass by pass, beside what else computes it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..counters import count
from ..result import GATE_FAILED, CaseSet, Row, Settings, Timing, case_text
from ..roofline import fraction_values, prediction_values
from ..suite import Suite
from ..timing import Run, take_turns
from .bench import OpBench, OpCase, op_cases
from .gate import Verdict, gate_shape
from .report import draw, table

SECONDS: dict[CaseSet, float] = {"small": 1.5, "paper": 4.0, "large": 2.0}
"""Of a case's rounds, of which there are five at least."""


def collect(settings: Settings) -> list[Row]:
    """A row for each way of each case: counters as on an H100, predictions, and where timed the seconds of a call.

    Raises:
        RunError: Triton is not installed, whose kernels are counted.
    """
    bench = OpBench(settings.device) if settings.timed else None
    with bench.ready() if bench else nullcontext():
        return [row for case in op_cases(settings.cases, settings.dtypes) for row in rows_of(case, bench, settings)]


def rows_of(case: OpCase, bench: OpBench | None, settings: Settings) -> list[Row]:
    """The rows of one case; without a bench only what is counted."""
    settings.tell(case_text(case.to_json()))
    rows = counted(case)
    if bench and bench.device.type == "cpu" and not case.operator.timed_on_cpu:
        rows = {name: _noted(row, "not timed: a CPU runs its two parts one by one") for name, row in rows.items()}
    elif bench:
        rows = measured(case, bench, rows, SECONDS[settings.cases])
    return list(rows.values())


def counted(case: OpCase) -> dict[str, Row]:
    """Rows of all ways but compilers', with what they launch, move and compute, and what that takes at least."""
    rows = {}
    for way in case.way_names():
        counters = count(partial(case.call_on_fakes, way))
        rows[way] = Row(case=case.to_json(), way=way, counters=counters,
                        values=prediction_values(counters, case.dtype))
    return rows


def measured(case: OpCase, bench: OpBench, rows: Mapping[str, Row], seconds: float) -> dict[str, Row]:
    """Rows with what float64 says of each way, and the seconds of those that are right."""
    verdicts = bench.verdicts(case)
    problem = case.problem(bench.device)
    found: dict[str, Row] = {}
    calls: dict[str, Run] = {}
    for name, way in bench.ways(case, problem).items():
        row = _noted(rows.get(name, Row(case=case.to_json(), way=name)), way.note)
        verdict = verdicts[name]
        if isinstance(verdict, str):
            row = _noted(row, verdict)
        else:
            row = _judged(row, verdict, case)
            if verdict.passed:
                try:
                    call = bench.call(case, problem, way)
                    if bench.device.type == "cuda":
                        call()  # it may have no room for what it makes
                    calls[name] = call
                except torch.OutOfMemoryError:
                    row = _noted(row, "out of memory")
        found[name] = row
    uncaptured: list[str] = []
    timings = take_turns(calls, bench.device, seconds=seconds, tell_uncaptured=uncaptured.append)
    return {name: _timed(row, timings[name], name in uncaptured, bench.device) if name in timings else row
            for name, row in found.items()}


def _judged(row: Row, verdict: Verdict, case: OpCase) -> Row:
    shape = gate_shape(case.shape)
    if shape != case.shape:
        row = _noted(row, f"checked at {'x'.join(map(str, shape))}")
    row = replace(row, values={**row.values, "error": _four_digits(verdict.error),
                               "allowed": _four_digits(verdict.allowed)})
    if verdict.passed:
        return row
    wrong = f"{GATE_FAILED}{verdict.error:.2g} where {verdict.allowed:.2g} is allowed"
    return replace(row, note=f"{wrong}; {row.note}" if row.note else wrong)


def _timed(row: Row, timing: Timing, uncaptured: bool, device: torch.device) -> Row:
    row = _noted(replace(row, seconds=timing), "no CUDA graph takes it" if uncaptured else "")
    return replace(row, values={**row.values, **fraction_values(row.values, timing.median, device)})


def _noted(row: Row, note: str) -> Row:
    return replace(row, note="; ".join(filter(None, (row.note, note))))


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")


OPS = Suite(name="ops", summary="each operator and pass, beside what else computes it", collect=collect, table=table,
            draw=draw, document=Path("docs/kernels.md"))
