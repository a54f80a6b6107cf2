"""The losses of section 3.4. Clips are [N, 3, T, H, W] in [-1, 1]; every loss is a float32 scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..kernels import frame_color_statistics, weight_gradients_disabled
from .config import PenaltyNorm

ROOT_EPS = 1e-12  # under every root: its derivative at zero is infinite


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor,
                     norm: PenaltyNorm) -> Tensor:
    """E[(|grad D(x)| - 1)^2] at x = mix real + (1 - mix) fake, eq. 4 without its lambda; D sums over positions.

    Args:
        critic: gives each sample's mean score over all positions [N].
        real, fake: [N, 3, (T,) H, W], without gradient.
        mix: [N, 1, ...] in [0, 1], one number per sample.
        norm: "voxel": over the channels at every position, averaged over positions (lambda 0.1 belongs to this form);
            "sample": over everything that belongs to one sample.
    """
    x = torch.lerp(fake, real, mix).requires_grad_()
    with weight_gradients_disabled():
        score = critic(x)
        with torch.autocast(x.device.type, enabled=False):  # which would round what a backward multiplies
            gradient, = torch.autograd.grad(score, x, torch.full_like(score, x.shape[2:].numel()), create_graph=True)
    squares = gradient.float().square()
    total = squares.sum(1) if norm == "voxel" else squares.flatten(1).sum(1)
    return ((total + ROOT_EPS).sqrt() - 1).square().mean()


def reconstruction_loss(reconstruction: Tensor, real: Tensor) -> Tensor:
    """L1 between the reconstruction from z_opt and the real frames, eq. 5, as a mean over values."""
    return (reconstruction - real).abs().mean()


def color_statistics_loss(fake: Tensor, real_mean: Tensor, real_cov: Tensor) -> Tensor:
    """Per frame, |mean - mean'| + |cov - cov'| of the colours (vector and Frobenius norm), averaged, eq. 6.

    Args:
        real_mean, real_cov: `frame_color_statistics` of the real clip, [N, T, 3] and [N, T, 3, 3].
    """
    mean, cov = frame_color_statistics(fake)
    mean_distance = ((mean - real_mean).square().sum(2) + ROOT_EPS).sqrt()
    cov_distance = ((cov - real_cov).square().sum((2, 3)) + ROOT_EPS).sqrt()
    return (mean_distance + cov_distance).mean()


def psnr_db(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two clips in [-1, 1]."""
    error = (a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean().clamp_min(1e-12)
    return float(10 * torch.log10(4 / error))
