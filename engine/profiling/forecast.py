"""How much memory training will take at every scale, from a rehearsal of its step; nothing is allocated.

Counted are the bytes that torch's allocator hands out: weights, gradients, Adam's moments, the frozen coarser scales,
what a step holds on its way, temporaries inside the project's operators; on a CPU also the clips that the host keeps,
on a GPU cuBLAS's workspace. Not counted is what libraries take besides: cuDNN's workspaces and CUDA's own context on a
GPU, on a CPU the process itself and what the C library's heap does not give back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..config import TrainConfig
from ..pyramid import ScalePlan, plan_scales
from .rehearsal import RECONSTRUCTION, LastingBytes, rehearse
from .step_meter import PhaseCost

CUBLAS_WORKSPACE_BYTES = 32 << 20
"""What torch gives cuBLAS on an H100 (torch 2.13); on older GPUs a quarter of it."""


@dataclass(frozen=True, kw_only=True)
class ScaleForecast:
    """What training a scale is expected to take on a device."""

    plan: ScalePlan
    peak_bytes: int
    """Most memory at once on the device."""
    peak_phase: str
    host_bytes: int
    """Clips on the host; on a CPU they are part of `peak_bytes`."""
    lasting: LastingBytes
    workspace_bytes: int
    parameters: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    phases: dict[str, PhaseCost]

    @property
    def launches(self) -> int:
        """Operators that reach the device in one step."""
        return sum(cost.launches for cost in self.step_phases.values())

    @property
    def bytes(self) -> int:
        """Inputs and outputs of these operators."""
        return sum(cost.bytes for cost in self.step_phases.values())

    @property
    def flops(self) -> int:
        """Floating point operations of their convolutions and products."""
        return sum(cost.flops for cost in self.step_phases.values())

    @property
    def step_phases(self) -> dict[str, PhaseCost]:
        """Without the reconstruction, which is done once."""
        return {name: cost for name, cost in self.phases.items() if name != RECONSTRUCTION}

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "launches": self.launches, "bytes": self.bytes, "flops": self.flops}


def forecast_scale(plans: Sequence[ScalePlan], scale: int, num_frames: int, config: TrainConfig, device: torch.device,
                   *, fused: bool | None = None, quick: bool = False) -> ScaleForecast:
    """Forecast one of `plans` for a clip of `num_frames` frames on `device`, which need not be there.

    `fused`: whether the norms are compiled (CPU); as the config asks for by default. `quick`: the bytes in half the
    time, with too few launches.
    """
    rehearsal = rehearse(plans, scale, num_frames, config, device, fused=config.fuse if fused is None else fused,
                         quick=quick)
    workspace = CUBLAS_WORKSPACE_BYTES if device.type == "cuda" else 0
    return ScaleForecast(
        plan=plans[scale], peak_bytes=rehearsal.peak_bytes + workspace,
        peak_phase=max(rehearsal.phases, key=lambda name: rehearsal.phases[name].peak_bytes),
        host_bytes=rehearsal.lasting.clips, lasting=rehearsal.lasting, workspace_bytes=workspace,
        parameters=rehearsal.parameters, shapes=step_shapes(plans, scale, config), phases=rehearsal.phases)


def forecast_largest(height: int, width: int, num_frames: int, config: TrainConfig,
                     device: torch.device) -> ScaleForecast:
    """Forecast, quickly, the scale that takes the most, for a clip of `num_frames` frames of `height` x `width` pixels.

    Raises:
        ConfigError: the clip is too small to learn from.
    """
    plans = plan_scales(height, width, num_frames, config)
    return forecast_scale(plans, largest_scale(plans), num_frames, config, device, quick=True)


def largest_scale(plans: Sequence[ScalePlan]) -> int:
    """The scale whose step has the most activations."""
    return max(plans, key=lambda plan: plan.channels * plan.height * plan.width * plan.frames_made).index


def step_shapes(plans: Sequence[ScalePlan], scale: int, config: TrainConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of what a step of a scale works on; the networks' are those of one call, of the critics that there are."""
    plan = plans[scale]
    frames, made, size = plan.frames_per_step, plan.frames_made, plan.size
    shapes: dict[str, tuple[int, ...]] = {"window": (1, 3, frames, *size)}
    if scale:
        shapes["coarser"] = (2, 3, made, *plans[scale - 1].size)
    shapes["generator"] = (2, 3, made, *size) if plan.kind == "3D" else \
        (2 * made, 9 if config.neighbours else 3, *size)
    if config.image_weight:
        shapes["image_critic"] = (2 * made, 3, *size)
    if config.video_weight:
        shapes["video_critic"] = (2, 3, frames, *size)
    return shapes
