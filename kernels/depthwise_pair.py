"""The depthwise pair of a separable 3D convolution: 1x3x3 on each frame, then 3x1x1 in time, channel by channel.

    u[n,c,t,y,x] = sum_ij  spatial[c,i,j]  x[n,c,t,y+i-1,x+j-1]
    v[n,c,t,y,x] = sum_k   temporal[c,k]   u[n,c,t+k-1,y,x]

    x [N, C, T, H, W], spatial [C, 3, 3], temporal [C, 3]; float32, float16 or bfloat16, sums in float32

Equivalent to, for zeros all around:
    u = F.conv3d(x, spatial[:, None, None], padding=(0, 1, 1), groups=C)
    v = F.conv3d(u, temporal[:, None, :, None, None], padding=(1, 0, 0), groups=C)

The map is linear in x, in spatial and in temporal, so three ops are closed under differentiation, to any order:

    v  = fwd(x, s, t)           dx = bwd_input(dv, s, t)          ds, dt = bwd_weight(x, dv, s, t)
    bwd_input for g:            ddv = fwd(g, s, t)                ds, dt = bwd_weight(g, dv, s, t)
    bwd_weight for gs, gt:      what <dv, fwd(x, gs, t) + fwd(x, s, gt)> gives for each of its arguments

How the kernels move. A thread holds two neighbouring pixels ("even" and "odd") of a tile, eight channels of each
(16 bytes of bfloat16), so that a row of three taps for both takes four loads and not six. Tiles walk through time:
a frame is loaded once, its u goes into the partial sums of the three frames of v that read it. What surrounds the clip
in time is no extra frame but a change of the three temporal taps at the ends: a copied border adds its tap to another.
In space a tap's index is clamped, mirrored or masked. The adjoint is the same walk with the filters turned round;
only tiles at a border then add what the padding copied there.

The filters' gradients come from that of the 3x3x3 filter that the pair is, for which a program keeps 27 sums over all
its tiles. A thread holds four channels of four neighbouring pixels (float32: two), for which a row takes six loads:

    dw_kij = sum dv[t] x[t+k-1,y+i-1,x+j-1],  ds_ij = sum_k temporal_k dw_kij,  dt_k = sum_ij spatial_ij dw_kij
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv3d

from .batch_norm_act import EPS
from .convolution import PadMode, channels_last, compute_dtype, convolution, pad_clip, weight_gradients_wanted
from .dispatch import Impl, arch_of, below_autograd, jit, register_op, resolve_impl, tl, triton


def depthwise_pair3d_reference(x: Tensor, spatial: Tensor, temporal: Tensor, *, pad_space: PadMode = "zeros",
                               pad_time: PadMode = "zeros") -> Tensor:
    """The specification: two convolutions in plain torch."""
    channels = x.shape[1]
    u = conv3d(pad_clip(x, pad_space, "none"), spatial[:, None, None], groups=channels)
    return conv3d(pad_clip(u, "none", pad_time), temporal[:, None, :, None, None], groups=channels)


@jit
def _pack_filters_kernel(spatial_ptr, temporal_ptr, mean_ptr, var_ptr, gamma_ptr, beta_ptr, filters_ptr, C, eps,
                         NORM: tl.constexpr, BLOCK_C: tl.constexpr):
    """Filters as the others read them, channels innermost: for a block of channels nine rows of spatial taps, three of
    temporal ones, and the scale and shift of the norm before."""
    offs_c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    filters_ptr += tl.program_id(0) * (14 * BLOCK_C) + tl.arange(0, BLOCK_C)
    for tap in tl.static_range(9):
        value = tl.load(spatial_ptr + offs_c * 9 + tap, mask=mask_c, other=0.0)
        tl.store(filters_ptr + tap * BLOCK_C, value.to(tl.float32))
    for tap in tl.static_range(3):
        value = tl.load(temporal_ptr + offs_c * 3 + tap, mask=mask_c, other=0.0)
        tl.store(filters_ptr + (9 + tap) * BLOCK_C, value.to(tl.float32))
    if NORM:
        mean = tl.load(mean_ptr + offs_c, mask=mask_c, other=0.0)
        var = tl.load(var_ptr + offs_c, mask=mask_c, other=1.0)
        scale = tl.load(gamma_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32) / tl.sqrt(var + eps)
        shift = tl.load(beta_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32) - mean * scale
        tl.store(filters_ptr + 12 * BLOCK_C, scale)
        tl.store(filters_ptr + 13 * BLOCK_C, shift)


@jit
def _strides(n, t, h, w, VEC: tl.constexpr, WORDS: tl.constexpr):
    """Strides of a tensor whose strides are all multiples of VEC, which the launcher knows and this tells the compiler;
    in words of two bfloat16 where WORDS says so."""
    UNIT: tl.constexpr = VEC // 2 if WORDS else VEC
    return (tl.cast(n, tl.int64) // VEC * UNIT, tl.cast(t, tl.int64) // VEC * UNIT,
            tl.cast(h, tl.int32) // VEC * UNIT, tl.cast(w, tl.int32) // VEC * UNIT)


@jit
def _words(ptr, WORDS: tl.constexpr):
    """A pointer to bfloat16 as one to words of two."""
    if WORDS:
        return ptr.to(tl.pointer_type(tl.int32), bitcast=True)
    else:
        return ptr


@jit
def _along(index, size, stride, PAD: tl.constexpr):
    """Where a padded axis has its values from, and which lie inside: indices outside are clamped or mirrored."""
    inside = (index >= 0) & (index < size)
    if PAD == "reflect":
        index = tl.abs(index)
        index = tl.minimum(index, 2 * (size - 1) - index)
    if PAD != "zeros":  # a mirrored one too: a tile's pixels may lie far beyond the image
        index = tl.minimum(tl.maximum(index, 0), size - 1)
    return index * stride, inside


@jit
def _load_tile(x_ptr, offs, inside, num_c, C: tl.constexpr, BLOCK_C: tl.constexpr, PAD: tl.constexpr,
               WORDS: tl.constexpr):
    """Pixels at `offs` [P] as they lie in memory: [P, BLOCK_C], or words of two channels, half as many."""
    PER_WORD: tl.constexpr = 2 if WORDS else 1
    offs_c = tl.arange(0, BLOCK_C // PER_WORD)
    offs = offs[:, None] + offs_c[None, :]
    if C % BLOCK_C != 0:
        mask = (offs_c < num_c // PER_WORD)[None, :]
        if PAD == "zeros":
            mask = inside[:, None] & mask
        return tl.load(x_ptr + offs, mask=mask, other=0)
    elif PAD == "zeros":
        return tl.load(x_ptr + offs, mask=inside[:, None], other=0)
    else:
        return tl.load(x_ptr + offs)


@jit
def _widen(tile, WORDS: tl.constexpr):
    """A tile [P, C] in float32. A word of two bfloat16 takes one instruction for each: bfloat16 is the upper half of
    float32; the compiler's own conversion takes one and a half (sm_90)."""
    if WORDS:
        low = (tile << 16).to(tl.float32, bitcast=True)
        high = (tile & -65536).to(tl.float32, bitcast=True)
        return tl.join(low, high).reshape(tile.shape[0], 2 * tile.shape[1])
    else:
        return tile.to(tl.float32)


