"""Convolution and its derivatives of two orders against torch's own, each by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, pad

from sgif.kernels import PadMode, channels_last, convolution, pad_clip, weight_gradients_disabled

from .compare import LAYOUTS, Calculation, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

Conv = Callable[[Tensor, Tensor], Tensor]
DTYPES = (torch.float32, torch.bfloat16, torch.float64)
PAD_MODES: tuple[PadMode, ...] = ("zeros", "replicate", "reflect", "none")
TIME_MODES: tuple[PadMode, ...] = (*PAD_MODES, "circular")

# Shape of x, shape of the filters. N = 1 in 3D and float32 is a path of its own.
CASES_2D = [
    ((2, 3, 7, 9), (5, 3, 3, 3)),
    ((1, 4, 8, 6), (3, 4, 3, 3)),
    ((3, 16, 5, 12), (16, 16, 3, 3)),
    ((2, 3, 1, 5), (2, 3, 3, 3)),
    ((2, 3, 2, 1), (2, 3, 3, 3)),
    ((2, 3, 4, 5), (4, 3, 1, 1)),
    ((2, 8, 4, 5), (3, 8, 3, 3)),  # fewer gradients than inputs: another path, here and in 3D
]
CASES_3D = [((n, 3, t, 5, 7), (4, 3, *taps))
            for n in (1, 2) for t in (1, 2, 3, 7, 8) for taps in ((3, 3, 3), (1, 3, 3), (3, 1, 1))]
CASES_3D += [
    ((1, 16, 8, 6, 12), (16, 16, 3, 3, 3)),
    ((2, 8, 3, 4, 5), (3, 8, 3, 3, 3)),
    ((1, 8, 4, 4, 5), (1, 8, 3, 3, 3)),
    ((2, 6, 3, 4, 5), (2, 6, 1, 3, 3)),
    ((1, 2, 3, 1, 4), (3, 2, 3, 3, 3)),
    ((1, 2, 3, 4, 1), (3, 2, 3, 3, 3)),
    ((1, 2, 1, 1, 1), (3, 2, 3, 3, 3)),
    ((2, 2, 2, 1, 2), (3, 2, 3, 3, 3)),
]


def torch_convolution(pad_space: PadMode = "zeros", pad_time: PadMode = "zeros") -> Conv:
    """Torch's own, padded axis by axis beforehand."""
    def run(x: Tensor, weight: Tensor) -> Tensor:
        for axis, size in enumerate(weight.shape[2:], 2):
            mode = pad_time if x.dim() == 5 and axis == 2 else pad_space
            if size == 3 and mode != "none":
                border = [int(other == axis) for other in reversed(range(2, x.dim())) for _ in range(2)]
                x = pad(x, border, mode="constant" if mode == "zeros" else mode)
        return (conv2d if x.dim() == 4 else conv3d)(x, weight)
    return run


def first_order(conv: Conv) -> Calculation:
    def run(x: Tensor, weight: Tensor, dy: Tensor) -> Results:
        x, weight = leaf(x), leaf(weight)
        y = conv(x, weight)
        dx, dw = torch.autograd.grad(y, (x, weight), dy)
        return {"y": y.detach(), "dx": dx, "dw": dw}
    return run


def second_order(conv: Conv) -> Calculation:
    """Gradients of dx in the direction v and of dw in the direction u."""
    def run(x: Tensor, weight: Tensor, dy: Tensor, v: Tensor, u: Tensor) -> Results:
        x, weight, dy = leaf(x), leaf(weight), leaf(dy)
        dx, dw = torch.autograd.grad(conv(x, weight), (x, weight), dy, create_graph=True)
        of_dx = torch.autograd.grad(dx, (dy, weight), v, retain_graph=True)
        of_dw = torch.autograd.grad(dw, (x, dy), u)
        return dict(zip(("ddy of dx", "dw of dx", "dx of dw", "ddy of dw"), (*of_dx, *of_dw), strict=True))
    return run


