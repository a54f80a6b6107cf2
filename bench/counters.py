"""Launches, bytes, floating point operations and peak bytes of a call, counted as on an H100; no GPU is needed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ..engine import RunError
from ..engine.profiling.rehearsal import ABSENT_GPU_ARCH, counting_for, pretended_device
from ..engine.profiling.step_meter import PhaseCost, StepMeter
from ..kernels.dispatch import HAS_TRITON

COUNTED_ARCH = ABSENT_GPU_ARCH
"""Whose launches are counted, whatever is there: an H100's."""
GPU = torch.device("cuda")
"""The device of a rehearsal that counts; nothing is allocated on it."""

Counters = dict[str, int]


def count(make: Callable[[], Callable[[], object]]) -> Counters:
    """Counters of one call of what `make` returns, the same on every machine.

    Both run on tensors without memory, which are on the CPU and are treated as a GPU's; `impl="auto"` takes Triton,
    whose kernels are counted instead of launched.

    Args:
        make: makes the inputs, calls once what differs the first time, and returns the call that counts.

    Returns:
        launches: operators that write; views and empty tensors are none. bytes: their inputs and outputs, each once
        per operator. flops: two for each multiply-add of convolutions and products. peak_bytes: most that is alive at
        once during the call, its inputs included.

    Raises:
        RunError: Triton is not installed, so that there are no kernels to count.
    """
    require_triton()
    meter = StepMeter(on_gpu=True, launchers=True)
    with counting_for(COUNTED_ARCH), pretended_device(GPU, meter), FakeTensorMode(), meter:
        run = make()
        meter.phases.clear()
        meter.phases[meter.phase].peak_bytes = meter.live_bytes  # a call may allocate nothing
        run()
        return counters_of(meter.phases)


def counters_of(phases: dict[str, PhaseCost]) -> Counters:
    """Counters of all `phases` together."""
    costs = phases.values()
    return {"launches": sum(cost.launches for cost in costs), "bytes": sum(cost.bytes for cost in costs),
            "flops": sum(cost.flops for cost in costs), "peak_bytes": max(cost.peak_bytes for cost in costs)}


def require_triton() -> None:
    """Raises RunError where kernels cannot be counted."""
    if not HAS_TRITON:
        raise RunError("counters need the package triton, whose kernels they count: pip install 'sgif[triton]'")