@jit
def _load_pixels(x_ptr, filters_ptr, offs, inside, num_c, C: tl.constexpr, BLOCK_C: tl.constexpr, PAD: tl.constexpr,
                 NORM: tl.constexpr, WORDS: tl.constexpr):
    """Pixels at `offs` [P, BLOCK_C] in float32, normalised and activated first where NORM says so."""
    x = _widen(_load_tile(x_ptr, offs, inside, num_c, C, BLOCK_C, PAD, WORDS), WORDS)
    if NORM:
        filters_ptr += tl.arange(0, BLOCK_C)
        x = x * tl.load(filters_ptr + 12 * BLOCK_C)[None, :] + tl.load(filters_ptr + 13 * BLOCK_C)[None, :]
        x = tl.maximum(x, 0.2 * x)
        if PAD == "zeros":  # what surrounds the clip is zero after the activation
            x = tl.where(inside[:, None], x, 0.0)
    return x


@jit
def _correlate(x_ptr, filters_ptr, rows, cols, num_c, H, W, stride_h, stride_w, C: tl.constexpr,
               BLOCK_C: tl.constexpr, PAD: tl.constexpr, ADJOINT: tl.constexpr, NORM: tl.constexpr,
               WORDS: tl.constexpr):
    """The spatial filter on a frame with its first tap at (rows, cols), and the same one column on."""
    taps_ptr = filters_ptr + tl.arange(0, BLOCK_C)
    even = tl.zeros((rows.shape[0], BLOCK_C), tl.float32)
    odd = tl.zeros((rows.shape[0], BLOCK_C), tl.float32)
    for i in tl.static_range(3):
        offs_h, inside_h = _along(rows + i, H, stride_h, PAD)
        for j in tl.static_range(4):
            offs_w, inside_w = _along(cols + j, W, stride_w, PAD)
            x = _load_pixels(x_ptr, filters_ptr, offs_h + offs_w, inside_h & inside_w, num_c, C, BLOCK_C, PAD, NORM,
                             WORDS)
            if j < 3:
                even += tl.load(taps_ptr + (8 - 3 * i - j if ADJOINT else 3 * i + j) * BLOCK_C)[None, :] * x
            if j > 0:
                odd += tl.load(taps_ptr + (9 - 3 * i - j if ADJOINT else 3 * i + j - 1) * BLOCK_C)[None, :] * x
    return even, odd


@jit
def _folded_borders(x_ptr, filters_ptr, even, odd, offs_h, offs_w, num_c, H, W, stride_h, stride_w, C: tl.constexpr,
                    BLOCK_C: tl.constexpr, PAD: tl.constexpr, WORDS: tl.constexpr):
    """Add to pixels that the padding copied what the adjoint has at their copies. Row -1, a copy of row `first`, takes
    from row 0 alone, by the filter's first row; row H, a copy of row H - 1 - first, from row H - 1 by its last.
    Likewise columns, and both."""
    taps_ptr = filters_ptr + tl.arange(0, BLOCK_C)
    first: tl.constexpr = 1 if PAD == "reflect" else 0
    for side in range(2):  # no static_range: unrolled, its addresses are lifted out of the walk and spill 24 bytes
        copied = offs_h == first + side * (H - 1 - 2 * first)
        for j in tl.static_range(4):
            offs, inside = _along(offs_w + (j - 1), W, stride_w, "zeros")
            x = _load_pixels(x_ptr, filters_ptr, side * (H - 1) * stride_h + offs, copied & inside, num_c, C, BLOCK_C,
                             "zeros", False, WORDS)
            if j < 3:
                even += tl.load(taps_ptr + (6 * side + 2 - j) * BLOCK_C)[None, :] * x
            if j > 0:
                odd += tl.load(taps_ptr + (6 * side + 3 - j) * BLOCK_C)[None, :] * x
    for side in range(2):
        copied_even = offs_w == first + side * (W - 1 - 2 * first)
        copied_odd = offs_w + 1 == first + side * (W - 1 - 2 * first)
        for row in tl.static_range(5):  # the three rows around the pixel; where it has copies in rows too, 0 and H - 1
            if row < 3:
                offs, inside = _along(offs_h + (1 - row), H, stride_h, "zeros")
            else:
                offs = offs_h * 0 + (H - 1) * stride_h * (row - 3)
                inside = offs_h == first + (row - 3) * (H - 1 - 2 * first)
            x = _load_pixels(x_ptr, filters_ptr, offs + side * (W - 1) * stride_w, inside & (copied_even | copied_odd),
                             num_c, C, BLOCK_C, "zeros", False, WORDS)
            x *= tl.load(taps_ptr + (3 * (row if row < 3 else 2 * (row - 3)) + 2 * side) * BLOCK_C)[None, :]
            even += tl.where(copied_even[:, None], x, 0.0)
            odd += tl.where(copied_odd[:, None], x, 0.0)
    return even, odd


