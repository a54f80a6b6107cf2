"""Noise: its shapes, what it derives from, and its amplitude."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import interpolate

from sgif.engine.config import Noise
from sgif.engine.noise import draw_fixed_noise, draw_noise, noise_amplitude
from sgif.engine.pyramid import ScalePlan
from sgif.engine.seeding import integer, normal, uniform

Plan = Callable[..., ScalePlan]


@pytest.mark.parametrize(("form", "index", "kind", "expected"), [
    ("volume", 0, "3D", (1, 1, 5, 7, 9)), ("volume", 0, "2D", (1, 1, 5, 7, 9)), ("volume", 1, "3D", (1, 3, 5, 7, 9)),
    ("volume", 6, "3D", (1, 3, 5, 7, 9)), ("volume", 1, "2D", (1, 3, 1, 7, 9)), ("volume", 6, "2D", (1, 3, 1, 7, 9)),
    ("split", 0, "3D", (1, 3, 5, 7, 9)), ("split", 0, "2D", (1, 3, 5, 7, 9)), ("split", 1, "3D", (1, 3, 1, 7, 9)),
    ("split", 1, "2D", (1, 3, 1, 7, 9))])
def test_noise_shape(make_plan: Plan, form: Noise, index: int, kind: str, expected: tuple[int, ...]) -> None:
    assert draw_noise(make_plan(index=index, kind=kind), 5, (7, 9), form, 0, "train", 3).shape == expected


@pytest.mark.parametrize(("form", "channels"), [("volume", 1), ("split", 3)])
def test_fixed_noise_covers_the_whole_clip(make_plan: Plan, form: Noise, channels: int) -> None:
    plan = make_plan(index=0)
    fixed = draw_fixed_noise(plan, 9, form, 0)
    assert fixed.shape == (1, channels, 9, 9, 11)
    assert torch.equal(fixed, draw_noise(plan, 9, plan.size, form, 0, "z_fixed"))


def test_fixed_noise_derives_from_the_seed_alone(make_plan: Plan) -> None:
    plan = make_plan(index=0)
    torch.manual_seed(1)
    first = draw_fixed_noise(plan, 4, "split", 7)
    torch.manual_seed(2)
    assert torch.equal(first, draw_fixed_noise(plan, 4, "split", 7))
    assert not torch.equal(first, draw_fixed_noise(plan, 4, "split", 8))


def test_equal_places_give_equal_noise(make_plan: Plan) -> None:
    plan = make_plan()
    first = draw_noise(plan, 4, plan.size, "split", 7, "train", 1, 20, 0)
    torch.rand(5)
    assert torch.equal(first, draw_noise(plan, 4, plan.size, "split", 7, "train", 1, 20, 0))


@pytest.mark.parametrize("change", ["seed", "scale", "iteration", "step", "use"])
def test_other_places_give_other_noise(make_plan: Plan, change: str) -> None:
    def draw(seed: int = 7, scale: int = 1, iteration: int = 20, step: int = 0, use: str = "train") -> torch.Tensor:
        return draw_noise(make_plan(index=scale), 4, (9, 11), "split", seed, use, 3, iteration, step)
    other = draw(**{change: {"scale": 2, "use": "sample"}.get(change, 8)})  # type: ignore[arg-type]
    difference = draw() - other
    assert (difference != 0).float().mean() > 0.99
    assert difference.std() > 1.2  # sqrt 2 for independent draws


def test_drawing_leaves_the_global_generator_alone(make_plan: Plan) -> None:
    before = torch.random.get_rng_state()
    draw_noise(make_plan(), 4, (9, 11), "split", 7, "train")
    draw_fixed_noise(make_plan(), 4, "split", 7)
    uniform((3,), 7, "mix")
    integer(9, 7, "window")
    assert torch.equal(before, torch.random.get_rng_state())


def test_noise_is_standard_normal_and_independent() -> None:
    count = 200_000
    draws = [normal((count,), 3, "train", iteration) for iteration in range(3)]
    for x in draws:
        assert abs(float(x.mean())) < 5 / count**0.5
        assert abs(float(x.std()) - 1) < 5 / (2 * count) ** 0.5
        assert abs(float((x**4).mean()) - 3) < 5 * (96 / count) ** 0.5  # the fourth moment has variance 105 - 9
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(float((draws[a] * draws[b]).mean())) < 5 / count**0.5


@pytest.mark.parametrize(("form", "index", "shared"), [
    ("volume", 0, [0]), ("volume", 1, [0, 0, 0]), ("split", 0, [1, 0, 0])])
def test_only_the_first_channel_of_split_noise_is_common_to_all_frames(
        make_plan: Plan, form: Noise, index: int, shared: list[float]) -> None:
    noise = draw_noise(make_plan(index=index), 3, (300, 300), form, 0, "train")[0]
    error = 5 * (2 / 300**2) ** 0.5
    for channel, expected in zip(noise, shared, strict=True):
        for a, b in ((0, 0), (0, 1), (1, 2)):
            assert float((channel[a] * channel[b]).mean()) == pytest.approx(1.0 if a == b else expected, abs=error)
        assert float(channel.mean()) == pytest.approx(0, abs=error)


def test_channels_of_noise_are_independent(make_plan: Plan) -> None:
    noise = draw_noise(make_plan(index=0), 1, (300, 300), "split", 0, "train")[0].flatten(1)
    correlation = noise @ noise.T / noise.shape[1]
    assert torch.allclose(correlation, torch.eye(3), atol=5 * (2 / noise.shape[1]) ** 0.5)


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
