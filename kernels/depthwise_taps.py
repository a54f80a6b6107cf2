"""The depthwise 3x3x3 filter that a depthwise pair is, as CPUs compute it.

    v[n,c,t,y,x] = sum_kij  w[kij,c]  x[n,c,t+k-p,y+i-p,x+j-p]        x [N, C, T, H, W], w [27, C], zeros around x

Equivalent to `torch.nn.functional.conv3d(x, w.T.view(C, 1, 3, 3, 3), padding=p, groups=C)`, p from 0 to 2, channels
innermost in memory. Differentiable any number of times: with the taps in reverse it is its own adjoint,

    dx = fwd(dv, w reversed, 2 - p)             dw[kij,c] = sum_ntyx dv[n,c,t,y,x] x[n,c,t+k-p,y+i-p,x+j-p]

and dw's derivatives for g are fwd(dv, g reversed, 2 - p) and fwd(x, g, p).

oneDNN computes v in 0.35 ms where the dense convolution, with zeros between the channels, takes 9.2 (2x32x8x25x44,
float32, one thread, AVX-512); asked for the temporal part alone ATen takes `slow_conv3d`, 1.8. oneDNN's dw is a
reference loop (83 ms in bfloat16 at 1x32x8x48x85); here it is 27 sums, compiled to one pass: 0.8 ms where the dense
one takes 9.9. Eagerly they take 10, and longer than the dense one for larger frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import conv3d, pad

from . import dispatch
from .convolution import channels_last, onednn_has_bfloat16, weight_gradients_wanted
from .dispatch import below_autograd, register_op
from .fusion import fused

TAPS = 27
MIN_CHANNELS = 16  # a vector of float32: of fewer the sums' innermost loop does not pay


def depthwise_taps_reference(x: Tensor, taps: Tensor, padding: int) -> Tensor:
    """The specification, in plain torch."""
    return conv3d(x, _filters(taps), padding=padding, groups=x.shape[1])


def _filters(taps: Tensor) -> Tensor:
    return taps.T.reshape(-1, 1, 3, 3, 3)


def _shifted(x: Tensor) -> Iterator[Tensor]:
    """What each tap reads of a clip [T + 2, H + 2, W + 2, C], as [T, H, W, C]."""
    t, h, w = (size - 2 for size in x.shape[:3])
    for tap in range(TAPS):
        k, i, j = tap // 9, tap // 3 % 3, tap % 3
        yield x[k:k + t, i:i + h, j:j + w]


def _examples(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Sizes of which no two are equal: the code would be for clips where they are."""
    if device.type == "cpu":
        yield torch.zeros(7, 13, 21, 48, dtype=dtype), torch.zeros(5, 11, 19, 48, dtype=dtype)


@fused(_examples, lazy=True)
def _tap_gradients(x: Tensor, dv: Tensor) -> Tensor:
    """dw [27, C] in float32. Row by row, which a cache holds, then over the rows: 0.6 of the time of all at once."""
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = [(part.to(wide) * dv.to(wide)).sum(2) for part in _shifted(x)]
    return torch.stack(rows).flatten(1, 2).sum(1)


def taps_pay(x: Tensor, *weights: Tensor) -> bool:
    """Whether this is how `x` [N, C, T, H, W], not yet padded, is computed: on a CPU with oneDNN, and where `weights`
    need gradients with a compiler that has been enabled (`enable_fusion`)."""
    if (x.device.type != "cpu" or dispatch.auto_emulates or x.shape[1] < MIN_CHANNELS
            or not torch.backends.mkldnn.is_available()):
        return False
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
        return _tap_gradients.enabled and min(x.shape[2:]) >= 4  # of one row it would be compiled anew
    return True


def _fwd(x: Tensor, taps: Tensor, padding: int) -> Tensor:
    x = channels_last(x)
    if x.dtype == torch.float64 or not torch.backends.mkldnn.is_available():
        return depthwise_taps_reference(x, taps.to(x.dtype), padding)
    if x.dtype == torch.bfloat16 and not onednn_has_bfloat16():  # ATen would add up in bfloat16
        return _fwd(x.float(), taps, padding).to(x.dtype)
    ones = [1] * 3
    return torch.mkldnn_convolution(x, _filters(taps.to(x.dtype)), None, [padding] * 3, ones, ones, x.shape[1])


def _fwd_fake(x: Tensor, taps: Tensor, padding: int) -> Tensor:
    n, c, *sizes = x.shape
    return x.new_empty(n, *(size - 2 + 2 * padding for size in sizes), c).movedim(-1, 1)


def _bwd_weight(x: Tensor, dv: Tensor, padding: int) -> Tensor:
    if padding:
        x = pad(x, (padding,) * 6)
    clips, gradients = (channels_last(t).movedim(1, -1) for t in (x, dv))
    # Compiled code is guarded by `requires_grad` and, of a view, by the sizes of what it views; `.data` has neither.
    first, *others = (_tap_gradients(clip.data, out.data) for clip, out in zip(clips, gradients, strict=True))
    for other in others:
        first += other
    return first


def _bwd_weight_fake(x: Tensor, dv: Tensor, padding: int) -> Tensor:
    return x.new_empty(TAPS, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))


class DepthwiseTapsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, taps, padding):
        ctx.save_for_backward(x, taps)
        ctx.padding = padding
        with below_autograd():
            return depthwise_taps_fwd(x, taps, padding)

    @staticmethod
    def backward(ctx, dv):
        x, taps = ctx.saved_tensors
        dx = depthwise_taps_fwd(dv, taps.flip(0), 2 - ctx.padding) if ctx.needs_input_grad[0] else None
        wants_taps = ctx.needs_input_grad[1] and weight_gradients_wanted()
        dtaps = depthwise_taps_bwd_weight(x, dv, ctx.padding).to(taps.dtype) if wants_taps else None
        return dx, dtaps, None


class DepthwiseTapsBwdWeightFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dv, padding):
        ctx.save_for_backward(x, dv)
        ctx.padding = padding
        with below_autograd():
            return depthwise_taps_bwd_weight(x, dv, padding)

    @staticmethod
    def backward(ctx, g):
        x, dv = ctx.saved_tensors
        wants_x, wants_dv = ctx.needs_input_grad[:2]
        dx = depthwise_taps_fwd(dv, g.flip(0), 2 - ctx.padding) if wants_x else None
        return dx, depthwise_taps_fwd(x, g, ctx.padding) if wants_dv else None, None


depthwise_taps_fwd = register_op("depthwise_taps_fwd(Tensor x, Tensor taps, int padding) -> Tensor", _fwd, _fwd_fake,
                                 DepthwiseTapsFunction)
depthwise_taps_bwd_weight = register_op("depthwise_taps_bwd_weight(Tensor x, Tensor dv, int padding) -> Tensor",
                                        _bwd_weight, _bwd_weight_fake, DepthwiseTapsBwdWeightFunction)


def depthwise_taps(x: Tensor, spatial: Tensor, temporal: Tensor, *, padding: int) -> Tensor:
    """The depthwise pair [C, 3, 3], [C, 3] on `x` [N, C, T, H, W] with `padding` zeros around: in the dtype of `x`,
    channels innermost in memory."""
    wide = torch.promote_types(spatial.dtype, torch.float32)
    taps = torch.einsum("ck,cij->kijc", temporal.to(wide), spatial.to(wide)).flatten(0, 2)
    return depthwise_taps_fwd(x, taps, padding)