@jit
def _temporal_taps(filters_ptr, frame, T, BLOCK_C: tl.constexpr, PAD: tl.constexpr,
                   ADJOINT: tl.constexpr):
    """What frame `frame` of u gives the frames of v before it, at it and behind it, copies of it included."""
    taps_ptr = filters_ptr + 9 * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.load(taps_ptr)[None, :]
    middle = tl.load(taps_ptr + BLOCK_C)[None, :]
    last = tl.load(taps_ptr + 2 * BLOCK_C)[None, :]
    before, behind = (first, last) if ADJOINT else (last, first)
    if PAD == "replicate":
        middle += tl.where(frame == 0, first, 0.0) + tl.where(frame == T - 1, last, 0.0)
    if PAD == "reflect" and not ADJOINT:  # frame 1 stands in at -1, frame T - 2 at T
        before += tl.where(frame == 1, first, 0.0)
        behind += tl.where(frame == T - 2, last, 0.0)
    if PAD == "reflect" and ADJOINT:
        behind += tl.where(frame == 0, first, 0.0)
        before += tl.where(frame == T - 1, last, 0.0)
    return before, middle, behind


@jit
def _tile(pid, W_out, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr):
    """The first row and column of tile `pid`, which is BLOCK_H x 2 BLOCK_W pixels large."""
    tiles_w = tl.cdiv(W_out, 2 * BLOCK_W)
    return pid // tiles_w * BLOCK_H, pid % tiles_w * (2 * BLOCK_W)


@jit
def _pairs(top, left, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr):
    """Rows and even columns [BLOCK_H BLOCK_W] of a tile's pairs of pixels."""
    offs = tl.arange(0, BLOCK_H * BLOCK_W)
    return top + offs // BLOCK_W, left + offs % BLOCK_W * 2


@jit
def _spatial_part(x_ptr, filters_ptr, position, top, left, num_c, T, H, W, stride_t, stride_h, stride_w,
                  C: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
                  PAD_SPACE: tl.constexpr, PAD_TIME: tl.constexpr, ADJOINT: tl.constexpr, NORM: tl.constexpr,
                  WORDS: tl.constexpr):
    """u at a tile of frame `position` of the padded clip, and that frame's number; zeros where it has none."""
    # Without padding the result is smaller by two and its adjoint larger by two; else the first tap lies one before.
    before_h: tl.constexpr = (2 if ADJOINT else 0) if PAD_SPACE == "none" else 1
    before_t: tl.constexpr = (2 if ADJOINT else 0) if PAD_TIME == "none" else 1
    # Unpadded pixels are only clamped, which costs less than a mask; the adjoint sees zeros around its frames.
    pad: tl.constexpr = "zeros" if ADJOINT else "replicate" if PAD_SPACE == "none" else PAD_SPACE
    offs_h, offs_w = _pairs(top, left, BLOCK_H, BLOCK_W)
    frame = position - before_t
    if PAD_TIME == "circular":
        frame = (frame + T) % T
    even = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
    odd = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
    if (frame >= 0) & (frame < T):
        x_ptr += frame * stride_t
        even, odd = _correlate(x_ptr, filters_ptr, offs_h - before_h, offs_w - before_h, num_c, H, W, stride_h,
                               stride_w, C, BLOCK_C, pad, ADJOINT, NORM, WORDS)
        if ADJOINT and (PAD_SPACE == "replicate" or PAD_SPACE == "reflect"):  # noqa: SIM102 - one static, one at run time
            if (top <= 1) | (left <= 1) | (top + BLOCK_H >= H - 1) | (left + 2 * BLOCK_W >= W - 1):
                even, odd = _folded_borders(x_ptr, filters_ptr, even, odd, offs_h, offs_w, num_c, H, W, stride_h,
                                            stride_w, C, BLOCK_C, PAD_SPACE, WORDS)
    return even, odd, frame


@jit
def _depthwise_pair_kernel(x_ptr, filters_ptr, v_ptr, T, H, W, T_out, H_out, W_out, frames,
                           stride_xn, stride_xt, stride_xh, stride_xw, stride_vn, stride_vt, stride_vh, stride_vw,
                           C: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
                           VEC: tl.constexpr, PAD_SPACE: tl.constexpr, PAD_TIME: tl.constexpr, ADJOINT: tl.constexpr,
                           NORM: tl.constexpr, WORDS: tl.constexpr):
    """A tile of v for `frames` frames, or of the adjoint. Grid: tiles x channel blocks, pieces of time, samples."""
    stride_xn, stride_xt, stride_xh, stride_xw = _strides(stride_xn, stride_xt, stride_xh, stride_xw, VEC, WORDS)
    stride_vn, stride_vt, stride_vh, stride_vw = _strides(stride_vn, stride_vt, stride_vh, stride_vw, VEC, False)
    blocks_c: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    pid_c = tl.program_id(0) % blocks_c
    x_ptr = _words(x_ptr + pid_c * BLOCK_C, WORDS) + tl.program_id(2) * stride_xn
    v_ptr += pid_c * BLOCK_C + tl.program_id(2) * stride_vn
    filters_ptr += pid_c * (14 * BLOCK_C)
    num_c = C - pid_c * BLOCK_C
    top, left = _tile(tl.program_id(0) // blocks_c, W_out, BLOCK_H, BLOCK_W)
    offs_h, offs_w = _pairs(top, left, BLOCK_H, BLOCK_W)
    offs_c = tl.arange(0, BLOCK_C)
    offs_v = (offs_h * stride_vh + offs_w * stride_vw)[:, None] + offs_c[None, :]
    mask_even = ((offs_h < H_out) & (offs_w < W_out))[:, None] & (offs_c < num_c)[None, :]
    mask_odd = ((offs_h < H_out) & (offs_w + 1 < W_out))[:, None] & (offs_c < num_c)[None, :]

    start = tl.program_id(1) * frames
    end = tl.minimum(start + frames, T_out)
    next_even = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)  # sums so far of the frame that is due next
    next_odd = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
    later_even = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)  # and of the one after it
    later_odd = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
    for position in range(start, end + 2):
        even, odd, frame = _spatial_part(x_ptr, filters_ptr, position, top, left, num_c, T, H, W, stride_xt,
                                         stride_xh, stride_xw, C, BLOCK_C, BLOCK_H, BLOCK_W, PAD_SPACE,
                                         PAD_TIME, ADJOINT, NORM, WORDS)
        before, middle, behind = _temporal_taps(filters_ptr, frame, T, BLOCK_C, PAD_TIME, ADJOINT)
        due = position - 2
        if due >= start:
            tile_ptr = v_ptr + due * stride_vt
            tl.store(tile_ptr + offs_v, (next_even + before * even).to(v_ptr.dtype.element_ty), mask=mask_even)
            tl.store(tile_ptr + offs_v + stride_vw, (next_odd + before * odd).to(v_ptr.dtype.element_ty),
                     mask=mask_odd)
        next_even = later_even + middle * even
        next_odd = later_odd + middle * odd
        later_even = behind * even
        later_odd = behind * odd


