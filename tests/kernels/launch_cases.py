"""The launches that stand for each op: what the table of kernels measures and what compiled code is compared on.

A case calls a public function, or a registered op, with `impl="triton"` and names its results; a derivative's results
are gradients. All that it launches is compiled and compared, and measured if it has a large shape. An op adds a section
with its cases to CASES: those that the table gates, and small ones for each specialisation: T=1, H=1, W=1, a base that
is not 16-byte aligned, channels that fill no vector, each padding, each value of a flag.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from sgif.kernels import resample_triton
from sgif.kernels.color_statistics import frame_color_statistics
from sgif.kernels.depthwise_pair import (
    depthwise_pair3d,
    depthwise_pair3d_reference,
    depthwise_pair_bwd_input,
    depthwise_pair_bwd_weight,
    padded_shape,
)
from sgif.kernels.philox import PhiloxNoise
from sgif.kernels.resample import scaled_noise, upsample, upsample_add_noise, upsample_tanh_residual

from .compare import Calculation, Results, leaf, random

Shape = tuple[int, ...]
New = Callable[..., Tensor]
"""`new(*shape)` gives a tensor of the case's dtype, `new(*shape, dtype=torch.float32)` of another."""
Variant = tuple[str, torch.dtype]

ON_SM_80, ON_GFX942 = ("sm_80", torch.bfloat16), ("gfx942", torch.float32)
NEVER: tuple[Variant, ...] = ()
ENGINE = "reflect", "replicate"
"""The padding of the engine's generators, in space and in time."""


