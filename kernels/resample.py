"""Resizing of clips in space, and the two ends of a generator that it is fused with.

    resize:                  y = R x                      bicubic, antialiased when it shrinks
    upsample_add_noise:      y = U x + sigma z            the generator's input
    upsample_tanh_residual:  y = U x + tanh(g)            the generator's output

x [N, C, T, H, W]; U is bilinear to any larger or smaller integer size (no antialiasing, `align_corners=False`), R the
antialiased bicubic filter. Time is never resized. Differentiable any number of times.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def _per_frame(x: Tensor, size: tuple[int, int], *, mode: str, antialias: bool) -> Tensor:
    n, c, t, h, w = x.shape
    if (h, w) == size:
        return x
    frames = x.movedim(2, 1).reshape(n * t, c, h, w)
    frames = interpolate(frames, size=size, mode=mode, align_corners=False, antialias=antialias)
    return frames.view(n, t, c, *size).movedim(1, 2)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip `x` [N, C, T, H, W] at `size` (height, width), bicubic, antialiased where it shrinks; float32 or float64."""
    return _per_frame(x, size, mode="bicubic", antialias=True)


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip `x` [N, C, T, H, W] at `size` (height, width), bilinear."""
    return _per_frame(x, size, mode="bilinear", antialias=False)


def upsample_add_noise(x: Tensor, size: tuple[int, int], noise: Tensor | None, amplitude: Tensor | float) -> Tensor:
    """`U x + amplitude * noise`.

    Args:
        x: clip [N, C, T, h, w] of the coarser scale.
        size: (height, width) to upsample to.
        noise: [N, C or 1, T or 1, *size], one frame or channel shared by all where the size is 1; None for no noise.
        amplitude: standard deviation, a scalar.
    """
    y = upsample(x, size)
    return y if noise is None else y + amplitude * noise


def upsample_tanh_residual(x: Tensor, size: tuple[int, int], residual: Tensor) -> Tensor:
    """`U x + tanh(residual)` for the coarser clip `x` [N, C, T, h, w] and `residual` [N, C, T, *size]."""
    return upsample(x, size) + torch.tanh(residual.to(x.dtype))