def tensors(x_shape: tuple[int, ...], w_shape: tuple[int, ...], dtype: torch.dtype, pad_space: PadMode = "zeros",
            pad_time: PadMode = "zeros") -> tuple[Tensor, ...]:
    """x, weight, dy, v (like x), u (like weight)."""
    modes = [pad_time] * (len(x_shape) - 4) + [pad_space] * 2
    lost = [taps - 1 if mode == "none" else 0 for taps, mode in zip(w_shape[2:], modes, strict=True)]
    y_shape = (x_shape[0], w_shape[0], *(size - less for size, less in zip(x_shape[2:], lost, strict=True)))
    shapes = (x_shape, w_shape, y_shape, x_shape, w_shape)
    return tuple(random(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(shapes))


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("x_shape", "w_shape"), CASES_2D + CASES_3D, ids=label)
def test_output_and_gradients_match_torch(x_shape: tuple[int, ...], w_shape: tuple[int, ...],
                                          dtype: torch.dtype) -> None:
    x, weight, dy, _, _ = tensors(x_shape, w_shape, dtype)
    assert_matches(first_order(convolution), first_order(torch_convolution()), (x, weight, dy), multilinear=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("x_shape", "w_shape"), CASES_2D + CASES_3D, ids=label)
def test_second_gradients_match_torch(x_shape: tuple[int, ...], w_shape: tuple[int, ...], dtype: torch.dtype) -> None:
    assert_matches(second_order(convolution), second_order(torch_convolution()),
                   tensors(x_shape, w_shape, dtype), multilinear=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("x_shape", "w_shape", "pad_space", "pad_time"), [
    *((*shapes, space, "zeros") for shapes in CASES_2D[:2] + CASES_2D[-1:] for space in PAD_MODES),
    *(((1, 3, 3, 5, 4), (4, 3, 3, 3, 3), space, time) for space in PAD_MODES for time in TIME_MODES),
    *(((1, 3, 4, 3, 6), (2, 3, 1, 3, 3), space, "replicate") for space in PAD_MODES),
    *(((1, 3, 4, 3, 6), (2, 3, 3, 1, 1), "reflect", time) for time in TIME_MODES)], ids=label)
def test_every_pad_mode_matches_torch(x_shape: tuple[int, ...], w_shape: tuple[int, ...], dtype: torch.dtype,
                                      pad_space: PadMode, pad_time: PadMode) -> None:
    def conv(x: Tensor, weight: Tensor) -> Tensor:
        return convolution(x, weight, pad_space=pad_space, pad_time=pad_time)
    inputs, expected = tensors(x_shape, w_shape, dtype, pad_space, pad_time), torch_convolution(pad_space, pad_time)
    assert_matches(first_order(conv), first_order(expected), inputs[:3], multilinear=True)
    assert_matches(second_order(conv), second_order(expected), inputs, multilinear=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("x_shape", "w_shape"), [((2, 3, 5, 7), (4, 3, 3, 3)), ((1, 3, 3, 5, 7), (4, 3, 3, 3, 3)),
                                                  ((2, 3, 3, 5, 7), (4, 3, 3, 3, 3))], ids=label)
def test_any_layout_matches_torch(x_shape: tuple[int, ...], w_shape: tuple[int, ...], dtype: torch.dtype,
                                  layout: str) -> None:
    inputs = tuple(LAYOUTS[layout](t) for t in tensors(x_shape, w_shape, dtype))
    assert_matches(first_order(convolution), first_order(torch_convolution()), inputs[:3], multilinear=True)
    assert_matches(second_order(convolution), second_order(torch_convolution()), inputs, multilinear=True)


@pytest.mark.parametrize(("x_shape", "w_shape", "pad_space", "pad_time"), [
    *(((2, 2, 3, 4), (2, 2, 3, 3), space, "zeros") for space in PAD_MODES),
    *(((1, 1, 3, 3, 2), (2, 1, 3, 1, 1), "zeros", time) for time in TIME_MODES),
    *(((1, 1, 3, 3, 3), (1, 1, 3, 3, 3), space, "none") for space in PAD_MODES)], ids=label)
def test_derivatives_match_differences(x_shape: tuple[int, ...], w_shape: tuple[int, ...], pad_space: PadMode,
                                       pad_time: PadMode) -> None:
    def conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolution(x, weight, bias, pad_space=pad_space, pad_time=pad_time)
    inputs = [leaf(random(*shape, dtype=torch.float64)) for shape in (x_shape, w_shape, w_shape[:1])]
    assert torch.autograd.gradcheck(conv, inputs)
    assert torch.autograd.gradgradcheck(conv, inputs)


