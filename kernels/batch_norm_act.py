"""BatchNorm + LeakyReLU as one operator, with a double backward.

    m, v = mean and variance of x over a group's samples and positions, per channel
    xh = (x - m) r,  r = 1 / sqrt(v + eps)
    y = LeakyReLU(gamma xh + beta)

`x` is [N, C, ...] in float32, float16, bfloat16 or (torch form) float64; `groups` splits N into as many sets with
statistics of their own (real and fake clips of a critic in one call). float32 statistics in every precision.
Differentiable twice in x and gamma, once in beta (the second derivative has no beta in it); the third derivative
raises. With given statistics, such as running ones, it is differentiable once, and they are constants.

Equivalent to, for one group:
    y = F.leaky_relu(F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps), slope)

With s the slope mask, a = s dy, v the gradient that arrives at dx, M the rows of a group, and the channel means
A = E[a], V = E[v], P = E[a xh], Q = E[v xh], S = E[a v], D = S - V A - Q P, h = -gamma r (v P + a Q):

    dx  = gamma r (a - A - xh P),  dgamma = M P,  dbeta = M A
    ddy = s gamma r (v - V - xh Q)
    dx' = r (h - E[h] - xh E[h xh]) - gamma r^2 D xh,  E[h] = -gamma r (V P + A Q),  E[h xh] = -2 gamma r P Q
        = -gamma r^2 ((v - V) P + (a - A) Q + xh (D - 2 P Q))
    dgamma' = M r D

On a GPU each of the three is two kernels: one reads the tensors and leaves sums per program, one adds these up, reads
the tensors again and writes. Passes over memory: forward 3, backward 5, double backward 8, the fewest for tensors
larger than the caches.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .convolution import channels_last, weight_gradients_wanted
from .dispatch import Impl, arch_of, below_autograd, jit, register_op, resolve_impl, tl
from .fusion import fused
from .partial_statistics import PartialStatistics, combine_parts, combine_statistics

EPS = 1e-5
SLOPE = 0.2


class Statistics(NamedTuple):
    """Statistics to normalise with that do not hang on the input, such as running ones."""

    mean: Tensor
    """[groups, C]"""
    var: Tensor
    """[groups, C], biased."""


def batch_norm_act_reference(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int = 1,
                             statistics: Statistics | None = None) -> Tensor:
    """The specification, in plain torch."""
    def normalised(part: Tensor, group: int) -> Tensor:
        mean, var = (None, None) if statistics is None else (t[group] for t in statistics)
        return torch.nn.functional.batch_norm(part, mean, var, gamma, beta, training=statistics is None, eps=EPS)
    parts = [normalised(part, group) for group, part in enumerate(x.chunk(groups))]
    return torch.nn.functional.leaky_relu(torch.cat(parts), SLOPE)


@jit
def _chunk(M, rows_per_program, C: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    """What this program works on: channels and their mask, its first element, its number of rows; the offsets of a
    tile's rows and elements from there."""
    first = tl.program_id(0) * rows_per_program
    offs_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    base = (tl.cast(tl.program_id(2), tl.int64) * M + first) * C
    offs_m = tl.arange(0, BLOCK_M)
    offs = offs_m[:, None] * C + offs_c[None, :]  # [BLOCK_M, BLOCK_C]
    return offs_c, offs_c < C, base, tl.minimum(rows_per_program, M - first), offs_m, offs


@jit
def _part():
    """The number of this program among those that leave sums, group by group."""
    return tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)


@jit
def _load_wide(ptr, offs, mask):
    return tl.load(ptr + offs, mask=mask, other=0.0).to(tl.float32)


@jit
def _inverse_deviation(var_ptr, offs, mask, EPS: tl.constexpr):
    return tl.rsqrt(tl.load(var_ptr + offs, mask=mask, other=0.0) + EPS)


@jit
def _channels(mean_ptr, var_ptr, gamma_ptr, beta_ptr, offs_c, mask_c, C: tl.constexpr, EPS: tl.constexpr):
    """Mean, r, gamma r and beta of this program's group. All passes take LeakyReLU's side from the sign of
    (x - mean) (gamma r) + beta, so they agree to the bit."""
    offs = tl.program_id(2) * C + offs_c
    r = _inverse_deviation(var_ptr, offs, mask_c, EPS)
    mean = tl.load(mean_ptr + offs, mask=mask_c, other=0.0)
    return mean, r, _load_wide(gamma_ptr, offs_c, mask_c) * r, _load_wide(beta_ptr, offs_c, mask_c)


@jit
def _sum_parts(sums_ptr, num_parts, offs_c, mask_c, SUMS: tl.constexpr, C: tl.constexpr, BLOCK_P: tl.constexpr):
    """One of SUMS interleaved sums [parts, SUMS, C] over a group's parts, at most BLOCK_P: [BLOCK_C]."""
    offs_p = tl.arange(0, BLOCK_P)
    mask = (offs_p < num_parts)[:, None] & mask_c[None, :]
    return tl.sum(tl.load(sums_ptr + offs_p[:, None] * (SUMS * C) + offs_c[None, :], mask=mask, other=0.0), 0)