@jit
def _add_products(sums, dv_0, dv_1, dv_2, x):
    """`sums` and the products of `x` with the dv that read it by each temporal tap."""
    return sums[0] + dv_0 * x, sums[1] + dv_1 * x, sums[2] + dv_2 * x


@jit
def _weight_row(x_ptr, filters_ptr, row, rows, cols, num_c, H, W, stride_h, stride_w, dv_0, dv_1, dv_2, left, middle,
                right, C: tl.constexpr, BLOCK_C: tl.constexpr, PIXELS: tl.constexpr, PAD: tl.constexpr,
                NORM: tl.constexpr, WORDS: tl.constexpr):
    """One row of spatial taps: what its left, middle and right one read, times the dv of the pixels that take it."""
    offs_h, inside_h = _along(rows + row, H, stride_h, PAD)
    for j in tl.static_range(PIXELS + 2):
        offs_w, inside_w = _along(cols + j, W, stride_w, PAD)
        x = _load_pixels(x_ptr, filters_ptr, offs_h + offs_w, inside_h & inside_w, num_c, C, BLOCK_C, PAD, NORM, WORDS)
        if j < PIXELS:
            left = _add_products(left, dv_0[j], dv_1[j], dv_2[j], x)
        if j > 0 and j < PIXELS + 1:
            middle = _add_products(middle, dv_0[j - 1], dv_1[j - 1], dv_2[j - 1], x)
        if j > 1:
            right = _add_products(right, dv_0[j - 2], dv_1[j - 2], dv_2[j - 2], x)
    return left, middle, right


@jit
def _load_gradient(dv_ptr, frame, offs_h, offs_w, num_c, T, H, W, stride_t, stride_h, stride_w, C: tl.constexpr,
                   BLOCK_C: tl.constexpr, PIXELS: tl.constexpr, PAD_TIME: tl.constexpr, WORDS: tl.constexpr):
    """Neighbouring pixels of frame `frame` of dv in float32, zeros where it has none."""
    if PAD_TIME == "circular":
        frame = (frame + T) % T
    dv_ptr += frame * stride_t
    offs, inside_h = _along(offs_h, H, stride_h, "zeros")
    inside_h = inside_h & (frame >= 0) & (frame < T)
    pixels = ()  # type: tuple[Any, ...]
    for j in tl.static_range(PIXELS):
        offs_j, inside_w = _along(offs_w + j, W, stride_w, "zeros")
        tile = _load_tile(dv_ptr, offs + offs_j, inside_h & inside_w, num_c, C, BLOCK_C, "zeros", WORDS)
        pixels = pixels + (_widen(tile, WORDS),)  # noqa: RUF005  Triton has no (*pixels, tile)
    return pixels


@jit
def _sum_of(a, b, scale, PIXELS: tl.constexpr):
    """a + scale b for each pixel."""
    pixels = ()  # type: tuple[Any, ...]
    for j in tl.static_range(PIXELS):
        pixels = pixels + (a[j] + b[j] * scale,)  # noqa: RUF005  Triton has no (*pixels, sum)
    return pixels


@jit
def _readers(last, here, next, frame, T, PIXELS: tl.constexpr, PAD: tl.constexpr):
    """dv of the frames that read frame `frame` of u by each temporal tap, those that read a copy of it included."""
    if PAD == "replicate":
        is_first, is_last = tl.cast(frame == 0, tl.float32), tl.cast(frame == T - 1, tl.float32)
        return _sum_of(next, here, is_first, PIXELS), here, _sum_of(last, here, is_last, PIXELS)
    elif PAD == "reflect":
        is_second, is_last_but_one = tl.cast(frame == 1, tl.float32), tl.cast(frame == T - 2, tl.float32)
        return _sum_of(next, last, is_second, PIXELS), here, _sum_of(last, next, is_last_but_one, PIXELS)
    else:
        return next, here, last


@jit
def _store_sums(dw_ptr, sums, mask):
    for k in tl.static_range(3):
        tl.store(dw_ptr + 9 * k, tl.sum(sums[k], 0), mask=mask)


