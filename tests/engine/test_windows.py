"""The generator by windows: the whole picture's result, at every border, in bounded activations."""

from collections.abc import Callable
from math import prod

import pytest
import torch

from sgif.engine.pyramid import ScalePlan
from sgif.engine.windows import MIN_SIDE_PX, spans, windowed_residual

from .inputs import normal
from .test_generator import FORMS, PADDING, make_generator

Plan = Callable[..., ScalePlan]


@pytest.mark.parametrize("size", [(37, 45), (18, 61)], ids=str)
@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize(("kind", "separable"), FORMS)
def test_windows_make_the_whole_picture(make_plan: Plan, kind: str, separable: str, padding: str,
                                        size: tuple[int, int]) -> None:
    generator = make_generator(make_plan(kind=kind), separable, padding).eval()
    x = normal((1, 3, 7, *size), 0, "x")
    with torch.no_grad():
        whole = generator(x)
        for max_values in (1, 4 * 7 * 29**2, whole.numel() * 2):
            parts = windowed_residual(generator, x.split([3, 1, 3], 2), max_values=max_values)
            torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_values", [1, 1 << 25], ids=["windows", "whole"])
@pytest.mark.parametrize(("kind", "separable"), FORMS)
def test_frames_of_the_context_are_seen_and_left_out(make_plan: Plan, kind: str, separable: str,
                                                     max_values: int) -> None:
    generator = make_generator(make_plan(kind=kind), separable).eval()
    reach = generator.reach_frames
    x = normal((1, 3, 4 + 2 * reach, 17, 21), 0, "x")
    with torch.no_grad():
        whole = generator(x)
        for before, after in ((reach, reach), (0, reach), (reach, 0)):
            part = windowed_residual(generator, [x], (before, after), max_values=max_values)
            assert part.shape[2] == x.shape[2] - before - after
            torch.testing.assert_close(part, whole[:, :, before:x.shape[2] - after], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["3D", "2D"])
def test_no_activation_is_larger_than_asked_for(make_plan: Plan, kind: str) -> None:
    generator = make_generator(make_plan(kind=kind)).eval()
    sizes: list[int] = []
    for block in generator.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(prod(output.shape)))
    max_values = 4 * 7 * 30 * 30
    with torch.no_grad():
        windowed_residual(generator, [normal((1, 3, 7, 60, 77), 0, "x")], max_values=max_values)
    assert max_values / 2 < max(sizes) <= max_values


def test_a_picture_that_fits_is_one_window_without_a_copy(make_plan: Plan) -> None:
    generator = make_generator(make_plan()).eval()
    x = normal((1, 3, 4, 17, 21), 0, "x")
    with torch.no_grad():
        assert torch.equal(windowed_residual(generator, [x], max_values=4 * 4 * 17 * 21), generator(x))


@pytest.mark.parametrize(("length", "longest", "expected"), [
    (10, 10, [(0, 10)]), (11, 10, [(0, 5), (5, 11)]), (7, 3, [(0, 2), (2, 4), (4, 7)]), (1, MIN_SIDE_PX, [(0, 1)])])
def test_spans_are_few_and_even(length: int, longest: int, expected: list[tuple[int, int]]) -> None:
    assert spans(length, longest) == expected
