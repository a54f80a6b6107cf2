"""Mean and variance from the statistics of parts: what a kernel's programs leave behind, put together.

A part is `count` rows of a group with their `mean` and `m2`, the sum of squares around that mean (Chan et al. 1979):

    n = sum_p count_p,   mean = sum_p count_p mean_p / n,   var = sum_p (m2_p + count_p (mean_p - mean)^2) / n

counts [groups, parts], means and m2s [groups, parts, C] give mean and (biased) variance [groups, C]; float32, or
float64 in the torch form. Parts without rows are skipped, whatever they hold; the first part of a group has rows.
Not differentiable: BatchNorm's backward knows how its statistics hang on its input.

Equivalent to, for parts of equal size:
    mean = means.mean(1)
    var = (m2s / counts[..., None] + (means - mean[:, None]).square()).mean(1)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .dispatch import Impl, jit, register_op, resolve_impl, tl


class PartialStatistics(NamedTuple):
    """What programs know of the rows that each of them has seen."""

    counts: Tensor
    """[groups, parts]"""
    means: Tensor
    """[groups, parts, C]"""
    m2s: Tensor
    """[groups, parts, C], sums of squares around the part's own mean."""


def combine_statistics_reference(counts: Tensor, means: Tensor, m2s: Tensor) -> tuple[Tensor, Tensor]:
    """The specification, in plain torch."""
    count = counts[..., None]
    means, m2s = (torch.where(count > 0, t, 0.0) for t in (means, m2s))
    n = count.sum(1)
    mean = (count * means).sum(1) / n
    return mean, (m2s + count * (means - mean[:, None]).square()).sum(1) / n


@jit
def combine_parts(count_ptr, mean_ptr, m2_ptr, num_parts, offs_c, mask_c,
                  C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """Mean and variance [BLOCK_C] of one group, for kernels to call; the pointers are at its first part.

    In one pass, around the mean of the first part: around zero the variance of a large mean would cancel.
    """
    offs_p = tl.arange(0, BLOCK_P)
    offs = offs_p[:, None] * C + offs_c[None, :]  # [BLOCK_P, BLOCK_C]
    pivot = tl.load(mean_ptr + offs_c, mask=mask_c, other=0.0)
    n = 0.0
    acc = tl.zeros([BLOCK_C], tl.float32)
    acc_square = tl.zeros([BLOCK_C], tl.float32)
    for start in range(0, num_parts, BLOCK_P):
        count = tl.load(count_ptr + start + offs_p, mask=offs_p < num_parts - start, other=0.0)
        mask = (count > 0)[:, None] & mask_c[None, :]
        mean = tl.load(mean_ptr + start * C + offs, mask=mask, other=0.0)
        m2 = tl.load(m2_ptr + start * C + offs, mask=mask, other=0.0)
        distance = tl.where(mask, mean - pivot[None, :], 0.0)
        n += tl.sum(count, 0)
        acc += tl.sum(count[:, None] * distance, 0)
        acc_square += tl.sum(m2 + count[:, None] * distance * distance, 0)
    shift = acc / n
    return pivot + shift, tl.maximum(acc_square / n - shift * shift, 0.0)


@jit
def _combine_statistics_kernel(count_ptr, mean_ptr, m2_ptr, out_mean_ptr, out_var_ptr, num_parts,
                               C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    pid_c, pid_g = tl.program_id(0), tl.program_id(1)
    offs_c = pid_c * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    first = pid_g * num_parts
    mean, var = combine_parts(count_ptr + first, mean_ptr + first * C, m2_ptr + first * C, num_parts, offs_c, mask_c,
                              C, BLOCK_P, BLOCK_C)
    tl.store(out_mean_ptr + pid_g * C + offs_c, mean, mask=mask_c)
    tl.store(out_var_ptr + pid_g * C + offs_c, var, mask=mask_c)


def _launch(counts: Tensor, means: Tensor, m2s: Tensor) -> tuple[Tensor, Tensor]:
    groups, num_parts, channels = means.shape
    counts, means, m2s = (t.to(torch.float32).contiguous() for t in (counts, means, m2s))
    mean, var = means.new_empty(groups, channels), means.new_empty(groups, channels)
    # A row of 8 channels is one 32-byte sector; so few to a program, since there is no other parallel work.
    block_c = 8
    with torch.cuda.device_of(means):
        _combine_statistics_kernel[(-(-channels // block_c), groups)](
            counts, means, m2s, mean, var, num_parts, C=channels, BLOCK_P=64, BLOCK_C=block_c, num_warps=4)
    return mean, var


def _combine(counts, means, m2s, impl):
    return _launch(counts, means, m2s) if impl == "triton" else combine_statistics_reference(counts, means, m2s)


def _combine_fake(counts, means, m2s, impl):
    shape = means.shape[0], means.shape[2]
    return means.new_empty(shape), means.new_empty(shape)


_combine_op = register_op(
    "combine_statistics(Tensor counts, Tensor means, Tensor m2s, str impl) -> (Tensor mean, Tensor var)",
    _combine, _combine_fake)


def combine_statistics(counts: Tensor, means: Tensor, m2s: Tensor, *, impl: Impl = "auto") -> tuple[Tensor, Tensor]:
    """Mean and biased variance [groups, C] of what the parts have seen together.

    Args:
        counts: rows of each part, [groups, parts], float.
        means, m2s: mean and sum of squares around it, [groups, parts, C].

    Raises:
        ValueError: for shapes that do not belong together.
    """
    if means.dim() != 3 or m2s.shape != means.shape or counts.shape != means.shape[:2]:
        raise ValueError(f"combine_statistics of counts {tuple(counts.shape)}, means {tuple(means.shape)}, m2s "
                         f"{tuple(m2s.shape)}: expected [groups, parts] and twice [groups, parts, C]")
    return _combine_op(counts, means, m2s, resolve_impl(impl, "combine_statistics", means))
