"""The mean of a convolution beside the convolution, values and derivatives of two orders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sgif.kernels import channels_last, convolution_mean, convolution_mean_reference

from .compare import leaf, random

SHAPES = [(2, 3, 4, 5), (1, 4, 1, 6), (2, 2, 3, 1), (3, 5, 2, 2), (1, 2, 1, 1), (2, 3, 4, 5, 6), (1, 4, 1, 3, 2),
          (2, 3, 2, 1, 5), (1, 2, 3, 4, 1), (1, 2, 1, 1, 1)]


def inputs(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    taps = (3,) * (len(shape) - 2)
    return random(*shape, dtype=dtype, seed=0), random(2, shape[1], *taps, dtype=dtype, seed=1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_the_convolution_with_gradients_by_name(shape: tuple[int, ...]) -> None:
    x, weight = (leaf(t) for t in inputs(shape))
    upstream = random(shape[0], 2, dtype=torch.float64, seed=2)
    found, expected = convolution_mean(x, weight), convolution_mean_reference(x, weight)
    torch.testing.assert_close(found, expected)
    for name, a, b in zip(("dx", "dweight"), torch.autograd.grad(found, (x, weight), upstream),
                          torch.autograd.grad(expected, (x, weight), upstream), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_derivatives_of_two_orders(shape: tuple[int, ...]) -> None:
    x, weight = (leaf(t) for t in inputs(shape))
    assert torch.autograd.gradcheck(convolution_mean, (x, weight))
    assert torch.autograd.gradgradcheck(convolution_mean, (x, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_float32_in_every_precision(dtype: torch.dtype) -> None:
    x, weight = inputs((2, 8, 5, 40, 60), dtype)
    x = (x + 3).requires_grad_()  # summed in bfloat16, 12,000 numbers around 3 would be off by a tenth
    found = convolution_mean(channels_last(x), weight)
    assert found.dtype == torch.float32
    expected = convolution_mean_reference(x.detach().double(), weight.double())
    torch.testing.assert_close(found.detach().double(), expected, rtol=1e-5, atol=1e-5)
    dx, = torch.autograd.grad(found.sum(), x)
    assert dx.dtype == dtype
    exact = leaf(x.detach().double())
    dx_exact, = torch.autograd.grad(convolution_mean_reference(exact, weight.double()).sum(), exact)
    # Rounded once to dtype, after sums of 9 weights in float32.
    weights = float(weight.double().abs().sum((0, 2, 3, 4)).max()) / x.shape[2:].numel()
    band = torch.finfo(dtype).eps / 2 * float(dx_exact.abs().max()) + 2**-22 * weights
    torch.testing.assert_close(dx.double(), dx_exact, rtol=0, atol=band)


def test_gradient_has_channels_innermost_in_memory() -> None:
    x, weight = (leaf(t) for t in inputs((2, 3, 4, 5, 6)))
    dx, = torch.autograd.grad(convolution_mean(x, weight).sum(), x)
    assert dx.is_contiguous(memory_format=torch.channels_last_3d)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    x, weight = inputs((2, 3, 4, 5))
    with pytest.raises(ValueError, match="convolution_mean of x"):
        convolution_mean(x, weight[:, :2])
    with pytest.raises(ValueError, match="convolution_mean of x"):
        convolution_mean(x, weight[..., :1])
