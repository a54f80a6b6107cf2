"""The operators that are measured, each with its plain form, ours, and what else computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, interpolate, pad

from ...kernels import (
    PhiloxNoise,
    batch_norm_act,
    batch_norm_act_reference,
    channels_last,
    convolution,
    convolution_mean,
    convolution_mean_reference,
    frame_color_statistics,
    norm_act_separable_conv3d,
    separable_conv3d,
    separable_conv3d_reference,
    tap_combinations,
    upsample_add_noise,
    upsample_tanh_residual,
)
from ...kernels.dispatch import Impl
from ...kernels.philox import philox_normal
from ..cases import Shape
from ..result import OURS
from .passes import (
    FORWARD,
    INPUT_GRADIENT,
    WEIGHT_GRADIENTS,
    Directions,
    Function,
    Inputs,
    Pass,
    Prepared,
    backward,
    second_backward,
)

OURS_COMPILED = f"{OURS} compiled"
ATEN, ATEN_LAST, COMPILED = "aten contiguous", "aten channels_last", "torch.compile"
FOLDED, DENSE = "folded conv2d", "dense convolution"
OTHER_FUNCTIONS = (DENSE,)
"""Ways that compute something else in the same place: never the baseline that ours is held against."""

AMPLITUDE = 0.1


class Draw:
    """Inputs: seeded normal numbers on a device; on fakes as well.

    Args:
        dtype: of activations and filters.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.random = torch.Generator(device).manual_seed(0)

    def normal(self, *size: int, dtype: torch.dtype | None = None) -> Tensor:
        """Normal numbers of `size`."""
        values = torch.randn(size, generator=self.random, device=self.device)
        return values.to(dtype or self.dtype)

    def coarse(self, *size: int) -> Tensor:
        """The same rounded to bfloat16 in every precision: what a norm makes of so few values is nowhere so near zero
        that LeakyReLU's slope depends on a rounding, which would be an error as large as the gradient."""
        return self.normal(*size, dtype=torch.bfloat16).to(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Way:
    """Who computes a case."""

    name: str
    function: Function
    plain: Function
    """The same in plain torch, for any dtype: what the result is held to."""
    inputs: Inputs
    note: str = ""
    wrapped: Callable[[Callable[[], Any]], Callable[[], Any]] = lambda run: run
    """What a call happens in."""

    def prepare(self, step: Pass, constants: frozenset[str], dtype: torch.dtype, *, copy: bool = False) -> Prepared:
        """A pass of it, ready to run; `copy`: on inputs of its own."""
        inputs = {name: x.clone() for name, x in self.inputs.items()} if copy else self.inputs
        prepare = partial(step.prepare, self.function, inputs, constants, Directions(dtype))
        run, call_bytes = self.wrapped(prepare)()  # a backward pass is what its forward pass has recorded
        return Prepared(self.wrapped(run), call_bytes)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An operator at a shape, on drawn inputs."""

    inputs: Inputs
    plain: Function
    ours: Function
    positions: int
    """N T H W: terms of a weight's gradient and of statistics."""
    terms: int
    """Of the longest sum behind an activation or its gradient."""
    constants: frozenset[str] = frozenset()
    """Inputs without a gradient."""
    multilinear: bool = False
    """Every result is a sum of products of the inputs."""
    layouts: bool = True
    """The layout of x matters: channels innermost for ours, both for ATen."""
    fusable: bool = False
    """Ours has parts that `enable_fusion` compiles."""
    compilable: Function | None = None
    """What torch.compile is given."""
    others: tuple[Way, ...] = ()

    def ways(self) -> dict[str, Way]:
        """Ours, ATen's, others, by name; without what torch.compile makes of them."""
        planes = {name: x.contiguous() for name, x in self.inputs.items()}
        innermost = {name: channels_last(x) if name == "x" else x for name, x in planes.items()}
        found = [Way(name=OURS, function=self.ours, plain=self.plain, inputs=innermost if self.layouts else planes),
                 Way(name=ATEN, function=self.plain, plain=self.plain, inputs=planes)]
        if self.layouts:
            found.append(Way(name=ATEN_LAST, function=self.plain, plain=self.plain, inputs=innermost))
        return {way.name: way for way in (*found, *self.others)}


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One of `kernels/`."""

    name: str
    passes: tuple[Pass, ...]
    problem: Callable[[Shape, Draw, Impl], Problem]
    """At [N, C, T, H, W]; for operators on clips, of three channels and that size."""
    timed_on_cpu: bool = True


def _positions(shape: Shape) -> int:
    n, _, t, h, w = shape
    return n * t * h * w


# ---- Convolutions ----------------------------------------------------------------------------------------------------

# As the generators pad: mirrored in space, copied in time.
_PADDED: Any = {"pad_space": "reflect", "pad_time": "replicate"}


def _separable(shape: Shape, draw: Draw, impl: Impl) -> Problem:
    x, filters = draw.normal(*shape), _separable_filters(shape[1], draw)
    plain = partial(separable_conv3d_reference, **_PADDED)
    weight = draw.normal(shape[1], shape[1], 3, 3, 3) / (27 * shape[1])**0.5
    dense = partial(conv3d, padding=1)
    others = (Way(name=FOLDED, function=folded_separable, plain=plain, inputs={"x": channels_last(x), **filters}),
              Way(name=DENSE, function=dense, plain=dense, inputs={"x": channels_last(x), "weight": weight},
                  note="another function: what a separable convolution replaces"))
    return Problem(inputs={"x": x, **filters}, plain=plain, ours=partial(separable_conv3d, **_PADDED, impl=impl),
                   multilinear=True, fusable=True, compilable=plain, others=others, positions=_positions(shape),
                   terms=27 * shape[1])


def _separable_filters(channels: int, draw: Draw) -> dict[str, Tensor]:
    return {"spatial": draw.normal(channels, 3, 3) / 3, "temporal": draw.normal(channels, 3) / 3**0.5,
            "pointwise": draw.normal(channels, channels) / channels**0.5}


def folded_separable(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor) -> Tensor:
    """The separable convolution with T folded into N: depthwise conv2d, three shifted products in time, 1x1 conv2d."""
    n, channels, t, h, w = x.shape
    frames = x.movedim(2, 1).reshape(n * t, channels, h, w)
    u = conv2d(pad(frames, (1, 1, 1, 1), mode="reflect"), spatial[:, None], groups=channels).view(n, t, channels, h, w)
    u = torch.cat((u[:, :1], u, u[:, -1:]), 1)
    taps = temporal.view(channels, 3, 1, 1).unbind(1)
    v = sum(tap * u[:, k:k + t] for k, tap in enumerate(taps))
    assert isinstance(v, Tensor)
    y = conv2d(v.flatten(0, 1), pointwise[:, :, None, None])
    return y.view(n, t, -1, h, w).movedim(1, 2)


def _norm_act_separable(shape: Shape, draw: Draw, impl: Impl) -> Problem:
    x = draw.coarse(*shape)
    variance, mean = torch.var_mean(x.float(), (0, 2, 3, 4), correction=0)
    inputs = {"x": x, "mean": mean, "variance": variance, **_norm_parameters(shape[1], draw),
              **_separable_filters(shape[1], draw)}

    def plain(x: Tensor, _mean: Tensor, _variance: Tensor, gamma: Tensor, beta: Tensor, *filters: Tensor) -> Tensor:
        return separable_conv3d_reference(batch_norm_act_reference(x, gamma, beta), *filters, **_PADDED)

    return Problem(inputs=inputs, plain=plain, constants=frozenset({"mean", "variance"}), compilable=plain,
                   positions=_positions(shape), terms=_positions(shape),
                   ours=lambda *tensors: norm_act_separable_conv3d(*tensors, **_PADDED, impl=impl)[0])


def _dense_3d(shape: Shape, draw: Draw, _impl: Impl) -> Problem:
    channels = shape[1]
    return Problem(inputs={"x": draw.normal(*shape),
                           "weight": draw.normal(channels, channels, 3, 3, 3) / (27 * channels)**0.5},
                   plain=partial(conv3d, padding=1), ours=convolution, multilinear=True,
                   positions=_positions(shape), terms=27 * channels)


def _dense_2d(shape: Shape, draw: Draw, _impl: Impl) -> Problem:
    n, channels, t, h, w = shape
    return Problem(inputs={"x": draw.normal(n * t, channels, h, w),
                           "weight": draw.normal(channels, channels, 3, 3) / (9 * channels)**0.5},
                   plain=partial(conv2d, padding=1), ours=convolution, multilinear=True,
                   positions=_positions(shape), terms=9 * channels)


def _mean(shape: Shape, draw: Draw, _impl: Impl) -> Problem:
    channels, combinations = shape[1], tap_combinations(3).to(draw.device)  # critics keep them
    return Problem(inputs={"x": draw.normal(*shape), "weight": draw.normal(1, channels, 3, 3, 3) / channels**0.5},
                   plain=convolution_mean_reference, compilable=convolution_mean_reference, multilinear=True,
                   positions=_positions(shape), terms=27 * channels,
                   ours=lambda x, weight: convolution_mean(x, weight, combinations.to(weight.dtype)))


# ---- Norm ------------------------------------------------------------------------------------------------------------


def _norm(shape: Shape, draw: Draw, impl: Impl) -> Problem:
    return Problem(inputs={"x": draw.coarse(*shape), **_norm_parameters(shape[1], draw)},
                   plain=batch_norm_act_reference, compilable=batch_norm_act_reference, fusable=True,
                   positions=_positions(shape), terms=_positions(shape),
                   ours=lambda *tensors: batch_norm_act(*tensors, impl=impl)[0])


def _norm_parameters(channels: int, draw: Draw) -> dict[str, Tensor]:
    """float32 in every precision, as weights are under autocast."""
    return {"gamma": 1 + draw.normal(channels, dtype=torch.float32) / 4,
            "beta": draw.normal(channels, dtype=torch.float32) / 4}


# ---- Clips -----------------------------------------------------------------------------------------------------------


def _noise_given(shape: Shape, draw: Draw, impl: Impl) -> Problem:
    size = shape[3:]

    def plain(x: Tensor, z: Tensor) -> Tensor:
        return enlarged(x, size) + AMPLITUDE * z
    return Problem(inputs={"x": _coarser_clip(shape, draw), "z": _clip(shape, draw)}, plain=plain, compilable=plain,
                   layouts=False, positions=_positions(shape), terms=4,
                   ours=lambda x, z: upsample_add_noise(x, (size[0], size[1]), z, AMPLITUDE, impl=impl))


def _noise_drawn(shape: Shape, draw: Draw, impl: Impl) -> Problem:
    n, _, t, *size = shape
    noise = PhiloxNoise(seed=torch.tensor([3], device=draw.device))

    def plain(x: Tensor) -> Tensor:  # the same numbers
        return enlarged(x, size) + AMPLITUDE * philox_normal(noise, (n, 3, t, *size)).to(x.dtype)

    def by_randn(x: Tensor) -> Tensor:
        return enlarged(x, size) + AMPLITUDE * torch.randn(n, 3, t, *size, device=x.device).to(x.dtype)
    inputs = {"x": _coarser_clip(shape, draw)}
    return Problem(inputs=inputs, plain=plain, layouts=False, positions=_positions(shape), terms=4,
                   ours=lambda x: upsample_add_noise(x, (size[0], size[1]), noise, AMPLITUDE, impl=impl),
                   others=(Way(name=ATEN, function=by_randn, plain=by_randn, inputs=inputs,
                               note="draws other numbers"),))


def _tanh_residual(shape: Shape, draw: Draw, impl: Impl) -> Problem:
    size = shape[3:]

    def plain(x: Tensor, g: Tensor) -> Tensor:
        return enlarged(x, size) + torch.tanh(g)
    return Problem(inputs={"x": _coarser_clip(shape, draw), "g": _clip(shape, draw)}, plain=plain, compilable=plain,
                   layouts=False, positions=_positions(shape), terms=4,
                   ours=lambda x, g: upsample_tanh_residual(x, (size[0], size[1]), g, impl=impl))


def _color_statistics(shape: Shape, draw: Draw, impl: Impl) -> Problem:
    return Problem(inputs={"x": _clip(shape, draw)}, plain=color_statistics_plain, layouts=False,
                   compilable=color_statistics_plain, positions=_positions(shape), terms=shape[3] * shape[4],
                   ours=lambda x: _flat(*frame_color_statistics(x, impl=impl)))


def _clip(shape: Shape, draw: Draw) -> Tensor:
    n, _, t, h, w = shape
    return draw.normal(n, 3, t, h, w)


def _coarser_clip(shape: Shape, draw: Draw) -> Tensor:
    n, _, t, h, w = shape
    return draw.normal(n, 3, t, math.ceil(h * 0.75), math.ceil(w * 0.75))


def enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    """The clip at `size`: trilinear, which keeps the number of frames and so is bilinear."""
    return interpolate(x, size=(x.shape[2], *size), mode="trilinear", align_corners=False)


def color_statistics_plain(x: Tensor) -> Tensor:
    """Of all frames at once; torch.cov takes one, and reads back whether it has weights."""
    pixels = x.movedim(1, 2).flatten(3).to(torch.promote_types(x.dtype, torch.float32))
    mean = pixels.mean(3, keepdim=True)
    around = pixels - mean
    return _flat(mean, around @ around.transpose(2, 3) / pixels.shape[3])


def _flat(mean: Tensor, cov: Tensor) -> Tensor:
    """Both statistics as one tensor, which takes one gradient."""
    return torch.cat((mean.reshape(-1, 3), cov.reshape(-1, 9)), 1)


OPERATORS = (
    Operator(name="separable_conv3d", passes=(FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENTS), problem=_separable),
    Operator(name="norm_act_separable_conv3d",
             passes=(FORWARD, backward("x", "gamma", "beta", "spatial", "temporal", "pointwise")),
             problem=_norm_act_separable, timed_on_cpu=False),  # a CPU runs the two operators one by one
    Operator(name="convolution 3x3x3", passes=(FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENTS, second_backward("weight")),
             problem=_dense_3d),
    Operator(name="convolution 3x3", passes=(FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENTS, second_backward("weight")),
             problem=_dense_2d),
    Operator(name="convolution_mean", passes=(FORWARD, backward("x", "weight"), second_backward("weight")),
             problem=_mean),
    Operator(name="batch_norm_act", passes=(FORWARD, backward("x", "gamma", "beta"), second_backward("x", "gamma")),
             problem=_norm),
    Operator(name="upsample_add_noise, given noise", passes=(FORWARD,), problem=_noise_given),
    Operator(name="upsample_add_noise, drawn noise", passes=(FORWARD,), problem=_noise_drawn),
    Operator(name="upsample_tanh_residual", passes=(FORWARD, backward("g")), problem=_tanh_residual),
    Operator(name="frame_color_statistics", passes=(FORWARD, backward("x")), problem=_color_statistics),
)
