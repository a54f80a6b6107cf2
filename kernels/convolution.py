"""Dense 2D and 3D convolution whose derivatives of every order are ordinary convolutions.

    y = x * w,  x [N, C, (T,) H, W], w [O, C, (k,) k, k], stride 1, padded to keep the size

Equivalent to `torch.nn.functional.conv2d / conv3d(x, w, padding="same")`. Differentiable any number of times.

Why not autograd's own: it computes the weight gradient of the double backward (the gradient penalty needs it) as a
forward convolution whose filter is as large as the image. That is slow, and in bfloat16 on CPUs with AMX oneDNN's
answer is silently wrong for 2D (cosine 0.65 with float32, torch 2.13). Here forward, input gradient and weight
gradient are three functions whose derivatives are again those three:

    y  = forward(x, w)          dx = input_grad(dy, w)      dw = weight_grad(x, dy)
    input_grad(dy, w)  for v:   ddy = forward(v, w),        dw = weight_grad(v, dy)
    weight_grad(x, dy) for u:   dx  = input_grad(dy, u),    ddy = forward(x, u)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

PadMode = Literal["zeros", "replicate", "reflect", "circular", "none"]

_weight_gradients = True


@contextmanager
def weight_gradients_disabled() -> Iterator[None]:
    """Backward passes run inside skip every weight gradient: the penalty's first backward needs none of them."""
    global _weight_gradients
    before, _weight_gradients = _weight_gradients, False
    try:
        yield
    finally:
        _weight_gradients = before


def weight_gradients_wanted() -> bool:
    """Whether a backward pass running now computes weight gradients."""
    return _weight_gradients


def channels_last(x: Tensor) -> Tensor:
    """`x` [N, C, ...] with channels innermost in memory; no copy where it is so already."""
    return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype that autocast asks for on the device of `x`, else its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class CastFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, copy):
        ctx.dtype = weight.dtype
        return copy

    @staticmethod
    def backward(ctx, dcopy):
        return dcopy.to(ctx.dtype), None


def as_cast(weight: Tensor, copy: Tensor) -> Tensor:
    """`copy`, which holds `weight` in another dtype, as a function of `weight`: what casting it again would give."""
    return CastFunction.apply(weight, copy)


def pad_clip(x: Tensor, space: PadMode, time: PadMode) -> Tensor:
    """`x` [N, C, (T,) H, W] with one more pixel on each side of its frames and, for 5-D, one more frame at both ends;
    "none" leaves an axis as it is."""
    modes = {"space": (space, (1, 1, 1, 1, 0, 0)), "time": (time, (0, 0, 0, 0, 1, 1))}
    for mode, border in modes.values():
        if mode == "circular":  # in time; torch's own takes seven launches
            x = torch.cat((x[:, :, -1:], x, x[:, :, :1]), 2)
        elif mode != "none":
            x = pad(x, border[:2 * (x.dim() - 2)], mode="constant" if mode == "zeros" else mode)
    return x


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, pad_space: PadMode = "zeros",
                pad_time: PadMode = "zeros") -> Tensor:
    """Convolve `x` [N, C, (T,) H, W] with `weight` [O, C, (1|3,) 1|3, 1|3] and add `bias` [O].

    `pad_space` and `pad_time` say what surrounds the frames and the clip: zeros, copies of the border, its mirror
    image, in time alone the other end ("circular"), or nothing ("none": the result is smaller). Computes in autocast's
    dtype where autocast is on. The result has channels innermost in memory.

    Raises:
        ValueError: for shapes that do not belong together, or frames that are to go around.
    """
    if pad_space == "circular":
        raise ValueError("convolution: pad_space is 'circular', which is for time alone")
    if x.dim() not in (4, 5) or weight.dim() != x.dim() or weight.shape[1] != x.shape[1]:
        raise ValueError(f"convolution of x {tuple(x.shape)} with weight {tuple(weight.shape)}: expected "
                         "[N, C, (T,) H, W] and [O, C, ...] of as many dimensions")
    dtype = compute_dtype(x)
    x, weight = x.to(dtype), weight.to(dtype)
    space = pad_space if weight.shape[-1] > 1 else "none"
    time = pad_time if x.dim() == 5 and weight.shape[2] > 1 else "none"
    padding = [0, 0] if x.dim() == 4 else [0, 0, 0]
    if space == "zeros":  # the convolution itself adds zeros, at no cost
        space, padding[-2:] = "none", [1, 1]
    if time == "zeros":
        time, padding[0] = "none", 1
    with torch.autocast(x.device.type, enabled=False):  # which would pad in float32
        y: Tensor = ConvolutionFunction.apply(pad_clip(x, space, time), weight, tuple(padding))
    return y if bias is None else y + bias.to(dtype).view(1, -1, *[1] * (x.dim() - 2))