@jit
def _batch_norm_act_fwd_stats_kernel(x_ptr, count_ptr, mean_ptr, m2_ptr, M, rows_per_program, C: tl.constexpr,
                                     BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, STAGES: tl.constexpr):
    offs_c, mask_c, base, rows, offs_m, _ = _chunk(M, rows_per_program, C, BLOCK_M, BLOCK_C)
    # Sums are taken around the program's first row: around zero, the variance of a large mean cancels.
    pivot = _load_wide(x_ptr + base, offs_c, mask_c)
    acc = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    acc_square = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    for start in tl.range(0, rows, BLOCK_M, num_stages=STAGES):
        # Beyond the end the first row is read again, whose distance is zero: no select per element.
        offs_row = tl.where(offs_m < rows - start, start + offs_m, 0) * C
        distance = _load_wide(x_ptr + base, offs_row[:, None] + offs_c[None, :], mask_c[None, :]) - pivot[None, :]
        acc += distance
        acc_square += distance * distance
    count = tl.cast(rows, tl.float32)
    total = tl.sum(acc, 0)
    shift = total / count
    part = _part()
    tl.store(count_ptr + part, count)
    tl.store(mean_ptr + part * C + offs_c, pivot + shift, mask=mask_c)
    tl.store(m2_ptr + part * C + offs_c, tl.maximum(tl.sum(acc_square, 0) - total * shift, 0.0), mask=mask_c)


@jit
def _batch_norm_act_fwd_kernel(x_ptr, gamma_ptr, beta_ptr, count_ptr, part_mean_ptr, part_m2_ptr,
                               y_ptr, mean_ptr, var_ptr, M, rows_per_program, num_parts,
                               COMBINE: tl.constexpr, EPS: tl.constexpr, SLOPE: tl.constexpr, C: tl.constexpr,
                               BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
                               STAGES: tl.constexpr):
    """With COMBINE mean and variance are those of the parts, and the first program of a group writes them down."""
    offs_c, mask_c, base, rows, offs_m, offs = _chunk(M, rows_per_program, C, BLOCK_M, BLOCK_C)
    pid_g = tl.program_id(2)
    if COMBINE:
        first = pid_g * num_parts
        mean, var = combine_parts(count_ptr + first, part_mean_ptr + first * C, part_m2_ptr + first * C, num_parts,
                                  offs_c, mask_c, C, BLOCK_P, BLOCK_C)
        if tl.program_id(0) == 0:
            tl.store(mean_ptr + pid_g * C + offs_c, mean, mask=mask_c)
            tl.store(var_ptr + pid_g * C + offs_c, var, mask=mask_c)
    else:
        mean = tl.load(mean_ptr + pid_g * C + offs_c, mask=mask_c, other=0.0)
        var = tl.load(var_ptr + pid_g * C + offs_c, mask=mask_c, other=0.0)
    scale = _load_wide(gamma_ptr, offs_c, mask_c) * tl.rsqrt(var + EPS)
    beta = _load_wide(beta_ptr, offs_c, mask_c)
    for start in tl.range(0, rows, BLOCK_M, num_stages=STAGES):
        mask = (offs_m < rows - start)[:, None] & mask_c[None, :]
        x = _load_wide(x_ptr + base + start * C, offs, mask)
        y = (x - mean[None, :]) * scale[None, :] + beta[None, :]
        y = tl.where(y > 0, y, SLOPE * y)
        tl.store(y_ptr + base + start * C + offs, y.to(y_ptr.dtype.element_ty), mask=mask)


@jit
def _batch_norm_act_bwd_sums_kernel(dy_ptr, x_ptr, mean_ptr, var_ptr, gamma_ptr, beta_ptr, sums_ptr,
                                    M, rows_per_program, EPS: tl.constexpr, SLOPE: tl.constexpr, C: tl.constexpr,
                                    BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, STAGES: tl.constexpr):
    """Sums of a and a xh."""
    offs_c, mask_c, base, rows, offs_m, offs = _chunk(M, rows_per_program, C, BLOCK_M, BLOCK_C)
    mean, r, scale, beta = _channels(mean_ptr, var_ptr, gamma_ptr, beta_ptr, offs_c, mask_c, C, EPS)
    acc_a = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    acc_ad = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    for start in tl.range(0, rows, BLOCK_M, num_stages=STAGES):
        mask = (offs_m < rows - start)[:, None] & mask_c[None, :]
        dy = _load_wide(dy_ptr + base + start * C, offs, mask)
        distance = _load_wide(x_ptr + base + start * C, offs, mask) - mean[None, :]
        a = tl.where(distance * scale[None, :] + beta[None, :] > 0, dy, SLOPE * dy)
        acc_a += a
        acc_ad += a * distance
    sums_ptr += _part() * (2 * C)
    tl.store(sums_ptr + offs_c, tl.sum(acc_a, 0), mask=mask_c)
    tl.store(sums_ptr + C + offs_c, r * tl.sum(acc_ad, 0), mask=mask_c)