@jit
def _depthwise_pair_bwd_weight_kernel(x_ptr, dv_ptr, filters_ptr, dw_ptr, T, H, W, T_out, H_out, W_out, frames, pieces,
                                      tiles, parts, stride_xn, stride_xt, stride_xh, stride_xw,
                                      stride_vn, stride_vt, stride_vh, stride_vw,
                                      C: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr,
                                      BLOCK_W: tl.constexpr, PIXELS: tl.constexpr, VEC: tl.constexpr,
                                      PAD_SPACE: tl.constexpr, PAD_TIME: tl.constexpr, NORM: tl.constexpr,
                                      WORDS: tl.constexpr):
    """dw [programs, C, 3, 3, 3]: dv times what it reads of x by each tap of the 3x3x3 filter that the pair is, over
    every num_programs-th part of the work: a tile of a sample for `frames` frames. Grid: programs, channel blocks."""
    stride_xn, stride_xt, stride_xh, stride_xw = _strides(stride_xn, stride_xt, stride_xh, stride_xw, VEC, WORDS)
    stride_vn, stride_vt, stride_vh, stride_vw = _strides(stride_vn, stride_vt, stride_vh, stride_vw, VEC, WORDS)
    first_c = tl.program_id(1) * BLOCK_C
    x_ptr, dv_ptr = _words(x_ptr + first_c, WORDS), _words(dv_ptr + first_c, WORDS)
    if NORM:
        filters_ptr += tl.program_id(1) * (14 * BLOCK_C)
    num_c = C - first_c
    before_hw: tl.constexpr = 0 if PAD_SPACE == "none" else 1
    before_t: tl.constexpr = 0 if PAD_TIME == "none" else 1
    pad: tl.constexpr = "zeros" if PAD_SPACE == "none" else PAD_SPACE

    zero = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), tl.float32)
    zeros = (zero, zero, zero)
    dw_00, dw_01, dw_02, dw_10, dw_11, dw_12, dw_20, dw_21, dw_22 = (zeros, zeros, zeros, zeros, zeros, zeros, zeros,
                                                                     zeros, zeros)
    offs, tiles_w = tl.arange(0, BLOCK_H * BLOCK_W), tl.cdiv(W_out, BLOCK_W * PIXELS)
    for part in range(tl.program_id(0), parts, tl.num_programs(0)):
        tile, piece, sample = part % tiles, part // tiles % pieces, part // tiles // pieces
        offs_h = tile // tiles_w * BLOCK_H + offs // BLOCK_W
        offs_w = (tile % tiles_w * BLOCK_W + offs % BLOCK_W) * PIXELS
        rows, cols = offs_h - before_hw, offs_w - before_hw
        sample_x, sample_dv = x_ptr + sample * stride_xn, dv_ptr + sample * stride_vn
        start = piece * frames
        last = _load_gradient(sample_dv, start + before_t - 2, offs_h, offs_w, num_c, T_out, H_out, W_out, stride_vt,
                              stride_vh, stride_vw, C, BLOCK_C, PIXELS, PAD_TIME, WORDS)
        here = _load_gradient(sample_dv, start + before_t - 1, offs_h, offs_w, num_c, T_out, H_out, W_out, stride_vt,
                              stride_vh, stride_vw, C, BLOCK_C, PIXELS, PAD_TIME, WORDS)
        for frame in range(start, tl.minimum(start + frames, T)):
            next = _load_gradient(sample_dv, frame + before_t, offs_h, offs_w, num_c, T_out, H_out, W_out, stride_vt,
                                  stride_vh, stride_vw, C, BLOCK_C, PIXELS, PAD_TIME, WORDS)
            dv_0, dv_1, dv_2 = _readers(last, here, next, frame, T, PIXELS, PAD_TIME)
            frame_ptr = sample_x + frame * stride_xt
            dw_00, dw_01, dw_02 = _weight_row(
                frame_ptr, filters_ptr, 0, rows, cols, num_c, H, W, stride_xh, stride_xw, dv_0, dv_1, dv_2, dw_00,
                dw_01, dw_02, C, BLOCK_C, PIXELS, pad, NORM, WORDS)
            dw_10, dw_11, dw_12 = _weight_row(
                frame_ptr, filters_ptr, 1, rows, cols, num_c, H, W, stride_xh, stride_xw, dv_0, dv_1, dv_2, dw_10,
                dw_11, dw_12, C, BLOCK_C, PIXELS, pad, NORM, WORDS)
            dw_20, dw_21, dw_22 = _weight_row(
                frame_ptr, filters_ptr, 2, rows, cols, num_c, H, W, stride_xh, stride_xw, dv_0, dv_1, dv_2, dw_20,
                dw_21, dw_22, C, BLOCK_C, PIXELS, pad, NORM, WORDS)
            last, here = here, next

    offs_c = tl.arange(0, BLOCK_C)
    mask_c = offs_c < num_c
    dw_ptr += (tl.program_id(0) * C + first_c + offs_c) * 27
    _store_sums(dw_ptr, dw_00, mask_c)
    _store_sums(dw_ptr + 1, dw_01, mask_c)
    _store_sums(dw_ptr + 2, dw_02, mask_c)
    _store_sums(dw_ptr + 3, dw_10, mask_c)
    _store_sums(dw_ptr + 4, dw_11, mask_c)
    _store_sums(dw_ptr + 5, dw_12, mask_c)
    _store_sums(dw_ptr + 6, dw_20, mask_c)
    _store_sums(dw_ptr + 7, dw_21, mask_c)
    _store_sums(dw_ptr + 8, dw_22, mask_c)


@jit
def _combine_filter_gradients_kernel(dw_ptr, spatial_ptr, temporal_ptr, ds_ptr, dt_ptr, programs, C,
                                     BLOCK_P: tl.constexpr):
    """With dw summed over programs:  ds_ij = sum_k temporal_k dw_kij,  dt_k = sum_ij spatial_ij dw_kij.
    Grid: channels."""
    c = tl.program_id(0)
    offs_p, offs_k, offs_ij = tl.arange(0, BLOCK_P), tl.arange(0, 4), tl.arange(0, 16)
    offs = (offs_k * 9)[:, None] + offs_ij[None, :]
    mask = (offs_k < 3)[:, None] & (offs_ij < 9)[None, :]
    acc = tl.zeros((BLOCK_P, 4, 16), tl.float32)
    for start in range(0, programs, BLOCK_P):
        program = start + offs_p
        acc += tl.load(dw_ptr + ((program * C + c) * 27)[:, None, None] + offs[None, :, :],
                       mask=(program < programs)[:, None, None] & mask[None, :, :], other=0.0)
    dw = tl.sum(acc, 0)
    temporal = tl.load(temporal_ptr + c * 3 + offs_k, mask=offs_k < 3, other=0.0).to(tl.float32)
    spatial = tl.load(spatial_ptr + c * 9 + offs_ij, mask=offs_ij < 9, other=0.0).to(tl.float32)
    ds, dt = tl.sum(dw * temporal[:, None], 0), tl.sum(dw * spatial[None, :], 1)
    tl.store(ds_ptr + c * 9 + offs_ij, ds.to(ds_ptr.dtype.element_ty), mask=offs_ij < 9)
    tl.store(dt_ptr + c * 3 + offs_k, dt.to(dt_ptr.dtype.element_ty), mask=offs_k < 3)


