"""The depthwise 3x3x3 filter that a depthwise pair is, as CPUs compute it: tap by tap, in one pass over the clip.

    v[n,c,t,y,x] = sum_kij  w[kij,c]  x[n,c,t+k,y+i,x+j]        x [N, C, T, H, W], w [27, C], v smaller by two

Equivalent to `torch.nn.functional.conv3d(x, w.T.view(C, 1, 3, 3, 3), groups=C)`, channels innermost in memory.
Differentiable any number of times: with x surrounded by zeros and the taps in reverse it is its own adjoint,

    dx = fwd(zeros around dv, w reversed)       dw[kij,c] = sum_ntyx dv[n,c,t,y,x] x[n,c,t+k,y+i,x+j]

and dw's derivatives for g are fwd(zeros around dv, g reversed) and fwd(x, g).

ATen's depthwise convolution is not it: oneDNN's weight gradient is a reference loop, and the dense convolution with
zeros between the channels multiplies C times as much. Compiled, the sums below take 0.9 ms where the dense one takes
9.2 (forward, 2x32x8x25x44, float32, one thread, AVX-512), its weight gradient 0.8 where that takes 9.9. Eagerly
they would take longer than it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv3d, pad

from .convolution import channels_last, weight_gradients_wanted
from .dispatch import below_autograd, register_op
from .fusion import fused

TAPS = 27
MIN_CHANNELS = 16  # a vector of float32; fewer are not the innermost loop that pays


def depthwise_taps_reference(x: Tensor, taps: Tensor) -> Tensor:
    """The specification, in plain torch."""
    return conv3d(x, taps.T.reshape(-1, 1, 3, 3, 3), groups=x.shape[1])


def _shifted(x: Tensor) -> Iterator[Tensor]:
    """What each tap reads of a clip [T + 2, H + 2, W + 2, C], as [T, H, W, C]."""
    t, h, w = (size - 2 for size in x.shape[:3])
    for tap in range(TAPS):
        k, i, j = tap // 9, tap // 3 % 3, tap % 3
        yield x[k:k + t, i:i + h, j:j + w]


def _examples(device: torch.device, dtype: torch.dtype, *, taps: bool) -> Iterator[tuple[Tensor, ...]]:
    """Sizes of which no two are equal: the code would be for clips where they are."""
    if device.type == "cpu":
        x, v = torch.zeros(7, 13, 21, 48, dtype=dtype), torch.zeros(5, 11, 19, 48, dtype=dtype)
        yield (x, torch.zeros(TAPS, 48), v) if taps else (x, v)


@fused(partial(_examples, taps=True), lazy=True)
def _correlate(x: Tensor, taps: Tensor, v: Tensor) -> None:
    """Fill v [T, H, W, C]. Sums in float32, in the order of the taps."""
    first, *others = (part.to(taps.dtype) * tap for part, tap in zip(_shifted(x), taps.unbind(), strict=True))
    v.copy_(sum(others, first))


@fused(partial(_examples, taps=False), lazy=True)
def _tap_gradients(x: Tensor, dv: Tensor) -> Tensor:
    """dw [27, C] in float32. Row by row, which a cache holds, then over the rows: 0.6 of the time of all at once."""
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = [(part.to(wide) * dv.to(wide)).sum(2) for part in _shifted(x)]
    return torch.stack(rows).flatten(1, 2).sum(1)


def taps_pay(x: Tensor) -> bool:
    """Whether this is how `x` [N, C, T, H, W], not yet padded, is computed: on a CPU whose compiler has been enabled
    (`enable_fusion`)."""
    return (_correlate.enabled and x.device.type == "cpu" and x.shape[1] >= MIN_CHANNELS and min(x.shape[2:]) > 4)


# Compiled code is guarded by `requires_grad` and, of a view, by the sizes of what it is a view of; `.data` is none.


def _rows(x: Tensor) -> Tensor:
    return channels_last(x).movedim(1, -1)


def _fwd(x: Tensor, taps: Tensor) -> Tensor:
    v, taps = _fwd_fake(x, taps), taps.contiguous()
    for clip, out in zip(_rows(x), v.movedim(1, -1), strict=True):
        _correlate(clip.data, taps.data, out.data)
    return v


def _fwd_fake(x: Tensor, taps: Tensor) -> Tensor:
    n, c, t, h, w = x.shape
    return x.new_empty(n, t - 2, h - 2, w - 2, c).movedim(-1, 1)


def _bwd_weight(x: Tensor, dv: Tensor) -> Tensor:
    first, *others = (_tap_gradients(clip.data, out.data) for clip, out in zip(_rows(x), _rows(dv), strict=True))
    for other in others:
        first += other
    return first


def _bwd_weight_fake(x: Tensor, dv: Tensor) -> Tensor:
    return x.new_empty(TAPS, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))


def _adjoint(dv: Tensor, taps: Tensor) -> Tensor:
    return depthwise_taps_fwd(pad(dv, (2,) * 6), taps.flip(0))


class DepthwiseTapsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, taps):
        ctx.save_for_backward(x, taps)
        with below_autograd():
            return depthwise_taps_fwd(x, taps)

    @staticmethod
    def backward(ctx, dv):
        x, taps = ctx.saved_tensors
        dx = _adjoint(dv, taps) if ctx.needs_input_grad[0] else None
        wants_taps = ctx.needs_input_grad[1] and weight_gradients_wanted()
        return dx, depthwise_taps_bwd_weight(x, dv).to(taps.dtype) if wants_taps else None


class DepthwiseTapsBwdWeightFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dv):
        ctx.save_for_backward(x, dv)
        with below_autograd():
            return depthwise_taps_bwd_weight(x, dv)

    @staticmethod
    def backward(ctx, g):
        x, dv = ctx.saved_tensors
        wants_x, wants_dv = ctx.needs_input_grad
        return _adjoint(dv, g) if wants_x else None, depthwise_taps_fwd(x, g) if wants_dv else None


depthwise_taps_fwd = register_op("depthwise_taps_fwd(Tensor x, Tensor taps) -> Tensor", _fwd, _fwd_fake,
                                 DepthwiseTapsFunction)
depthwise_taps_bwd_weight = register_op("depthwise_taps_bwd_weight(Tensor x, Tensor dv) -> Tensor", _bwd_weight,
                                        _bwd_weight_fake, DepthwiseTapsBwdWeightFunction)


def depthwise_taps(x: Tensor, spatial: Tensor, temporal: Tensor) -> Tensor:
    """The depthwise pair [C, 3, 3], [C, 3] on `x` [N, C, T, H, W], padded already: smaller by two along each axis, of
    the dtype of `x`, channels innermost in memory."""
    wide = torch.promote_types(spatial.dtype, torch.float32)
    return depthwise_taps_fwd(x, torch.einsum("ck,cij->kijc", temporal.to(wide), spatial.to(wide)).flatten(0, 2))
