"""A training step of one scale on fake tensors: everything but the numbers, in a second and without memory.

The step is the real one, `ScaleTrainer.train_step`, on the device that is asked for, which need not be there.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ...kernels import dispatch, resample_triton
from ...kernels.fusion import fused_functions
from ...kernels.resample_tables import AxisTable
from ..config import TrainConfig
from ..generator import Generator
from ..pyramid import ScalePlan
from ..sampling import TrainedScale, frames_at_once, run_scale, stream
from ..step import ScaleData, ScaleTrainer
from .step_meter import PhaseCost, StepMeter

ABSENT_GPU_ARCH = "sm_90"
"""Whose launches are counted where no GPU is there to ask."""
RECONSTRUCTION = "reconstruction"
"""The phase after the last step: the clip as the trained scale remembers it, some frames at a time."""
_arch_to_count: str | None = None
NOISE_AMP = 0.1  # any but 0, which would leave the noise out


@dataclass(frozen=True, kw_only=True)
class LastingBytes:
    """What is in memory at the end of every step, by kind."""

    weights: int
    gradients: int
    optimizer: int
    coarser: int  # the frozen generators of the coarser scales
    clips: int    # on the host: the clip at every scale, the coarser reconstruction, z*


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What one step holds, launches and moves."""

    peak_bytes: int
    lasting: LastingBytes
    phases: dict[str, PhaseCost]
    parameters: dict[str, int]
    """Trained numbers of each network."""


def rehearse(plans: Sequence[ScalePlan], scale: int, num_frames: int, config: TrainConfig, device: torch.device, *,
             fused: bool, quick: bool = False) -> Rehearsal:
    """Go through a step of a scale, and the reconstruction behind the last one, for a clip of `num_frames` frames.

    `fused`: the norms are compiled (CPU). `quick`: of the coarser scales only the last one, as if it were the first,
    is gone through: half the time, the same peak, since each takes less than the next, and too few launches.
    """
    on_gpu = device.type == "cuda"
    meter = StepMeter(on_gpu=on_gpu, launchers=dispatch.HAS_TRITON or not on_gpu)
    with pretended_device(device, meter, fused=fused), FakeTensorMode(), meter:
        data = scale_data(plans, scale, num_frames, torch.empty)
        clips = meter.live_bytes
        if on_gpu:  # there the clips stay on the host, and a CUDA graph has a window of its own beside each draw's
            meter.live_bytes = 0
            window = torch.empty(1, 3, plans[scale].frames_made, *plans[scale].size)
        before = meter.live_bytes
        coarser = untrained_stages(plans[:scale], config)
        frozen = meter.live_bytes - before
        trainer = ScaleTrainer(plans[scale], config, coarser[-1:] if quick else coarser, data[-1],
                               torch.device("cpu"))
        networks = trainer.networks
        weights = sum(_bytes(network.state_dict().values()) for network in networks.values())
        fill_optimizers(trainer)
        gradients = sum(_bytes(network.parameters()) for network in networks.values())
        optimizer = sum(_bytes(slots.values()) for adam in trainer.optimizers.values() for slots in adam.state.values())
        trainer.clock = _PhaseNames(meter)  # type: ignore[assignment]
        meter.phases.clear()
        trainer.train_step(0)
        if on_gpu:
            del window
        with meter.in_phase(RECONSTRUCTION):
            reconstruct_scale(trainer, num_frames * config.slow_motion)
        return Rehearsal(
            peak_bytes=meter.peak_bytes, phases=dict(meter.phases),
            lasting=LastingBytes(weights=weights, gradients=gradients, optimizer=optimizer, coarser=frozen,
                                 clips=clips),
            parameters={name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()})


def scale_data(plans: Sequence[ScalePlan], scale: int, num_frames: int,
               make: Callable[..., Tensor]) -> tuple[Any, ...]:
    """All that training keeps on the host while it learns a scale, made by `make(*shape)`: the clip at the finest size
    and at every scale; last what the scale learns from."""
    def clip(plan: ScalePlan, per_frame: int = 1) -> Tensor:
        return make(1, 3, num_frames * per_frame, *plan.size)

    def made(plan: ScalePlan) -> Tensor:
        return clip(plan, plan.slow_motion)

    finest, pyramid, z_fixed = clip(plans[-1]), [clip(plan) for plan in plans], made(plans[0])
    data = ScaleData(real=pyramid[scale], coarser_reconstruction=made(plans[scale - 1]) if scale else None,
                     z_fixed=z_fixed, noise_amp=NOISE_AMP)
    return finest, pyramid, data


