"""Noise maps: their shapes, the fixed map z*, and the amplitude of each scale."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import PhiloxNoise, scaled_noise, upsample
from .config import Noise
from .pyramid import ScalePlan
from .seeding import hashed


def noise_seed(seed: int, *place: str | int, device: torch.device | str = "cpu") -> Tensor:
    """The int64 on `device` that all noise of one place derives from, e.g. `noise_seed(0, "sample", 3)`."""
    return torch.full((), hashed(seed, "noise", *place), dtype=torch.int64, device=device)


def scale_noise(plan: ScalePlan, form: Noise, seed: Tensor) -> PhiloxNoise:
    """Standard normal noise of a scale, for a clip of three channels and any size, length and number of samples.

    "volume": new in every frame at 3D scales, one map for all frames at 2D ones (section 3.3.2); at scale 0 the three
    colours share it. "split": at scale 0 one channel is a map for all frames and two are new in every frame, so that
    what stays and what moves need not be told apart; finer scales have maps.
    """
    if plan.index == 0:
        return PhiloxNoise(seed=seed, gray=True) if form == "volume" else PhiloxNoise(seed=seed, maps=1)
    maps = 3 if plan.kind == "2D" or form == "split" else 0
    return PhiloxNoise(seed=seed, maps=maps, stream=plan.index)


def fixed_noise(plan: ScalePlan, num_frames: int, form: Noise, seed: int) -> Tensor:
    """z* [1, 3, T, h, w] for the whole clip at scale 0, drawn once per run; the finer scales' z_opt is zero."""
    return scaled_noise((1, 3, num_frames, *plan.size), scale_noise(plan, form, noise_seed(seed, "z_fixed")), 1.0)


def noise_amplitude(coarser_reconstruction: Tensor, real: Tensor, gain: float) -> float:
    """sigma_n: `gain` times the mean over frames of each frame's RMSE between the upsampled reconstruction
    [1, 3, T, h, w] of scale n-1 and the real clip [1, 3, T, H, W] of scale n (section 3.4.2)."""
    size = (real.shape[3], real.shape[4])
    errors = [(upsample(coarser_reconstruction[:, :, t:t + 1], size) - real[:, :, t:t + 1]).square().mean().sqrt()
              for t in range(real.shape[2])]
    return gain * float(torch.stack(errors).mean())
