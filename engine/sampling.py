"""From noise to clips through the trained scales, a few frames on the device at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..kernels import PhiloxNoise
from .generator import Generator, generate_scale
from .pyramid import ScalePlan

ScaleNoise = Tensor | PhiloxNoise | None
"""Noise of a scale: [1, 3, T, H, W], or drawn where it is used, or none."""

CHUNK_FRAMES = 16
NOISE_FRAMES = 4  # drawn noise begins at multiples of it


@dataclass(frozen=True, kw_only=True)
class TrainedScale:
    """A frozen generator and the amplitude of its noise."""

    plan: ScalePlan
    generator: Generator
    noise_amp: float


@torch.no_grad()
def run_scale(stage: TrainedScale, coarser: Tensor | None, noise: ScaleNoise, frames: int, size: tuple[int, int],
              device: torch.device, *, chunk_frames: int = CHUNK_FRAMES) -> Tensor:
    """One scale over a clip of any length: `chunk_frames` frames at a time, each chunk with the neighbours that the
    generator reaches, so that the result is that of the whole clip.

    Args:
        coarser: x_{n-1} [1, 3, T, h, w] on the host, None at scale 0.
        noise: z_n at `size`.

    Returns:
        x_n [1, 3, T, *size] on the host.
    """
    def part(clip: Tensor, low: int, high: int) -> Tensor:
        return clip[:, :, low:high].to(device)

    if coarser is not None:
        coarser = coarser.expand(-1, -1, frames, -1, -1)  # a single frame stands for all
    reach = stage.generator.reach_frames
    chunks = []
    for start in range(0, frames, chunk_frames):
        end = min(start + chunk_frames, frames)
        low, high = max(0, start - reach) // NOISE_FRAMES * NOISE_FRAMES, min(frames, end + reach)
        coarser_part = None if coarser is None else part(coarser, low, high)
        noise_part = replace(noise, first_frame=low) if isinstance(noise, PhiloxNoise) else \
            None if noise is None else part(noise, low, high)
        clip = generate_scale(stage.generator, coarser_part, noise_part, stage.noise_amp, (high - low, *size))
        chunks.append(clip[:, :, start - low:end - low].cpu())
    return torch.cat(chunks, 2)


def run_scales(stages: Sequence[TrainedScale], coarser: Tensor | None,
               noise: Callable[[ScalePlan, tuple[int, int]], ScaleNoise], frames: int, scale: tuple[float, float],
               device: torch.device) -> Tensor | None:
    """All of `stages` in turn, coarsest first, with the `noise` of each at its (height, width). `scale` multiplies the
    trained height and width.

    Returns:
        The last scale's clip [1, 3, T, H, W] on the host; `coarser` itself when there are no stages.
    """
    for stage in stages:
        size = scaled_size(stage.plan.size, scale)
        coarser = run_scale(stage, coarser, noise(stage.plan, size), frames, size, device)
    return coarser


def scaled_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """(height, width) times (height factor, width factor), rounded; at least two pixels, which a mirror needs."""
    return max(2, round(size[0] * scale[0])), max(2, round(size[1] * scale[1]))


def reconstruct(stages: list[TrainedScale], z_fixed: Tensor, device: torch.device) -> Tensor:
    """The clip from z_opt through `stages` (at least one): [1, 3, T, H, W] on the host."""
    def noise(plan: ScalePlan, _size: tuple[int, int]) -> Tensor | None:
        return z_fixed if plan.index == 0 else None
    clip = run_scales(stages, None, noise, z_fixed.shape[2], (1.0, 1.0), device)
    assert clip is not None
    return clip


def device_of(stages: list[TrainedScale]) -> torch.device:
    """Where the generators of `stages` are."""
    return next(stages[0].generator.parameters()).device