def untrained_stages(plans: Sequence[ScalePlan], config: TrainConfig) -> list[TrainedScale]:
    """Frozen generators as large as trained ones."""
    return [TrainedScale(plan=plan, generator=Generator(plan, config).eval().requires_grad_(False),
                         noise_amp=NOISE_AMP) for plan in plans]


def fill_optimizers(trainer: ScaleTrainer) -> None:
    """Bring gradients and optimizers into the state that every step but the first begins with."""
    for adam in trainer.optimizers.values():
        for group in adam.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        adam.step()


def reconstruct_scale(trainer: ScaleTrainer, num_frames: int) -> None:
    """What the end of a scale adds: the reconstruction of the clip, part by part. Two parts, or all of a short clip."""
    generator, data, plan = trainer.generator.eval(), trainer.data, trainer.plan
    frames = min(num_frames, 2 * frames_at_once(generator, plan.size))
    stage = TrainedScale(plan=plan, generator=generator, noise_amp=data.noise_amp)
    coarser = data.coarser_reconstruction

    def noise(_plan: ScalePlan, _size: tuple[int, int], first: int, count: int) -> Tensor | None:
        return data.z_fixed[:, :, first:first + count] if coarser is None else None

    below = None if coarser is None else stream(coarser[:, :, :frames], frames, trainer.device)
    for _part in run_scale(stage, below, noise, frames, plan.size):
        pass
    generator.train()


class _PhaseNames:
    """Stands in for the clock of a trainer: phases have names here and no seconds."""

    def __init__(self, meter: StepMeter) -> None:
        self.meter = meter

    def __call__(self, phase: str) -> AbstractContextManager[None]:
        return self.meter.in_phase(phase)


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


@contextmanager
def counting_for(arch: str) -> Iterator[None]:
    """Inside, a rehearsal on a GPU is one on a GPU of `arch`, whichever is there: counts that do not vary."""
    global _arch_to_count
    before, _arch_to_count = _arch_to_count, arch
    try:
        yield
    finally:
        _arch_to_count = before


@contextmanager
def pretended_device(device: torch.device, meter: StepMeter, *, fused: bool = False) -> Iterator[None]:
    """Inside, the code of a step runs on fakes as it would on `device`, and kernels are counted instead of launched.

    `fused`: the norms are compiled (CPU).

    All fakes are on the CPU: autograd refuses those of a GPU where torch was built without. What is replaced, for this
    time, are the places where the code asks for the device.
    """
    replaced: list[tuple[Any, str, Any]] = [
        (nn.Module, "to", lambda module, *_: module),  # fakes cannot be moved in place
        *((function, "active", partial(meter.run_compiled, function.plain) if fused else function.plain)
          for function in fused_functions()),
    ]
    if device.type == "cuda":
        convolution = sys.modules[ScaleTrainer.__module__.replace("engine.step", "kernels.convolution")]

        def axis_table(_in: int, size: int, _mode: str, _transposed: bool, _device: torch.device) -> AxisTable:
            # The real one keeps its tables for good: a fake must not get among them.
            return AxisTable(torch.empty(size, dtype=torch.int32), torch.empty(4, size))

        replaced += [
            (dispatch, "auto_emulates", True), (dispatch, "emulated_arch", _arch(device)),
            (dispatch, "HAS_TRITON", True), (resample_triton, "axis_table", axis_table),
            (convolution, "_slow_in_aten", lambda _: False), (convolution, "_wrong_in_onednn", lambda *_: False),
            (convolution, "_few_gradients", lambda *_: False),
            (convolution, "onednn_has_bfloat16", lambda: True),
        ]
        if dispatch.HAS_TRITON:
            replaced.append((dispatch.triton.runtime.jit.KernelInterface, "__getitem__", _counting(meter)))
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer")  # a launcher asks for its alignment: 0 has any
        for owner, name, stand_in in replaced:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, stand_in)
        yield


def _arch(device: torch.device) -> str:
    """The GPU's architecture; ABSENT_GPU_ARCH where it is not there to ask."""
    if _arch_to_count is not None:
        return _arch_to_count
    if not torch.cuda.is_available():
        return ABSENT_GPU_ARCH
    return dispatch._device_arch(device.index or 0)


def _counting(meter: StepMeter) -> Callable[..., Any]:
    """What `kernel[grid]` is meanwhile: its call is a launch, with the bytes of its tensors."""
    def launch(*args: Any, **kwargs: Any) -> None:
        meter.count(*(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)))
    return lambda kernel, grid: launch
