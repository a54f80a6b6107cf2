"""Noise maps: their shapes, the fixed map z*, and the amplitude of each scale."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import upsample
from .pyramid import ScalePlan
from .seeding import normal


def draw_noise(plan: ScalePlan, frames: int, size: tuple[int, int], shared: float, seed: int, *place: str | int,
               device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise [1, C, T or 1, H, W] of a scale; equal (seed, place) give equal noise.

    Scale 0: one channel that the three colours share; finer scales: three. 3D scales: a T x h x w volume of which the
    part `shared` of the variance is one map for all frames. Finer 2D scales: one map for all frames (section 3.3.2).
    """
    def draw(frames: int, name: str) -> Tensor:
        shape = (1, 1 if plan.index == 0 else 3, frames, *size)
        return normal(shape, seed, *place, plan.index, name, device=device)

    if plan.kind == "2D" and plan.index > 0:
        return draw(1, "map")
    volume = draw(frames, "volume")
    return volume if shared == 0 else shared**0.5 * draw(1, "map") + (1 - shared)**0.5 * volume


def draw_fixed_noise(plan: ScalePlan, num_frames: int, shared: float, seed: int) -> Tensor:
    """z* [1, 1, T, h, w] for the whole clip at scale 0, drawn once per run; the finer scales' z_opt is zero."""
    return draw_noise(plan, num_frames, plan.size, shared, seed, "z_fixed")


def noise_amplitude(coarser_reconstruction: Tensor, real: Tensor, gain: float) -> float:
    """sigma_n: `gain` times the mean over frames of each frame's RMSE between the upsampled reconstruction
    [1, 3, T, h, w] of scale n-1 and the real clip [1, 3, T, H, W] of scale n (section 3.4.2)."""
    size = (real.shape[3], real.shape[4])
    errors = [(upsample(coarser_reconstruction[:, :, t:t + 1], size) - real[:, :, t:t + 1]).square().mean().sqrt()
              for t in range(real.shape[2])]
    return gain * float(torch.stack(errors).mean())
