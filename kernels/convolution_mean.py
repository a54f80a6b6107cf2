"""The mean of a convolution over all positions: what a PatchGAN critic's last layer comes to.

    s[n, o] = 1/P sum_p (x * w)[n, o, p],   x [N, C, (T,) H, W], w [O, C, (3,) 3, 3], zeros around, P positions

Equivalent to `torch.nn.functional.conv3d(x, w, padding="same").flatten(2).mean(2)`. Differentiable any number of times.

Nothing is convolved: s = 1/P sum_ck w[o, c, k] r[n, c, k], where r sums what tap k reads of x. Along an axis the first
tap reads all but the last value, the middle one all, the last one all but the first; so r is a combination of three
sums, over all values, the first and the last, and the weights are combined instead (27 x 27 numbers in 3D). x is read
once; its gradient, the same for all positions but those at a border, is written once. A convolution to one channel
takes longer than its arithmetic, since matrix units and oneDNN compute sixteen (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def convolution_mean_reference(x: Tensor, weight: Tensor) -> Tensor:
    """The specification, in plain torch: [N, O]."""
    convolve = torch.conv2d if x.dim() == 4 else torch.conv3d
    return convolve(x, weight, padding="same").flatten(2).mean(2)


def _border_sums(x: Tensor) -> Tensor:
    """Sums [N, C, (3,) 3, 3] over all values along an axis, its first and its last, in float32 at least, of `x`
    [N, C, (T,) H, W]."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    for axis in range(x.dim() - 1, 1, -1):  # the innermost first: it leaves least
        x = torch.cat((x.sum(axis, keepdim=True, dtype=dtype), x.narrow(axis, 0, 1), x.narrow(axis, -1, 1)), axis)
    return x


def _spread(r: Tensor, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The adjoint: what each position gives all sums, [N, C, *size] with channels innermost in memory."""
    r = r.movedim(1, -1)  # [N, (3,) 3, 3, C]
    for axis, length in enumerate(size, 1):
        inside, first, last = r.split(1, axis)
        if length == 1:
            r = inside + first + last
        else:
            low, high = inside + first, inside + last
            if axis == len(size):  # all but this axis is small: the rest is written once, in the end's dtype
                inside = inside.to(dtype)
            r = inside.repeat_interleave(length, axis)
            r.narrow(axis, 0, 1).copy_(low)
            r.narrow(axis, -1, 1).copy_(high)
    return r.to(dtype).movedim(-1, 1)


def tap_combinations(dims: int) -> Tensor:
    """What each tap reads in terms of the sums, for filters of `dims` axes: [3^dims, 3^dims]."""
    along = torch.tensor([[1.0, 0, -1], [1, 0, 0], [1, -1, 0]])
    combined = along
    for _ in range(dims - 1):
        combined = torch.kron(combined, along)
    return combined


class BorderSumsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.size, ctx.dtype = x.shape[2:], x.dtype
        return _border_sums(x)

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
        return BorderSumsFunction.apply(g).to(ctx.dtype), None, None


def convolution_mean(x: Tensor, weight: Tensor, combinations: Tensor | None = None) -> Tensor:
    """Mean over all positions of `x` [N, C, (T,) H, W] convolved with `weight` [O, C, (3,) 3, 3], zeros around.

    Args:
        combinations: `tap_combinations(x.dim() - 2)` on the device, for who calls often; None makes them.

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
        sums = BorderSumsFunction.apply(x).flatten(1)  # [N, C 3^dims]
        if combinations is None:
            combinations = tap_combinations(x.dim() - 2).to(x.device)
        weight = (weight.to(sums.dtype).flatten(2) @ combinations.to(sums.dtype)).flatten(1)
        return sums @ weight.T / x.shape[2:].numel()
