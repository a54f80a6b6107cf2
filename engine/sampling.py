"""From noise to clips through the trained scales, a few frames on the device at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .generator import Generator, generate_scale
from .pyramid import ScalePlan

Noise = Callable[[ScalePlan, tuple[int, int]], Tensor | None]
"""Gives the noise of a scale at a (height, width): a host tensor that broadcasts to [1, 3, T, H, W], or None."""

CHUNK_FRAMES = 16


@dataclass(frozen=True, kw_only=True)
class TrainedScale:
    """A frozen generator and the amplitude of its noise."""

    plan: ScalePlan
    generator: Generator
    noise_amp: float


@torch.no_grad()
def run_scale(stage: TrainedScale, coarser: Tensor | None, noise: Tensor | None, frames: int, size: tuple[int, int],
              device: torch.device, *, chunk_frames: int = CHUNK_FRAMES) -> Tensor:
    """One scale over a clip of any length: `chunk_frames` frames at a time, each chunk with the neighbours that the
    generator reaches, so that the result is that of the whole clip.

    Args:
        coarser: x_{n-1} [1, 3, T, h, w] on the host, None at scale 0.
        noise: z_n [1, C, T or 1, *size] on the host, or None.

    Returns:
        x_n [1, 3, T, *size] on the host.
    """
    def part(clip: Tensor | None, low: int, high: int) -> Tensor | None:
        if clip is None:
            return None
        return (clip if clip.shape[2] == 1 < frames else clip[:, :, low:high]).to(device)

    if coarser is not None:
        coarser = coarser.expand(-1, -1, frames, -1, -1)  # a single frame stands for all
    reach = stage.generator.reach_frames
    chunks = []
    for start in range(0, frames, chunk_frames):
        end = min(start + chunk_frames, frames)
        low, high = max(0, start - reach), min(frames, end + reach)
        clip = generate_scale(stage.generator, part(coarser, low, high), part(noise, low, high), stage.noise_amp, size)
        chunks.append(clip[:, :, start - low:end - low].cpu())
    return torch.cat(chunks, 2)


def run_scales(stages: Sequence[TrainedScale], coarser: Tensor | None, noise: Noise, frames: int,
               scale: tuple[float, float], device: torch.device) -> Tensor | None:
    """All of `stages` in turn, coarsest first. `scale` multiplies the trained height and width.

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
