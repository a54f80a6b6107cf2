"""Channel-wise separable 3D convolution: depthwise 1x3x3, depthwise 3x1x1, pointwise 1x1x1, bias.

    u[n,c,t,y,x] = sum_ij  spatial[c,i,j]  x[n,c,t,y+i-1,x+j-1]
    v[n,c,t,y,x] = sum_k   temporal[c,k]   u[n,c,t+k-1,y,x]
    y[n,o,t,y,x] = sum_c   pointwise[o,c]  v[n,c,t,y,x] + bias[o]

Each frame, and the clip in time, is surrounded by zeros, by copies of the border, by its mirror image, in time by
itself ("circular"), or by nothing ("none": the result is smaller by two). Padding the axes one after the other or all
at once is the same. Differentiable any number of times. Section 3.3.1 of the paper names the two depthwise parts;
without the pointwise one channels never mix and nothing is learned.

The torch form multiplies the three small filters out to one dense 3x3x3 filter, exactly the same linear map, and
convolves once: dense convolutions are what CPUs and cuDNN are fast at, and it avoids ATen's depthwise weight
gradient. Where `depthwise_taps.py` pays, on CPUs, it is that and a matrix product.

The Triton form is one kernel: the walk of `depthwise_pair.py`, whose tile of v goes into a matrix product with the
pointwise filter instead of into memory. Backward: dv = pointwise^T dy by one matrix product; dx, and the gradients of
the depthwise filters from dv as in `depthwise_pair.py`; those of pointwise and bias from dy and v, which is computed
again from x:

    dpointwise = sum dy v^T,  dbias = sum dy
    and for the gradients g, h that arrive at these two:  ddy = fwd(x; g as pointwise, h as bias),
    the others as those of fwd with g as pointwise

`norm_act_separable_conv3d` is the generator's training block: BatchNorm + LeakyReLU of the block before, applied as x
is loaded (nothing activated is ever stored), the convolution, and the mean and variance of its result for the block
behind. Differentiable once. `separable_conv3d_statistics` begins such a chain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv3d, linear

from .batch_norm_act import batch_norm_act, batch_norm_act_bwd
from .convolution import PadMode, compute_dtype, convolution, pad_clip, weight_gradients_wanted
from .depthwise_pair import (
    TILE_OF_PAIRS,
    Norm,
    _spatial_part,
    _strides,
    _temporal_taps,
    _tile,
    _words,
    check_frame_size,
    check_pad_modes,
    check_reflection,
    depthwise_pair_bwd_input,
    depthwise_pair_bwd_weight,
    empty_channels_last,
    frames_per_program,
    in_words,
    launch_bwd_weight,
    launch_fwd_pair,
    multiprocessors,
    on_device_of,
    pack_filters,
    padded_shape,
    strides,
    vector_size,
    warp_size,
    with_channels_innermost,
)
from .depthwise_taps import depthwise_taps, taps_pay
from .dispatch import Impl, arch_of, below_autograd, jit, register_op, resolve_impl, tl, triton
from .partial_statistics import combine_statistics


def separable_conv3d_reference(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor,
                               bias: Tensor | None = None, *, pad_space: PadMode = "zeros",
                               pad_time: PadMode = "zeros") -> Tensor:
    """The specification: three convolutions in plain torch."""
    channels = x.shape[1]
    u = conv3d(pad_clip(x, pad_space, "none"), spatial[:, None, None], groups=channels)
    v = conv3d(pad_clip(u, "none", pad_time), temporal[:, None, :, None, None], groups=channels)
    return conv3d(v, pointwise[:, :, None, None, None], bias)


@jit
def _whole_tile(even, odd):
    """Even and odd pixels [P, C] as [2 P, C], in the order of the image."""
    return tl.join(even, odd).permute(0, 2, 1).reshape(2 * even.shape[0], even.shape[1])


@jit
def _load_pointwise(pointwise_ptr, offs_o, offs_c, C: tl.constexpr, C_OUT: tl.constexpr):
    """The pointwise filter [BLOCK_C, BLOCK_O]."""
    return tl.load(pointwise_ptr + offs_o[None, :] * C + offs_c[:, None],
                   mask=(offs_c < C)[:, None] & (offs_o < C_OUT)[None, :], other=0.0)


@jit
def _separable_conv_fwd_kernel(x_ptr, filters_ptr, pointwise_ptr, bias_ptr, y_ptr, count_ptr, mean_ptr, m2_ptr,
                               T, H, W, T_out, H_out, W_out, frames, stride_xn, stride_xt, stride_xh, stride_xw,
                               stride_yn, stride_yo, stride_yt, stride_yh, stride_yw,
                               C: tl.constexpr, C_OUT: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr,
                               BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, VEC: tl.constexpr, VEC_Y: tl.constexpr,
                               PAD_SPACE: tl.constexpr, PAD_TIME: tl.constexpr, NORM: tl.constexpr,
                               HAS_BIAS: tl.constexpr, STATISTICS: tl.constexpr, WORDS: tl.constexpr,
                               PRECISION: tl.constexpr, HOLD_POINTWISE: tl.constexpr):
    """A tile of y for `frames` frames, with all channels. Grid: tiles, pieces of time, samples.

    STATISTICS: each pixel keeps the mean of its frames and their squared deviations from it (Welford), and the program
    writes those of all its pixels to partial [programs, 3, O]: count, mean, squared deviations.
    """
    stride_xn, stride_xt, stride_xh, stride_xw = _strides(stride_xn, stride_xt, stride_xh, stride_xw, VEC, WORDS)
    stride_yn, stride_yt, stride_yh, stride_yw = _strides(stride_yn, stride_yt, stride_yh, stride_yw, VEC_Y, False)
    x_ptr = _words(x_ptr, WORDS) + tl.program_id(2) * stride_xn
    y_ptr += tl.program_id(2) * stride_yn
    top, left = _tile(tl.program_id(0), W_out, BLOCK_H, BLOCK_W)
    offs_o, offs_c = tl.arange(0, BLOCK_O), tl.arange(0, BLOCK_C)
    mask_o = offs_o < C_OUT
    if HOLD_POINTWISE:
        pointwise = _load_pointwise(pointwise_ptr, offs_o, offs_c, C, C_OUT).to(y_ptr.dtype.element_ty)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + offs_o, mask=mask_o, other=0.0).to(tl.float32)

    pixel = tl.arange(0, 2 * BLOCK_H * BLOCK_W)
    pixel_h, pixel_w = top + pixel // (2 * BLOCK_W), left + pixel % (2 * BLOCK_W)
    mask_pixel = (pixel_h < H_out) & (pixel_w < W_out)
    offs_y = (pixel_h * stride_yh + pixel_w * stride_yw)[:, None] + (offs_o * stride_yo)[None, :]
    mask_y = mask_pixel[:, None] & mask_o[None, :]

    start = tl.program_id(1) * frames
    end = tl.minimum(start + frames, T_out)
    mean = tl.zeros((2 * BLOCK_H * BLOCK_W, BLOCK_O), tl.float32)
    m2 = tl.zeros((2 * BLOCK_H * BLOCK_W, BLOCK_O), tl.float32)
    next_even = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)  # sums so far of the frame of v that is due next
    next_odd = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
    later_even = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)  # and of the one after it
    later_odd = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
    for position in range(start, end + 2):
        even, odd, frame = _spatial_part(x_ptr, filters_ptr, position, top, left, C, T, H, W, stride_xt, stride_xh,
                                         stride_xw, C, BLOCK_C, BLOCK_H, BLOCK_W, PAD_SPACE, PAD_TIME, False, NORM,
                                         WORDS)
        before, middle, behind = _temporal_taps(filters_ptr, frame, T, BLOCK_C, PAD_TIME, False)
        due = position - 2
        if due >= start:
            v = _whole_tile(next_even + before * even, next_odd + before * odd).to(y_ptr.dtype.element_ty)
            if not HOLD_POINTWISE:
                pointwise = _load_pointwise(pointwise_ptr, offs_o, offs_c, C, C_OUT).to(y_ptr.dtype.element_ty)
            y = tl.dot(v, pointwise, input_precision=PRECISION)
            if HAS_BIAS:
                y += bias[None, :]
            tl.store(y_ptr + due * stride_yt + offs_y, y.to(y_ptr.dtype.element_ty), mask=mask_y)
            if STATISTICS:
                difference = y - mean
                mean += difference * (1.0 / (due - start + 1))
                m2 += difference * (y - mean)
        next_even = later_even + middle * even
        next_odd = later_odd + middle * odd
        later_even = behind * even
        later_odd = behind * odd

    if STATISTICS:
        inside = mask_pixel[:, None]
        pixels = tl.sum(mask_pixel.to(tl.float32), 0)
        mean_all = tl.sum(tl.where(inside, mean, 0.0), 0) / pixels
        apart = tl.where(inside, mean - mean_all[None, :], 0.0)
        m2_all = tl.sum(tl.where(inside, m2, 0.0), 0) + tl.sum(apart * apart, 0) * (end - start)
        piece = tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)
        program = tl.cast(piece, tl.int64) * tl.num_programs(0) + tl.program_id(0)
        tl.store(count_ptr + program, pixels * (end - start))
        tl.store(mean_ptr + program * C_OUT + offs_o, mean_all, mask=mask_o)
        tl.store(m2_ptr + program * C_OUT + offs_o, m2_all, mask=mask_o)


@jit
def _separable_conv_bwd_pointwise_kernel(x_ptr, dy_ptr, filters_ptr, dp_ptr, db_ptr, T, H, W, T_out, H_out, W_out,
                                         frames, pieces, tiles, parts,
                                         stride_xn, stride_xt, stride_xh, stride_xw,
                                         stride_yn, stride_yo, stride_yt, stride_yh, stride_yw,
                                         C: tl.constexpr, C_OUT: tl.constexpr, BLOCK_C: tl.constexpr,
                                         BLOCK_O: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
                                         VEC: tl.constexpr, VEC_Y: tl.constexpr, PAD_SPACE: tl.constexpr,
                                         PAD_TIME: tl.constexpr, NORM: tl.constexpr, WORDS: tl.constexpr,
                                         PRECISION: tl.constexpr):
    """dy v^T and the sum of dy over every num_programs-th part of the work: a tile of a sample for `frames` frames.
    Grid: programs, blocks of outputs."""
    stride_xn, stride_xt, stride_xh, stride_xw = _strides(stride_xn, stride_xt, stride_xh, stride_xw, VEC, WORDS)
    stride_yn, stride_yt, stride_yh, stride_yw = _strides(stride_yn, stride_yt, stride_yh, stride_yw, VEC_Y, False)
    x_ptr = _words(x_ptr, WORDS)
    offs_o, offs_c = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O), tl.arange(0, BLOCK_C)
    pixel = tl.arange(0, 2 * BLOCK_H * BLOCK_W)

    dp = tl.zeros((BLOCK_O, BLOCK_C), tl.float32)
    db = tl.zeros((2 * BLOCK_H * BLOCK_W, BLOCK_O), tl.float32)
    for part in range(tl.program_id(0), parts, tl.num_programs(0)):
        tile, piece, sample = part % tiles, part // tiles % pieces, part // tiles // pieces
        top, left = _tile(tile, W_out, BLOCK_H, BLOCK_W)
        pixel_h, pixel_w = top + pixel // (2 * BLOCK_W), left + pixel % (2 * BLOCK_W)
        offs_y = (pixel_h * stride_yh + pixel_w * stride_yw)[:, None] + (offs_o * stride_yo)[None, :]
        mask_y = ((pixel_h < H_out) & (pixel_w < W_out))[:, None] & (offs_o < C_OUT)[None, :]
        start = piece * frames
        end = tl.minimum(start + frames, T_out)
        next_even = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
        next_odd = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
        later_even = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
        later_odd = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
        for position in range(start, end + 2):
            even, odd, frame = _spatial_part(x_ptr + sample * stride_xn, filters_ptr, position, top, left, C, T, H,
                                             W, stride_xt, stride_xh, stride_xw, C, BLOCK_C, BLOCK_H, BLOCK_W,
                                             PAD_SPACE, PAD_TIME, False, NORM, WORDS)
            before, middle, behind = _temporal_taps(filters_ptr, frame, T, BLOCK_C, PAD_TIME, False)
            due = position - 2
            if due >= start:
                v = _whole_tile(next_even + before * even, next_odd + before * odd).to(dy_ptr.dtype.element_ty)
                dy = tl.load(dy_ptr + sample * stride_yn + due * stride_yt + offs_y, mask=mask_y, other=0.0)
                dp = tl.dot(tl.trans(dy), v, dp, input_precision=PRECISION)
                db += dy.to(tl.float32)
            next_even = later_even + middle * even
            next_odd = later_odd + middle * odd
            later_even = behind * even
            later_odd = behind * odd

    tl.store(db_ptr + tl.program_id(0) * C_OUT + offs_o, tl.sum(db, 0), mask=offs_o < C_OUT)
    dp_ptr += tl.program_id(0) * (C_OUT * C)
    tl.store(dp_ptr + offs_o[:, None] * C + offs_c[None, :], dp, mask=(offs_o < C_OUT)[:, None] & (offs_c < C)[None, :])


class ConvConfig(NamedTuple):
    """A launch: a tile of block_h x 2 block_w pixels, for num_warps warps. All channels are in it."""
    block_c: int
    block_o: int
    block_h: int
    block_w: int
    num_warps: int
    maxnreg: int | None = None
    """Registers per thread that ptxas may use; None: it decides."""


MAX_CHANNELS = 128  # one program holds all of a pixel's channels


def conv_config(channels: int, out_channels: int, dtype: torch.dtype, arch: str) -> ConvConfig:
    """One pair of pixels and 16 bytes of channels and outputs per thread, as in the depthwise pair; a matrix product
    wants 16 rows, columns and channels at least: of fewer channels a thread takes four (with eight, three spill 176
    bytes). On sm_100 64 threads up to 64 bytes of channels: 128 spill 12 to 48 bytes (16 and 32 channels of bfloat16).
    They, and three channels to 32, may use 255 registers: ptxas by itself stops at 168 or 128, for occupancy, and
    spills 8 to 24 bytes."""
    block_c, block_o = (max(16, triton.next_power_of_2(size)) for size in (channels, out_channels))
    threads_per_pixel = max(4 if channels < 16 else 2, max(block_c, block_o) * dtype.itemsize // 16)
    threads = 256 if threads_per_pixel >= 8 else 64 if arch == "sm_100" and channels >= 16 else 128
    tile = TILE_OF_PAIRS[threads // threads_per_pixel]
    maxnreg = 255 if arch == "sm_100" and (threads == 64 or (channels < 16 and block_o <= 32)) else None
    return ConvConfig(block_c, block_o, *tile, threads // warp_size(arch), maxnreg)


def precision(dtype: torch.dtype, arch: str) -> str:
    """float32 products as three of NVIDIA's tf32, which err as float32 does: with "ieee" ptxas spills 4 KB (sm_90). AMD
    has float32 products."""
    return "tf32x3" if dtype == torch.float32 and arch.startswith("sm_") else "ieee"


class Problem(NamedTuple):
    """What both launchers share: the walk's pieces and the kernels' arguments."""
    x: Tensor
    config: ConvConfig
    filters: Tensor
    tiles: int
    frames: int
    pieces: int
    arguments: dict[str, Any]


def _problem(x: Tensor, y: Tensor, spatial: Tensor, temporal: Tensor, pad_space: PadMode, pad_time: PadMode,
             norm: Norm | None) -> Problem:
    x = with_channels_innermost(x)
    check_frame_size(x)
    check_frame_size(y)
    n, out_channels, t, h, w = y.shape
    config = conv_config(x.shape[1], out_channels, x.dtype, arch_of(x))
    tiles = triton.cdiv(h, config.block_h) * triton.cdiv(w, 2 * config.block_w)
    frames = frames_per_program(t, tiles * n, arch_of(x))
    vec = vector_size(x)
    arguments = {
        "C": x.shape[1], "C_OUT": out_channels, "BLOCK_C": config.block_c, "BLOCK_O": config.block_o,
        "BLOCK_H": config.block_h, "BLOCK_W": config.block_w, "VEC": vec,
        "VEC_Y": vector_size(y) if y.stride(1) == 1 else 1, "PAD_SPACE": pad_space, "PAD_TIME": pad_time,
        "NORM": norm is not None, "WORDS": in_words(vec, x), "PRECISION": precision(x.dtype, arch_of(x)),
        "num_warps": config.num_warps}
    if config.maxnreg is not None:  # no option of AMD's
        arguments["maxnreg"] = config.maxnreg
    return Problem(x, config, pack_filters(spatial, temporal, config.block_c, norm), tiles, frames,
                   triton.cdiv(t, frames), arguments)


def _empty_output(x: Tensor, pointwise: Tensor, pad_space: PadMode, pad_time: PadMode) -> Tensor:
    """Channels innermost; three channels, a clip's, as planes."""
    n, _, t, h, w = padded_shape(x.shape, pad_space, pad_time)
    out_channels = pointwise.shape[0]
    if out_channels == 3:
        return x.new_empty((n, out_channels, t, h, w))
    return empty_channels_last(x, n, out_channels, t, h, w)


