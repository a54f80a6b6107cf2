"""The Triton kernels of `resample`, and how they are launched.

A program makes BLOCK pixels, one per thread, of up to four channels and FRAMES frames of one sample. What is looked up
per pixel (where it reads, with which weights) serves all of them, and a warp reads and writes consecutive addresses
whatever W is. Four pixels per thread would give 128-bit stores where H W is a multiple of 16, but gathers over four
times as many cache lines: 56 of them per 128 pixels, which is as long as DRAM takes for the bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .dispatch import arch_of, jit, tl
from .philox import map_normals, volume_normals
from .resample_tables import ResampleMode, axis_table


@jit
def _pixels(H, W, C: tl.constexpr, FRAMES: tl.constexpr, BLOCK: tl.constexpr):
    """Pixels, their rows, columns and mask [BLOCK]; sample, first channel, first frame.

    Only stores are masked: pixels, frames and channels beyond the last one read what the last one reads. A masked load
    costs an instruction more, for the zero that it leaves.
    """
    GROUPS: tl.constexpr = (C + 3) // 4
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < H * W
    offs = tl.minimum(offs, H * W - 1)
    n, first_c = tl.program_id(2) // GROUPS, tl.program_id(2) % GROUPS * 4
    return offs, offs // W, offs % W, mask, n, first_c, tl.program_id(1) * FRAMES


@jit
def _plane(n, c, t, stride_n, stride_c, stride_t):
    return tl.cast(n, tl.int64) * stride_n + tl.cast(c, tl.int64) * stride_c + tl.cast(t, tl.int64) * stride_t


@jit
def _within(offs_h, offs_w, stride_h, stride_w):
    return offs_h.to(tl.int64) * stride_h + offs_w.to(tl.int64) * stride_w


@jit
def _axis_weights(weight_ptr, offs, size, TAPS: tl.constexpr):
    weights = ()  # type: tuple[Any, ...]
    for k in tl.static_range(TAPS):
        weights = weights + (tl.load(weight_ptr + k * size + offs),)  # noqa: RUF005  Triton has no (*weights, w)
    return weights


@jit
def _weighted_sum(x_ptrs, h_weights, w_weights, stride_h, stride_w, TAPS_H: tl.constexpr, TAPS_W: tl.constexpr):
    acc = tl.zeros(x_ptrs.shape, tl.float32)
    for i in tl.static_range(TAPS_H):
        row = tl.zeros(x_ptrs.shape, tl.float32)
        for j in tl.static_range(TAPS_W):
            offset = tl.cast(i, tl.int64) * stride_h + tl.cast(j, tl.int64) * stride_w
            row += w_weights[j] * tl.load(x_ptrs + offset).to(tl.float32)
        acc += h_weights[i] * row
    return acc


@jit
def _weighted_sum_in_a_loop(x_ptrs, h_weight_ptr, w_weight_ptr, offs_h, offs_w, H, W, stride_h, stride_w,
                            TAPS_H: tl.constexpr, TAPS_W: tl.constexpr):
    """The same for many taps, whose weights are looked up where they are used."""
    acc = tl.zeros(x_ptrs.shape, tl.float32)
    for i in range(TAPS_H):
        row = tl.zeros(x_ptrs.shape, tl.float32)
        for j in range(TAPS_W):
            offset = tl.cast(i, tl.int64) * stride_h + tl.cast(j, tl.int64) * stride_w
            row += tl.load(w_weight_ptr + j * W + offs_w) * tl.load(x_ptrs + offset).to(tl.float32)
        acc += tl.load(h_weight_ptr + i * H + offs_h) * row
    return acc


@jit
def _volumes(seed, offs, group, n, first_c, stream, C: tl.constexpr, MAPS: tl.constexpr, LANES: tl.constexpr):
    """Four normals of each channel behind the maps; LANES is 1 where there is one channel, or one for all."""
    volumes = ()
    for lane in tl.static_range(MAPS, LANES):
        plane = n if LANES == 1 else n * C + first_c + lane
        volumes = volumes + volume_normals(seed, offs, group, plane, stream)
    return volumes


@jit
def _drawn_number(maps, volumes, lane: tl.constexpr, frame: tl.constexpr, MAPS: tl.constexpr):
    if lane < MAPS:
        return maps[lane]
    else:  # triton would compile what follows a return, too
        return volumes[4 * (lane - MAPS) + frame]


@jit
def _upsample_add_noise_kernel(
        x_ptr, noise_ptr, seed_ptr, amplitudes_ptr, y_ptr, h_start_ptr, h_weight_ptr, w_start_ptr, w_weight_ptr,
        T, H, W, x_stride_n, x_stride_c, x_stride_t, x_stride_h, x_stride_w,
        z_stride_n, z_stride_c, z_stride_t, z_stride_h, z_stride_w, amplitudes_stride,
        amplitude, first_group, noise_stream,  # triton keeps the name `stream` for itself
        C: tl.constexpr, TAPS_H: tl.constexpr, TAPS_W: tl.constexpr, MAPS: tl.constexpr, GRAY: tl.constexpr,
        FRAMES: tl.constexpr, BLOCK: tl.constexpr):
    """y [N, C, T, H, W], contiguous. One Philox counter serves four frames: with a volume FRAMES is 4, or all.

    MAPS: how many of a program's channels, the first ones, are maps."""
    LANES: tl.constexpr = C if C < 4 else 4
    DRAWN: tl.constexpr = 1 if GRAY else LANES
    UNROLLED: tl.constexpr = TAPS_H * TAPS_W <= 36
    offs, offs_h, offs_w, mask, n, first_c, first_t = _pixels(H, W, C, FRAMES, BLOCK)
    plane = tl.cast(H * W, tl.int64)
    y_frame = y_ptr + _plane(n, first_c, first_t, C * (T * plane), T * plane, plane)
    if x_ptr is not None:
        x_frame = x_ptr + _plane(n, first_c, first_t, x_stride_n, x_stride_c, x_stride_t)
        offs_x = _within(tl.load(h_start_ptr + offs_h), tl.load(w_start_ptr + offs_w), x_stride_h, x_stride_w)
        if UNROLLED:
            h_weights = _axis_weights(h_weight_ptr, offs_h, H, TAPS_H)
            w_weights = _axis_weights(w_weight_ptr, offs_w, W, TAPS_W)
    if noise_ptr is not None:
        z_frame = noise_ptr + _plane(n, first_c, first_t, z_stride_n, z_stride_c, z_stride_t)
        offs_z = _within(offs_h, offs_w, z_stride_h, z_stride_w)
    if amplitudes_ptr is not None:
        amplitude *= tl.load(amplitudes_ptr + n * amplitudes_stride).to(tl.float32)
    if seed_ptr is not None:
        maps = (tl.zeros([BLOCK], tl.float32),) * 4
        volumes = (tl.zeros([BLOCK], tl.float32),) * (4 * (DRAWN - MAPS))  # channel MAPS: frames 0 to 3, ...
        if amplitude != 0:
            seed = tl.load(seed_ptr)
            if MAPS > 0:
                maps = map_normals(seed, offs, n if GRAY else tl.program_id(2), noise_stream)
            if MAPS < DRAWN:
                volumes = _volumes(seed, offs, first_group + tl.program_id(1), n, first_c, noise_stream, C, MAPS, DRAWN)

    for k in tl.static_range(FRAMES):
        y_plane = y_frame
        if x_ptr is not None:
            x_plane = x_frame
        if noise_ptr is not None:
            z_plane = z_frame
        for lane in tl.static_range(LANES):
            y = tl.zeros([BLOCK], tl.float32)
            if x_ptr is not None:
                if UNROLLED:
                    y = _weighted_sum(x_plane + offs_x, h_weights, w_weights, x_stride_h, x_stride_w, TAPS_H, TAPS_W)
                else:
                    y = _weighted_sum_in_a_loop(x_plane + offs_x, h_weight_ptr, w_weight_ptr, offs_h, offs_w, H, W,
                                                x_stride_h, x_stride_w, TAPS_H, TAPS_W)
                x_plane += tl.where(first_c + lane + 1 < C, x_stride_c, 0)
            if noise_ptr is not None:
                y += amplitude * tl.load(z_plane + offs_z).to(tl.float32)
                z_plane += tl.where(first_c + lane + 1 < C, z_stride_c, 0)
            if seed_ptr is not None:
                y += amplitude * _drawn_number(maps, volumes, 0 if GRAY else lane, k, MAPS)
            tl.store(y_plane + offs, y.to(y_ptr.dtype.element_ty), mask=mask & (first_t + k < T) & (first_c + lane < C))
            y_plane += T * plane
        y_frame += plane
        if x_ptr is not None:
            x_frame += tl.where(first_t + k + 1 < T, x_stride_t, 0)
        if noise_ptr is not None:
            z_frame += tl.where(first_t + k + 1 < T, z_stride_t, 0)


