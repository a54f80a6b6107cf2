"""Sizes, kinds, widths and frames of the scales, and the real clip at each of them."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from sgif.engine.clip import Clip
from sgif.engine.config import ALL_SCALES, ConfigError, TrainConfig
from sgif.engine.pyramid import build_pyramid, fit_size, frames_schedule, iterations_schedule, plan_scales, scale_sizes


def test_paper_clip_has_eight_scales_and_both_ends_are_hit() -> None:
    sizes = scale_sizes(168, 298, 25, 4 / 3)
    ratio = (168 / 25) ** (1 / 7)
    assert len(sizes) == 8
    assert sizes == [(round(168 / ratio**k), round(298 / ratio**k)) for k in range(7, -1, -1)]
    assert sizes[0] == (25, 44)
    assert sizes[-1] == (168, 298)


def test_portrait_is_landscape_turned() -> None:
    assert scale_sizes(298, 168, 25, 4 / 3) == [(w, h) for h, w in scale_sizes(168, 298, 25, 4 / 3)]


def test_square_stays_square() -> None:
    sizes = scale_sizes(100, 100, 25, 4 / 3)
    assert sizes[0] == (25, 25)
    assert sizes[-1] == (100, 100)
    assert all(h == w for h, w in sizes)


@pytest.mark.parametrize("size", [(20, 30), (25, 25), (30, 12), (25, 300)], ids=str)
def test_clip_no_larger_than_the_minimum_has_one_scale(size: tuple[int, int]) -> None:
    assert scale_sizes(*size, 25, 4 / 3) == [size]


@given(st.integers(8, 600), st.integers(8, 600), st.integers(8, 100), st.floats(4 / 3, 4.0))
def test_sizes_grow_from_the_minimum_to_the_clip(height: int, width: int, minimum: int, factor: float) -> None:
    sizes = scale_sizes(height, width, minimum, factor)
    assert sizes[-1] == (height, width)
    if min(height, width) > minimum:
        assert min(sizes[0]) == minimum
        ratio = (min(height, width) / minimum) ** (1 / (len(sizes) - 1))
        assert 1 < ratio <= factor * (1 + 1e-6)  # never coarser steps than asked for
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(sizes))


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [(32, [16, 15, 14, 13, 11, 10, 9, 8]), (16, [16, 15, 14, 13, 11, 10, 9, 8]), (10, [10, 10, 9, 9, 9, 9, 8, 8]),
     (8, [8] * 8), (5, [5] * 8)])
def test_frames_fall_in_equal_steps_and_never_exceed_the_clip(num_frames: int, expected: list[int]) -> None:
    assert frames_schedule(8, num_frames, (16, 8)) == expected


def test_a_single_scale_takes_the_first_number_of_frames() -> None:
    assert frames_schedule(1, 32, (16, 8)) == [16]


@pytest.mark.parametrize(("num_scales", "iterations", "expected"), [
    (4, (800, 100), [800, 400, 200, 100]), (3, (9, 25), [9, 15, 25]), (3, (7, 7), [7, 7, 7]), (2, (30, 20), [30, 20]),
    (1, (30, 20), [30])])
def test_iterations_change_by_equal_factors(num_scales: int, iterations: tuple[int, int], expected: list[int]) -> None:
    assert iterations_schedule(num_scales, iterations) == expected


def test_longer_side_is_fitted_and_proportions_are_kept() -> None:
    assert fit_size(168, 298, 256) == (144, 256)
    assert fit_size(298, 168, 256) == (256, 144)
    assert fit_size(1080, 1920, 480) == (270, 480)


def test_fitting_never_enlarges_and_keeps_a_pixel() -> None:
    assert fit_size(40, 50, 256) == (40, 50)
    assert fit_size(1, 1000, 100) == (1, 100)


# ---- plans -----------------------------------------------------------------------------------------------------------


def test_width_doubles_every_four_scales_up_to_the_maximum() -> None:
    config = TrainConfig(max_size_px=1024, min_size_px=25, scale_factor=4 / 3, width=32, max_width=128)
    channels = [plan.channels for plan in plan_scales(1024, 1024, 16, config)]
    assert channels == [min(32 * 2 ** (n // 4), 128) for n in range(14)]
    assert channels == [32] * 4 + [64] * 4 + [128] * 6


@pytest.mark.parametrize(("num_3d", "expected"), [(4, 4), (0, 0), (1, 1), (50, 8), (ALL_SCALES, 8)])
def test_the_coarsest_scales_are_3d(num_3d: int, expected: int) -> None:
    config = TrainConfig(max_size_px=298, min_size_px=25, scale_factor=4 / 3, num_3d_scales=num_3d)
    kinds = [plan.kind for plan in plan_scales(168, 298, 32, config)]
    assert kinds == ["3D"] * expected + ["2D"] * (8 - expected)


def test_plans_carry_index_size_frames_and_iterations() -> None:
    config = TrainConfig(max_size_px=298, min_size_px=25, scale_factor=4 / 3, frames_per_step=(16, 8),
                         iterations=(500, 90))
    plans = plan_scales(168, 298, 32, config)
    assert [plan.index for plan in plans] == list(range(8))
    assert [plan.size for plan in plans] == scale_sizes(168, 298, 25, 4 / 3)
    assert [plan.frames_per_step for plan in plans] == frames_schedule(8, 32, (16, 8))
    assert [plan.iterations for plan in plans] == iterations_schedule(8, (500, 90))


def test_the_finest_scale_is_the_clip_fitted_to_the_largest_size() -> None:
    assert plan_scales(1080, 1920, 8, TrainConfig(max_size_px=256, min_size_px=25))[-1].size == (144, 256)


@pytest.mark.parametrize(("size", "fitted"), [((7, 100), "7x100"), ((60, 2000), "7x240"), ((4, 4), "4x4")])
def test_a_clip_too_small_is_refused(size: tuple[int, int], fitted: str) -> None:
    with pytest.raises(ConfigError, match=f"^frames of {fitted} pixels are too small, expected at least 8 on the shor"):
        plan_scales(*size, 8, TrainConfig(max_size_px=240, min_size_px=8))


# ---- the real clip ---------------------------------------------------------------------------------------------------

SIZES = [(8, 11), (10, 13), (12, 16)]


def test_every_scale_is_resized_from_the_clip_itself(clip: Clip) -> None:
    video = clip.to_tensor()
    frames = video[0].movedim(1, 0)
    for size, level in zip(SIZES, build_pyramid(video, SIZES), strict=True):
        expected = interpolate(frames, size=size, mode="bicubic", antialias=True).clamp(-1, 1).movedim(1, 0)[None]
        torch.testing.assert_close(level, expected)


def test_the_finest_scale_is_the_clip(clip: Clip) -> None:
    assert torch.equal(build_pyramid(clip.to_tensor(), SIZES)[-1], clip.to_tensor())


def test_time_is_untouched(clip: Clip) -> None:
    video = clip.to_tensor()
    level = build_pyramid(video, SIZES)[0]
    assert level.shape == (1, 3, video.shape[2], *SIZES[0])
    changed = video.clone()
    changed[:, :, 2] = 0.5
    same = (build_pyramid(changed, SIZES)[0] == level).flatten(3).all(3).all(1)[0]
    assert same.tolist() == [t != 2 for t in range(video.shape[2])]


def test_overshoot_of_the_filter_is_cut() -> None:
    edge = torch.ones(1, 3, 1, 20, 20)
    edge[..., 10:] = -1
    assert interpolate(edge[:, :, 0], size=(15, 15), mode="bicubic", antialias=True).abs().max() > 1
    assert build_pyramid(edge, [(15, 15)])[0].abs().max() == 1


def test_tiny_settings_give_three_scales_of_both_kinds(tiny_config: Callable[..., TrainConfig]) -> None:
    plans = plan_scales(12, 16, 6, tiny_config())
    assert [(plan.size, plan.kind, plan.frames_per_step) for plan in plans] == [
        ((8, 11), "3D", 4), ((10, 13), "3D", 4), ((12, 16), "2D", 3)]


def test_no_size_comes_twice_for_a_factor_near_one() -> None:
    assert scale_sizes(9, 9, 8, 1.05) == [(8, 8), (9, 9)]