class Norm(NamedTuple):
    """A BatchNorm to apply to x as it is loaded, LeakyReLU(0.2) behind it: float32 statistics and parameters [C]."""
    mean: Tensor
    var: Tensor
    gamma: Tensor
    beta: Tensor


class TileConfig(NamedTuple):
    """A launch: a tile of block_h x 2 block_w pixels and block_c channels, for num_warps warps."""
    block_c: int
    block_h: int
    block_w: int
    num_warps: int


# (block_h, block_w) by the pairs of pixels in a tile: as square in pixels as powers of two allow.
TILE_OF_PAIRS = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (4, 2), 16: (4, 4), 32: (8, 4), 64: (8, 8), 128: (16, 8),
                 256: (16, 16), 512: (32, 16)}


def tile_config(channels: int, dtype: torch.dtype, pixels: int, arch: str) -> TileConfig:
    """One pair of pixels and 16 bytes of channels per thread, since twice that spills (40 to 72 bytes at C=64
    bf16 sm_90).

    Blocks of at most 64 channels. 256 threads; 128 up to 64 x 64 pixels, where programs are too few for the device.
    """
    block_c = min(triton.next_power_of_2(channels), 64)
    threads = 128 if pixels <= 64 * 64 else 256
    threads_per_pixel = max(1, block_c * dtype.itemsize // 16)
    return TileConfig(block_c, *TILE_OF_PAIRS[threads // threads_per_pixel], threads // warp_size(arch))


class WeightConfig(NamedTuple):
    """A launch: a tile of block_h x block_w x pixels pixels and block_c channels, for num_warps warps."""
    block_c: int
    block_h: int
    block_w: int
    pixels: int
    num_warps: int


def weight_config(channels: int, dtype: torch.dtype, pixels: int, arch: str, norm: bool) -> WeightConfig:
    """Four channels of neighbouring pixels per thread, whose 27 sums take 108 registers; one of three channels, since
    each is a load of its own (four spill 0.8 to 1.7 KB). Four pixels; with a norm on sm_80 three, since four spill 180
    bytes; in float32 two, since three spill 148 bytes (C=64 sm_90, reflect and replicate) or 16 (zeros sm_100)."""
    block_c = min(triton.next_power_of_2(channels), 64)
    threads = 128 if pixels <= 64 * 64 else 256
    threads_per_pixel = max(1, block_c // 4) if channels % 4 == 0 else block_c
    block_h, pairs_w = TILE_OF_PAIRS[2 * threads // threads_per_pixel]
    neighbours = 2 if dtype.itemsize == 4 else 3 if norm and arch == "sm_80" else 4
    return WeightConfig(block_c, block_h, pairs_w // 2, neighbours, threads // warp_size(arch))


def warp_size(arch: str) -> int:
    return 64 if arch.startswith("gfx") else 32


_MULTIPROCESSORS = {"sm_80": 108, "sm_90": 132, "sm_100": 148, "gfx942": 304}


def multiprocessors(arch: str) -> int:
    return _MULTIPROCESSORS.get(arch, 100)


def frames_per_program(frames: int, programs: int, arch: str) -> int:
    """Time in as many pieces as give each multiprocessor two programs; a piece recomputes two frames, so it has at
    least two of its own."""
    wanted = 2 * multiprocessors(arch)
    pieces = max(1, min(wanted // programs, frames // 2))
    return -(-frames // pieces)


def on_device_of(x: Tensor) -> Any:
    return torch.cuda.device_of(x) if x.is_cuda else contextlib.nullcontext()


def with_channels_innermost(x: Tensor) -> Tensor:
    """`x` [N, C, T, H, W] if its channels are innermost, with any strides beside; else a copy."""
    return x if x.stride(1) == 1 else channels_last(x)


def empty_channels_last(like: Tensor, n: int, c: int, t: int, h: int, w: int) -> Tensor:
    return like.new_empty((n, t, h, w, c)).movedim(-1, 1)


def strides(x: Tensor) -> tuple[int, int, int, int]:
    n, _, t, h, w = x.stride()
    return n, t, h, w


def vector_size(*tensors: Tensor) -> int:
    """Elements that every pixel's channels come in multiples of, 16 bytes at most."""
    widest = 16 // tensors[0].element_size()
    return math.gcd(widest, *(x.shape[1] for x in tensors), *(step for x in tensors for step in strides(x)))


def in_words(vec: int, *tensors: Tensor) -> bool:
    """Whether the kernels may read bfloat16 two at a time."""
    return vec > 1 and all(x.dtype == torch.bfloat16 and x.data_ptr() % 4 == 0 for x in tensors)


def check_frame_size(x: Tensor) -> None:
    extent = sum((size - 1) * step for size, step in zip(x.shape[3:], x.stride()[3:], strict=True)) + x.shape[1]
    if extent >= 2**31:
        raise ValueError(f"a frame of x {tuple(x.shape)} spans {extent} elements: expected less than 2^31")


def padded_shape(shape: Sequence[int], pad_space: PadMode, pad_time: PadMode, sign: int = -1) -> list[int]:
    """The shape of the result for a shape of x; with sign 1 the reverse."""
    n, c, t, h, w = shape
    space, time = 2 * sign * (pad_space == "none"), 2 * sign * (pad_time == "none")
    return [n, c, t + time, h + space, w + space]


def pack_filters(spatial: Tensor, temporal: Tensor, block_c: int, norm: Norm | None = None) -> Tensor:
    """The filters, and the scale and shift of the norm before them, as the kernels read them."""
    channels = spatial.shape[0]
    blocks = triton.cdiv(channels, block_c)
    filters = spatial.new_empty((blocks, 14, block_c), dtype=torch.float32)
    mean, var, gamma, beta = norm or (None,) * 4
    _pack_filters_kernel[(blocks,)](spatial.contiguous(), temporal.contiguous(), mean, var, gamma, beta, filters,
                                    channels, EPS, NORM=norm is not None, BLOCK_C=block_c, num_warps=1)
    return filters


def _walk(x: Tensor, spatial: Tensor, temporal: Tensor, shape: Sequence[int], pad_space: PadMode, pad_time: PadMode,
          adjoint: bool, norm: Norm | None) -> Tensor:
    x = with_channels_innermost(x)
    check_frame_size(x)
    v = empty_channels_last(x, *shape)
    n, c, t, h, w = shape
    config = tile_config(c, x.dtype, h * w, arch_of(x))
    block_c, block_h, block_w, num_warps = config
    tiles = triton.cdiv(h, block_h) * triton.cdiv(w, 2 * block_w) * triton.cdiv(c, block_c)
    frames = frames_per_program(t, tiles * n, arch_of(x))
    vec = vector_size(x, v)
    with on_device_of(x):
        filters = pack_filters(spatial, temporal, block_c, norm)
        _depthwise_pair_kernel[(tiles, triton.cdiv(t, frames), n)](
            x, filters, v, *x.shape[2:], t, h, w, frames, *strides(x), *strides(v), C=c, BLOCK_C=block_c,
            BLOCK_H=block_h, BLOCK_W=block_w, VEC=vec, PAD_SPACE=pad_space, PAD_TIME=pad_time, ADJOINT=adjoint,
            NORM=norm is not None, WORDS=in_words(vec, x), num_warps=num_warps)
    return v


def launch_fwd_pair(x: Tensor, spatial: Tensor, temporal: Tensor, pad_space: PadMode, pad_time: PadMode,
                    norm: Norm | None = None) -> Tensor:
    return _walk(x, spatial, temporal, padded_shape(x.shape, pad_space, pad_time), pad_space, pad_time, False, norm)


def _bwd_input(dv: Tensor, spatial: Tensor, temporal: Tensor, pad_space: PadMode, pad_time: PadMode) -> Tensor:
    shape = padded_shape(dv.shape, pad_space, pad_time, 1)
    return _walk(dv, spatial, temporal, shape, pad_space, pad_time, True, None)


def launch_bwd_weight(x: Tensor, dv: Tensor, spatial: Tensor, temporal: Tensor, pad_space: PadMode,
                      pad_time: PadMode, norm: Norm | None = None) -> tuple[Tensor, Tensor]:
    x, dv = with_channels_innermost(x), with_channels_innermost(dv)
    check_frame_size(x)
    check_frame_size(dv)
    n, c, t = x.shape[:3]
    h, w = dv.shape[3:]
    config = weight_config(c, x.dtype, h * w, arch_of(x), norm is not None)
    tiles = triton.cdiv(h, config.block_h) * triton.cdiv(w, config.block_w * config.pixels)
    blocks = triton.cdiv(c, config.block_c)
    frames = frames_per_program(t, tiles * blocks * n, arch_of(x))
    pieces = triton.cdiv(t, frames)
    parts = tiles * pieces * n
    # As many programs as run at once, eight warps of 255 registers: each adds its sums to what is read again.
    at_once = multiprocessors(arch_of(x)) * 256 // (config.num_warps * warp_size(arch_of(x)))
    programs = min(parts, triton.cdiv(at_once, blocks))
    vec = vector_size(x, dv)
    dw = x.new_empty((programs, c, 3, 3, 3), dtype=torch.float32)
    ds, dt = spatial.new_empty(spatial.shape), temporal.new_empty(temporal.shape)
    with on_device_of(x):
        filters = pack_filters(spatial, temporal, config.block_c, norm) if norm else None
        _depthwise_pair_bwd_weight_kernel[(programs, blocks)](
            x, dv, filters, dw, *x.shape[2:], *dv.shape[2:], frames, pieces, tiles, parts, *strides(x), *strides(dv),
            C=c, BLOCK_C=config.block_c, BLOCK_H=config.block_h, BLOCK_W=config.block_w, PIXELS=config.pixels, VEC=vec,
            PAD_SPACE=pad_space, PAD_TIME=pad_time, NORM=norm is not None, WORDS=in_words(vec, x, dv),
            num_warps=config.num_warps)
        _combine_filter_gradients_kernel[(c,)](dw, spatial.contiguous(), temporal.contiguous(), ds, dt, programs, c,
                                               BLOCK_P=64, num_warps=4)
    return ds, dt


def _fwd_fake(x, spatial, temporal, pad_space, pad_time):
    return empty_channels_last(x, *padded_shape(x.shape, pad_space, pad_time))


def _bwd_input_fake(dv, spatial, temporal, pad_space, pad_time):
    return empty_channels_last(dv, *padded_shape(dv.shape, pad_space, pad_time, 1))


def _bwd_weight_fake(x, dv, spatial, temporal, pad_space, pad_time):
    return spatial.new_empty(spatial.shape), temporal.new_empty(temporal.shape)


class DepthwisePairFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, spatial, temporal, pad_space, pad_time):
        ctx.save_for_backward(x, spatial, temporal)
        ctx.pads = pad_space, pad_time
        with below_autograd():
            return depthwise_pair_fwd(x, spatial, temporal, pad_space, pad_time)

    @staticmethod
    def backward(ctx, dv):
        x, spatial, temporal = ctx.saved_tensors
        dx = ds = dt = None
        if ctx.needs_input_grad[0]:
            dx = depthwise_pair_bwd_input(dv, spatial, temporal, *ctx.pads)
        if any(ctx.needs_input_grad[1:3]) and weight_gradients_wanted():
            ds, dt = depthwise_pair_bwd_weight(x, dv, spatial, temporal, *ctx.pads)
        return dx, ds, dt, None, None


class DepthwisePairBwdInputFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dv, spatial, temporal, pad_space, pad_time):
        ctx.save_for_backward(dv, spatial, temporal)
        ctx.pads = pad_space, pad_time
        with below_autograd():
            return depthwise_pair_bwd_input(dv, spatial, temporal, pad_space, pad_time)

    @staticmethod
    def backward(ctx, g):
        dv, spatial, temporal = ctx.saved_tensors
        ddv = ds = dt = None
        if ctx.needs_input_grad[0]:
            ddv = depthwise_pair_fwd(g, spatial, temporal, *ctx.pads)
        if any(ctx.needs_input_grad[1:3]) and weight_gradients_wanted():
            ds, dt = depthwise_pair_bwd_weight(g, dv, spatial, temporal, *ctx.pads)
        return ddv, ds, dt, None, None


class DepthwisePairBwdWeightFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dv, spatial, temporal, pad_space, pad_time):
        ctx.save_for_backward(x, dv, spatial, temporal)
        ctx.pads = pad_space, pad_time
        with below_autograd():
            return depthwise_pair_bwd_weight(x, dv, spatial, temporal, pad_space, pad_time)

    @staticmethod
    def backward(ctx, gs, gt):
        x, dv, spatial, temporal = ctx.saved_tensors
        wants_x, wants_dv, wants_s, wants_t = ctx.needs_input_grad[:4]
        dx = ddv = ds = dt = None
        if wants_x:
            dx = (depthwise_pair_bwd_input(dv, gs, temporal, *ctx.pads)
                  + depthwise_pair_bwd_input(dv, spatial, gt, *ctx.pads))
        if wants_dv:
            ddv = (depthwise_pair_fwd(x, gs, temporal, *ctx.pads)
                   + depthwise_pair_fwd(x, spatial, gt, *ctx.pads))
        if wants_s:
            ds, _ = depthwise_pair_bwd_weight(x, dv, spatial, gt, *ctx.pads)
        if wants_t:
            _, dt = depthwise_pair_bwd_weight(x, dv, gs, temporal, *ctx.pads)
        return dx, ddv, ds, dt, None, None


depthwise_pair_fwd = register_op(
    "depthwise_pair_fwd(Tensor x, Tensor spatial, Tensor temporal, str pad_space, str pad_time) -> Tensor",
    launch_fwd_pair, _fwd_fake, DepthwisePairFunction)
depthwise_pair_bwd_input = register_op(
    "depthwise_pair_bwd_input(Tensor dv, Tensor spatial, Tensor temporal, str pad_space, str pad_time) -> Tensor",
    _bwd_input, _bwd_input_fake, DepthwisePairBwdInputFunction)
depthwise_pair_bwd_weight = register_op(
    "depthwise_pair_bwd_weight(Tensor x, Tensor dv, Tensor spatial, Tensor temporal, str pad_space, str pad_time)"
    " -> (Tensor, Tensor)", launch_bwd_weight, _bwd_weight_fake, DepthwisePairBwdWeightFunction)


def check_reflection(x: Tensor, pad_space: PadMode, pad_time: PadMode, op: str) -> None:
    """As `torch.nn.functional.pad` does: a mirror image needs two pixels, or frames."""
    if (pad_space == "reflect" and min(x.shape[3:]) < 2) or (pad_time == "reflect" and x.shape[2] < 2):
        raise RuntimeError(f"{op} of x {tuple(x.shape)}: reflection needs at least two values along each padded axis")


def depthwise_pair3d(x: Tensor, spatial: Tensor, temporal: Tensor, *, pad_space: PadMode = "zeros",
                     pad_time: PadMode = "zeros", impl: Impl = "auto") -> Tensor:
    """The depthwise pair on `x` [N, C, T, H, W].

    Args:
        spatial: [C, 3, 3]. temporal: [C, 3].
        pad_space, pad_time: what surrounds each frame, and the clip in time; "circular" in time alone.
        impl: who computes it (`dispatch.py`). The torch form is one dense convolution.

    Returns:
        [N, C, T, H, W] (2 less along an axis without padding), channels innermost in memory, in autocast's dtype.

    Raises:
        ValueError: for shapes that do not belong together, or an `impl` that cannot run.
        RuntimeError: for a mirror image of a single pixel or frame.
    """
    channels = x.shape[1]
    if x.dim() != 5 or spatial.shape != (channels, 3, 3) or temporal.shape != (channels, 3):
        raise ValueError(f"depthwise_pair3d of x {tuple(x.shape)} with spatial {tuple(spatial.shape)}, temporal "
                         f"{tuple(temporal.shape)}: expected [N, C, T, H, W], [C, 3, 3], [C, 3]")
    check_pad_modes(pad_space, pad_time, "depthwise_pair3d")
    dtype = compute_dtype(x)
    if resolve_impl(impl, "depthwise_pair3d", x.to(dtype)) == "triton":
        check_reflection(x, pad_space, pad_time, "depthwise_pair3d")
        return depthwise_pair_fwd(x.to(dtype), spatial, temporal, pad_space, pad_time)
    with torch.autocast(x.device.type, enabled=False):
        each_its_own = torch.eye(channels, dtype=spatial.dtype, device=x.device)
        weight = torch.einsum("oc,ck,cij->ockij", each_its_own, temporal, spatial)
    return convolution(x, weight, pad_space=pad_space, pad_time=pad_time)


def check_pad_modes(pad_space: PadMode, pad_time: PadMode, op: str) -> None:
    for axis, mode in (("space", pad_space), ("time", pad_time)):
        known = get_args(PadMode)
        if mode not in known or (mode == "circular" and axis == "space"):
            raise ValueError(f"{op}: pad_{axis} is {mode!r}, expected one of {', '.join(known)}; circular in time only")
