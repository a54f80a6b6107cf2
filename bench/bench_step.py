"""A training step and plain ones under pytest-benchmark, at the sizes of `sgif bench step`.

    pytest bench/bench_step.py --benchmark-only -k 25x44

Ways of a case are a group, one after the other, and a step on two clips is timed whole: `sgif bench step`, where they
take turns and seconds are per clip, is the fairer judge. Time is the clock's; a GPU is waited for.
"""

import os
from functools import partial
from typing import Any

import pytest
import torch

from sgif.bench.cases import CASES
from sgif.bench.result import OURS, case_text
from sgif.bench.step.seconds import engine_step, fused_norms
from sgif.bench.step.suite import BASELINES, StepCase, cases, plain_step

DEVICE = torch.device(os.environ.get("SGIF_BENCH_DEVICE", "cpu"))
CASE_SET = os.environ.get("SGIF_BENCH_CASES", "small")
if CASE_SET not in CASES:
    raise pytest.UsageError(f"SGIF_BENCH_CASES is {CASE_SET!r}, expected one of {', '.join(CASES)}")

PARAMETERS = [pytest.param(case.with_dtype(dtype), dtype, way, id=f"{case_text(case.to_json(dtype))}, {way}")
              for dtype in BASELINES for case in cases(CASE_SET) for way in (OURS, *BASELINES[dtype])]


@pytest.mark.parametrize(("case", "dtype", "way"), PARAMETERS)
def test_step(benchmark: Any, case: StepCase, dtype: torch.dtype, way: str) -> None:
    if DEVICE.type == "cpu":
        torch.set_num_threads(1)
    make = (partial(engine_step, case.plans, case.scale, case.num_frames, case.config, DEVICE) if way == OURS
            else partial(plain_step, case.plan, BASELINES[dtype][way], DEVICE))
    with fused_norms(case.config, DEVICE):
        step = make()

        def call() -> None:
            step()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize(DEVICE)
        benchmark.group = case_text(case.to_json(dtype))
        benchmark.pedantic(call, rounds=5, warmup_rounds=1)