def launch_fwd(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor, bias: Tensor | None,
               pad_space: PadMode, pad_time: PadMode, norm: Norm | None = None,
               statistics: bool = False) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y, and its mean and biased variance [O] where asked for."""
    y = _empty_output(x, pointwise, pad_space, pad_time)
    n, out_channels = y.shape[:2]
    mean = var = None
    parts: list[Tensor] = []
    with on_device_of(x):
        problem = _problem(x, y, spatial, temporal, pad_space, pad_time, norm)
        programs = problem.tiles * problem.pieces * n
        if statistics:
            parts = [y.new_empty(shape, dtype=torch.float32)
                     for shape in ((1, programs), (1, programs, out_channels), (1, programs, out_channels))]
        _separable_conv_fwd_kernel[(problem.tiles, problem.pieces, n)](
            problem.x, problem.filters, pointwise.contiguous(), bias if bias is None else bias.contiguous(), y,
            *(parts or (None,) * 3),
            *x.shape[2:], *y.shape[2:], problem.frames, *strides(problem.x), *y.stride(), **problem.arguments,
            HAS_BIAS=bias is not None, STATISTICS=statistics,
            # In registers over all frames; 128 channels of float32 would spill 16 to 64 bytes.
            HOLD_POINTWISE=problem.config.block_c * x.element_size() < 512)
    if statistics:
        mean, var = (t[0] for t in combine_statistics(*parts, impl="triton"))
    return y, mean, var


def launch_bwd_pointwise(x: Tensor, dy: Tensor, spatial: Tensor, temporal: Tensor, pad_space: PadMode,
                         pad_time: PadMode, norm: Norm | None = None) -> tuple[Tensor, Tensor]:
    """In float32 through memory: v, then one matrix product. With v as an operand of three tf32 products the kernel
    spills 0.7 to 3 KB (32 to 128 channels, sm_80; 32 channels, sm_90)."""
    if x.dtype == torch.float32:
        v = launch_fwd_pair(x, spatial, temporal, pad_space, pad_time, norm)
        rows, dy_rows = (t.movedim(1, -1).reshape(-1, t.shape[1]) for t in (v, dy))
        with torch.autocast(x.device.type, enabled=False):
            return dy_rows.T @ rows, dy_rows.sum(0)
    with on_device_of(x):
        problem = _problem(x, dy, spatial, temporal, pad_space, pad_time, norm)
        n, out_channels = dy.shape[:2]
        parts = problem.tiles * problem.pieces * n
        # Sums of 128 x 128 spill 80 bytes on sm_80, 8 on sm_100, 16 with the norm on sm_90, where else halves do (8).
        whole = arch_of(x) == "sm_90" and norm is None
        block_o = problem.config.block_o if whole else min(64, problem.config.block_o)
        blocks = triton.cdiv(out_channels, block_o)
        # As many programs as run at once: each adds a matrix to what the sum below reads.
        programs = min(parts, 2 * multiprocessors(arch_of(x)) // blocks)
        dp = x.new_empty((programs, out_channels, x.shape[1]), dtype=torch.float32)
        db = x.new_empty((programs, out_channels), dtype=torch.float32)
        _separable_conv_bwd_pointwise_kernel[(programs, blocks)](
            problem.x, dy, problem.filters, dp, db, *x.shape[2:], *dy.shape[2:], problem.frames, problem.pieces,
            problem.tiles, parts, *strides(problem.x), *dy.stride(), **problem.arguments | {"BLOCK_O": block_o})
    return dp.sum(0), db.sum(0)


def _fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time):
    return launch_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time)[0]


def _fwd_fake(x, spatial, temporal, pointwise, bias, pad_space, pad_time):
    return _empty_output(x, pointwise, pad_space, pad_time)


def _stats_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time):
    return launch_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time, statistics=True)


def _stats_fwd_fake(x, spatial, temporal, pointwise, bias, pad_space, pad_time):
    return _with_empty_statistics(_empty_output(x, pointwise, pad_space, pad_time))


def _with_empty_statistics(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return y, y.new_empty((y.shape[1],), dtype=torch.float32), y.new_empty((y.shape[1],), dtype=torch.float32)


def _bwd_pointwise_fake(x, dy, spatial, temporal, pad_space, pad_time):
    return (x.new_empty((dy.shape[1], x.shape[1]), dtype=torch.float32),
            x.new_empty((dy.shape[1],), dtype=torch.float32))


def pointwise_adjoint(dy: Tensor, pointwise: Tensor) -> Tensor:
    """dv [N, C, T, H, W], channels innermost, from dy: one matrix product over all pixels."""
    with torch.autocast(dy.device.type, enabled=False):
        return (dy.movedim(1, -1) @ pointwise.to(dy.dtype)).movedim(-1, 1)


class SeparableConvFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, spatial, temporal, pointwise, bias, pad_space, pad_time):
        ctx.save_for_backward(x, spatial, temporal, pointwise)
        ctx.pads = pad_space, pad_time
        with below_autograd():
            return separable_conv_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time)

    @staticmethod
    def backward(ctx, dy):
        x, spatial, temporal, pointwise = ctx.saved_tensors
        wants_x, wants_s, wants_t, wants_p, wants_b = ctx.needs_input_grad[:5]
        dx = ds = dt = dp = db = None
        wants_weights = weight_gradients_wanted()
        if wants_x or ((wants_s or wants_t) and wants_weights):
            dv = pointwise_adjoint(dy, pointwise)
        if wants_x:
            dx = depthwise_pair_bwd_input(dv, spatial, temporal, *ctx.pads)
        if (wants_s or wants_t) and wants_weights:
            ds, dt = depthwise_pair_bwd_weight(x, dv, spatial, temporal, *ctx.pads)
        if (wants_p or wants_b) and wants_weights:
            dp, db = separable_conv_bwd_pointwise(x, dy, spatial, temporal, *ctx.pads)
            dp, db = dp.to(pointwise.dtype), db if wants_b else None
        return dx, ds, dt, dp, db, None, None


class SeparableConvStatsFunction(torch.autograd.Function):
    """The same, and the mean and variance of y, which are not differentiable."""

    @staticmethod
    def forward(ctx, x, spatial, temporal, pointwise, bias, pad_space, pad_time):
        ctx.save_for_backward(x, spatial, temporal, pointwise)
        ctx.pads = pad_space, pad_time
        with below_autograd():
            y, *statistics = separable_conv_stats_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time)
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)  # zeros for the statistics would be two launches
        return y, *statistics

    @staticmethod
    def backward(ctx, dy, _mean, _var):
        return (None,) * 7 if dy is None else SeparableConvFunction.backward(ctx, dy)


class SeparableConvBwdPointwiseFunction(torch.autograd.Function):
    """dpointwise and dbias are linear in what arrives at them, g and h: <dy, fwd(x; g, h)>."""

    @staticmethod
    def forward(ctx, x, dy, spatial, temporal, pad_space, pad_time):
        ctx.save_for_backward(x, dy, spatial, temporal)
        ctx.pads = pad_space, pad_time
        with below_autograd():
            return separable_conv_bwd_pointwise(x, dy, spatial, temporal, pad_space, pad_time)

    @staticmethod
    def backward(ctx, g, h):
        x, dy, spatial, temporal = ctx.saved_tensors
        wants_x, wants_dy, wants_s, wants_t = ctx.needs_input_grad[:4]
        dx = ddy = ds = dt = None
        if wants_dy:
            ddy = separable_conv_fwd(x, spatial, temporal, g, h, *ctx.pads)
        if wants_x or wants_s or wants_t:
            dv = pointwise_adjoint(dy, g)
        if wants_x:
            dx = depthwise_pair_bwd_input(dv, spatial, temporal, *ctx.pads)
        if wants_s or wants_t:
            ds, dt = depthwise_pair_bwd_weight(x, dv, spatial, temporal, *ctx.pads)
        return dx, ddy, ds, dt, None, None


separable_conv_fwd = register_op(
    "separable_conv_fwd(Tensor x, Tensor spatial, Tensor temporal, Tensor pointwise, Tensor? bias, str pad_space,"
    " str pad_time) -> Tensor", _fwd, _fwd_fake, SeparableConvFunction)
separable_conv_stats_fwd = register_op(
    "separable_conv_stats_fwd(Tensor x, Tensor spatial, Tensor temporal, Tensor pointwise, Tensor? bias,"
    " str pad_space, str pad_time) -> (Tensor, Tensor, Tensor)", _stats_fwd, _stats_fwd_fake,
    SeparableConvStatsFunction)
separable_conv_bwd_pointwise = register_op(
    "separable_conv_bwd_pointwise(Tensor x, Tensor dy, Tensor spatial, Tensor temporal, str pad_space, str pad_time)"
    " -> (Tensor, Tensor)", launch_bwd_pointwise, _bwd_pointwise_fake, SeparableConvBwdPointwiseFunction)


def _norm_act_fwd(x, mean, var, gamma, beta, spatial, temporal, pointwise, bias, pad_space, pad_time):
    return launch_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time, Norm(mean, var, gamma, beta), True)


def _norm_act_fwd_fake(x, mean, var, gamma, beta, spatial, temporal, pointwise, bias, pad_space, pad_time):
    return _with_empty_statistics(_empty_output(x, pointwise, pad_space, pad_time))


def _norm_act_bwd_weight(x, mean, var, gamma, beta, dv, spatial, temporal, pad_space, pad_time):
    return launch_bwd_weight(x, dv, spatial, temporal, pad_space, pad_time, Norm(mean, var, gamma, beta))


def _norm_act_bwd_weight_fake(x, mean, var, gamma, beta, dv, spatial, temporal, pad_space, pad_time):
    return spatial.new_empty(spatial.shape), temporal.new_empty(temporal.shape)


def _norm_act_bwd_pointwise(x, mean, var, gamma, beta, dy, spatial, temporal, pad_space, pad_time):
    return launch_bwd_pointwise(x, dy, spatial, temporal, pad_space, pad_time, Norm(mean, var, gamma, beta))


def _norm_act_bwd_pointwise_fake(x, mean, var, gamma, beta, dy, spatial, temporal, pad_space, pad_time):
    return _bwd_pointwise_fake(x, dy, spatial, temporal, pad_space, pad_time)


class NormActSeparableConvFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mean, var, gamma, beta, spatial, temporal, pointwise, bias, pad_space, pad_time):
        ctx.save_for_backward(x, mean, var, gamma, beta, spatial, temporal, pointwise)
        ctx.pads = pad_space, pad_time
        with below_autograd():
            y, *statistics = norm_act_separable_conv_fwd(x, mean, var, gamma, beta, spatial, temporal, pointwise, bias,
                                                         pad_space, pad_time)
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)
        return y, *statistics

    @staticmethod
    def backward(ctx, dy, _mean, _var):
        if dy is None:
            return (None,) * 11
        *gradients, dbias = NormActSeparableConvBwdFunction.apply(dy, *ctx.saved_tensors, *ctx.pads)
        return *gradients, dbias if ctx.needs_input_grad[8] else None, None, None


class NormActSeparableConvBwdFunction(torch.autograd.Function):
    """All first gradients. A Function, so that a second derivative meets an error and not a constant."""

    @staticmethod
    def forward(ctx, dy, x, mean, var, gamma, beta, spatial, temporal, pointwise, pad_space, pad_time):
        before, pads = (x, mean, var, gamma, beta), (pad_space, pad_time)
        dv = pointwise_adjoint(dy, pointwise)
        da = depthwise_pair_bwd_input(dv, spatial, temporal, *pads)
        weights = weight_gradients_wanted()
        dx, dgamma, dbeta = batch_norm_act_bwd(da, x, mean[None], var[None], gamma, beta, False, weights, "triton")
        if not weights:
            return dx, *(None,) * 8
        ds, dt = norm_act_depthwise_pair_bwd_weight(*before, dv, spatial, temporal, *pads)
        dp, db = norm_act_separable_conv_bwd_pointwise(*before, dy, spatial, temporal, *pads)
        return dx, None, None, dgamma, dbeta, ds, dt, dp.to(pointwise.dtype), db

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError("norm_act_separable_conv3d is differentiable once: for a second derivative use "
                           "batch_norm_act and separable_conv3d")


_BEFORE = "Tensor x, Tensor mean, Tensor var, Tensor gamma, Tensor beta"
norm_act_separable_conv_fwd = register_op(
    f"norm_act_separable_conv_fwd({_BEFORE}, Tensor spatial, Tensor temporal, Tensor pointwise, Tensor? bias,"
    " str pad_space, str pad_time) -> (Tensor, Tensor, Tensor)", _norm_act_fwd, _norm_act_fwd_fake,
    NormActSeparableConvFunction)
norm_act_depthwise_pair_bwd_weight = register_op(
    f"norm_act_depthwise_pair_bwd_weight({_BEFORE}, Tensor dv, Tensor spatial, Tensor temporal, str pad_space,"
    " str pad_time) -> (Tensor, Tensor)", _norm_act_bwd_weight, _norm_act_bwd_weight_fake)
norm_act_separable_conv_bwd_pointwise = register_op(
    f"norm_act_separable_conv_bwd_pointwise({_BEFORE}, Tensor dy, Tensor spatial, Tensor temporal, str pad_space,"
    " str pad_time) -> (Tensor, Tensor)", _norm_act_bwd_pointwise, _norm_act_bwd_pointwise_fake)


def separable_conv3d(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor, bias: Tensor | None = None, *,
                     pad_space: PadMode = "zeros", pad_time: PadMode = "zeros", impl: Impl = "auto") -> Tensor:
    """Separable convolution of `x` [N, C, T, H, W].

    Args:
        spatial: [C, 3, 3]. temporal: [C, 3]. pointwise: [O, C]. bias: [O] or None.
        pad_space, pad_time: what surrounds each frame, and the clip in time; "circular" in time only.
        impl: who computes it (`dispatch.py`). "auto" takes torch beyond 128 channels.

    Returns:
        [N, O, T, H, W] (2 less along an axis without padding) in autocast's dtype; channels innermost in memory, but
        planes where Triton makes three channels, a clip's.

    Raises:
        ValueError: for shapes that do not belong together, an unknown padding, or an `impl` that cannot run.
        RuntimeError: for the mirror image of a single pixel or frame.
    """
    _check_shapes(x, spatial, temporal, pointwise, "separable_conv3d")
    check_pad_modes(pad_space, pad_time, "separable_conv3d")
    x = x.to(compute_dtype(x))
    if _takes_triton(impl, x, pointwise, "separable_conv3d"):
        check_reflection(x, pad_space, pad_time, "separable_conv3d")
        return separable_conv_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time)
    if taps_pay(x, spatial, temporal):
        with torch.autocast(x.device.type, enabled=False):
            around = int(pad_space == pad_time == "zeros")  # which cost nothing
            padded = x if around else pad_clip(x, pad_space, pad_time)
            v = depthwise_taps(padded, spatial, temporal, padding=around).movedim(1, -1)
            return linear(v, pointwise.to(x.dtype), bias if bias is None else bias.to(x.dtype)).movedim(-1, 1)
    with torch.autocast(x.device.type, enabled=False):
        weight = torch.einsum("oc,ck,cij->ockij", pointwise, temporal, spatial)
    return convolution(x, weight, bias, pad_space=pad_space, pad_time=pad_time)


def _takes_triton(impl: Impl, x: Tensor, pointwise: Tensor, op: str) -> bool:
    if resolve_impl(impl, op, x) == "torch":
        return False
    if max(pointwise.shape) <= MAX_CHANNELS:
        return True
    if impl == "triton":
        raise ValueError(f"{op}: impl='triton' got pointwise {tuple(pointwise.shape)}: expected {MAX_CHANNELS} "
                         "channels at most, or impl='torch'")
    return False


def folds_norm_act(x: Tensor, channels: int, impl: Impl = "auto") -> bool:
    """Whether a chain of the two functions below pays: where Triton computes it, for `channels` at most 128. Plain
    torch would take the statistics apart from the norm, and store what is activated all the same."""
    return resolve_impl(impl, "norm_act_separable_conv3d", x) == "triton" and channels <= MAX_CHANNELS


def separable_conv3d_statistics(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor,
                                bias: Tensor | None = None, *, pad_space: PadMode = "zeros",
                                pad_time: PadMode = "zeros", impl: Impl = "auto") -> tuple[Tensor, Tensor, Tensor]:
    """`separable_conv3d` and the statistics of its result: where a chain of `norm_act_separable_conv3d` begins.

    Returns:
        y, its mean and its biased variance [O] as there. Differentiable any number of times in y.

    Raises:
        ValueError: as `separable_conv3d`.
    """
    _check_shapes(x, spatial, temporal, pointwise, "separable_conv3d_statistics")
    check_pad_modes(pad_space, pad_time, "separable_conv3d_statistics")
    x = x.to(compute_dtype(x))
    if _takes_triton(impl, x, pointwise, "separable_conv3d_statistics"):
        check_reflection(x, pad_space, pad_time, "separable_conv3d_statistics")
        return separable_conv_stats_fwd(x, spatial, temporal, pointwise, bias, pad_space, pad_time)
    return _with_statistics(separable_conv3d(x, spatial, temporal, pointwise, bias, pad_space=pad_space,
                                             pad_time=pad_time, impl="torch"))


def _with_statistics(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wide = y.detach().to(torch.promote_types(y.dtype, torch.float32))
    var, mean = torch.var_mean(wide, (0, 2, 3, 4), correction=0)
    return y, mean, var


def norm_act_separable_conv3d(x: Tensor, mean: Tensor, var: Tensor, gamma: Tensor, beta: Tensor, spatial: Tensor,
                              temporal: Tensor, pointwise: Tensor, bias: Tensor | None = None, *,
                              pad_space: PadMode = "zeros", pad_time: PadMode = "zeros",
                              impl: Impl = "auto") -> tuple[Tensor, Tensor, Tensor]:
    """BatchNorm (training) and LeakyReLU(0.2) of `x`, then `separable_conv3d`: a chain stores raw results only.

    Args:
        x: raw result [N, C, T, H, W] of the block before.
        mean, var: its own mean and biased variance [C] in float32, as this function returns them for its result. Not
            differentiable: dx counts how they depend on x.
        gamma, beta: the norm's scale and shift [C].
        the rest: as in `separable_conv3d`; padding surrounds the activated clip.

    Returns:
        y, its mean and its biased variance [O] in float32; the latter two not differentiable, and computed before y is
        rounded. Differentiable once.

    Raises:
        ValueError: as `separable_conv3d`, and for statistics or parameters that are not [C].
    """
    channels = x.shape[1]
    if any(t.shape != (channels,) for t in (mean, var, gamma, beta)):
        raise ValueError(f"norm_act_separable_conv3d of x {tuple(x.shape)} with mean {tuple(mean.shape)}, var "
                         f"{tuple(var.shape)}, gamma {tuple(gamma.shape)}, beta {tuple(beta.shape)}: expected [C]")
    _check_shapes(x, spatial, temporal, pointwise, "norm_act_separable_conv3d")
    check_pad_modes(pad_space, pad_time, "norm_act_separable_conv3d")
    x = x.to(compute_dtype(x))
    if _takes_triton(impl, x, pointwise, "norm_act_separable_conv3d"):
        check_reflection(x, pad_space, pad_time, "norm_act_separable_conv3d")
        return norm_act_separable_conv_fwd(x, mean.float(), var.float(), gamma, beta, spatial, temporal, pointwise,
                                           bias, pad_space, pad_time)
    return _with_statistics(separable_conv3d(batch_norm_act(x, gamma, beta)[0], spatial, temporal, pointwise, bias,
                                             pad_space=pad_space, pad_time=pad_time, impl="torch"))


def _check_shapes(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor, op: str) -> None:
    channels = x.shape[1]
    if x.dim() != 5 or spatial.shape != (channels, 3, 3) or temporal.shape != (channels, 3) or \
            pointwise.dim() != 2 or pointwise.shape[1] != channels:
        raise ValueError(f"{op} of x {tuple(x.shape)} with spatial {tuple(spatial.shape)}, temporal "
                         f"{tuple(temporal.shape)}, pointwise {tuple(pointwise.shape)}: expected [N, C, T, H, W], "
                         "[C, 3, 3], [C, 3], [O, C]")
