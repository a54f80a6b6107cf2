"""Tables of resampling against `interpolate` of a unit matrix in float64, and against each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sgif.kernels.resample_tables import AxisTable, ResampleMode, axis_table

CPU = torch.device("cpu")
SIZES = (1, 2, 3, 5, 9, 33)
each_mode = pytest.mark.parametrize("mode", ["bilinear", "bicubic"])


def matrix(table: AxisTable, size_in: int) -> Tensor:
    """[size_out, size_in] in float64."""
    dense = torch.zeros(len(table.start), size_in, dtype=torch.float64)
    for k in range(table.taps):
        dense[torch.arange(len(table.start)), (table.start + k).long()] += table.weights[k]
    return dense


@each_mode
@pytest.mark.parametrize("size_out", SIZES)
@pytest.mark.parametrize("size_in", SIZES)
def test_a_table_is_interpolate_rounded_once(size_in: int, size_out: int, mode: ResampleMode) -> None:
    unit = torch.eye(size_in, dtype=torch.float64)[None, :, :, None].expand(1, size_in, size_in, 2)
    expected = interpolate(unit, size=(size_out, 2), mode=mode, align_corners=False)[0, :, :, 0].mT
    error = (matrix(axis_table(size_in, size_out, mode, False, CPU), size_in) - expected).abs()
    # Half a step of float32, and what interpolate's float64 positions err by: their rounding times a cubic's slope.
    assert bool((error <= expected.abs() * 2**-24 + 1e-14).all())


@each_mode
@pytest.mark.parametrize("size_out", SIZES)
@pytest.mark.parametrize("size_in", SIZES)
def test_the_transposed_table_is_the_transposed_matrix(size_in: int, size_out: int, mode: ResampleMode) -> None:
    forward = matrix(axis_table(size_in, size_out, mode, False, CPU), size_in)
    backward = matrix(axis_table(size_in, size_out, mode, True, CPU), size_out)
    assert torch.equal(backward, forward.mT)


@each_mode
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("size_out", SIZES)
@pytest.mark.parametrize("size_in", SIZES)
def test_every_tap_is_a_pixel(size_in: int, size_out: int, transposed: bool, mode: ResampleMode) -> None:
    table = axis_table(size_in, size_out, mode, transposed, CPU)
    assert int(table.start.min()) >= 0
    assert int(table.start.max()) + table.taps <= (size_out if transposed else size_in)


@pytest.mark.parametrize(("mode", "expected"), [("bilinear", (2, 3)), ("bicubic", (4, 6))])
def test_taps_at_four_thirds(mode: ResampleMode, expected: tuple[int, int]) -> None:
    assert tuple(axis_table(33, 44, mode, transposed, CPU).taps for transposed in (False, True)) == expected


@each_mode
def test_the_same_size_takes_one_tap(mode: ResampleMode) -> None:
    table = axis_table(7, 7, mode, False, CPU)
    assert table.start.tolist() == list(range(7))
    assert table.weights.tolist() == [[1.0] * 7]


def test_positions_do_not_round_on_long_axes() -> None:
    """Pixel 1998 of 2000 from 1500 lies at 1998.5 * 3/4 - 1/2 = 1498 + 3/8."""
    table = axis_table(1500, 2000, "bilinear", False, CPU)
    assert table.start[1998] == 1498
    assert table.weights[:, 1998].tolist() == [5 / 8, 3 / 8]


def test_a_table_is_made_once() -> None:
    assert axis_table(5, 7, "bilinear", False, CPU) is axis_table(5, 7, "bilinear", False, CPU)
