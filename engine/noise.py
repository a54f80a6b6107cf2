"""Noise maps: their shapes, the fixed map z*, and the amplitude of each scale."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import upsample
from .pyramid import ScalePlan
from .seeding import normal


def noise_shape(plan: ScalePlan, frames: int, size: tuple[int, int]) -> tuple[int, int, int, int, int]:
    """Shape [1, C, T, H, W] of a scale's noise.

    Scale 0: one channel that the three colours share. Finer 3D scales: a volume. Finer 2D scales: one map for all frames,
    so that they belong to one video (section 3.3.2).
    """
    shared_by_frames = plan.kind == "2D" and plan.index > 0
    return 1, 1 if plan.index == 0 else 3, 1 if shared_by_frames else frames, *size


def draw_noise(plan: ScalePlan, frames: int, size: tuple[int, int], seed: int, *place: str | int,
               device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise of `noise_shape`; equal (seed, place) give equal noise."""
    return normal(noise_shape(plan, frames, size), seed, *place, plan.index, device=device)


def draw_fixed_noise(plan: ScalePlan, num_frames: int, seed: int) -> Tensor:
    """z* [1, 1, T, h, w] for the whole clip at scale 0, drawn once per run; the finer scales' z_opt is zero."""
    return normal((1, 1, num_frames, *plan.size), seed, "z_fixed")


def noise_amplitude(coarser_reconstruction: Tensor, real: Tensor, gain: float) -> float:
    """sigma_n: `gain` times the mean over frames of each frame's RMSE between the upsampled reconstruction
    [1, 3, T, h, w] of scale n-1 and the real clip [1, 3, T, H, W] of scale n (section 3.4.2)."""
    size = (real.shape[3], real.shape[4])
    errors = [(upsample(coarser_reconstruction[:, :, t:t + 1], size) - real[:, :, t:t + 1]).square().mean().sqrt()
              for t in range(real.shape[2])]
    return gain * float(torch.stack(errors).mean())