def _slow_in_aten(x: Tensor) -> bool:
    # ATen sends float32 3D convolutions of one small clip (N C T H <= 20480) to `slow_conv3d`, 9 times slower than
    # oneDNN at 1x32x8x25x44 (one thread, torch 2.13).
    return (x.dim() == 5 and x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[0] == 1
            and x.shape[1:4].numel() <= 20480 and torch.backends.mkldnn.is_available())


def _wrong_in_onednn(dy: Tensor, padding: Sequence[int]) -> bool:
    # The bfloat16 weight gradient of two frames padded in time is memory that was never written (up to 1e38, or NaN;
    # AVX512-BF16, channels last, torch 2.13). With the zeros in the tensor it is right.
    return dy.dim() == 5 and dy.device.type == "cpu" and dy.dtype == torch.bfloat16 and dy.shape[2] == 2 \
        and padding[0] == 1


def _in_float32_where_bfloat16_is_emulated(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Where oneDNN has no bfloat16 (CPUs without AVX-512), ATen adds up an input gradient in bfloat16, tap by tap: an
    error of 2.5 steps at 2x3x2x5x7. In float32, rounded once, it is right and 8 to 26 times quicker (16 channels,
    2x8x25x44, one thread of an AVX2 CPU, torch 2.13)."""
    def in_float32(x: Tensor, y: Tensor, *args: Any) -> Tensor:
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and not onednn_has_bfloat16():
            return run(x.float(), y.float(), *args).to(x.dtype)
        return run(x, y, *args)
    return in_float32


@functools.cache
def onednn_has_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _few_gradients(dy: Tensor, channels: int) -> bool:
    # oneDNN computes sixteen channels of dy where there are fewer, but takes an x of three as it is: at 2x32x8x59x104
    # the weight gradient of three outputs takes 23 ms, with x and dy in each other's place 6; the input gradient 11 ms,
    # as a forward convolution 5.5 (float32, one thread, AVX-512, torch 2.13).
    return dy.shape[1] <= 4 < channels and dy.device.type == "cpu" and dy.dtype == torch.float32


def _flipped(weight: Tensor) -> Tensor:
    """The filter of the adjoint."""
    return weight.transpose(0, 1).flip(*range(2, weight.dim()))


def _adjoint_padding(weight_shape: Sequence[int], padding: Sequence[int]) -> list[int]:
    return [taps - 1 - p for taps, p in zip(weight_shape[2:], padding, strict=True)]


@_in_float32_where_bfloat16_is_emulated
def _forward(x: Tensor, weight: Tensor, padding: Sequence[int]) -> Tensor:
    x = channels_last(x)
    ones = [1] * len(padding)
    if _slow_in_aten(x):
        return torch.mkldnn_convolution(x, weight, None, list(padding), ones, ones, 1)
    return torch.convolution(x, weight, None, ones, list(padding), ones, False, [0] * len(padding), 1)


@_in_float32_where_bfloat16_is_emulated
def _input_grad(dy: Tensor, weight: Tensor, x_shape: Sequence[int], padding: Sequence[int]) -> Tensor:
    dy = channels_last(dy)
    if _slow_in_aten(dy) or _few_gradients(dy, weight.shape[1]):
        return _forward(dy, _flipped(weight), _adjoint_padding(weight.shape, padding))
    last = torch.channels_last if dy.dim() == 4 else torch.channels_last_3d
    like_x = torch.empty(x_shape, dtype=dy.dtype, device=dy.device, memory_format=last)  # its shape and layout count
    return _backward(dy, like_x, weight, padding, (True, False, False))[0]


@_in_float32_where_bfloat16_is_emulated
def _weight_grad(x: Tensor, dy: Tensor, w_shape: Sequence[int], padding: Sequence[int]) -> Tensor:
    x, dy = channels_last(x), channels_last(dy)
    if _few_gradients(dy, x.shape[1]):
        swapped = [w_shape[1], w_shape[0], *w_shape[2:]]
        return _flipped(_weight_grad(dy, x, swapped, _adjoint_padding(w_shape, padding)))
    if _slow_in_aten(x) and dy.shape[2] > 1:
        x, dy, padding = _two_halves(x, dy, w_shape[2], padding)
    elif _wrong_in_onednn(dy, padding):
        x, padding = channels_last(pad(x, (0, 0, 0, 0, 1, 1))), [0, *padding[1:]]
    return _backward(dy, x, dy.new_empty(w_shape), padding, (False, True, False))[1]


def _two_halves(x: Tensor, dy: Tensor, taps: int, padding: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
    """One clip as a batch of its two halves in time (with their neighbours), which ATen sends to oneDNN."""
    half = (dy.shape[2] + 1) // 2
    x = _parts(x, [(i * half - padding[0], i * half - padding[0] + half + taps - 1) for i in range(2)])
    if 2 * half > dy.shape[2]:
        return x, _parts(dy, [(0, half), (half, 2 * half)]), [0, *padding[1:]]
    frames = dy.movedim(1, -1)[0]
    return x, frames.view(2, half, *frames.shape[1:]).movedim(-1, 1), [0, *padding[1:]]


def _parts(clip: Tensor, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """Frames [low, high) of `clip` [1, C, T, H, W] for each of `bounds`, as a batch; zeros outside the clip."""
    frames = clip.movedim(1, -1)[0]
    parts = frames.new_empty(len(bounds), bounds[0][1] - bounds[0][0], *frames.shape[1:])
    for part, (low, high) in zip(parts, bounds, strict=True):
        before, behind = max(0, -low), max(0, high - len(frames))
        part[:before] = 0
        part[before:len(part) - behind] = frames[low + before:high - behind]
        part[len(part) - behind:] = 0
    return parts.movedim(-1, 1)


def _backward(dy: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int],
              mask: tuple[bool, bool, bool]) -> tuple[Tensor, Tensor, Tensor]:
    ones = [1] * len(padding)
    grads: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward.default(
        dy, x, weight, None, ones, list(padding), ones, False, [0] * len(padding), 1, mask)
    return grads


class ConvolutionFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, padding):
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return _forward(x, weight, padding)

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        wants_x, wants_w = ctx.needs_input_grad[:2]
        dx = InputGradFunction.apply(dy, weight, x.shape, ctx.padding) if wants_x else None
        wants_w = wants_w and weight_gradients_wanted()
        dw = WeightGradFunction.apply(x, dy, weight.shape, ctx.padding) if wants_w else None
        return dx, dw, None


class InputGradFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dy, weight, x_shape, padding):
        ctx.save_for_backward(dy, weight)
        ctx.padding = padding
        return _input_grad(dy, weight, x_shape, padding)

    @staticmethod
    def backward(ctx, v):
        dy, weight = ctx.saved_tensors
        wants_dy, wants_w = ctx.needs_input_grad[:2]
        ddy = ConvolutionFunction.apply(v, weight, ctx.padding) if wants_dy else None
        wants_w = wants_w and weight_gradients_wanted()
        dw = WeightGradFunction.apply(v, dy, weight.shape, ctx.padding) if wants_w else None
        return ddy, dw, None, None


class WeightGradFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dy, w_shape, padding):
        ctx.save_for_backward(x, dy)
        ctx.padding = padding
        return _weight_grad(x, dy, w_shape, padding)

    @staticmethod
    def backward(ctx, u):
        x, dy = ctx.saved_tensors
        wants_x, wants_dy = ctx.needs_input_grad[:2]
        dx = InputGradFunction.apply(dy, u, x.shape, ctx.padding) if wants_x else None
        ddy = ConvolutionFunction.apply(x, u, ctx.padding) if wants_dy else None
        return dx, ddy, None, None