def test_third_derivative_matches_differences() -> None:
    def penalty_gradient(x: Tensor, weight: Tensor) -> Tensor:
        dx, = torch.autograd.grad(convolution(x, weight).pow(3).sum(), x, create_graph=True)
        dw, = torch.autograd.grad(dx.square().sum(), weight, create_graph=True)
        return dw
    inputs = [leaf(random(*shape, dtype=torch.float64)) for shape in ((1, 1, 2, 3), (1, 1, 3, 3))]
    assert torch.autograd.gradcheck(penalty_gradient, inputs)


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("x_shape", "w_shape"), [((2, 3, 5, 7), (4, 3, 3, 3)), ((1, 3, 3, 5, 7), (4, 3, 3, 3, 3))],
                         ids=label)
def test_bias_is_added_per_output_channel(x_shape: tuple[int, ...], w_shape: tuple[int, ...],
                                          dtype: torch.dtype) -> None:
    def with_bias(conv: Callable[..., Tensor]) -> Calculation:
        def run(x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> Results:
            bias = leaf(bias)
            y = conv(x, weight, bias)
            return {"y": y.detach(), "db": torch.autograd.grad(y, bias, dy)[0]}
        return run

    def torch_with_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return (conv2d if x.dim() == 4 else conv3d)(x, weight, bias, padding=1)

    x, weight, dy, _, _ = tensors(x_shape, w_shape, dtype)
    bias = random(4, dtype=dtype, seed=9)
    assert_matches(with_bias(convolution), with_bias(torch_with_bias), (x, weight, bias, dy), multilinear=True)


@pytest.mark.parametrize("shape", [(1, 8, 4, 6, 7), (1, 1, 2, 3, 3)], ids=label)
def test_one_small_clip_does_not_take_atens_slow_path(shape: tuple[int, ...]) -> None:
    x, weight = leaf(random(*shape)), leaf(random(8, shape[1], 3, 3, 3))

    def ran(conv: Conv) -> set[str]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            dx, dw = torch.autograd.grad(conv(x, weight).sum(), (x, weight), create_graph=True)
            torch.autograd.grad(dx.sum() + dw.sum(), (x, weight), allow_unused=True)
        return {event.key for event in profile.key_averages() if "slow_conv3d" in event.key}

    assert ran(torch_convolution())  # else this test sees nothing
    assert not ran(convolution)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 3, 5, 7), (2, 3, 3, 5, 7)], ids=label)
