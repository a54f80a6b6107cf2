"""Resizing of clips in space, and the two ends of a generator that it is fused with.

    resize:                  y = R x                      bicubic, antialiased when it shrinks
    upsample:                y = U x
    upsample_add_noise:      y = U x + sigma z            the generator's input
    scaled_noise:            y = sigma z                  the same at scale 0, where there is no coarser clip
    upsample_tanh_residual:  y = U x + tanh(g)            the generator's output; tanh(g) at scale 0

x [N, C, T, h, w]; U is bilinear or bicubic to any larger or smaller integer size (no antialiasing,
`align_corners=False`), R the antialiased bicubic filter. Time is never resized. z is a given tensor, or drawn in the
kernel from a `PhiloxNoise`. Differentiable any number of times in x, z, sigma and g.

Equivalent to, frame by frame:
    y = F.interpolate(x, size, mode=mode, align_corners=False) + sigma * z
    y = F.interpolate(x, size, mode=mode, align_corners=False) + torch.tanh(g)

The torch form is just that, and autograd and torch.compile see through it. The Triton form is two kernels in which a
thread makes one pixel: it looks up once where the pixel reads and with which weights, and goes through the channels and
some frames. Backward to x is the first kernel with the transposed tables: a gather, so no atomics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .dispatch import Impl, below_autograd, register_op, resolve_impl
from .philox import PhiloxNoise, philox_normal
from .resample_tables import ResampleMode
from .resample_triton import (
    empty_clip,
    empty_resized,
    empty_sum,
    run_tanh_residual_bwd,
    run_upsample_add_noise,
    run_upsample_bwd,
    run_upsample_tanh_residual,
)

# ---- torch -----------------------------------------------------------------------------------------------------------


def _per_frame(x: Tensor, size: tuple[int, int], *, mode: str, antialias: bool) -> Tensor:
    n, c, t, h, w = x.shape
    if (h, w) == size:
        return x
    frames = x.movedim(2, 1).reshape(n * t, c, h, w)
    frames = interpolate(frames, size=size, mode=mode, align_corners=False, antialias=antialias)
    return frames.view(n, t, c, *size).movedim(1, 2)


def _scaled(noise: Tensor | PhiloxNoise, amplitude: Tensor | float, shape: tuple[int, ...],
            dtype: torch.dtype) -> Tensor:
    if isinstance(noise, PhiloxNoise):
        noise = philox_normal(noise, shape).to(dtype)
    if isinstance(amplitude, Tensor) and amplitude.dim() == 1:
        amplitude = amplitude.view(-1, 1, 1, 1, 1).to(noise.dtype)
    return amplitude * noise


# ---- ops -------------------------------------------------------------------------------------------------------------


class UpsampleAddNoiseFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, shape, mode, noise, seed, amplitudes, amplitude, maps, gray, stream, first_frame):
        ctx.save_for_backward(noise, seed, amplitudes)
        ctx.x_like = None if x is None else (x.shape[3:], x.dtype)
        ctx.amplitude, ctx.mode, ctx.shape = amplitude, mode, shape
        ctx.drawn = {"maps": maps, "gray": gray, "stream": stream, "first_frame": first_frame}
        with below_autograd():
            return _upsample_add_noise_op(x, shape, mode, noise, seed, amplitudes, amplitude, maps, gray, stream,
                                          first_frame)

    @staticmethod
    def backward(ctx, dy):
        noise, seed, amplitudes = ctx.saved_tensors
        dx = dnoise = damplitudes = None
        if ctx.needs_input_grad[0]:
            size, dtype = ctx.x_like
            dx = _upsample_bwd_op(dy, size, ctx.mode).to(dtype)
        if ctx.needs_input_grad[3]:
            scaled = dy * ctx.amplitude
            if amplitudes is not None:
                scaled = scaled * amplitudes.view(-1, 1, 1, 1, 1)
            dnoise = scaled.sum_to_size(noise.shape).to(noise.dtype)
        if ctx.needs_input_grad[5]:
            z = philox_normal(PhiloxNoise(seed=seed, **ctx.drawn), ctx.shape) if noise is None else noise
            per_sample = (dy.float() * z).flatten(1).sum(1) * ctx.amplitude
            damplitudes = per_sample.sum_to_size(amplitudes.shape).to(amplitudes.dtype)
        return dx, None, None, dnoise, None, damplitudes, *(None,) * 5


class UpsampleBwdFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dy, size, mode):
        ctx.dy_shape, ctx.mode = dy.shape, mode
        with below_autograd():
            return _upsample_bwd_op(dy, size, mode)

    @staticmethod
    def backward(ctx, v):
        return _upsample_add_noise_op(v, ctx.dy_shape, ctx.mode, *_NO_NOISE), None, None


class UpsampleTanhResidualFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, mode):
        ctx.save_for_backward(residual)
        ctx.x_like = None if x is None else (x.shape[3:], x.dtype)
        ctx.mode = mode
        with below_autograd():
            return _upsample_tanh_residual_op(x, residual, mode)

    @staticmethod
    def backward(ctx, dy):
        residual, = ctx.saved_tensors
        dx = dresidual = None
        if ctx.needs_input_grad[0]:
            size, dtype = ctx.x_like
            dx = _upsample_bwd_op(dy, size, ctx.mode).to(dtype)
        if ctx.needs_input_grad[1]:
            dresidual = _tanh_residual_bwd_op(dy, residual)
        return dx, dresidual, None


class TanhResidualBwdFunction(torch.autograd.Function):
    """dg = dy (1 - tanh(g)^2). What is beyond it is plain torch: training takes no second derivative here."""

    @staticmethod
    def forward(ctx, dy, residual):
        ctx.save_for_backward(dy, residual)
        with below_autograd():
            return _tanh_residual_bwd_op(dy, residual)

    @staticmethod
    def backward(ctx, v):
        dy, residual = ctx.saved_tensors
        y = residual.float().tanh()
        scaled = v.float() * (1 - y * y)
        return scaled.to(dy.dtype), (-2 * scaled * dy * y).to(residual.dtype)


_NO_NOISE = (None, None, None, 0.0, 0, False, 0, 0)

_upsample_add_noise_op = register_op(
    "upsample_add_noise(Tensor? x, SymInt[] shape, str mode, Tensor? noise, Tensor? seed, Tensor? amplitudes, "
    "float amplitude, int maps, bool gray, int stream, int first_frame) -> Tensor",
    run_upsample_add_noise, empty_sum, UpsampleAddNoiseFunction)
_upsample_bwd_op = register_op("upsample_bwd(Tensor dy, SymInt[] size, str mode) -> Tensor",
                               run_upsample_bwd, empty_resized, UpsampleBwdFunction)
_upsample_tanh_residual_op = register_op(
    "upsample_tanh_residual(Tensor? x, Tensor residual, str mode) -> Tensor",
    run_upsample_tanh_residual, empty_clip, UpsampleTanhResidualFunction)
_tanh_residual_bwd_op = register_op("tanh_residual_bwd(Tensor dy, Tensor residual) -> Tensor",
                                    run_tanh_residual_bwd, lambda dy, residual: torch.empty_like(residual),
                                    TanhResidualBwdFunction)


# ---- public ----------------------------------------------------------------------------------------------------------


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip `x` [N, C, T, H, W] at `size` (height, width), bicubic, antialiased where it shrinks; float32 or float64."""
    return _per_frame(x, size, mode="bicubic", antialias=True)


