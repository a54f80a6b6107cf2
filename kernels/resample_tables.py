"""Resampling of one axis as a table: for each pixel of the result, where it reads and with which weights.

    y[i] = sum_k weights[k, i] x[start[i] + k]

The centre of pixel i of the result lies at (i + 1/2) size_in / size_out - 1/2 on the axis of x, as with
`align_corners=False`; its neighbours there weigh by distance, linearly or by Keys' cubic with a = -3/4, and those
beyond the border are the border pixel. Positions and weights are exact fractions, rounded once, to float32: torch
computes them in float32, which at pixel 1000 is off by 6e-5.

The transposed table is the derivative as a gather: for each pixel of x, the pixels of y that read it.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Literal, NamedTuple

import torch
from torch import Tensor

ResampleMode = Literal["bilinear", "bicubic"]
_Row = dict[int, Fraction]
"""The weights of one pixel of the result by the index that they are read at; none of them zero."""


class AxisTable(NamedTuple):
    """`start` [size] int32 and `weights` [taps, size] float32; every start + k is a pixel of the axis that is read."""

    start: Tensor
    weights: Tensor

    @property
    def taps(self) -> int:
        return self.weights.shape[0]


@functools.cache
def axis_table(size_in: int, size_out: int, mode: ResampleMode, transposed: bool, device: torch.device) -> AxisTable:
    """The table from `size_in` to `size_out` pixels; `transposed`: from gradients at `size_out` to ones at `size_in`.

    Kept for good: a captured CUDA graph holds its address.
    """
    rows = _rows(size_in, size_out, mode)
    if transposed:
        rows, size_in = _transpose(rows, size_in), size_out
    taps = max(max(row) - min(row) + 1 for row in rows if row)
    # A start so far left that no tap is beyond the border; taps that a pixel does not need weigh nothing.
    start = [min(min(row, default=0), size_in - taps) for row in rows]
    weights = [[float(row.get(first + k, 0)) for row, first in zip(rows, start, strict=True)] for k in range(taps)]
    return AxisTable(torch.tensor(start, dtype=torch.int32, device=device),
                     torch.tensor(weights, dtype=torch.float32, device=device))


def _rows(size_in: int, size_out: int, mode: ResampleMode) -> list[_Row]:
    weights = _linear if mode == "bilinear" else _cubic
    rows = []
    for i in range(size_out):
        at = Fraction((2 * i + 1) * size_in - size_out, 2 * size_out)
        left = at.numerator // at.denominator
        row: _Row = {}
        for offset, weight in weights(at - left):
            index = min(max(left + offset, 0), size_in - 1)
            row[index] = row.get(index, Fraction(0)) + weight
        rows.append({index: weight for index, weight in row.items() if weight})
    return rows


def _linear(t: Fraction) -> list[tuple[int, Fraction]]:
    return [(0, 1 - t), (1, t)]


@functools.lru_cache(4096)  # they repeat along the axis
def _cubic(t: Fraction) -> list[tuple[int, Fraction]]:
    a = Fraction(-3, 4)

    def near(d: Fraction) -> Fraction:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Fraction) -> Fraction:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [(-1, far(1 + t)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]


def _transpose(rows: list[_Row], size_in: int) -> list[_Row]:
    transposed: list[_Row] = [{} for _ in range(size_in)]
    for i, row in enumerate(rows):
        for index, weight in row.items():
            transposed[index][i] = weight
    return transposed