def test_result_has_channels_innermost(shape: tuple[int, ...]) -> None:
    y = convolution(random(*shape), random(4, 3, *[3] * (len(shape) - 2)))
    assert y.movedim(1, -1).is_contiguous()


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 3, 5, 7)], ids=label)
def test_channels_last_copies_only_when_it_must(shape: tuple[int, ...]) -> None:
    x = random(*shape)
    once = channels_last(x)
    assert once.movedim(1, -1).is_contiguous()
    assert torch.equal(once, x)
    assert channels_last(once) is once


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 3, 5, 7)], ids=label)
def test_autocast_computes_in_its_dtype_and_gives_gradients_in_the_dtype_of_the_inputs(shape: tuple[int, ...]) -> None:
    x, weight = leaf(random(*shape)), leaf(random(4, 3, *[3] * (len(shape) - 2), seed=1))
    bias = random(4, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        y = convolution(x, weight, bias)
    dx, dw = torch.autograd.grad(y.sum(), (x, weight))
    assert y.dtype == torch.bfloat16
    assert dx.dtype == dw.dtype == torch.float32
    assert torch.equal(y, convolution(x.bfloat16(), weight.bfloat16(), bias.bfloat16()))


@pytest.mark.parametrize(("x_shape", "w_shape"), [((2, 3, 5, 7), (4, 3, 3, 3)), ((1, 3, 3, 5, 7), (4, 3, 3, 3, 3))],
                         ids=label)
def test_no_weight_gradient_first_but_the_right_one_second(x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> None:
    def of_penalty(conv: Conv, *, disabled: bool) -> Calculation:
        def run(x: Tensor, weight: Tensor, dy: Tensor) -> Results:
            x, weight = leaf(x), leaf(weight)
            y = conv(x, weight)
            if disabled:
                with weight_gradients_disabled():
                    dx, dw = torch.autograd.grad(y, (x, weight), dy, create_graph=True, allow_unused=True)
                assert dw is None
            else:
                dx, = torch.autograd.grad(y, x, dy, create_graph=True)
            return {"dw of dx squared": torch.autograd.grad(dx.square().sum(), weight)[0]}
        return run
    x, weight, dy, _, _ = tensors(x_shape, w_shape, torch.float32)
    assert_matches(of_penalty(convolution, disabled=True), of_penalty(torch_convolution(), disabled=False),
                   (x, weight, dy), multilinear=True)


def fail_inside() -> None:
    with weight_gradients_disabled(), weight_gradients_disabled():
        raise KeyError


def test_weight_gradients_are_back_after_an_error() -> None:
    with pytest.raises(KeyError):
        fail_inside()
    weight = leaf(random(1, 1, 3, 3))
    dw, = torch.autograd.grad(convolution(random(1, 1, 3, 3), weight).sum(), weight)
    assert bool(dw.any())


def test_weight_gradients_stay_disabled_until_the_outermost_block_ends() -> None:
    weight = leaf(random(1, 1, 3, 3))
    with weight_gradients_disabled():
        with weight_gradients_disabled():
            pass
        y = convolution(random(1, 1, 3, 3), weight)
        assert torch.autograd.grad(y.sum(), weight, allow_unused=True) == (None,)


@pytest.mark.parametrize(("wanted", "unused"), [("x", "_weight_grad"), ("weight", "_input_grad")])
def test_only_the_gradient_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch, wanted: str, unused: str) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError(f"{unused} was called")
    monkeypatch.setattr(import_module("sgif.kernels.convolution"), unused, refuse)
    inputs = {"x": random(1, 2, 3, 4), "weight": random(3, 2, 3, 3)}
    inputs[wanted].requires_grad_()
    gradient, = torch.autograd.grad(convolution(**inputs).sum(), inputs[wanted])
    assert bool(gradient.any())


PADDED = {  # of the row 1 2 3
    "zeros": [0.0, 1.0, 2.0, 3.0, 0.0],
    "replicate": [1.0, 1.0, 2.0, 3.0, 3.0],
    "reflect": [2.0, 1.0, 2.0, 3.0, 2.0],
    "none": [1.0, 2.0, 3.0],
    "circular": [3.0, 1.0, 2.0, 3.0, 1.0],
}


@pytest.mark.parametrize("mode", TIME_MODES)
def test_pad_clip_surrounds_frames_and_clip_apart(mode: PadMode) -> None:
    row = torch.tensor([1.0, 2.0, 3.0])
    long = torch.tensor(PADDED[mode])
    clip = torch.einsum("t,y,x->tyx", row, row, row)[None, None]
    assert torch.equal(pad_clip(clip, "none", mode)[0, 0], torch.einsum("t,y,x->tyx", long, row, row))
    if mode in PAD_MODES:
        assert torch.equal(pad_clip(torch.outer(row, row)[None, None], mode, "zeros")[0, 0], torch.outer(long, long))
        assert torch.equal(pad_clip(clip, mode, "none")[0, 0], torch.einsum("t,y,x->tyx", row, long, long))


def test_frames_that_are_to_go_around_are_refused() -> None:
    with pytest.raises(ValueError, match="pad_space is 'circular', which is for time alone"):
        convolution(random(1, 2, 3, 4), random(2, 2, 3, 3), pad_space="circular")


@pytest.mark.parametrize(("x_shape", "w_shape"), [((3, 5, 7), (4, 3, 3)), ((2, 3, 5, 7), (4, 3, 3, 3, 3)),
                                                  ((2, 3, 5, 7), (4, 2, 3, 3)), ((2, 3, 2, 5, 7), (4, 3, 3, 3))],
                         ids=label)
def test_shapes_that_do_not_belong_together_are_refused(x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^convolution of x .* with weight .*: expected") as error:
        convolution(random(*x_shape), random(*w_shape))
    assert str(x_shape) in str(error.value)
    assert str(w_shape) in str(error.value)
