"""Noise: its shapes, what it derives from, and its amplitude."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sgif.engine.config import Noise, TrainConfig
from sgif.engine.noise import fixed_noise, noise_amplitude, noise_seed, sample_noise, scale_noise, smooth_noise
from sgif.engine.pyramid import ScalePlan
from sgif.engine.seeding import hashed, integer, uniform
from sgif.kernels import PhiloxNoise, scaled_noise

from .inputs import normal

Plan = Callable[..., ScalePlan]


def draw(plan: ScalePlan, form: Noise, frames: int, size: tuple[int, int], seed: int, *place: str | int) -> Tensor:
    noise = scale_noise(plan, TrainConfig(noise=form), noise_seed(seed, *place), frames, size)
    return scaled_noise((1, 3, frames, *size), noise, 1.0)


@pytest.mark.parametrize(("form", "index", "kind", "maps", "gray"), [
    ("volume", 0, "3D", 0, True), ("volume", 0, "2D", 0, True), ("volume", 1, "3D", 0, False),
    ("volume", 6, "3D", 0, False), ("volume", 1, "2D", 3, False), ("volume", 6, "2D", 3, False),
    ("frames", 0, "2D", 0, True), ("frames", 1, "2D", 0, False), ("frames", 6, "3D", 0, False),
    ("split", 0, "3D", 1, False), ("split", 0, "2D", 1, False), ("split", 1, "3D", 3, False),
    ("split", 1, "2D", 3, False)])
def test_which_channels_are_maps(make_plan: Plan, form: Noise, index: int, kind: str, maps: int, gray: bool) -> None:
    z = draw(make_plan(index=index, kind=kind), form, 5, (7, 9), 0, "train", 3)[0]
    still = [bool((channel == channel[:1]).all()) for channel in z]
    assert still == [channel < maps for channel in range(3)]
    assert bool((z == z[:1]).all()) == gray


@pytest.mark.parametrize("form", ["volume", "split"])
def test_fixed_noise_covers_the_whole_clip(make_plan: Plan, form: Noise) -> None:
    plan = make_plan(index=0)
    fixed = fixed_noise(plan, 9, TrainConfig(noise=form))
    assert fixed.shape == (1, 3, 9, 9, 11)
    assert torch.equal(fixed, draw(plan, form, 9, plan.size, 0, "z_fixed"))


def test_fixed_noise_derives_from_the_seed_alone(make_plan: Plan) -> None:
    plan = make_plan(index=0)
    torch.manual_seed(1)
    first = fixed_noise(plan, 4, TrainConfig(seed=7))
    torch.manual_seed(2)
    assert torch.equal(first, fixed_noise(plan, 4, TrainConfig(seed=7)))
    assert not torch.equal(first, fixed_noise(plan, 4, TrainConfig(seed=8)))


def test_equal_places_give_equal_noise(make_plan: Plan) -> None:
    plan = make_plan()
    first = draw(plan, "split", 4, plan.size, 7, "train", 1, 20, 0)
    torch.rand(5)
    assert torch.equal(first, draw(plan, "split", 4, plan.size, 7, "train", 1, 20, 0))


@pytest.mark.parametrize("change", ["seed", "scale", "iteration", "step", "use"])
def test_other_places_give_other_noise(make_plan: Plan, change: str) -> None:
    def at(seed: int = 7, scale: int = 1, iteration: int = 20, step: int = 0, use: str = "train") -> Tensor:
        return draw(make_plan(index=scale), "volume", 4, (9, 11), seed, use, 3, iteration, step)
    other = at(**{change: {"scale": 2, "use": "sample"}.get(change, 8)})  # type: ignore[arg-type]
    difference = at() - other
    assert (difference != 0).float().mean() > 0.99
    assert difference.std() > 1.2  # sqrt 2 for independent draws


def test_drawing_leaves_the_global_generator_alone(make_plan: Plan) -> None:
    before = torch.random.get_rng_state()
    draw(make_plan(), "split", 4, (9, 11), 7, "train")
    fixed_noise(make_plan(index=0), 4, TrainConfig(noise_smooth_px=1.0))
    uniform((3,), 7, "mix")
    integer(9, 7, "window")
    assert torch.equal(before, torch.random.get_rng_state())


def test_noise_is_standard_normal_and_independent(make_plan: Plan) -> None:
    count = 4 * 3 * 120 * 140
    draws = [draw(make_plan(), "volume", 4, (120, 140), 3, "train", iteration).flatten() for iteration in range(3)]
    for x in draws:
        assert abs(float(x.mean())) < 5 / count**0.5
        assert abs(float(x.std()) - 1) < 5 / (2 * count) ** 0.5
        assert abs(float((x**4).mean()) - 3) < 5 * (96 / count) ** 0.5  # the fourth moment has variance 105 - 9
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(float((draws[a] * draws[b]).mean())) < 5 / count**0.5


@pytest.mark.parametrize(("form", "index", "shared"), [
    ("volume", 0, [0, 0, 0]), ("volume", 1, [0, 0, 0]), ("split", 0, [1, 0, 0])])
def test_only_the_first_channel_of_split_noise_is_common_to_all_frames(
        make_plan: Plan, form: Noise, index: int, shared: list[float]) -> None:
    noise = draw(make_plan(index=index), form, 3, (300, 300), 0, "train")[0]
    error = 5 * (2 / 300**2) ** 0.5
    for channel, expected in zip(noise, shared, strict=True):
        for a, b in ((0, 0), (0, 1), (1, 2)):
            assert float((channel[a] * channel[b]).mean()) == pytest.approx(1.0 if a == b else expected, abs=error)
        assert float(channel.mean()) == pytest.approx(0, abs=error)


def test_channels_of_noise_are_independent(make_plan: Plan) -> None:
    noise = draw(make_plan(index=0), "split", 1, (300, 300), 0, "train")[0].flatten(1)
    correlation = noise @ noise.T / noise.shape[1]
    assert torch.allclose(correlation, torch.eye(3), atol=5 * (2 / noise.shape[1]) ** 0.5)


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.5])
def test_smooth_noise_is_white_noise_blurred_by_a_gaussian(deviation: float) -> None:
    """Standard normal everywhere, correlated as the filter with itself; frames and channels stay apart."""
    z = smooth_noise(PhiloxNoise(seed=noise_seed(0, "smooth")), 4, (160, 160), deviation)[0]
    assert z.shape == (3, 4, 160, 160)
    error = 5 * (2 * 3.6 * deviation**2 / z.numel() + 2 / z.numel()) ** 0.5  # neighbours are no new numbers
    reach = math.ceil(3 * deviation)
    taps = [math.exp(-0.5 * (k / deviation) ** 2) for k in range(-reach, reach + 1)]
    for step in range(3):
        expected = sum(a * b for a, b in zip(taps, taps[step:], strict=False)) / sum(tap**2 for tap in taps)
        along, down = z[..., step:] * z[..., :160 - step], z[..., step:, :] * z[..., :160 - step, :]
        assert float(along.mean()) == pytest.approx(expected, abs=error)
        assert float(down.mean()) == pytest.approx(expected, abs=error)
    assert abs(float((z[0] * z[1]).mean())) < error * 3**0.5
    assert abs(float((z[:, 0] * z[:, 1]).mean())) < error * 2
    rim = torch.cat((z[..., :2].flatten(), z[..., -2:].flatten(), z[..., :2, :].flatten(), z[..., -2:, :].flatten()))
    assert float(rim.square().mean()) == pytest.approx(1, abs=error * (z.numel() / rim.numel()) ** 0.5)


@pytest.mark.parametrize(("index", "kind"), [(0, "3D"), (1, "3D"), (2, "2D")])
@pytest.mark.parametrize("form", ["volume", "split"])
def test_noise_in_parts_is_that_of_the_whole_clip(make_plan: Plan, form: Noise, index: int, kind: str) -> None:
    plan, config = make_plan(index=index, kind=kind), TrainConfig(noise=form, noise_smooth_px=1.0)

    def drawn(first: int, frames: int) -> Tensor:
        noise = scale_noise(plan, config, noise_seed(0, "parts"), frames, (9, 11), first_frame=first)
        return scaled_noise((1, 3, frames, 9, 11), noise, 1.0)
    whole = drawn(0, 14)
    for first, frames in ((0, 4), (4, 8), (8, 6), (12, 1)):
        torch.testing.assert_close(drawn(first, frames), whole[:, :, first:first + frames], rtol=0, atol=1e-6)


def test_autocast_rounds_no_noise() -> None:
    noise = PhiloxNoise(seed=noise_seed(0, "smooth"), maps=1)
    with torch.autocast("cpu", torch.bfloat16):
        z = smooth_noise(noise, 2, (9, 11), 1.0)
    assert torch.equal(z, smooth_noise(noise, 2, (9, 11), 1.0))


def test_maps_are_not_blurred() -> None:
    noise = PhiloxNoise(seed=noise_seed(0, "smooth"), maps=1)
    z = smooth_noise(noise, 2, (9, 11), 1.0)
    assert torch.equal(z[:, :1], scaled_noise((1, 3, 2, 15, 17), noise, 1.0)[:, :1, :, 3:-3, 3:-3])
    assert bool((z[:, 1:, 0] != z[:, 1:, 1]).any())


def test_noise_without_blur_is_drawn_as_it_is() -> None:
    noise = PhiloxNoise(seed=noise_seed(0, "smooth"), maps=1)
    assert torch.equal(smooth_noise(noise, 3, (5, 7), 0.0), scaled_noise((1, 3, 3, 5, 7), noise, 1.0))


@pytest.mark.parametrize(("index", "smooth"), [(0, True), (1, False)])
def test_only_the_coarsest_scale_is_blurred(make_plan: Plan, index: int, smooth: bool) -> None:
    plan, seed = make_plan(index=index), noise_seed(0, "train")
    drawn = (scale_noise(plan, TrainConfig(noise_smooth_px=px), seed, 4, (9, 11)) for px in (0.0, 1.0))
    white, blurred = (scaled_noise((1, 3, 4, 9, 11), noise, 1.0) for noise in drawn)
    assert torch.equal(white, blurred) is not smooth


@pytest.mark.parametrize(("form", "start", "first", "kind", "drawn"), [
    ("volume", 1, "3D", "2D", True), ("split", 1, "3D", "3D", True), ("split", 1, "3D", "2D", False),
    ("split", 1, "2D", "2D", True), ("split", 0, "2D", "2D", False), ("frames", 0, "2D", "2D", True)])
def test_samples_of_split_noise_take_none_at_2d_scales_behind_3d_ones_or_the_coarsest(
        make_plan: Plan, form: Noise, start: int, first: str, kind: str, drawn: bool) -> None:
    plan, config, seed = make_plan(index=3, kind=kind), TrainConfig(noise=form), noise_seed(0, "sample", 1)
    noise = sample_noise(plan, config, seed, 4, (9, 11), first=make_plan(index=start, kind=first))
    assert noise == (scale_noise(plan, config, seed, 4, (9, 11)) if drawn else None)


def test_places_hash_to_63_bits() -> None:
    numbers = {hashed(seed, "train", scale) for seed in range(40) for scale in range(40)}
    assert len(numbers) == 1600
    assert 2**57 < max(numbers) - min(numbers) < 2**63


def test_uniform_numbers_fill_the_unit_interval() -> None:
    x = uniform((200_000,), 3, "mix")
    assert 0 <= float(x.min()) < 1e-3
    assert 1 - 1e-3 < float(x.max()) < 1
    assert abs(float(x.mean()) - 0.5) < 5 / (12 * 200_000) ** 0.5


def test_whole_numbers_reach_every_value_below_the_limit() -> None:
    drawn = [integer(4, 0, "window", n) for n in range(400)]
    assert set(drawn) == {0, 1, 2, 3}
    assert all(60 < drawn.count(value) < 140 for value in range(4))  # 100 +- 4.6 standard deviations
    assert integer(1, 0, "window") == 0


# ---- amplitude -------------------------------------------------------------------------------------------------------


def test_amplitude_is_the_gain_times_the_mean_of_the_frames_rmse() -> None:
    real = torch.stack((torch.full((3, 6, 8), 0.3), torch.full((3, 6, 8), -0.5)), 1)[None]
    # frames apart: (0.3 + 0.5) / 2; over the whole clip it would be 0.41
    assert noise_amplitude(torch.zeros(1, 3, 2, 4, 5), real, 0.1) == pytest.approx(0.1 * 0.4)
    assert noise_amplitude(torch.zeros(1, 3, 2, 4, 5), real, 1.0) == pytest.approx(0.4)


def test_amplitude_measures_the_upsampled_reconstruction() -> None:
    coarser, real = normal((1, 3, 2, 4, 5), 0, "coarser"), normal((1, 3, 2, 6, 8), 0, "real")
    up = interpolate(coarser[0].movedim(1, 0), size=(6, 8), mode="bilinear").movedim(1, 0)[None]
    rmse = [((up - real)[:, :, t] ** 2).mean() ** 0.5 for t in range(2)]
    assert noise_amplitude(coarser, real, 0.1) == pytest.approx(0.1 * float(sum(rmse)) / 2, rel=1e-5)


def test_perfect_reconstruction_needs_no_noise() -> None:
    real = normal((1, 3, 2, 6, 8), 0, "real")
    assert noise_amplitude(real, real, 0.1) == 0.0
