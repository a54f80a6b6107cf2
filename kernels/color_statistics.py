"""Colour statistics of frames: mean and covariance of RGB, eq. 6 of the paper.

    mean_c = E[x_c],  cov_cd = E[(x_c - mean_c)(x_d - mean_d)] over the H W pixels of a frame

Differentiable any number of times (plain torch, float32 in every precision).
"""

from __future__ import annotations

import torch
from torch import Tensor


def frame_color_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [N, T, 3] and covariance [N, T, 3, 3] of the colours of each frame of `x` [N, 3, T, H, W]."""
    pixels = x.float().movedim(1, 2).flatten(3)  # [N, T, 3, HW]
    mean = pixels.mean(3, keepdim=True)
    centered = pixels - mean
    return mean[..., 0], torch.matmul(centered, centered.transpose(2, 3)) / pixels.shape[3]