def upsample(x: Tensor, size: tuple[int, int], *, mode: ResampleMode = "bilinear", impl: Impl = "auto") -> Tensor:
    """Clip `x` [N, C, T, h, w] at `size` (height, width); `x` itself where it has that size."""
    return upsample_add_noise(x, size, None, 0.0, mode=mode, impl=impl)


def upsample_add_noise(x: Tensor, size: tuple[int, int], noise: Tensor | PhiloxNoise | None,
                       amplitude: Tensor | float, *, mode: ResampleMode = "bilinear", impl: Impl = "auto") -> Tensor:
    """`U x + amplitude * noise`.

    Args:
        x: clip [N, C, T, h, w] of the coarser scale.
        size: (height, width) to upsample to.
        noise: [N, C, T, *size], with 1 in place of N, C or T where all share one; or a description of noise that is
            drawn where it is used; None for no noise.
        amplitude: standard deviation; a number, a scalar on the device, or one for each sample there [N].

    Raises:
        ValueError: for shapes that do not belong together.
    """
    _check("upsample_add_noise", x, size, mode)
    shape = (*x.shape[:3], *size)
    if noise is None:
        if x.shape == shape:
            return x
        if _resolve(impl, "upsample", x) == "torch":
            return _per_frame(x, size, mode=mode, antialias=False)
        return _upsample_add_noise_op(x, shape, mode, *_NO_NOISE)
    _check_noise("upsample_add_noise", noise, amplitude, shape)
    if _resolve(impl, "upsample_add_noise", x, noise, amplitude) == "torch":
        return _per_frame(x, size, mode=mode, antialias=False) + _scaled(noise, amplitude, shape, x.dtype)
    return _upsample_add_noise_op(x, shape, mode, *_noise_arguments(noise, amplitude))


