"""Resizing against formulas written out, by hand where the array is small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sgif.kernels import resize, upsample, upsample_add_noise, upsample_tanh_residual

from .compare import LAYOUTS, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

Resample = Callable[[Tensor, tuple[int, int]], Tensor]
SIZES = [(6, 8), (5, 7), (7, 6), (3, 4), (1, 1), (2, 9), (4, 5)]  # from 4x5: larger, smaller, mixed, the same


def bilinear_matrix(size_in: int, size_out: int, dtype: torch.dtype) -> Tensor:
    """[size_out, size_in]; the centre of pixel i lies at (i + 0.5) size_in / size_out - 0.5, clamped to the border."""
    at = ((torch.arange(size_out, dtype=dtype) + 0.5) * size_in / size_out - 0.5).clamp(0, size_in - 1)
    return (1 - (at[:, None] - torch.arange(size_in)).abs()).clamp_min(0)


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    rows, columns = (bilinear_matrix(*pair, x.dtype) for pair in zip(x.shape[-2:], size, strict=True))
    return torch.einsum("ih,ncthw,jw->nctij", rows, x, columns)


def with_gradient(resample: Resample, size: tuple[int, int]) -> Callable[[Tensor, Tensor], Results]:
    def run(x: Tensor, dy: Tensor) -> Results:
        x = leaf(x)
        y = resample(x, size)
        return {"y": y.detach(), "dx": torch.autograd.grad(y, x, dy)[0]}
    return run


@pytest.mark.parametrize("size", SIZES, ids=label)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=label)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_upsample_and_its_gradient_match_the_bilinear_formula(size: tuple[int, int], dtype: torch.dtype,
                                                              layout: str) -> None:
    x, dy = random(2, 3, 2, 4, 5, dtype=dtype), random(2, 3, 2, *size, dtype=dtype, seed=1)
    assert_matches(with_gradient(upsample, size), with_gradient(bilinear, size),
                   (LAYOUTS[layout](x), LAYOUTS[layout](dy)), multilinear=True)


def line(*values: float) -> Tensor:
    """A clip of one row."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, 1, -1)


# Keys' cubic with a = -1/2 at the distances 1/4, 3/4 and 5/4 is 111/128, 29/128 and -9/128. Where the row ends the
# weights that are left are scaled to add up to one.
@pytest.mark.parametrize(("values", "expected"), [
    ((0.0, 1.0), (-9 / 102, 29 / 140, 111 / 140, 111 / 102)),  # twice as wide
    ((1.0, 0.0, 0.0, 0.0), (111 / 242, -9 / 242)),  # half as wide: the same weights, spread by two
    ((0.0, 1.0, 0.0, 0.0), (111 / 242, 29 / 242)),
    ((0.0, 0.0, 1.0, 0.0), (29 / 242, 111 / 242)),
    ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))])
def test_resize_of_a_row_is_the_antialiased_cubic_by_hand(values: tuple[float, ...],
                                                          expected: tuple[float, ...]) -> None:
    x, y = line(*values), line(*expected)
    torch.testing.assert_close(resize(x, (1, len(expected))), y)
    # Two columns: torch 2.13 reads an antialiased image of one column wrongly.
    x, y = (t.mT.repeat(1, 1, 1, 1, 2) for t in (x, y))
    torch.testing.assert_close(resize(x, (len(expected), 2)), y)


@pytest.mark.parametrize(("values", "expected"), [
    ((0.0, 4.0), (0.0, 1.0, 3.0, 4.0)), ((0.0, 4.0, 8.0, 12.0), (2.0, 10.0)), ((5.0,), (5.0, 5.0, 5.0))])
def test_upsample_of_a_row_by_hand(values: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert torch.equal(upsample(line(*values), (1, len(expected))), line(*expected))
    assert torch.equal(upsample(line(*values).mT, (len(expected), 1)), line(*expected).mT)


@pytest.mark.parametrize("resample", [resize, upsample])
@pytest.mark.parametrize("size", SIZES, ids=label)
def test_a_constant_stays_constant(resample: Resample, size: tuple[int, int]) -> None:
    y = resample(torch.full((1, 3, 2, 4, 5), 0.7), size)
    torch.testing.assert_close(y, torch.full((1, 3, 2, *size), 0.7))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_keeps_the_mean(factor: int) -> None:
    """Each pixel weighs the same, away from the border: on white noise the rest is a small part of its deviation."""
    x = random(1, 3, 2, 24 * factor, 24 * factor)
    assert (resize(x, (24, 24)).mean() - x.mean()).abs() < 0.01 * x.std()


def test_shrinking_is_antialiased() -> None:
    checkerboard = (torch.arange(24)[:, None] + torch.arange(24)).remainder(2).mul(2.0).sub(1)[None, None, None]
    inner = resize(checkerboard, (8, 8))[..., 2:-2, 2:-2]
    assert inner.abs().max() < 0.05


@pytest.mark.parametrize("resample", [resize, upsample])
@pytest.mark.parametrize("size", SIZES, ids=label)
def test_frames_do_not_see_each_other(resample: Resample, size: tuple[int, int]) -> None:
    x = random(2, 3, 5, 4, 5)
    y = resample(x, size)
    assert y.shape == (2, 3, 5, *size)
    for t in range(5):
        assert torch.equal(y[:, :, t:t + 1], resample(x[:, :, t:t + 1], size))


@pytest.mark.parametrize("resample", [resize, upsample])
def test_the_same_size_is_the_same_tensor(resample: Resample) -> None:
    x = random(1, 3, 2, 4, 5)
    assert resample(x, (4, 5)) is x


@pytest.mark.parametrize("noise_shape", [(2, 3, 4, 7, 9), (2, 1, 4, 7, 9), (2, 3, 1, 7, 9), (2, 1, 1, 7, 9)], ids=label)
@pytest.mark.parametrize("amplitude", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_upsample_add_noise_is_two_lines_of_torch(noise_shape: tuple[int, ...], amplitude: float | Tensor) -> None:
    x, noise = random(2, 3, 4, 5, 6), random(*noise_shape, seed=1)
    assert torch.equal(upsample_add_noise(x, (7, 9), noise, amplitude), upsample(x, (7, 9)) + amplitude * noise)


def test_upsample_add_noise_without_noise_only_upsamples() -> None:
    x = random(2, 3, 4, 5, 6)
    assert torch.equal(upsample_add_noise(x, (7, 9), None, 0.1), upsample(x, (7, 9)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=label)
def test_upsample_tanh_residual_is_two_lines_of_torch_in_the_dtype_of_the_clip(dtype: torch.dtype) -> None:
    x, residual = random(2, 3, 4, 5, 6), random(2, 3, 4, 7, 9, dtype=dtype, seed=1)
    y = upsample_tanh_residual(x, (7, 9), residual)
    assert y.dtype == torch.float32
    assert torch.equal(y, upsample(x, (7, 9)) + torch.tanh(residual.float()))


@pytest.mark.parametrize("size", [(3, 4), (4, 5), (2, 2)], ids=label)
def test_derivatives_match_differences(size: tuple[int, int]) -> None:
    x = leaf(random(1, 1, 2, 3, 3, dtype=torch.float64))
    other = leaf(random(1, 1, 2, *size, dtype=torch.float64, seed=1))
    amplitude = leaf(torch.tensor(0.3, dtype=torch.float64))
    for function, inputs in ((lambda a: resize(a, size), (x,)), (lambda a: upsample(a, size), (x,)),
                             (lambda a, z, s: upsample_add_noise(a, size, z, s), (x, other, amplitude)),
                             (lambda a, g: upsample_tanh_residual(a, size, g), (x, other))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