@jit
def _batch_norm_act_bwd_kernel(dy_ptr, x_ptr, mean_ptr, var_ptr, gamma_ptr, beta_ptr, sums_ptr,
                               dx_ptr, dgamma_ptr, dbeta_ptr, M, rows_per_program, num_parts, groups,
                               GIVEN: tl.constexpr, WEIGHTS: tl.constexpr, EPS: tl.constexpr, SLOPE: tl.constexpr,
                               C: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
                               STAGES: tl.constexpr):
    """dx = gamma r (a - A - xh P), of given statistics dx = gamma r a; the first program also adds up dgamma, dbeta."""
    offs_c, mask_c, base, rows, offs_m, offs = _chunk(M, rows_per_program, C, BLOCK_M, BLOCK_C)
    pid_g = tl.program_id(2)
    if WEIGHTS:  # noqa: SIM102  (known to the compiler, what follows is not)
        if (tl.program_id(0) == 0) & (pid_g == 0):
            dgamma = tl.zeros([BLOCK_C], tl.float32)
            dbeta = tl.zeros([BLOCK_C], tl.float32)
            for group in range(0, groups):
                of_group = sums_ptr + group * num_parts * (2 * C)
                dgamma += _sum_parts(of_group + C, num_parts, offs_c, mask_c, 2, C, BLOCK_P)
                dbeta += _sum_parts(of_group, num_parts, offs_c, mask_c, 2, C, BLOCK_P)
            tl.store(dbeta_ptr + offs_c, dbeta.to(dbeta_ptr.dtype.element_ty), mask=mask_c)
            tl.store(dgamma_ptr + offs_c, dgamma.to(dgamma_ptr.dtype.element_ty), mask=mask_c)
    mean, r, scale, beta = _channels(mean_ptr, var_ptr, gamma_ptr, beta_ptr, offs_c, mask_c, C, EPS)
    if GIVEN:
        mean_a = tl.zeros([BLOCK_C], tl.float32)
        p = tl.zeros([BLOCK_C], tl.float32)
    else:
        count = tl.cast(M, tl.float32)
        sums_ptr += pid_g * num_parts * (2 * C)
        mean_a = _sum_parts(sums_ptr, num_parts, offs_c, mask_c, 2, C, BLOCK_P) / count
        p = r * _sum_parts(sums_ptr + C, num_parts, offs_c, mask_c, 2, C, BLOCK_P) / count
    for start in tl.range(0, rows, BLOCK_M, num_stages=STAGES):
        mask = (offs_m < rows - start)[:, None] & mask_c[None, :]
        dy = _load_wide(dy_ptr + base + start * C, offs, mask)
        distance = _load_wide(x_ptr + base + start * C, offs, mask) - mean[None, :]
        a = tl.where(distance * scale[None, :] + beta[None, :] > 0, dy, SLOPE * dy)
        dx = scale[None, :] * (a - mean_a[None, :] - distance * p[None, :])
        tl.store(dx_ptr + base + start * C + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


@jit
def _batch_norm_act_bwd_bwd_sums_kernel(v_ptr, dy_ptr, x_ptr, mean_ptr, var_ptr, gamma_ptr, beta_ptr, sums_ptr,
                                        M, rows_per_program, EPS: tl.constexpr, SLOPE: tl.constexpr, C: tl.constexpr,
                                        BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, STAGES: tl.constexpr):
    """Sums of a, v, a xh, v xh and a v."""
    offs_c, mask_c, base, rows, offs_m, offs = _chunk(M, rows_per_program, C, BLOCK_M, BLOCK_C)
    mean, r, scale, beta = _channels(mean_ptr, var_ptr, gamma_ptr, beta_ptr, offs_c, mask_c, C, EPS)
    acc_a = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    acc_v = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    acc_ad = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    acc_vd = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    acc_av = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    for start in tl.range(0, rows, BLOCK_M, num_stages=STAGES):
        mask = (offs_m < rows - start)[:, None] & mask_c[None, :]
        v = _load_wide(v_ptr + base + start * C, offs, mask)
        dy = _load_wide(dy_ptr + base + start * C, offs, mask)
        distance = _load_wide(x_ptr + base + start * C, offs, mask) - mean[None, :]
        a = tl.where(distance * scale[None, :] + beta[None, :] > 0, dy, SLOPE * dy)
        acc_a += a
        acc_v += v
        acc_ad += a * distance
        acc_vd += v * distance
        acc_av += a * v
    sums_ptr += _part() * (5 * C)
    tl.store(sums_ptr + offs_c, tl.sum(acc_a, 0), mask=mask_c)
    tl.store(sums_ptr + C + offs_c, tl.sum(acc_v, 0), mask=mask_c)
    tl.store(sums_ptr + 2 * C + offs_c, r * tl.sum(acc_ad, 0), mask=mask_c)
    tl.store(sums_ptr + 3 * C + offs_c, r * tl.sum(acc_vd, 0), mask=mask_c)
    tl.store(sums_ptr + 4 * C + offs_c, tl.sum(acc_av, 0), mask=mask_c)


@jit
def _second_order_means(sums_ptr, M, num_parts, offs_c, mask_c, C: tl.constexpr, BLOCK_P: tl.constexpr):
    """A, V, P, Q and D of one group."""
    count = tl.cast(M, tl.float32)
    mean_a = _sum_parts(sums_ptr, num_parts, offs_c, mask_c, 5, C, BLOCK_P) / count
    mean_v = _sum_parts(sums_ptr + C, num_parts, offs_c, mask_c, 5, C, BLOCK_P) / count
    p = _sum_parts(sums_ptr + 2 * C, num_parts, offs_c, mask_c, 5, C, BLOCK_P) / count
    q = _sum_parts(sums_ptr + 3 * C, num_parts, offs_c, mask_c, 5, C, BLOCK_P) / count
    s = _sum_parts(sums_ptr + 4 * C, num_parts, offs_c, mask_c, 5, C, BLOCK_P) / count
    # Of one row D is zero; a fused multiply-add would leave the rounding of V A.
    d = tl.where(count > 1, s - mean_v * mean_a - q * p, 0.0)
    return mean_a, mean_v, p, q, d


@jit
def _batch_norm_act_bwd_bwd_kernel(v_ptr, dy_ptr, x_ptr, mean_ptr, var_ptr, gamma_ptr, beta_ptr, sums_ptr,
                                   ddy_ptr, dx_ptr, dgamma_ptr, M, rows_per_program, num_parts, groups,
                                   WEIGHTS: tl.constexpr, EPS: tl.constexpr, SLOPE: tl.constexpr, C: tl.constexpr,
                                   BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
                                   STAGES: tl.constexpr):
    """ddy and dx'; the first program also adds up dgamma' over the groups."""
    offs_c, mask_c, base, rows, offs_m, offs = _chunk(M, rows_per_program, C, BLOCK_M, BLOCK_C)
    pid_g = tl.program_id(2)
    if WEIGHTS:  # noqa: SIM102  (known to the compiler, what follows is not)
        if (tl.program_id(0) == 0) & (pid_g == 0):
            dgamma = tl.zeros([BLOCK_C], tl.float32)
            for group in range(0, groups):
                _, _, _, _, d = _second_order_means(sums_ptr + group * num_parts * (5 * C), M, num_parts,
                                                    offs_c, mask_c, C, BLOCK_P)
                r = _inverse_deviation(var_ptr, group * C + offs_c, mask_c, EPS)
                dgamma += tl.cast(M, tl.float32) * d * r
            tl.store(dgamma_ptr + offs_c, dgamma.to(dgamma_ptr.dtype.element_ty), mask=mask_c)
    mean, r, scale, beta = _channels(mean_ptr, var_ptr, gamma_ptr, beta_ptr, offs_c, mask_c, C, EPS)
    mean_a, mean_v, p, q, d = _second_order_means(sums_ptr + pid_g * num_parts * (5 * C), M, num_parts,
                                                  offs_c, mask_c, C, BLOCK_P)
    # Coefficients of the distance from the mean instead of xh, and r out of the brackets.
    d = r * r * (d - 2 * p * q)
    p *= r
    q *= r
    for start in tl.range(0, rows, BLOCK_M, num_stages=STAGES):
        mask = (offs_m < rows - start)[:, None] & mask_c[None, :]
        v = _load_wide(v_ptr + base + start * C, offs, mask) - mean_v[None, :]
        dy = _load_wide(dy_ptr + base + start * C, offs, mask)
        distance = _load_wide(x_ptr + base + start * C, offs, mask) - mean[None, :]
        slope = tl.where(distance * scale[None, :] + beta[None, :] > 0, 1.0, SLOPE)
        ddy = slope * (scale[None, :] * (v - distance * q[None, :]))
        bracket = v * p[None, :] + (slope * dy - mean_a[None, :]) * q[None, :] + distance * d[None, :]
        dx = -scale[None, :] * bracket
        tl.store(ddy_ptr + base + start * C + offs, ddy.to(ddy_ptr.dtype.element_ty), mask=mask)
        tl.store(dx_ptr + base + start * C + offs, dx.to(dx_ptr.dtype.element_ty), mask=mask)


class _Launch(NamedTuple):
    num_warps: int
    vectors: int  # of 16 bytes, that a thread takes of each tensor and round
    stages: int  # rounds at work and in flight; the latter as asynchronous copies into shared memory, without registers
    programs_per_sm: int


# What a program holds is the same for any number of channels and dtype: 16 bytes of each tensor per thread and round.
# Little's law asks for 16 KB in flight per SM on an H100 (3.0 TB/s, 0.7 us), 38 KB on a B200: without the stages the
# double backward would have 24. Reductions are one wave of as many programs as their registers let in (bfloat16,
# sm_90) and so leave few sums; elementwise passes several waves, so that no SM waits for the slowest.
_LAUNCHES = {
    # 64 registers. Two vectors: with one, 10.0 instead of 7.1 instructions per element, and a B200 has time for 10.
    "fwd_stats": _Launch(num_warps=8, vectors=2, stages=3, programs_per_sm=4),
    "fwd": _Launch(num_warps=8, vectors=1, stages=3, programs_per_sm=16),  # 64
    "bwd_sums": _Launch(num_warps=8, vectors=1, stages=3, programs_per_sm=3),  # 74
    "bwd": _Launch(num_warps=8, vectors=1, stages=3, programs_per_sm=16),  # 64
    "bwd_bwd_sums": _Launch(num_warps=8, vectors=1, stages=3, programs_per_sm=2),  # 117
    "bwd_bwd": _Launch(num_warps=8, vectors=1, stages=3, programs_per_sm=16),  # 127
}

# By table: a launch asks the device nothing. Elsewhere 128.
_MULTIPROCESSORS = {"sm_80": 108, "sm_86": 84, "sm_89": 128, "sm_90": 132, "sm_100": 148, "sm_120": 170,
                    "gfx90a": 104, "gfx942": 304}

FEW_PARTS = 32
"""So many sums per group each elementwise program adds up itself; more are added up by a launch of their own."""

FEW_PARTS_BYTES = 5 << 18
"""A reduction over a group stays with FEW_PARTS programs up to this size (8x25x44 at 32 channels in float32 has nine
tenths of it): at most ten rounds each, which should take no longer than the launch that is saved, some 2 us."""


class _Plan(NamedTuple):
    """How a pass over rows [groups, M, C] is cut into programs."""

    grid: tuple[int, int, int]  # parts, blocks of channels, groups
    rows_per_program: int
    block_m: int
    block_c: int
    num_warps: int
    stages: int


@functools.cache
def _plan(kernel: str, groups: int, rows: int, channels: int, element_size: int, arch: str) -> _Plan:
    launch = _LAUNCHES[kernel]
    amd = arch.startswith("gfx")
    num_warps = launch.num_warps // 2 if amd else launch.num_warps  # of twice as many threads
    threads = num_warps * (64 if amd else 32)
    block_c = min(128, 1 << (channels - 1).bit_length())
    block_m = max(1, threads * launch.vectors * (16 // element_size) // block_c)
    blocks_c = -(-channels // block_c)
    tiles = -(-rows // block_m)
    parts = max(1, _MULTIPROCESSORS.get(arch, 128) * launch.programs_per_sm // (groups * blocks_c))
    if kernel.endswith(("stats", "sums")) and rows * block_c * element_size <= FEW_PARTS_BYTES:
        parts = min(parts, FEW_PARTS)
    tiles_per_program = -(-tiles // parts)
    return _Plan((-(-tiles // tiles_per_program), blocks_c, groups), tiles_per_program * block_m, block_m, block_c,
                 num_warps, launch.stages)


def _empty_like(x: Tensor) -> Tensor:
    """Unwritten, with the shape and dtype of `x` and channels innermost."""
    memory_format = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format)


class _Case(NamedTuple):
    """All that a plan depends on."""

    groups: int
    rows: int  # of a group
    channels: int
    element_size: int
    arch: str


def _case_of(x: Tensor, groups: int) -> _Case:
    channels = x.shape[1]
    return _Case(groups, x.numel() // (groups * channels), channels, x.element_size(), arch_of(x))


def _block_p(case: _Case) -> int:
    # As tall as the tile of an elementwise pass, the sums get its layout, and no round has to change from one to the
    # other on its way through shared memory. (128 channels in 16 bits are left with that: their tile has 16 rows.)
    return max(FEW_PARTS, _plan("fwd", *case).block_m)


def _run(kernel: Any, name: str, case: _Case, tensors: Sequence[Tensor | None], *numbers: int,
         **constants: Any) -> None:
    plan = _plan(name, *case)
    kernel[plan.grid](*tensors, case.rows, plan.rows_per_program, *numbers, C=case.channels, BLOCK_M=plan.block_m,
                      BLOCK_C=plan.block_c, STAGES=plan.stages, num_warps=plan.num_warps, **constants)


def _stats_per_program(x, case):
    """counts [groups, parts], means and m2s [groups, parts, C]."""
    shape = case.groups, _plan("fwd_stats", *case).grid[0]
    counts = x.new_empty(shape, dtype=torch.float32)
    means, m2s = (x.new_empty(*shape, case.channels, dtype=torch.float32) for _ in range(2))
    _run(_batch_norm_act_fwd_stats_kernel, "fwd_stats", case, (x, counts, means, m2s))
    return counts, means, m2s


def _sums_per_program(kernel, name, sums, tensors, case):
    """[groups, parts, sums, C], at most FEW_PARTS parts."""
    out = tensors[0].new_empty(case.groups, _plan(name, *case).grid[0], sums, case.channels, dtype=torch.float32)
    _run(kernel, name, case, (*tensors, out), EPS=EPS, SLOPE=SLOPE)
    return out if out.shape[1] <= FEW_PARTS else out.sum(1, keepdim=True)


def _fwd_triton(x, gamma, beta, groups, statistics):
    x, gamma, beta = channels_last(x), gamma.contiguous(), beta.contiguous()
    case = _case_of(x, groups)
    y = _empty_like(x)
    combine, num_parts = False, 1
    counts = means = m2s = None
    with torch.cuda.device_of(x):
        if len(statistics) == 2:
            # An op's result is none of its arguments, and running statistics change before backward reads them.
            mean, var = (t.to(torch.float32, copy=True).contiguous() for t in statistics)
        else:
            counts, means, m2s = [t.to(torch.float32).contiguous() for t in statistics] or _stats_per_program(x, case)
            num_parts = means.shape[1]
            combine = num_parts <= FEW_PARTS
            if combine:
                mean, var = (x.new_empty(groups, case.channels, dtype=torch.float32) for _ in range(2))
            else:
                mean, var = combine_statistics(counts, means, m2s, impl="triton")
        _run(_batch_norm_act_fwd_kernel, "fwd", case, (x, gamma, beta, counts, means, m2s, y, mean, var), num_parts,
             COMBINE=combine, EPS=EPS, SLOPE=SLOPE, BLOCK_P=_block_p(case))
    return y, mean, var


def _bwd_triton(dy, x, mean, var, gamma, beta, given, weights):
    dy, x, gamma, beta = channels_last(dy), channels_last(x), gamma.contiguous(), beta.contiguous()
    case = _case_of(x, mean.shape[0])
    dx = _empty_like(x)
    dgamma, dbeta = (torch.empty_like(gamma) if weights else gamma.new_empty(0) for _ in range(2))
    inputs = dy, x, mean, var, gamma, beta
    sums, num_parts = None, 1
    with torch.cuda.device_of(x):
        if weights or not given:
            sums = _sums_per_program(_batch_norm_act_bwd_sums_kernel, "bwd_sums", 2, inputs, case)
            num_parts = sums.shape[1]
        _run(_batch_norm_act_bwd_kernel, "bwd", case, (*inputs, sums, dx, dgamma, dbeta), num_parts, case.groups,
             GIVEN=given, WEIGHTS=weights, EPS=EPS, SLOPE=SLOPE, BLOCK_P=_block_p(case))
    return dx, dgamma, dbeta


def _bwd_bwd_triton(v, dy, x, mean, var, gamma, beta, weights):
    v, dy, x, gamma, beta = channels_last(v), channels_last(dy), channels_last(x), gamma.contiguous(), beta.contiguous()
    case = _case_of(x, mean.shape[0])
    ddy, dx = _empty_like(dy), _empty_like(x)
    dgamma = torch.empty_like(gamma) if weights else gamma.new_empty(0)
    inputs = v, dy, x, mean, var, gamma, beta
    with torch.cuda.device_of(x):
        sums = _sums_per_program(_batch_norm_act_bwd_bwd_sums_kernel, "bwd_bwd_sums", 5, inputs, case)
        _run(_batch_norm_act_bwd_bwd_kernel, "bwd_bwd", case, (*inputs, sums, ddy, dx, dgamma), sums.shape[1],
             case.groups, WEIGHTS=weights, EPS=EPS, SLOPE=SLOPE, BLOCK_P=_block_p(case))
    return ddy, dx, dgamma


def _wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _slope(y):
    return torch.where(y > 0, y.new_ones(()), SLOPE)  # between two plain numbers it would be float32 for float64 too


def _examples(tensors: int, stats: int, groups: tuple[int, ...]):
    """Canonical arguments: `tensors` of [groups, M, C], `stats` of [groups, 1, C]; gamma and beta [C].

    Two M: beyond 4096 terms inductor sums in chunks and guards on it (torch 2.13).
    """
    def build(device: torch.device, dtype: torch.dtype):
        for count, length in itertools.product(groups, (4099, 131)):
            rows = [torch.zeros(count, length, 32, device=device, dtype=dtype) for _ in range(tensors)]
            statistics = [torch.ones(count, 1, 32, device=device) for _ in range(stats)]
            yield *rows, *statistics, torch.ones(32, device=device), torch.zeros(32, device=device)
    return build


# What is compiled takes r and not the variance: inductor takes the root again for every element.


@fused(_examples(tensors=1, stats=0, groups=(1, 2)))
def _norm_forward(x, gamma, beta):
    wide = _wide(x)
    # Sums around a pivot take two thirds of the time, but inductor's are off by 3e-5 deviations for more than 4096 rows
    # of bfloat16 (torch 2.13).
    var, mean = torch.var_mean(wide, 1, correction=0, keepdim=True)
    y = (wide - mean) * (gamma * (var + EPS).rsqrt()) + beta
    return torch.maximum(y, SLOPE * y).to(x.dtype), mean, var


@fused(_examples(tensors=2, stats=2, groups=(1, 2)))
def _norm_backward(dy, x, mean, r, gamma, beta):
    distance, scale = _wide(x) - mean, gamma * r
    a = _wide(dy) * _slope(distance * scale + beta)
    mean_a, mean_ad = a.mean(1, keepdim=True), (a * distance).mean(1, keepdim=True)
    dx = scale * (a - mean_a - distance * (mean_ad * r * r))
    rows = x.shape[1]
    return dx.to(x.dtype), rows * (mean_ad * r).sum((0, 1)), rows * mean_a.sum((0, 1))


@fused(_examples(tensors=3, stats=2, groups=(1,)))
def _norm_double_backward(v, dy, x, mean, r, gamma, beta):
    distance, scale = _wide(x) - mean, gamma * r
    slope = _slope(distance * scale + beta)
    a, v = _wide(dy) * slope, _wide(v)
    mean_a, mean_v = a.mean(1, keepdim=True), v.mean(1, keepdim=True)
    mean_axh, mean_vxh = r * (a * distance).mean(1, keepdim=True), r * (v * distance).mean(1, keepdim=True)
    d = (a * v).mean(1, keepdim=True) - mean_v * mean_a - mean_vxh * mean_axh
    ddy = slope * scale * (v - mean_v - distance * (r * mean_vxh))
    dx = (-scale * r) * ((v - mean_v) * mean_axh + (a - mean_a) * mean_vxh
                         + distance * (r * (d - 2 * mean_axh * mean_vxh)))
    return ddy.to(dy.dtype), dx.to(x.dtype), x.shape[1] * (r * d).sum((0, 1))


def _norm_given(x, mean, var, gamma, beta):
    y = (_wide(x) - mean) * (var + EPS).rsqrt() * gamma + beta
    return torch.where(y > 0, y, SLOPE * y).to(x.dtype)


def _norm_given_backward(dy, x, mean, r, gamma, beta):
    xh = (_wide(x) - mean) * r
    a = _wide(dy) * _slope(gamma * xh + beta)
    return (gamma * r * a).to(x.dtype), (a * xh).sum((0, 1)), a.sum((0, 1))


def _rows(x: Tensor, groups: int) -> Tensor:
    """[groups, M, C], a view of `x` with channels innermost: 4-D and 5-D tensors are one case."""
    channels = x.shape[1]
    rows = x.numel() // (groups * channels)
    # One view for three: they are half of what a small clip's call costs besides the arithmetic.
    return channels_last(x.detach()).as_strided((groups, rows, channels), (rows * channels, channels, 1))


def _from_rows(rows: Tensor, like: Tensor) -> Tensor:
    n, channels, *size = like.shape
    return rows.view(n, *size, channels).permute(0, -1, *range(1, len(size) + 1))


def _fwd_torch(x, gamma, beta, groups, statistics):
    rows, gamma, beta = _rows(x, groups), gamma.detach(), beta.detach()
    if not statistics:
        y, mean, var = _norm_forward(rows, gamma, beta)
        return _from_rows(y, x), mean.squeeze(1), var.squeeze(1)
    mean, var = (t.clone() for t in statistics) if len(statistics) == 2 else combine_statistics(*statistics,
                                                                                                impl="torch")
    return _from_rows(_norm_given(rows, mean.unsqueeze(1), var.unsqueeze(1), gamma, beta), x), mean, var


def _bwd_torch(dy, x, mean, var, gamma, beta, given, weights):
    backward = _norm_given_backward if given else _norm_backward
    groups = mean.shape[0]
    dx, dgamma, dbeta = backward(_rows(dy, groups), _rows(x, groups), mean.unsqueeze(1),
                                 (var + EPS).rsqrt().unsqueeze(1), gamma.detach(), beta.detach())
    if not weights:
        return _from_rows(dx, x), gamma.new_empty(0), beta.new_empty(0)
    return _from_rows(dx, x), dgamma.to(gamma.dtype), dbeta.to(beta.dtype)


def _bwd_bwd_torch(v, dy, x, mean, var, gamma, beta, weights):
    groups = mean.shape[0]
    ddy, dx, dgamma = _norm_double_backward(_rows(v, groups), _rows(dy, groups), _rows(x, groups), mean.unsqueeze(1),
                                            (var + EPS).rsqrt().unsqueeze(1), gamma.detach(), beta.detach())
    return _from_rows(ddy, dy), _from_rows(dx, x), dgamma.to(gamma.dtype) if weights else gamma.new_empty(0)


def _fwd(*arguments):
    *rest, impl = arguments
    return (_fwd_triton if impl == "triton" else _fwd_torch)(*rest)


def _bwd(*arguments):
    *rest, impl = arguments
    return (_bwd_triton if impl == "triton" else _bwd_torch)(*rest)


def _bwd_bwd(*arguments):
    *rest, impl = arguments
    return (_bwd_bwd_triton if impl == "triton" else _bwd_bwd_torch)(*rest)


def _fwd_fake(x, gamma, beta, groups, statistics, impl):
    mean, var = (x.new_empty(groups, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32)) for _ in range(2))
    return _empty_like(x), mean, var


def _bwd_fake(dy, x, mean, var, gamma, beta, given, weights, impl):
    dgamma, dbeta = (t.new_empty(t.shape if weights else 0) for t in (gamma, beta))
    return _empty_like(x), dgamma, dbeta


def _bwd_bwd_fake(v, dy, x, mean, var, gamma, beta, weights, impl):
    return _empty_like(dy), _empty_like(x), gamma.new_empty(gamma.shape if weights else 0)


class BatchNormActFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, groups, statistics, impl):
        with below_autograd():
            y, mean, var = batch_norm_act_fwd(x, gamma, beta, groups, statistics, impl)
        ctx.save_for_backward(x, mean, var, gamma, beta)
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)  # zeros for mean and var would be two launches
        ctx.given, ctx.impl = len(statistics) == 2, impl
        return y, mean, var

    @staticmethod
    def backward(ctx, dy, _mean, _var):
        if dy is None:
            return (None,) * 6
        weights = weight_gradients_wanted() and any(ctx.needs_input_grad[1:3])
        dx, dgamma, dbeta = batch_norm_act_bwd(dy, *ctx.saved_tensors, ctx.given, weights, ctx.impl)
        return dx, dgamma if weights else None, dbeta if weights else None, None, None, None


class BatchNormActBwdFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dy, x, mean, var, gamma, beta, given, weights, impl):
        with below_autograd():
            dx, dgamma, dbeta = batch_norm_act_bwd(dy, x, mean, var, gamma, beta, given, weights, impl)
        ctx.save_for_backward(dy, x, mean, var, gamma, beta)
        ctx.set_materialize_grads(False)
        if not weights:
            ctx.mark_non_differentiable(dgamma, dbeta)
        ctx.given, ctx.impl = given, impl
        return dx, dgamma, dbeta

    @staticmethod
    def backward(ctx, v, v_gamma, v_beta):
        if v_gamma is not None or v_beta is not None:
            raise RuntimeError("batch_norm_act: the second derivative through the gradients of gamma and beta is not "
                               "offered; compute the first gradient inside weight_gradients_disabled()")
        if ctx.given:
            raise RuntimeError("batch_norm_act: the second derivative with given statistics is not offered")
        if v is None:
            return (None,) * 9
        weights = weight_gradients_wanted() and ctx.needs_input_grad[4]
        ddy, dx, dgamma = batch_norm_act_bwd_bwd(v, *ctx.saved_tensors, weights, ctx.impl)
        return ddy, dx, None, None, dgamma if weights else None, None, None, None, None


class BatchNormActBwdBwdFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v, dy, x, mean, var, gamma, beta, weights, impl):
        with below_autograd():
            return batch_norm_act_bwd_bwd(v, dy, x, mean, var, gamma, beta, weights, impl)

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError("batch_norm_act: the third derivative is not offered")


batch_norm_act_fwd = register_op(
    "batch_norm_act_fwd(Tensor x, Tensor gamma, Tensor beta, int groups, Tensor[] statistics, str impl) "
    "-> (Tensor y, Tensor mean, Tensor var)", _fwd, _fwd_fake, BatchNormActFunction)

batch_norm_act_bwd = register_op(
    "batch_norm_act_bwd(Tensor dy, Tensor x, Tensor mean, Tensor var, Tensor gamma, Tensor beta, bool given, "
    "bool weights, str impl) -> (Tensor dx, Tensor dgamma, Tensor dbeta)", _bwd, _bwd_fake, BatchNormActBwdFunction)

batch_norm_act_bwd_bwd = register_op(
    "batch_norm_act_bwd_bwd(Tensor v, Tensor dy, Tensor x, Tensor mean, Tensor var, Tensor gamma, Tensor beta, "
    "bool weights, str impl) -> (Tensor ddy, Tensor dx, Tensor dgamma)", _bwd_bwd, _bwd_bwd_fake,
    BatchNormActBwdBwdFunction)


def batch_norm_act(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int = 1,
                   statistics: PartialStatistics | Statistics | None = None,
                   impl: Impl = "auto") -> tuple[Tensor, Tensor, Tensor]:
    """Normalise `x` [N, C, ...], scale with `gamma` [C], shift by `beta` [C] and activate.

    Args:
        groups: sets of N / groups samples that are normalised apart.
        statistics: None, to take them from `x`; those of its parts, where the kernel that wrote `x` has left them
            (differentiated as if taken here); or given ones, which are constants.

    Returns:
        y like `x` with channels innermost in memory; mean and variance (biased) [groups, C] in float32, not
        differentiable. float64 stays float64.

    Raises:
        ValueError: for shapes that do not belong together, or where N is no multiple of `groups`.
    """
    if x.shape[0] % groups:
        raise ValueError(f"batch_norm_act of {x.shape[0]} samples in {groups} groups: expected a multiple")
    if x.dim() not in (4, 5) or gamma.shape != x.shape[1:2] or beta.shape != gamma.shape:
        raise ValueError(f"batch_norm_act of x {tuple(x.shape)} with gamma {tuple(gamma.shape)}, beta "
                         f"{tuple(beta.shape)}: expected [N, C, (T,) H, W], [C], [C]")
    if statistics is not None and not _belong(statistics, groups, x.shape[1]):
        raise ValueError(f"batch_norm_act of {x.shape[1]} channels in {groups} groups with statistics "
                         f"{[tuple(t.shape) for t in statistics]}: expected twice [groups, C], or [groups, parts] "
                         "and twice [groups, parts, C]")
    return batch_norm_act_fwd(channels_last(x), gamma, beta, groups, list(statistics or ()),
                              resolve_impl(impl, "batch_norm_act", x))


def _belong(statistics: PartialStatistics | Statistics, groups: int, channels: int) -> bool:
    if isinstance(statistics, Statistics):
        return statistics.mean.shape == statistics.var.shape == (groups, channels)
    counts, means, m2s = statistics
    return means.shape == m2s.shape == (groups, *counts.shape[1:], channels) and counts.dim() == 2
