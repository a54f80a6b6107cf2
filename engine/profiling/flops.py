"""Floating point operations of a training step's operators: two for each multiply-add of a convolution or a product.

Counted is the arithmetic of the map, not of who computes it: a halo that a kernel computes again and the channels that
a matrix unit pads do not count, taps that read a border's zeros do. Elementwise operators, norms, sums and resampling
count nothing: they cost bytes. On a CPU some gradients are other convolutions over padded clips
(`kernels/convolution.py`), and count as these.

Not `torch.utils.flop_counter`: of a grouped convolution's weight gradient it counts `groups` times as many (torch
2.13), and it knows no operator of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

# ---- ATen ------------------------------------------------------------------------------------------------------------


def _convolution(y: Tensor, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any,
                 transposed: bool, *_: Any) -> int:
    return 2 * (x if transposed else y).numel() * math.prod(weight.shape[1:])


def _convolution_backward(_grads: Any, dy: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, stride: Any,
                          padding: Any, dilation: Any, transposed: bool, output_padding: Any, groups: int,
                          mask: tuple[bool, bool, bool]) -> int:
    """Each gradient takes what the forward takes."""
    return (mask[0] + mask[1]) * 2 * (x if transposed else dy).numel() * math.prod(weight.shape[1:])


def _product(y: Tensor, a: Tensor, _b: Tensor) -> int:
    return 2 * y.numel() * a.shape[-1]


def _added_product(y: Tensor, _added: Tensor, a: Tensor, _b: Tensor, **_: Any) -> int:
    return 2 * y.numel() * a.shape[-1]


_ATEN: Mapping[Any, Callable[..., int]] = {
    aten.convolution.default: _convolution, aten.convolution_backward.default: _convolution_backward,
    aten.mm.default: _product, aten.bmm.default: _product, aten.mv.default: _product, aten.dot.default: _product,
    aten.addmm.default: _added_product, aten.baddbmm.default: _added_product,
}

# ---- Ours: arguments as kernels/ registers them ----------------------------------------------------------------------


def _pair(x: Tensor, v: Tensor) -> int:
    """Nine taps within each frame of x, at the places of v; then three across frames."""
    within_frames = x.shape[:3].numel() * v.shape[3:].numel()
    return 2 * (9 * within_frames + 3 * v.numel())


def _mixing(y: Tensor, channels: int) -> int:
    return 2 * y.numel() * channels


def _separable(results: Any, x: Tensor, *_: Any) -> int:
    y = results if isinstance(results, Tensor) else results[0]
    return _pair(x, y[:, :1].expand(-1, x.shape[1], -1, -1, -1)) + _mixing(y, x.shape[1])


def _pair_weights(x: Tensor, dv: Tensor) -> int:
    """dv by each tap of the 3x3x3 filter that the pair is."""
    return 2 * 27 * dv.numel()


def _pointwise_weights(x: Tensor, dy: Tensor) -> int:
    """dy by v, which is made again."""
    return _pair(x, dy[:, :1].expand(-1, x.shape[1], -1, -1, -1)) + _mixing(dy, x.shape[1])


_OURS: Mapping[str, Callable[..., int]] = {
    "depthwise_pair_fwd": lambda v, x, *_: _pair(x, v),
    "depthwise_pair_bwd_input": lambda dx, dv, *_: _pair(dx, dv),
    "depthwise_pair_bwd_weight": lambda _, x, dv, *__: _pair_weights(x, dv),
    "depthwise_taps_fwd": lambda v, *_: 2 * 27 * v.numel(),
    "depthwise_taps_bwd_weight": lambda _, x, dv, *__: _pair_weights(x, dv),
    "separable_conv_fwd": _separable,
    "separable_conv_stats_fwd": _separable,
    "separable_conv_bwd_pointwise": lambda _, x, dy, *__: _pointwise_weights(x, dy),
    "norm_act_separable_conv_fwd": _separable,
    "norm_act_depthwise_pair_bwd_weight": lambda _, x, mean, var, gamma, beta, dv, *__: _pair_weights(x, dv),
    "norm_act_separable_conv_bwd_pointwise": lambda _, x, mean, var, gamma, beta, dy, *__: _pointwise_weights(x, dy),
}
COUNTED_IN_BYTES = frozenset({
    "batch_norm_act_fwd", "batch_norm_act_bwd", "batch_norm_act_bwd_bwd", "combine_statistics",
    "frame_color_statistics", "frame_color_statistics_bwd", "upsample_add_noise", "upsample_bwd",
    "upsample_tanh_residual", "tanh_residual_bwd",
})
"""The project's operators without convolution or product."""
OPERATORS = frozenset(_OURS)
"""Those with one."""


def operator_flops(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], results: Any) -> int:
    """Floating point operations of an operator of ATen or of the project that gave `results` (fakes will do)."""
    ours = func.namespace == "sgif"
    formula = _OURS.get(func._schema.name.removeprefix("sgif::")) if ours else _ATEN.get(func)
    return formula(results, *args, **kwargs) if formula else 0
