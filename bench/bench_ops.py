"""The cases of `sgif bench ops` under pytest-benchmark; the gate comes first, and what fails it has no time.

    pytest bench/bench_ops.py --benchmark-only
    SGIF_BENCH_CASES=paper SGIF_BENCH_DEVICE=cuda pytest bench/bench_ops.py --benchmark-only -k separable

Ways of a case are a group, one after the other: `sgif bench ops`, where they take turns, is the fairer judge. Time is
the clock's; a GPU is waited for.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sgif.bench.cases import CASES
from sgif.bench.ops.bench import OpBench, OpCase, op_cases
from sgif.bench.result import case_text

DEVICE = torch.device(os.environ.get("SGIF_BENCH_DEVICE", "cpu"))
CASE_SET = os.environ.get("SGIF_BENCH_CASES", "small")
if CASE_SET not in CASES:
    raise pytest.UsageError(f"SGIF_BENCH_CASES is {CASE_SET!r}, expected one of {', '.join(CASES)}")

PARAMETERS = [
    pytest.param(case, way, id=f"{case_text(case.to_json())}, {way}")
    for case in op_cases(CASE_SET, (torch.float32, torch.bfloat16))
    if case.operator.timed_on_cpu or DEVICE.type == "cuda"
    for way in case.way_names(compilers=True)
]


@pytest.fixture(scope="module")
def bench() -> Iterator[OpBench]:
    bench = OpBench(DEVICE)
    with bench.ready():
        yield bench


@pytest.mark.parametrize(("case", "way"), PARAMETERS)
def test_op(benchmark: Any, bench: OpBench, case: OpCase, way: str) -> None:
    problem = case.problem(DEVICE)
    ways = bench.ways(case, problem)
    if way not in ways:
        pytest.skip("needs a compiler" if DEVICE.type == "cpu" else "a CPU's")
    verdict = bench.verdicts(case, [way])[way]
    assert not isinstance(verdict, str), verdict
    assert verdict.passed, f"off by {verdict.error:.2g} where {verdict.allowed:.2g} is allowed"
    run = bench.call(case, problem, ways[way])

    def call() -> None:
        run()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize(DEVICE)
    benchmark.group = case_text(case.to_json())
    benchmark.pedantic(call, rounds=10, warmup_rounds=1)
