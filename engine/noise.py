"""Noise maps: their shapes, the fixed map z*, and the amplitude of each scale."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import upsample
from .config import Noise
from .pyramid import ScalePlan
from .seeding import normal


def draw_noise(plan: ScalePlan, frames: int, size: tuple[int, int], form: Noise, seed: int, *place: str | int,
               device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise [1, C, T or 1, H, W] of a scale; equal (seed, place) give equal noise.

    "volume": at scale 0 one channel that the three colours share, at finer scales three; new in every frame at 3D
    scales, one map for all frames at 2D ones (section 3.3.2). "split": at scale 0 one channel is a map for all frames,
    two are new in every frame, so that what stays and what moves need not be told apart; finer scales have maps.
    """
    def draw(channels: int, frames: int, name: str) -> Tensor:
        return normal((1, channels, frames, *size), seed, *place, plan.index, name, device=device)

    if plan.index == 0:
        if form == "volume":
            return draw(1, frames, "volume")
        return torch.cat((draw(1, 1, "map").expand(-1, -1, frames, -1, -1), draw(2, frames, "volume")), 1)
    if plan.kind == "2D" or form == "split":
        return draw(3, 1, "map")
    return draw(3, frames, "volume")


def draw_fixed_noise(plan: ScalePlan, num_frames: int, form: Noise, seed: int) -> Tensor:
    """z* [1, 1 or 3, T, h, w] for the whole clip at scale 0, drawn once per run; the finer scales' z_opt is zero."""
    return draw_noise(plan, num_frames, plan.size, form, seed, "z_fixed")


def noise_amplitude(coarser_reconstruction: Tensor, real: Tensor, gain: float) -> float:
    """sigma_n: `gain` times the mean over frames of each frame's RMSE between the upsampled reconstruction
    [1, 3, T, h, w] of scale n-1 and the real clip [1, 3, T, H, W] of scale n (section 3.4.2)."""
    size = (real.shape[3], real.shape[4])
    errors = [(upsample(coarser_reconstruction[:, :, t:t + 1], size) - real[:, :, t:t + 1]).square().mean().sqrt()
              for t in range(real.shape[2])]
    return gain * float(torch.stack(errors).mean())