@dataclass(frozen=True, kw_only=True)
class LaunchCase:
    name: str
    calculation: Calculation
    """Results by name of the inputs, by Triton."""
    reference: Calculation
    """The same in plain torch, for float64."""
    inputs: Callable[[Shape, New], tuple[Tensor, ...]]
    """Tensors for a shape. Build channels-last ones by `channels_last`, without a copy: `large` is never filled."""
    large: Shape | None = None
    """What the launch table was written for: compiled and gated, never run; None: not in the table."""
    medium: Shape | None = None
    """Run on the CPU to count bytes: a million elements or so, with tiles that are cut off; None: not counted."""
    small: Shape
    """Run on the CPU and compared."""
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
    quick: Collection[Variant] = (ON_SM_80, ON_GFX942)
    """Where compiled code is compared without -m slow."""
    comparison: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `assert_matches`."""
    narrow: Mapping[str, str] = field(default_factory=dict)
    """Why a large tensor is not accessed in 128 bits, by argument of a kernel: "x_ptr", "gfx942 x_ptr" or
    "_some_kernel x_ptr"."""
    elements_per_turn: Mapping[str, Callable[[Mapping[str, Any]], int]] = field(default_factory=dict)
    """By kernel: elements that a program handles in one turn of its loop, from the kernel's arguments. Left out: those
    that the loop stores. A kernel that stores no large tensor, or after its loop, as a reduction does, must say."""

    def filled(self, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        seeds = iter(range(100))
        return self.inputs(shape, lambda *size, dtype=dtype: random(*size, dtype=dtype, seed=next(seeds)))

    def unfilled(self, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.inputs(shape, lambda *size, dtype=dtype: torch.empty(size, dtype=dtype))


def planes(new: New, shape: Shape, skip: int = 0) -> Tensor:
    """A contiguous tensor, `skip` elements behind where its memory starts."""
    return new(math.prod(shape) + skip)[skip:].view(shape)


def channels_last(new: New, shape: Shape, skip: int = 0) -> Tensor:
    """A tensor [N, C, *space] whose channels lie next to each other."""
    batch, channels, *space = shape
    return planes(new, (batch, *space, channels), skip).movedim(-1, 1)


norm = import_module("sgif.kernels.batch_norm_act")
conv = import_module("sgif.kernels.separable_conv3d")

PAD = {"pad_space": "zeros", "pad_time": "zeros"}
CLIP = {"large": (1, 64, 8, 256, 256), "medium": (1, 64, 4, 50, 70), "small": (1, 64, 3, 9, 11)}
RGB = {"large": (1, 3, 8, 192, 192), "medium": (1, 3, 4, 50, 70), "small": (2, 3, 2, 7, 10)}
PLANES = dict.fromkeys(("x_ptr", "noise_ptr", "g_ptr", "y_ptr", "dy_ptr", "dg_ptr"),
                       "RGB planes: a thread makes one pixel")
FILTER_GRADIENTS = {
    "narrow": {"dw_ptr": "sums, once per program",
               **dict.fromkeys(("_depthwise_pair_bwd_weight_kernel x_ptr", "_depthwise_pair_bwd_weight_kernel dv_ptr"),
                               "27 sums of four channels fill a thread's registers")},
    "elements_per_turn": {"_depthwise_pair_bwd_weight_kernel":
                          lambda a: a["BLOCK_H"] * a["BLOCK_W"] * a["PIXELS"] * a["BLOCK_C"],  # of x
                          "_combine_filter_gradients_kernel": lambda a: a["BLOCK_P"] * 27}}


NORM_SUMS = {
    "_combine_statistics_kernel": lambda a: a["BLOCK_P"] * a["BLOCK_C"],
    **{f"_{kernel}_kernel": lambda a: a["BLOCK_M"] * a["BLOCK_C"] for kernel in (
        "batch_norm_act_fwd_stats", "batch_norm_act_bwd_sums", "batch_norm_act_bwd_bwd_sums")}}
OF_X = {f"_separable_conv_{kernel}_kernel": lambda a: a["BLOCK_H"] * 2 * a["BLOCK_W"] * a["BLOCK_C"]
        for kernel in ("fwd", "bwd_pointwise")}
BLOCK = {"narrow": FILTER_GRADIENTS["narrow"] | {
             "gfx942 y_ptr": "a lane's part of a matrix product is four channels",
             **dict.fromkeys(("gfx942 mean_ptr", "gfx942 m2_ptr"), "parts of statistics, a hundredth of the clip")},
         "elements_per_turn": FILTER_GRADIENTS["elements_per_turn"] | NORM_SUMS | OF_X}
HEAD = BLOCK | {"narrow": BLOCK["narrow"] | dict.fromkeys(("x_ptr", "dv_ptr", "v_ptr"), "three channels are no vector")}
TAIL = BLOCK | {"narrow": BLOCK["narrow"] | {"y_ptr": "planes of a clip", "dy_ptr": "planes of a clip"}}


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
               comparison={"multilinear": True, "terms": 300}, **FILTER_GRADIENTS),
)

# ---- separable convolution -------------------------------------------------------------------------------------------


def _convolution(shape, new, *, out_channels=None, pad_space="zeros", pad_time="zeros", skip=0):
    """x, filters, bias, dy; the clips `skip` elements behind where their memory starts."""
    c, o = shape[1], out_channels or shape[1]
    filters = new(c, 3, 3), new(c, 3), new(o, c), new(o)
    n, _, t, h, w = padded_shape(shape, pad_space, pad_time)
    dy = planes(new, (n, 3, t, h, w), skip) if o == 3 else channels_last(new, (n, o, t, h, w), skip)
    return channels_last(new, shape, skip), *filters, dy


def _of_separable(pads):
    return {"calculation": with_gradients(lambda *a: conv.separable_conv3d(*a, **pads, impl="triton"), "xstpb"),
            "reference": with_gradients(lambda *a: conv.separable_conv3d_reference(*a, **pads), "xstpb"),
            "comparison": {"multilinear": True, "terms": 300}}


def _head(width, **options):
    """What the chain of blocks begins with: RGB to `width` channels, and their statistics."""
    pads = dict(zip(("pad_space", "pad_time"), ENGINE, strict=True))

    def calculation(convolved):
        def run(*inputs):
            x, *given, dy = inputs
            leaves = [leaf(t) for t in given]
            y, mean, var = convolved(x, *leaves)
            gradients = torch.autograd.grad(y, leaves, dy)
            results = {"y": y.detach(), "mean": mean.to(dy.dtype), "var": var.to(dy.dtype)}
            return results | dict(zip(("ds", "dt", "dp", "db"), gradients, strict=True))
        return run

    def apart(*inputs):
        y = conv.separable_conv3d_reference(*inputs, **pads)
        var, mean = _statistics(y)
        return y, mean, var

    return LaunchCase(name=f"separable convolution and statistics, 3 to {width} channels", small=(1, 3, 2, 5, 6),
                      large=(1, 3, 8, 256, 256), comparison={"terms": 300}, quick=NEVER,
                      inputs=partial(_convolution, out_channels=width, **pads), reference=calculation(apart),
                      calculation=calculation(partial(conv.separable_conv3d_statistics, **pads, impl="triton")),
                      **options)


def _separable(what, shape, out_channels=None, pad_space="zeros", pad_time="zeros", *, skip=0, **options):
    pads = {"pad_space": pad_space, "pad_time": pad_time}
    return LaunchCase(name=f"separable convolution, {what}", small=shape, **_of_separable(pads), **options,
                      inputs=partial(_convolution, out_channels=out_channels, **pads, skip=skip))


def _block(convolved):
    """Results and gradients of norm, activation and convolution: y, its mean and variance by `convolved`. All in the
    dtype of x, to which v and its gradient are rounded in between."""
    def calculation(*inputs):
        *given, dy = inputs
        leaves = [leaf(t) for t in given]
        y, mean, var = convolved(*leaves)
        gradients = torch.autograd.grad(y, leaves, dy)
        names = ("y", "mean", "var", "dx", "dgamma", "dbeta", "ds", "dt", "dp", "db")
        results = zip(names, (y.detach(), mean, var, *gradients), strict=True)
        return {name: result.to(inputs[0].dtype) for name, result in results}
    return calculation


def _statistics(x):
    return torch.var_mean(x.detach().to(torch.promote_types(x.dtype, torch.float32)), (0, 2, 3, 4), correction=0)


def _training_block(what, shape, out_channels=None, pad_space="zeros", pad_time="zeros", **options):
    pads = {"pad_space": pad_space, "pad_time": pad_time}

    def inputs(shape, new):
        x, *rest = _convolution(shape, new, out_channels=out_channels, **pads)
        gamma, beta = (new(shape[1], dtype=torch.float32) for _ in range(2))
        return x, gamma, beta, *rest

    def fused(x, gamma, beta, *rest):
        var, mean = _statistics(x)
        return conv.norm_act_separable_conv3d(x, mean, var, gamma, beta, *rest, **pads, impl="triton")

    def apart(x, gamma, beta, *rest):
        y = conv.separable_conv3d_reference(norm.batch_norm_act_reference(x, gamma, beta), *rest, **pads)
        var, mean = _statistics(y)
        return y, mean, var

    return LaunchCase(name=f"norm + separable convolution, {what}", small=shape, inputs=inputs, **options,
                      calculation=_block(fused), reference=_block(apart), comparison={"terms": 27 * shape[1]})


SEPARABLE = (
    LaunchCase(name="separable convolution and backward", inputs=_convolution, **CLIP, **_of_separable(PAD),
               **BLOCK),
    # The engine's: a generator's head, body and tail, and its body where all padding is put around the clip once.
    _separable("head", (1, 3, 3, 5, 7), 32, "reflect", "replicate", quick=[ON_SM_80]),
    _separable("body", (1, 32, 3, 5, 7), 32, "reflect", "replicate", quick=[ON_GFX942]),
    _separable("tail", (2, 96, 2, 4, 5), 3, "reflect", "replicate", quick=[ON_SM_80]),
    _separable("padded once", (1, 16, 3, 5, 6), 16, "none", "replicate", quick=NEVER),
    _separable("128 channels", (1, 128, 2, 3, 5), 128, "reflect", "replicate", quick=NEVER),
    _separable("5 to 7 channels, circular", (1, 5, 4, 3, 5), 7, "reflect", "circular", quick=[ON_GFX942]),
    _separable("T = 1", (1, 16, 1, 4, 5), 16, "replicate", "replicate", quick=[ON_SM_80]),
    _separable("H = 1", (1, 8, 3, 1, 9), 8, "replicate", "reflect", quick=[ON_GFX942]),
    _separable("W = 1", (2, 8, 2, 6, 1), 8, "replicate", "circular", quick=NEVER),
    _separable("one pixel", (1, 8, 1, 1, 1), 8, quick=NEVER),
    # bfloat16 is read two at a time behind two elements, but one by one behind one.
    _separable("base off by one element", (1, 16, 2, 4, 5), skip=1, quick=[ON_SM_80]),
    _separable("base off by two elements", (1, 16, 2, 4, 5), 3, "reflect", "replicate", skip=2, quick=NEVER),
    _separable("float16", (1, 24, 3, 4, 5), 24, "none", "reflect", dtypes=(torch.float16,), quick=NEVER),
    # What a scale of the engine launches, by its width: head, body, tail.
    *(_head(width, **HEAD) for width in (16, 32, 64, 128)),
    *(_training_block(f"{width} channels", (1, width, 2, 5, 6), width, *ENGINE, large=(1, width, 8, 256, 256),
                      medium=(1, width, 4, 50, 70) if width == 64 else None, quick=[ON_SM_80] if width == 16 else NEVER,
                      **BLOCK)
      for width in (16, 32, 64, 128)),
    *(_training_block(f"{width} to 3 channels", (2, width, 2, 4, 5), 3, *ENGINE, large=(1, width, 8, 256, 256),
                      quick=NEVER, **TAIL)
      for width in (16, 32, 64, 128)),
    _training_block("5 to 7 channels, T = 1", (2, 5, 1, 4, 5), 7, quick=[ON_GFX942]),
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


def _norm_inputs(shape, new, skip=0):
    gamma, beta = (new(shape[1], dtype=torch.float32) for _ in range(2))
    x, dy, v = (channels_last(new, shape, skip) for _ in range(3))
    return x, gamma, beta, dy, v


def _of_norm(groups=1):
    return {"calculation": _twice(lambda *a: norm.batch_norm_act(*a, groups=groups, impl="triton")[0]),
            "reference": _twice(partial(norm.batch_norm_act_reference, groups=groups)), "comparison": {"terms": 300}}


def _norm(what, shape, groups=1, skip=0, **options):
    return LaunchCase(name=f"norm of two orders, {what}", small=shape, **_of_norm(groups), **options,
                      inputs=partial(_norm_inputs, skip=skip))


def _given(x):
    """Statistics of two groups, other than those of `x`."""
    numbers = torch.arange(2 * x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32)).view(2, -1)
    return norm.Statistics(numbers / 10 - 0.5, numbers / 4 + 0.25)


NORM = (
    LaunchCase(name="norm of two orders", **CLIP, **_of_norm(), inputs=_norm_inputs, elements_per_turn=NORM_SUMS),
    _norm("groups of 5 channels", (4, 5, 3, 7, 1), groups=2, quick=[ON_GFX942]),
    _norm("two blocks of channels", (2, 130, 1, 3, 5), quick=NEVER),
    _norm("base off by one element", (2, 96, 2, 3, 5), skip=1, quick=[ON_SM_80]),
    _norm("two dimensions", (2, 16, 9, 11), quick=NEVER),
    LaunchCase(name="norm of given statistics", small=(4, 8, 2, 3, 5), quick=[ON_SM_80],
               inputs=lambda shape, new: (*_norm_inputs(shape, new)[:3], channels_last(new, shape)),
               calculation=with_gradients(lambda *a: norm.batch_norm_act(
                   *a, groups=2, statistics=_given(a[0]), impl="triton")[0], ("x", "gamma", "beta")),
               reference=with_gradients(lambda *a: norm.batch_norm_act_reference(
                   *a, groups=2, statistics=_given(a[0])), ("x", "gamma", "beta")), comparison={"terms": 300}),
)

# ---- resampling, colours ---------------------------------------------------------------------------------------------


def _larger(x):
    return x.shape[3] * 4 // 3, x.shape[4] * 4 // 3


def _with_clips(shape, new, *, clips=1, size=None, skip=0):
    """x and `clips` clips of the size that it is brought to."""
    h, w = size or (shape[3] * 4 // 3, shape[4] * 4 // 3)
    return planes(new, shape, skip), *(planes(new, (*shape[:3], h, w), skip) for _ in range(clips))


def _by_each(function):
    """Calculation and reference of a function that takes `impl`."""
    return {"calculation": function("triton"), "reference": function("torch")}


def _upsampled(mode="bilinear", size=None):
    return _by_each(lambda impl: with_gradients(lambda x: upsample(x, size or _larger(x), mode=mode, impl=impl), "x"))


def _upsample(what, shape, mode="bilinear", size=None, skip=0, **options):
    return LaunchCase(name=f"upsample {mode}, {what}", small=shape, **_upsampled(mode, size), **options,
                      inputs=partial(_with_clips, size=size, skip=skip))


def _residual(scale_0=False):
    def residual(impl):
        if scale_0:
            return with_gradients(lambda g: upsample_tanh_residual(None, g.shape[3:], g, impl=impl), "g")
        return with_gradients(lambda x, g: upsample_tanh_residual(x, g.shape[3:], g, impl=impl), "xg")
    return _by_each(residual)


def _frame_statistics(x):
    pixels = x.movedim(1, 2).flatten(3)  # [N, T, 3, HW]
    mean = pixels.mean(3)
    apart = pixels - mean[..., None]
    return mean, apart @ apart.mT / pixels.shape[3]


def _colors(statistics):
    def calculation(x, dmean, dcov):
        x = leaf(x)
        mean, cov = statistics(x)
        return {"mean": mean.detach(), "cov": cov.detach(), "dx": torch.autograd.grad((mean, cov), x, (dmean, dcov))[0]}
    return calculation


COLORS = {"calculation": _colors(partial(frame_color_statistics, impl="triton")),
          "reference": _colors(_frame_statistics)}


def _clip_and_statistics(shape, new, skip=0):
    n, _, t, *_ = shape
    return planes(new, shape, skip), new(n, t, 3, dtype=torch.float32), new(n, t, 3, 3, dtype=torch.float32)


def _in_fours(calculation):
    """As large clips are made: four frames by each program."""
    launch_of = resample_triton.launch_of

    def run(*inputs):
        with patch.object(resample_triton, "launch_of", lambda x, shape, **_: launch_of(x, shape, noise_in_fours=True)):
            return calculation(*inputs)
    return run


SEED = torch.tensor(1234567890123456789)


def _drawn(kinds):
    return lambda impl: lambda x: {
        name: upsample_add_noise(x, _larger(x), PhiloxNoise(seed=SEED, **kind), 0.5, impl=impl)
        for name, kind in kinds.items()}


RESAMPLE = (
    *(LaunchCase(name=f"upsample {mode} and backward", inputs=_with_clips, **RGB, narrow=PLANES, **_upsampled(mode))
      for mode in ("bilinear", "bicubic")),
    LaunchCase(name="upsample + noise", inputs=_with_clips, **RGB, narrow=PLANES, **_by_each(
        lambda impl: lambda x, z: {"y": upsample_add_noise(x, _larger(x), z, 0.5, impl=impl)})),
    LaunchCase(name="upsample + drawn noise", inputs=lambda shape, new: (new(*shape),), **RGB, narrow=PLANES,
               comparison={"terms": 4}, **_by_each(_drawn({"volume": {}, "maps": {"maps": 3}}))),
    LaunchCase(name="upsample + tanh and backward", inputs=partial(_with_clips, clips=2), **RGB, narrow=PLANES,
               **_residual(), comparison={"terms": 4}),
    LaunchCase(name="colour statistics and backward", inputs=_clip_and_statistics, **RGB, comparison={"terms": 100},
               narrow=dict.fromkeys(("gfx942 x_ptr", "gfx942 dx_ptr"), "four of a program's pixels fall to each lane"),
               elements_per_turn={"_color_statistics_fwd_kernel": lambda a: 3 * a["BLOCK"]}, **COLORS),
    _upsample("5 channels, T = 1", (1, 5, 1, 3, 4), quick=[ON_SM_80]),
    _upsample("H = 1", (2, 2, 2, 1, 5), "bicubic", quick=[ON_GFX942]),
    _upsample("W = 1", (2, 1, 2, 5, 1), quick=NEVER),
    _upsample("more taps than are unrolled", (1, 2, 1, 3, 2), "bicubic", (26, 3), quick=[ON_SM_80]),
    _upsample("base off by one element", (1, 3, 2, 4, 6), skip=1, quick=[ON_GFX942]),
    LaunchCase(name="upsample + a map, an amplitude per sample", small=(2, 3, 5, 4, 5), quick=[ON_SM_80],
               inputs=lambda shape, new: (new(*shape), new(2, 1, 1, 5, 6), new(2), new(*shape[:3], 5, 6)),
               comparison={"multilinear": True, "terms": 900}, **_by_each(lambda impl: _in_fours(with_gradients(
                   lambda x, z, a: upsample_add_noise(x, (5, 6), z, a, impl=impl), "xza")))),
    LaunchCase(name="upsample + tanh, four frames", small=(1, 6, 5, 4, 5), inputs=partial(_with_clips, clips=2),
               quick=[ON_GFX942], comparison={"terms": 4},
               **{name: _in_fours(calculation) for name, calculation in _residual().items()}),
    LaunchCase(name="tanh, channels innermost", small=(2, 3, 1, 1, 9), quick=[ON_SM_80], comparison={"terms": 4},
               inputs=lambda shape, new: (channels_last(new, shape, 1), new(*shape, dtype=torch.float32)),
               **_residual(scale_0=True)),
    LaunchCase(name="colour statistics of two parts", small=(2, 3, 1, 25, 41), quick=[ON_GFX942],
               inputs=partial(_clip_and_statistics, skip=1), comparison={"terms": 1025}, **COLORS),
    LaunchCase(name="colour statistics of a pixel", small=(1, 3, 2, 1, 1), inputs=_clip_and_statistics,
               quick=[ON_SM_80], **COLORS),
    LaunchCase(name="noise drawn in parts and kinds", small=(1, 3, 5, 3, 4), quick=[ON_SM_80],
               inputs=lambda shape, new: (new(*shape),), comparison={"terms": 4}, **_by_each(_drawn({
                   "gray": {"gray": True, "stream": 2}, "one map of three": {"maps": 1, "first_frame": 8}}))),
    LaunchCase(name="noise alone", small=(2, 6, 5, 3, 7), inputs=lambda shape, new: (), quick=[ON_GFX942],
               comparison={"terms": 4}, **_by_each(lambda impl: lambda: {
                   "volume": scaled_noise((2, 6, 5, 3, 7), PhiloxNoise(seed=SEED), 0.5, impl=impl),
                   "maps": scaled_noise((2, 6, 5, 3, 7), PhiloxNoise(seed=SEED, maps=6), 0.5, impl=impl)})),
)

CASES = (*DEPTHWISE, *SEPARABLE, *NORM, *RESAMPLE)
TABLE_CASES = tuple(case for case in CASES if case.large is not None)
