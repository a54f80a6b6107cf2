"""The launches that stand for each op: what the table of kernels measures and what compiled code is compared on.

A case calls a public function, or a registered op, with `impl="triton"` and names its results; a derivative's results
are gradients. All that it launches is compiled, measured and compared. An op adds a section with its cases to CASES,
among them those whose specialisation differs: T=1, H=1, W=1, a base that is not 16-byte aligned, each value of a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from sgif.kernels.color_statistics import frame_color_statistics
from sgif.kernels.depthwise_pair import (
    depthwise_pair3d,
    depthwise_pair3d_reference,
    depthwise_pair_bwd_input,
    depthwise_pair_bwd_weight,
)
from sgif.kernels.resample import upsample, upsample_add_noise, upsample_tanh_residual

from .compare import Calculation, Results, leaf, random

Shape = tuple[int, ...]
New = Callable[..., Tensor]
"""`new(*shape)` gives a tensor of the case's dtype, `new(*shape, dtype=torch.float32)` of another."""


@dataclass(frozen=True, kw_only=True)
class LaunchCase:
    name: str
    calculation: Calculation
    """Results by name of the inputs, by Triton."""
    reference: Calculation
    """The same in plain torch, for float64."""
    inputs: Callable[[Shape, New], tuple[Tensor, ...]]
    """Tensors for a shape. Build channels-last ones by `channels_last`, without a copy: `large` is never filled."""
    large: Shape
    """What the launch table was written for: compiled and gated, never run."""
    medium: Shape | None = None
    """Run on the CPU to count bytes: a million elements or so, with tiles that are cut off; None: not counted."""
    small: Shape
    """Run on the CPU and compared."""
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
    comparison: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `assert_matches`."""
    narrow: Mapping[str, str] = field(default_factory=dict)
    """Why a large tensor is not accessed in 128 bits, by argument of a kernel, as "x_ptr" or "gfx942 x_ptr"."""
    elements_per_turn: Mapping[str, Callable[[Mapping[str, Any]], int]] = field(default_factory=dict)
    """By kernel: elements that a program handles in one turn of its loop, from the kernel's arguments. Left out: those
    that the loop stores. A kernel that stores no large tensor, or after its loop, as a reduction does, must say."""

    def filled(self, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        seeds = iter(range(100))
        return self.inputs(shape, lambda *size, dtype=dtype: random(*size, dtype=dtype, seed=next(seeds)))

    def unfilled(self, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.inputs(shape, lambda *size, dtype=dtype: torch.empty(size, dtype=dtype))


def channels_last(new: New, shape: Shape) -> Tensor:
    """A tensor [N, C, *space] whose channels lie next to each other."""
    batch, channels, *space = shape
    return new(batch, *space, channels).movedim(-1, 1)


norm = import_module("sgif.kernels.batch_norm_act")
conv = import_module("sgif.kernels.separable_conv3d")

PAD = {"pad_space": "zeros", "pad_time": "zeros"}
CLIP = {"large": (1, 64, 8, 256, 256), "medium": (1, 64, 4, 50, 70), "small": (1, 64, 3, 9, 11)}
RGB = {"large": (1, 3, 8, 192, 192), "medium": (1, 3, 4, 50, 70), "small": (2, 3, 2, 7, 10)}
PLANES = dict.fromkeys(("x_ptr", "noise_ptr", "g_ptr", "y_ptr"), "RGB planes: a thread makes one pixel")
PARTS = dict.fromkeys(("ds_ptr", "dt_ptr"), "partial sums, once per program")


def with_gradients(function: Callable[..., Tensor], names: Sequence[str]) -> Calculation:
    """`y` and the gradients of the named inputs; the last input is dy."""
    def calculation(*inputs: Tensor) -> Results:
        *given, dy = inputs
        leaves = [leaf(x) for x in given]
        y = function(*leaves)
        gradients = torch.autograd.grad(y, leaves, dy)
        return {"y": y.detach()} | {f"d{name}": gradient for name, gradient in zip(names, gradients, strict=True)}
    return calculation


# ---- depthwise pair --------------------------------------------------------------------------------------------------

def _filters(shape, new):
    return channels_last(new, shape), new(shape[1], 3, 3), new(shape[1], 3)


def _pair(x, s, t):
    return {"v": depthwise_pair3d(x, s, t, **PAD, impl="triton")}


def _pair_reference(x, s, t):
    return {"v": depthwise_pair3d_reference(x, s, t, **PAD)}


def _pair_to_x_reference(dv, s, t):
    x = torch.zeros_like(dv, requires_grad=True)
    return {"dx": torch.autograd.grad(depthwise_pair3d_reference(x, s, t, **PAD), x, dv)[0]}


def _pair_to_filters_reference(x, dv, s, t):
    s, t = leaf(s), leaf(t)
    gradients = torch.autograd.grad(depthwise_pair3d_reference(x, s, t, **PAD), (s, t), dv)
    return dict(zip(("ds", "dt"), gradients, strict=True))


DEPTHWISE = (
    LaunchCase(name="depthwise pair", calculation=_pair, reference=_pair_reference, inputs=_filters, **CLIP,
               comparison={"multilinear": True}),
    LaunchCase(name="depthwise pair to x", reference=_pair_to_x_reference, inputs=_filters, **CLIP,
               calculation=lambda dv, s, t: {"dx": depthwise_pair_bwd_input(dv, s, t, "zeros", "zeros")},
               comparison={"multilinear": True}),
    LaunchCase(name="depthwise pair to filters", reference=_pair_to_filters_reference,
               inputs=lambda shape, new: (channels_last(new, shape), *_filters(shape, new)), **CLIP,
               calculation=lambda x, dv, s, t: dict(zip(
                   ("ds", "dt"), depthwise_pair_bwd_weight(x, dv, s, t, "zeros", "zeros"), strict=True)),
               comparison={"multilinear": True, "terms": 300},
               narrow=PARTS,
               elements_per_turn={"_depthwise_pair_bwd_weight_kernel":
                                  lambda a: a["BLOCK_H"] * 2 * a["BLOCK_W"] * a["BLOCK_C"]}),
)

# ---- separable convolution -------------------------------------------------------------------------------------------


def _convolution(shape, new):
    c = shape[1]
    return (*_filters(shape, new), new(c, c), new(c), channels_last(new, shape))


SEPARABLE = (
    LaunchCase(name="separable convolution and backward", inputs=_convolution, **CLIP,
               calculation=with_gradients(lambda *a: conv.separable_conv3d(*a, **PAD, impl="triton"), "xstpb"),
               reference=with_gradients(lambda *a: conv.separable_conv3d_reference(*a, **PAD), "xstpb"),
               narrow=PARTS | {"gfx942 y_ptr": "a lane's part of a matrix product is four channels"},
               elements_per_turn=dict.fromkeys(
                   ("_separable_conv_bwd_pointwise_kernel", "_depthwise_pair_bwd_weight_kernel"),
                   lambda a: a["BLOCK_H"] * 2 * a["BLOCK_W"] * a["BLOCK_C"]),  # of x
               comparison={"multilinear": True, "terms": 300}),
)

# ---- norm ------------------------------------------------------------------------------------------------------------


def _twice(function):
    def calculation(x, gamma, beta, dy, v):
        x, gamma, beta, dy = (leaf(a) for a in (x, gamma, beta, dy))
        y = function(x, gamma, beta)
        dx, dgamma, dbeta = torch.autograd.grad(y, (x, gamma, beta), dy, create_graph=True)
        ddx, ddgamma, ddy = torch.autograd.grad(dx, (x, gamma, dy), v)
        return {"y": y.detach(), "dx": dx.detach(), "dgamma": dgamma.detach(), "dbeta": dbeta.detach(),
                "ddx": ddx, "ddgamma": ddgamma, "ddy": ddy}
    return calculation


NORM = (
    LaunchCase(name="norm of two orders", **CLIP, comparison={"terms": 300},
               elements_per_turn={
                   "_combine_statistics_kernel": lambda a: a["BLOCK_P"] * a["BLOCK_C"],
                   **{f"_{kernel}_kernel": lambda a: a["BLOCK_M"] * a["BLOCK_C"] for kernel in (
                       "batch_norm_act_fwd_stats", "batch_norm_act_bwd_sums", "batch_norm_act_bwd_bwd_sums")}},
               inputs=lambda shape, new: (channels_last(new, shape), new(shape[1], dtype=torch.float32),
                                          new(shape[1], dtype=torch.float32), channels_last(new, shape),
                                          channels_last(new, shape)),
               calculation=_twice(lambda *a: norm.batch_norm_act(*a, impl="triton")[0]),
               reference=_twice(norm.batch_norm_act_reference)),
)

# ---- resampling, colours ---------------------------------------------------------------------------------------------


def _larger(x):
    return x.shape[3] * 4 // 3, x.shape[4] * 4 // 3


def _with_clip(shape, new):
    return new(*shape), new(*shape[:3], shape[3] * 4 // 3, shape[4] * 4 // 3)


def _upsampled(mode, impl):
    return with_gradients(lambda x: upsample(x, _larger(x), mode=mode, impl=impl), ["x"])


RESAMPLE = (
    *(LaunchCase(name=f"upsample {mode} and backward", inputs=_with_clip, **RGB, narrow=PLANES,
                 calculation=_upsampled(mode, "triton"), reference=_upsampled(mode, "torch"))
      for mode in ("bilinear", "bicubic")),
    LaunchCase(name="upsample + noise", inputs=_with_clip, **RGB, narrow=PLANES,
               calculation=lambda x, z: {"y": upsample_add_noise(x, _larger(x), z, 0.5, impl="triton")},
               reference=lambda x, z: {"y": upsample_add_noise(x, _larger(x), z, 0.5, impl="torch")}),
    LaunchCase(name="upsample + tanh", inputs=_with_clip, **RGB, narrow=PLANES,
               calculation=lambda x, g: {"y": upsample_tanh_residual(x, _larger(x), g, impl="triton")},
               reference=lambda x, g: {"y": upsample_tanh_residual(x, _larger(x), g, impl="torch")}),
    LaunchCase(name="colour statistics", inputs=lambda shape, new: (new(*shape),), **RGB, comparison={"terms": 100},
               narrow={"gfx942 x_ptr": "four of a program's pixels fall to each lane"},
               elements_per_turn={"_color_statistics_fwd_kernel": lambda a: 3 * a["BLOCK"]},
               calculation=lambda x: dict(zip(("mean", "cov"), frame_color_statistics(x, impl="triton"), strict=True)),
               reference=lambda x: dict(zip(("mean", "cov"), frame_color_statistics(x, impl="torch"), strict=True))),
)

CASES = (*DEPTHWISE, *SEPARABLE, *NORM, *RESAMPLE)
