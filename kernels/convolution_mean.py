"""The mean of a convolution over all positions: what a PatchGAN critic's last layer comes to.

    s[n, o] = 1/P sum_p (x * w)[n, o, p],   x [N, C, (T,) H, W], w [O, C, (3,) 3, 3], zeros around, P positions

Equivalent to `torch.nn.functional.conv3d(x, w, padding="same").flatten(2).mean(2)`. Differentiable any number of times.

Nothing is convolved: s = 1/P sum_ck w[o, c, k] r[n, c, k], where r sums what tap k reads of x. Along an axis, the first
tap reads all but the last value, the middle one all, the last one all but the first. So x is read once; its gradient,
the same for all positions but those at a border, is written once. A convolution to one channel takes longer than its
arithmetic, since matrix units and oneDNN compute sixteen (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def convolution_mean_reference(x: Tensor, weight: Tensor) -> Tensor:
    """The specification, in plain torch: [N, O]."""
    convolve = torch.conv2d if x.dim() == 4 else torch.conv3d
    return convolve(x, weight, padding="same").flatten(2).mean(2)


def _tap_sums(x: Tensor) -> Tensor:
    """r [N, C, (3,) 3, 3] in float32 at least, of `x` [N, C, (T,) H, W]: sums of what each tap reads."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    for axis in range(x.dim() - 1, 1, -1):  # the innermost first: it leaves least
        total = x.sum(axis, dtype=dtype)
        x = torch.stack((total - x.select(axis, -1), total, total - x.select(axis, 0)), axis)
    return x


def _spread(r: Tensor, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The adjoint: what each position gives all taps' sums, [N, C, *size] with channels innermost in memory."""
    r = r.movedim(1, -1)  # [N, (3,) 3, 3, C]
    for axis, length in enumerate(size, 1):
        first, middle, last = r.unbind(axis)
        inside, low, high = first + middle + last, first + middle, middle + last
        if axis == len(size):
            inside = inside.to(dtype)  # all but this axis is small: the rest is written once, in the end's dtype
        r = inside.unsqueeze(axis).repeat_interleave(length, axis)
        r.select(axis, 0).copy_(low if length > 1 else middle)
        if length > 1:
            r.select(axis, -1).copy_(high)
    return r.movedim(-1, 1)


class TapSumsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.size, ctx.dtype = x.shape[2:], x.dtype
        return _tap_sums(x)

    @staticmethod
    def backward(ctx, g):
        return SpreadFunction.apply(g, ctx.size, ctx.dtype)


class SpreadFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, r, size, dtype):
        ctx.dtype = r.dtype
        return _spread(r, size, dtype)

    @staticmethod
    def backward(ctx, g):
        return TapSumsFunction.apply(g).to(ctx.dtype), None, None


def convolution_mean(x: Tensor, weight: Tensor) -> Tensor:
    """Mean over all positions of `x` [N, C, (T,) H, W] convolved with `weight` [O, C, (3,) 3, 3], zeros around.

    Returns:
        [N, O] in float32 (float64 stays), whatever autocast says: sums of so many numbers want it.

    Raises:
        ValueError: for shapes that do not belong together.
    """
    if x.dim() not in (4, 5) or weight.dim() != x.dim() or weight.shape[1] != x.shape[1] \
            or any(taps != 3 for taps in weight.shape[2:]):
        raise ValueError(f"convolution_mean of x {tuple(x.shape)} with weight {tuple(weight.shape)}: expected "
                         "[N, C, (T,) H, W] and [O, C, (3,) 3, 3] of as many dimensions")
    with torch.autocast(x.device.type, enabled=False):
        sums = TapSumsFunction.apply(x).flatten(1)
        return sums @ weight.to(sums.dtype).flatten(1).T / x.shape[2:].numel()