@jit
def _exponential(g):
    """e = exp(-2 |g|) and 1 / (1 + e), each one hardware instruction and a multiplication: `tl.exp` and a division also
    scale, for ranges that these have not. |tanh(g)| = (1 - e) / (1 + e) to 4e-7."""
    e = tl.exp2(-2.8853900817779268 * tl.abs(g))
    root = tl.rsqrt(1.0 + e)
    return e, root * root


@jit
def _with_sign(x, of):
    """`x`, which has none, with the sign of `of`."""
    sign = of.to(tl.uint32, bitcast=True) & 0x80000000
    return (x.to(tl.uint32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@jit
def _upsample_tanh_residual_kernel(
        x_ptr, g_ptr, y_ptr, h_start_ptr, h_weight_ptr, w_start_ptr, w_weight_ptr,
        T, H, W, x_stride_n, x_stride_c, x_stride_t, x_stride_h, x_stride_w,
        g_stride_n, g_stride_c, g_stride_t, g_stride_h, g_stride_w,
        C: tl.constexpr, TAPS_H: tl.constexpr, TAPS_W: tl.constexpr, FRAMES: tl.constexpr, BLOCK: tl.constexpr):
    """y [N, C, T, H, W], contiguous; g in any layout."""
    offs, offs_h, offs_w, mask, n, first_c, first_t = _pixels(H, W, C, FRAMES, BLOCK)
    plane = tl.cast(H * W, tl.int64)
    y_frame = y_ptr + _plane(n, first_c, first_t, C * (T * plane), T * plane, plane)
    g_frame = g_ptr + _plane(n, first_c, first_t, g_stride_n, g_stride_c, g_stride_t)
    offs_g = _within(offs_h, offs_w, g_stride_h, g_stride_w)
    if x_ptr is not None:
        x_frame = x_ptr + _plane(n, first_c, first_t, x_stride_n, x_stride_c, x_stride_t)
        offs_x = _within(tl.load(h_start_ptr + offs_h), tl.load(w_start_ptr + offs_w), x_stride_h, x_stride_w)
        h_weights = _axis_weights(h_weight_ptr, offs_h, H, TAPS_H)
        w_weights = _axis_weights(w_weight_ptr, offs_w, W, TAPS_W)
    for k in tl.static_range(FRAMES):
        y_plane, g_plane = y_frame, g_frame
        if x_ptr is not None:
            x_plane = x_frame
        for lane in tl.static_range(C if C < 4 else 4):
            more = first_c + lane + 1 < C
            g = tl.load(g_plane + offs_g).to(tl.float32)
            e, inverse = _exponential(g)
            y = _with_sign((1.0 - e) * inverse, g)
            if x_ptr is not None:
                y += _weighted_sum(x_plane + offs_x, h_weights, w_weights, x_stride_h, x_stride_w, TAPS_H, TAPS_W)
                x_plane += tl.where(more, x_stride_c, 0)
            tl.store(y_plane + offs, y.to(y_ptr.dtype.element_ty), mask=mask & (first_t + k < T) & (first_c + lane < C))
            y_plane += T * plane
            g_plane += tl.where(more, g_stride_c, 0)
        more = first_t + k + 1 < T
        y_frame += plane
        g_frame += tl.where(more, g_stride_t, 0)
        if x_ptr is not None:
            x_frame += tl.where(more, x_stride_t, 0)


@jit
def _tanh_residual_bwd_kernel(
        dy_ptr, g_ptr, dg_ptr, T, H, W, dy_stride_n, dy_stride_c, dy_stride_t, dy_stride_h, dy_stride_w,
        g_stride_n, g_stride_c, g_stride_t, g_stride_h, g_stride_w,
        dg_stride_n, dg_stride_c, dg_stride_t, dg_stride_h, dg_stride_w,
        C: tl.constexpr, FRAMES: tl.constexpr, BLOCK: tl.constexpr):
    """All in any layout."""
    _, offs_h, offs_w, mask, n, first_c, first_t = _pixels(H, W, C, FRAMES, BLOCK)
    dy_frame = dy_ptr + _plane(n, first_c, first_t, dy_stride_n, dy_stride_c, dy_stride_t)
    g_frame = g_ptr + _plane(n, first_c, first_t, g_stride_n, g_stride_c, g_stride_t)
    dg_frame = dg_ptr + _plane(n, first_c, first_t, dg_stride_n, dg_stride_c, dg_stride_t)
    offs_dy = _within(offs_h, offs_w, dy_stride_h, dy_stride_w)
    offs_g = _within(offs_h, offs_w, g_stride_h, g_stride_w)
    offs_dg = _within(offs_h, offs_w, dg_stride_h, dg_stride_w)
    for k in tl.static_range(FRAMES):
        dy_plane, g_plane, dg_plane = dy_frame, g_frame, dg_frame
        for lane in tl.static_range(C if C < 4 else 4):
            more = first_c + lane + 1 < C
            dy = tl.load(dy_plane + offs_dy).to(tl.float32)
            e, inverse = _exponential(tl.load(g_plane + offs_g).to(tl.float32))
            dg = 4.0 * e * inverse * inverse * dy  # 1 - tanh^2, without its cancellation
            tl.store(dg_plane + offs_dg, dg.to(dg_ptr.dtype.element_ty),
                     mask=mask & (first_t + k < T) & (first_c + lane < C))
            dy_plane += tl.where(more, dy_stride_c, 0)
            g_plane += tl.where(more, g_stride_c, 0)
            dg_plane += dg_stride_c
        more = first_t + k + 1 < T
        dy_frame += tl.where(more, dy_stride_t, 0)
        g_frame += tl.where(more, g_stride_t, 0)
        dg_frame += dg_stride_t


# ---- launchers -------------------------------------------------------------------------------------------------------


class Launch(NamedTuple):
    grid: tuple[int, int, int]
    frames: int
    block: int
    warps: int

    @property
    def options(self) -> dict[str, int]:
        return {"FRAMES": self.frames, "BLOCK": self.block, "num_warps": self.warps}


def launch_of(x: Tensor, shape: Sequence[int], *, noise_in_fours: bool = False) -> Launch:
    """One pixel per thread, four warps. Four frames per program share what is looked up per pixel; one, where fours
    would leave most of a device idle: it takes some 500 programs."""
    n, c, t, h, w = shape
    block = 256 if arch_of(x).startswith("gfx") else 128  # a wavefront of AMD is two warps
    tiles, samples = -(-h * w // block), n * -(-c // 4)
    frames = min(t, 4)
    if tiles * -(-t // frames) * samples < 512 and not noise_in_fours:
        frames = 1
    return Launch((tiles, -(-t // frames), samples), frames, block, 4)


def _tables(x: Tensor | None, size: Sequence[int], mode: ResampleMode, *, transposed: bool = False) -> dict[str, Any]:
    """What the kernels want to know of both axes. `transposed`: `x` is a gradient, to be brought back to `size`."""
    if x is None:
        pointers = ("h_start_ptr", "h_weight_ptr", "w_start_ptr", "w_weight_ptr")
        return {**dict.fromkeys(pointers), "TAPS_H": 0, "TAPS_W": 0}
    pairs = [(b, a) if transposed else (a, b) for a, b in zip(x.shape[3:], size, strict=True)]
    h, w = (axis_table(*pair, mode, transposed, x.device) for pair in pairs)
    return {"h_start_ptr": h.start, "h_weight_ptr": h.weights, "w_start_ptr": w.start, "w_weight_ptr": w.weights,
            "TAPS_H": h.taps, "TAPS_W": w.taps}


def run_upsample_add_noise(x: Tensor | None, shape: Sequence[int], mode: ResampleMode, noise: Tensor | None,
                           seed: Tensor | None, amplitudes: Tensor | None, amplitude: float, maps: int, gray: bool,
                           stream: int, first_frame: int) -> Tensor:
    y = empty_sum(x, shape, mode, noise, seed)
    _, c, t, h, w = shape
    launch = launch_of(y, shape, noise_in_fours=seed is not None)
    with torch.cuda.device_of(y):
        _upsample_add_noise_kernel[launch.grid](
            x, noise, seed, amplitudes, y, T=t, H=h, W=w, **_tables(x, (h, w), mode),
            **_strides("x", x), **_strides("z", noise if noise is None else noise.expand(shape)),
            amplitudes_stride=0 if amplitudes is None or amplitudes.numel() == 1 else amplitudes.stride(0),
            amplitude=amplitude, first_group=first_frame // 4, noise_stream=stream, C=c, MAPS=min(maps, 4), GRAY=gray,
            **launch.options)
    return y


def run_upsample_bwd(dy: Tensor, size: Sequence[int], mode: ResampleMode) -> Tensor:
    dx = empty_resized(dy, size, mode)
    launch = launch_of(dx, dx.shape)
    with torch.cuda.device_of(dx):
        _upsample_add_noise_kernel[launch.grid](
            dy, None, None, None, dx, T=dx.shape[2], H=size[0], W=size[1], **_tables(dy, size, mode, transposed=True),
            **_strides("x", dy), **_strides("z", None), amplitudes_stride=0, amplitude=0.0, first_group=0,
            noise_stream=0, C=dx.shape[1], MAPS=0, GRAY=False, **launch.options)
    return dx


def run_upsample_tanh_residual(x: Tensor | None, residual: Tensor, mode: ResampleMode) -> Tensor:
    y = empty_clip(x, residual, mode)
    _, c, t, h, w = y.shape
    launch = launch_of(y, y.shape)
    with torch.cuda.device_of(y):
        _upsample_tanh_residual_kernel[launch.grid](
            x, residual, y, T=t, H=h, W=w, **_tables(x, (h, w), mode), **_strides("x", x), **_strides("g", residual),
            C=c, **launch.options)
    return y


def run_tanh_residual_bwd(dy: Tensor, residual: Tensor) -> Tensor:
    dg = torch.empty_like(residual)
    _, c, t, h, w = dg.shape
    launch = launch_of(dg, dg.shape)
    with torch.cuda.device_of(dg):
        _tanh_residual_bwd_kernel[launch.grid](
            dy, residual, dg, T=t, H=h, W=w, **_strides("dy", dy), **_strides("g", residual), **_strides("dg", dg),
            C=c, **launch.options)
    return dg


def _strides(name: str, x: Tensor | None) -> dict[str, int]:
    strides = (0, 0, 0, 0, 0) if x is None else x.stride()
    return {f"{name}_stride_{axis}": stride for axis, stride in zip("ncthw", strides, strict=True)}


def empty_sum(x: Tensor | None, shape: Sequence[int], _mode: str, noise: Tensor | None, seed: Tensor | None,
              *_: Any) -> Tensor:
    """float32, or what `x` and `noise` promote to."""
    given = [tensor for tensor in (x, noise) if tensor is not None]
    dtypes = [tensor.dtype for tensor in given] or [torch.float32]
    like = given[0] if given else seed
    assert like is not None
    return like.new_empty(shape, dtype=functools.reduce(torch.promote_types, dtypes))


def empty_resized(dy: Tensor, size: Sequence[int], _mode: str) -> Tensor:
    return dy.new_empty((*dy.shape[:3], *size))


def empty_clip(x: Tensor | None, residual: Tensor, _mode: str) -> Tensor:
    return residual.new_empty(residual.shape, dtype=torch.float32 if x is None else x.dtype)
