"""Separable 3D convolution against its reference of three convolutions, each gradient by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sgif.kernels import PadMode, separable_conv3d, separable_conv3d_reference

from .compare import LAYOUTS, Calculation, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

DTYPES = (torch.float32, torch.float64)
SPACE_MODES: tuple[PadMode, ...] = ("zeros", "replicate", "reflect", "none")
TIME_MODES: tuple[PadMode, ...] = (*SPACE_MODES, "circular")
NAMES = ("x", "spatial", "temporal", "pointwise", "bias")

# Shape of x, output channels.
CASES = [((2, 3, 4, 5, 7), 4), ((1, 3, 1, 5, 7), 2), ((1, 16, 8, 6, 12), 16), ((1, 2, 3, 1, 4), 3),
         ((3, 1, 2, 3, 1), 1)]


def first_order(conv: Callable[..., Tensor], pad_space: PadMode, pad_time: PadMode) -> Calculation:
    def run(*tensors: Tensor) -> Results:
        *tensors, dy = tensors
        inputs = [leaf(t) for t in tensors]
        y = conv(*inputs, pad_space=pad_space, pad_time=pad_time)
        gradients = torch.autograd.grad(y, inputs, dy)
        return {"y": y.detach(), **{f"d{name}": g for name, g in zip(NAMES, gradients, strict=True)}}
    return run


def second_order(conv: Callable[..., Tensor], pad_space: PadMode, pad_time: PadMode) -> Calculation:
    """Gradients of dx in the direction v."""
    def run(*tensors: Tensor) -> Results:
        x, spatial, temporal, pointwise, bias, dy, v = map(leaf, tensors)
        y = conv(x, spatial, temporal, pointwise, bias, pad_space=pad_space, pad_time=pad_time)
        dx, = torch.autograd.grad(y, x, dy, create_graph=True)
        inputs = {"dy": dy, "spatial": spatial, "temporal": temporal, "pointwise": pointwise}
        gradients = torch.autograd.grad(dx, list(inputs.values()), v)
        return {f"d{name} of dx": g for name, g in zip(inputs, gradients, strict=True)}
    return run


def make(shape: tuple[int, ...], out_channels: int, dtype: torch.dtype, pad_space: PadMode = "zeros",
         pad_time: PadMode = "zeros") -> tuple[Tensor, ...]:
    """x, spatial, temporal, pointwise, bias, dy, v."""
    n, c, t, h, w = shape
    less_t, less_hw = (2 if mode == "none" else 0 for mode in (pad_time, pad_space))
    dy_shape = (n, out_channels, t - less_t, h - less_hw, w - less_hw)
    shapes = (shape, (c, 3, 3), (c, 3), (out_channels, c), (out_channels,), dy_shape, shape)
    return tuple(random(*size, dtype=dtype, seed=seed) for seed, size in enumerate(shapes))


def check(tensors: tuple[Tensor, ...], pad_space: PadMode = "zeros", pad_time: PadMode = "zeros") -> None:
    for order, inputs in ((first_order, tensors[:6]), (second_order, tensors)):
        assert_matches(order(separable_conv3d, pad_space, pad_time),
                       order(separable_conv3d_reference, pad_space, pad_time), inputs, multilinear=True,
                       terms=27)  # one sum over the taps, where the reference has two short ones


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("shape", "out_channels"), CASES, ids=label)
def test_output_and_gradients_of_two_orders_match_reference(shape: tuple[int, ...], out_channels: int,
                                                            dtype: torch.dtype) -> None:
    check(make(shape, out_channels, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize("pad_space", SPACE_MODES)
@pytest.mark.parametrize("pad_time", TIME_MODES)
def test_every_pad_mode_matches_reference(pad_space: PadMode, pad_time: PadMode, dtype: torch.dtype) -> None:
    check(make((1, 3, 3, 5, 4), 2, dtype, pad_space, pad_time), pad_space, pad_time)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=label)
def test_any_layout_matches_reference(dtype: torch.dtype, layout: str) -> None:
    x, *weights, dy, v = make((2, 3, 4, 5, 7), 4, dtype)
    check((LAYOUTS[layout](x), *weights, LAYOUTS[layout](dy), LAYOUTS[layout](v)))


@pytest.mark.parametrize(("shape", "out_channels"), CASES, ids=label)
def test_autocast_output_and_input_gradient_match_reference(shape: tuple[int, ...], out_channels: int) -> None:
    """In bfloat16, where the filters are multiplied out in float32 and the product is rounded."""
    def autocast(*tensors: Tensor) -> Results:
        x, *weights, dy = tensors
        x = leaf(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = separable_conv3d(x, *weights)
        assert y.dtype == torch.bfloat16
        dx, = torch.autograd.grad(y, x, dy)
        return {"y": y.detach(), "dx": dx}

    def dense(*tensors: Tensor) -> Results:
        x, spatial, temporal, pointwise, bias, dy = tensors
        x = leaf(x)
        weight = torch.einsum("oc,ck,cij->ockij", *(t.float() for t in (pointwise, temporal, spatial)))
        y = torch.nn.functional.conv3d(x, weight.bfloat16().to(x.dtype), bias, padding=1)
        dx, = torch.autograd.grad(y, x, dy.to(x.dtype))
        return {"y": y.detach(), "dx": dx}

    x, spatial, temporal, pointwise, bias, dy = make(shape, out_channels, torch.float32)[:6]
    inputs = (x.bfloat16(), spatial, temporal, pointwise, bias.bfloat16(), dy.bfloat16())
    assert_matches(autocast, dense, inputs)


@pytest.mark.parametrize(("pad_space", "pad_time"), [("zeros", "zeros"), ("replicate", "none"), ("reflect", "zeros"),
                                                     ("none", "replicate")])
def test_derivatives_match_differences(pad_space: PadMode, pad_time: PadMode) -> None:
    def conv(*inputs: Tensor) -> Tensor:
        return separable_conv3d(*inputs, pad_space=pad_space, pad_time=pad_time)
    inputs = [leaf(t) for t in make((1, 2, 3, 3, 3), 1, torch.float64)[:5]]
    assert torch.autograd.gradcheck(conv, inputs)
    assert torch.autograd.gradgradcheck(conv, inputs)


def test_reference_is_the_formula() -> None:
    x, spatial, temporal, pointwise, bias, _, _ = make((1, 2, 3, 2, 3), 2, torch.float64)
    t, h, w = x.shape[2:]
    expected = torch.zeros_like(x) + bias.view(1, -1, 1, 1, 1)
    for k, i, j in ((k, i, j) for k in range(3) for i in range(3) for j in range(3)):
        for frame, row, column in ((a, b, d) for a in range(t) for b in range(h) for d in range(w)):
            at = frame + k - 1, row + i - 1, column + j - 1
            if all(0 <= index < size for index, size in zip(at, (t, h, w), strict=True)):
                source = x[0, :, at[0], at[1], at[2]]
                expected[0, :, frame, row, column] += pointwise @ (temporal[:, k] * spatial[:, i, j] * source)
    torch.testing.assert_close(separable_conv3d_reference(x, spatial, temporal, pointwise, bias), expected)


@pytest.mark.parametrize("shapes", [
    ((2, 3, 5, 7), (3, 3, 3), (3, 3), (4, 3)),
    ((1, 3, 2, 5, 7), (2, 3, 3), (3, 3), (4, 3)),
    ((1, 3, 2, 5, 7), (3, 3, 3), (3, 1), (4, 3)),
    ((1, 3, 2, 5, 7), (3, 3, 3), (3, 3), (4, 2)),
    ((1, 3, 2, 5, 7), (3, 3, 3), (3, 3), (4, 3, 1))])
def test_shapes_that_do_not_belong_together_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        separable_conv3d(*(random(*shape) for shape in shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)
