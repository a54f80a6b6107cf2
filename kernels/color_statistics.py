"""Colour statistics of frames: mean and covariance of RGB, eq. 6 of the paper.

    mean_c = E[x_c],  cov_cd = E[(x_c - mean_c)(x_d - mean_d)] over the H W pixels of a frame

x [N, 3, T, H, W] of any dtype; results in float32. The torch form is differentiable any number of times, the Triton
form once: its second derivative raises.

    dx_c = (dmean_c + sum_d (dcov_cd + dcov_dc) (x_d - mean_d)) / (H W)

Equivalent to, for one frame [3, H, W]:
    mean, cov = x.flatten(1).mean(1), torch.cov(x.flatten(1), correction=0)

The Triton form reads the clip once. A program keeps its pixels in registers and sums around their own mean, so a large
mean does not cancel; a second, small kernel puts the parts of a frame together in a fixed order (Chan et al. 1983).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import Impl, below_autograd, jit, register_op, resolve_impl, tl

# Eight pixels per thread: 128-bit loads where H W is a multiple of 16, three of them under way for each four pixels.
# 24 values in registers; 2048 pixels per program would be 70 registers more and half the programs.
_BLOCK = 1024
_WARPS = 4


def _torch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    pixels = x.float().movedim(1, 2).flatten(3)  # [N, T, 3, HW]
    mean = pixels.mean(3, keepdim=True)
    centered = pixels - mean
    return mean[..., 0], torch.matmul(centered, centered.transpose(2, 3)) / pixels.shape[3]


# ---- kernels ---------------------------------------------------------------------------------------------------------


@jit
def _load_pixels(x_ptr, stride_n, stride_c, stride_t, T, pixels, BLOCK: tl.constexpr):
    """Red, green, blue [BLOCK] of frame program_id(1), zero beyond the last pixel; their offsets and mask."""
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < pixels
    n, t = tl.program_id(1) // T, tl.program_id(1) % T
    red = x_ptr + tl.cast(n, tl.int64) * stride_n + tl.cast(t, tl.int64) * stride_t + offs
    green, blue = red + stride_c, red + 2 * tl.cast(stride_c, tl.int64)
    r = tl.load(red, mask=mask, other=0.0).to(tl.float32)
    g = tl.load(green, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(blue, mask=mask, other=0.0).to(tl.float32)
    return r, g, b, offs, mask


@jit
def _color_statistics_fwd_kernel(x_ptr, parts_ptr, stride_n, stride_c, stride_t, T, pixels, BLOCK: tl.constexpr):
    """parts [N T, parts, 9]: the mean of three colours in BLOCK pixels, then the sums of rr, rg, rb, gg, gb, bb
    around it."""
    r, g, b, _, mask = _load_pixels(x_ptr, stride_n, stride_c, stride_t, T, pixels, BLOCK)
    count = tl.minimum(pixels - tl.program_id(0) * BLOCK, BLOCK).to(tl.float32)
    mean_r, mean_g, mean_b = tl.sum(r, 0) / count, tl.sum(g, 0) / count, tl.sum(b, 0) / count
    r, g, b = tl.where(mask, r - mean_r, 0.0), tl.where(mask, g - mean_g, 0.0), tl.where(mask, b - mean_b, 0.0)
    part = parts_ptr + (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * 9
    tl.store(part + 0, mean_r)
    tl.store(part + 1, mean_g)
    tl.store(part + 2, mean_b)
    tl.store(part + 3, tl.sum(r * r, 0))
    tl.store(part + 4, tl.sum(r * g, 0))
    tl.store(part + 5, tl.sum(r * b, 0))
    tl.store(part + 6, tl.sum(g * g, 0))
    tl.store(part + 7, tl.sum(g * b, 0))
    tl.store(part + 8, tl.sum(b * b, 0))


@jit
def _color_statistics_combine_kernel(parts_ptr, mean_ptr, cov_ptr, pixels, parts, PART: tl.constexpr,
                                     BLOCK: tl.constexpr):
    """One frame per program: mean [3] and covariance [3, 3] of `parts` parts of PART pixels (the last one of fewer)."""
    frame = tl.program_id(0)
    offs = tl.arange(0, BLOCK)
    mask = offs < parts
    first = parts_ptr + frame * parts * 9
    share = tl.where(mask, tl.minimum(pixels - offs * PART, PART), 0).to(tl.float32) / pixels
    for c in tl.static_range(3):
        mean_c = tl.load(first + offs * 9 + c, mask=mask, other=0.0)
        # Around the first part's mean, or a large one would round to float32 twice.
        pivot_c = tl.load(first + c)
        shift_c = tl.sum(share * (mean_c - pivot_c), 0)
        tl.store(mean_ptr + frame * 3 + c, pivot_c + shift_c)
        for d in tl.static_range(c, 3):
            mean_d = tl.load(first + offs * 9 + d, mask=mask, other=0.0)
            pivot_d = tl.load(first + d)
            shift_d = tl.sum(share * (mean_d - pivot_d), 0)
            within = tl.load(first + offs * 9 + 3 + c * (5 - c) // 2 + d, mask=mask, other=0.0)
            between = share * (mean_c - pivot_c - shift_c) * (mean_d - pivot_d - shift_d)
            cov = tl.sum(within / pixels + between, 0)
            tl.store(cov_ptr + frame * 9 + c * 3 + d, cov)
            tl.store(cov_ptr + frame * 9 + d * 3 + c, cov)


@jit
def _color_statistics_bwd_kernel(x_ptr, mean_ptr, dmean_ptr, dcov_ptr, dx_ptr, stride_n, stride_c, stride_t, T, pixels,
                                 BLOCK: tl.constexpr):
    """dx [N, 3, T, pixels], contiguous."""
    r, g, b, offs, mask = _load_pixels(x_ptr, stride_n, stride_c, stride_t, T, pixels, BLOCK)
    frame = tl.program_id(1)
    r -= tl.load(mean_ptr + frame * 3 + 0)
    g -= tl.load(mean_ptr + frame * 3 + 1)
    b -= tl.load(mean_ptr + frame * 3 + 2)
    n, t = frame // T, frame % T
    for c in tl.static_range(3):
        of = dcov_ptr + frame * 9
        by_r = (tl.load(of + c * 3 + 0) + tl.load(of + 0 + c)) / pixels
        by_g = (tl.load(of + c * 3 + 1) + tl.load(of + 3 + c)) / pixels
        by_b = (tl.load(of + c * 3 + 2) + tl.load(of + 6 + c)) / pixels
        dx = by_r * r + by_g * g + by_b * b + tl.load(dmean_ptr + frame * 3 + c) / pixels
        plane = tl.cast((n * 3 + c) * T + t, tl.int64) * pixels
        tl.store(dx_ptr + plane + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


# ---- launchers -------------------------------------------------------------------------------------------------------


def _run_fwd(x: Tensor) -> tuple[Tensor, Tensor]:
    x = _flat_planes(x)
    n, _, t, h, w = x.shape
    count = -(-h * w // _BLOCK)
    parts = torch.empty(n * t, count, 9, device=x.device)
    mean, cov = _empty_statistics(x)
    with torch.cuda.device_of(x):
        _color_statistics_fwd_kernel[(count, n * t)](x, parts, *x.stride()[:3], t, h * w, BLOCK=_BLOCK,
                                                     num_warps=_WARPS)
        _color_statistics_combine_kernel[(n * t,)](parts, mean, cov, h * w, count, PART=_BLOCK,
                                                   BLOCK=1 << (count - 1).bit_length(), num_warps=1)
    return mean, cov


def _run_bwd(x: Tensor, mean: Tensor, dmean: Tensor, dcov: Tensor) -> Tensor:
    x = _flat_planes(x)
    n, _, t, h, w = x.shape
    dx = _empty_gradient(x)
    with torch.cuda.device_of(x):
        _color_statistics_bwd_kernel[(-(-h * w // _BLOCK), n * t)](
            x, mean, dmean.contiguous(), dcov.contiguous(), dx, *x.stride()[:3], t, h * w, BLOCK=_BLOCK,
            num_warps=_WARPS)
    return dx


def _flat_planes(x: Tensor) -> Tensor:
    """`x` whose planes are each H W consecutive numbers: clips, their windows and their samples are so already."""
    h, w = x.shape[3:]
    flat = (w == 1 or x.stride(4) == 1) and (h == 1 or x.stride(3) == w)
    return x if flat else x.contiguous()


def _empty_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    n, t = x.shape[0], x.shape[2]
    return x.new_empty((n, t, 3), dtype=torch.float32), x.new_empty((n, t, 3, 3), dtype=torch.float32)


def _empty_gradient(x: Tensor, *_: Tensor) -> Tensor:
    return x.new_empty(x.shape)


# ---- ops -------------------------------------------------------------------------------------------------------------


class FrameColorStatisticsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        with below_autograd():
            mean, cov = _fwd_op(x)
        ctx.save_for_backward(x, mean)
        return mean, cov

    @staticmethod
    def backward(ctx, dmean, dcov):
        return _bwd_op(*ctx.saved_tensors, dmean, dcov)


class FrameColorStatisticsBwdFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mean, dmean, dcov):
        with below_autograd():
            return _bwd_op(x, mean, dmean, dcov)

    @staticmethod
    def backward(ctx, v):
        raise RuntimeError("frame_color_statistics: the Triton form has no second derivative; use impl='torch'")


_fwd_op = register_op("frame_color_statistics(Tensor x) -> (Tensor, Tensor)", _run_fwd, _empty_statistics,
                      FrameColorStatisticsFunction)
_bwd_op = register_op("frame_color_statistics_bwd(Tensor x, Tensor mean, Tensor dmean, Tensor dcov) -> Tensor",
                      _run_bwd, _empty_gradient, FrameColorStatisticsBwdFunction)


# ---- public ----------------------------------------------------------------------------------------------------------


def frame_color_statistics(x: Tensor, *, impl: Impl = "auto") -> tuple[Tensor, Tensor]:
    """Mean [N, T, 3] and covariance [N, T, 3, 3] of the colours of each frame of `x` [N, 3, T, H, W]; float32.

    Raises:
        ValueError: when `x` is no clip of three colours.
    """
    if x.dim() != 5 or x.shape[1] != 3:
        raise ValueError(f"frame_color_statistics: x is {tuple(x.shape)}, expected [N, 3, T, H, W]")
    if resolve_impl(impl, "frame_color_statistics", x) == "torch":
        return _torch_statistics(x)
    return _fwd_op(x)