def scaled_noise(shape: tuple[int, int, int, int, int], noise: Tensor | PhiloxNoise, amplitude: Tensor | float, *,
                 impl: Impl = "auto") -> Tensor:
    """`amplitude * noise` as a clip of `shape` [N, C, T, H, W]: `upsample_add_noise` at scale 0.

    float32 where the noise is drawn. A view of fewer numbers where the torch form can give one.
    """
    _check_noise("scaled_noise", noise, amplitude, shape)
    like = noise.seed.new_empty(0, dtype=torch.float32) if isinstance(noise, PhiloxNoise) else noise
    if _resolve(impl, "scaled_noise", like, amplitude) == "torch":
        return _scaled(noise, amplitude, shape, like.dtype).expand(shape)
    return _upsample_add_noise_op(None, shape, "bilinear", *_noise_arguments(noise, amplitude))


def upsample_tanh_residual(x: Tensor | None, size: tuple[int, int], residual: Tensor, *,
                           mode: ResampleMode = "bilinear", impl: Impl = "auto") -> Tensor:
    """`U x + tanh(residual)` for the coarser clip `x` [N, C, T, h, w] and `residual` [N, C, T, *size] of any layout.

    Returns:
        A clip in planes of the dtype of `x`; `tanh(residual)` in float32 (float64 stays) where `x` is None.

    Raises:
        ValueError: for shapes that do not belong together.
    """
    if residual.dim() != 5 or list(residual.shape[3:]) != list(size):
        raise ValueError(f"upsample_tanh_residual: residual is {tuple(residual.shape)}, expected [N, C, T, {size[0]}, "
                         f"{size[1]}]")
    if x is not None:
        _check("upsample_tanh_residual", x, size, mode)
        if x.shape[:3] != residual.shape[:3]:
            raise ValueError(f"upsample_tanh_residual: x is {tuple(x.shape)}, residual {tuple(residual.shape)}, "
                             "expected the same samples, channels and frames")
    if _resolve(impl, "upsample_tanh_residual", residual, x) == "triton":
        return _upsample_tanh_residual_op(x, residual, mode)
    if x is None:
        return torch.tanh(residual.to(torch.promote_types(residual.dtype, torch.float32)))
    return _per_frame(x, size, mode=mode, antialias=False) + torch.tanh(residual.to(x.dtype))


def _resolve(impl: Impl, op: str, *given: object) -> str:
    """Triton only where it can take every tensor."""
    tensors = [x for x in given if isinstance(x, Tensor)]
    return "torch" if "torch" in [resolve_impl(impl, op, x) for x in tensors] else "triton"


def _noise_arguments(noise: Tensor | PhiloxNoise, amplitude: Tensor | float) -> tuple[Any, ...]:
    """noise, seed, amplitudes, amplitude, maps, gray, stream, first_frame"""
    given = (amplitude.reshape(-1), 1.0) if isinstance(amplitude, Tensor) else (None, float(amplitude))
    if isinstance(noise, PhiloxNoise):
        return None, noise.seed, *given, noise.maps, noise.gray, noise.stream, noise.first_frame
    return noise, None, *given, *_NO_NOISE[4:]


def _check(op: str, x: Tensor, size: tuple[int, int], mode: str) -> None:
    if x.dim() != 5 or min(size) < 1:
        raise ValueError(f"{op}: x is {tuple(x.shape)} to be resized to {size}, expected [N, C, T, h, w] and a height "
                         "and a width")
    if mode not in ("bilinear", "bicubic"):
        raise ValueError(f"{op}: mode is {mode!r}, expected bilinear or bicubic")


def _check_noise(op: str, noise: Tensor | PhiloxNoise, amplitude: Tensor | float, shape: tuple[int, ...]) -> None:
    n, c, t, h, w = shape
    if isinstance(noise, PhiloxNoise):
        noise.maps_of(c)
    elif not (noise.dim() == 5 and noise.shape[0] in (1, n) and noise.shape[1] in (1, c)
              and noise.shape[2] in (1, t) and noise.shape[3:] == (h, w)):
        raise ValueError(f"{op}: noise is {tuple(noise.shape)}, expected [{n}, {c}, {t}, {h}, {w}], "
                         "or 1 in place of the first three")
    if isinstance(amplitude, Tensor) and amplitude.shape not in ((), (1,), (n,)):
        raise ValueError(f"{op}: amplitude is {tuple(amplitude.shape)}, expected a number, a scalar or [{n}]")
