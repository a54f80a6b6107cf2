"""Loops: time goes round in noise and convolutions, in parts as in one piece; the seam is a step like the others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine.applications.loop import cross_fade, loop_length
from sgif.engine.clip import frames_from_tensor
from sgif.engine.config import TrainConfig
from sgif.engine.noise import noise_seed, scale_noise
from sgif.engine.pyramid import ScalePlan
from sgif.engine.runs import Run
from sgif.engine.sampling import NoiseSource, ScaleNoise, gather, lead_frames, looped, run_scales, stream
from sgif.kernels import PhiloxNoise, scaled_noise

from ..inputs import normal, watched_frames

CPU = torch.device("cpu")
FRAMES, SIZE = 6, (12, 16)
LENGTHS = [2, 3, 6, 13, 24, 70]  # below what a generator sees, no multiple of the frames drawn at once, several parts


def drawn_noise(form: str) -> NoiseSource:
    def noise(plan: ScalePlan, size: tuple[int, int], first: int, count: int) -> ScaleNoise:
        config = TrainConfig(noise=form, noise_smooth_px=1.0)
        return scale_noise(plan, config, noise_seed(0, "test"), count, size, first_frame=first)
    return noise


def whole(noise: NoiseSource, plan: ScalePlan, size: tuple[int, int], frames: int) -> Tensor:
    """The noise of `frames` frames from the first on as a tensor."""
    z = noise(plan, size, 0, frames)
    return scaled_noise((1, 3, frames, *size), z, 1.0) if isinstance(z, PhiloxNoise) else z


def changed(noise: NoiseSource, frames: int, *, roll: int = 0, times: int = 1) -> NoiseSource:
    """The noise of `frames` frames with its frames rolled or repeated."""
    def given(plan: ScalePlan, size: tuple[int, int], first: int, count: int) -> Tensor:
        z = whole(noise, plan, size, frames).roll(roll, 2).repeat(1, 1, times, 1, 1)
        return z[:, :, first:first + count]
    return given


def steps(clip: Tensor) -> Tensor:
    """Mean absolute difference of every frame of [1, 3, T, H, W] and the next one, the last one's and the first's at
    the end."""
    return (clip.roll(-1, 2) - clip).abs().mean((0, 1, 3, 4))


# ---- time goes round -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["volume", "split"])
@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize("scales", [slice(0, 1), slice(0, 3)], ids=["coarsest", "all"])
def test_a_loop_is_one_period_of_the_clip_that_repeats_its_noise(run: Run, scales: slice, count: int, frames: int,
                                                                 form: str) -> None:
    """Far from its ends a clip of repeated noise knows nothing of them: 3D and 2D scales, parts and windows."""
    stages, noise = run.stages(CPU)[scales], drawn_noise(form)
    turns = -(-lead_frames(stages) // frames)
    repeated = changed(noise, frames, times=2 * turns + 1)
    expected = gather(run_scales(stages, None, repeated, (2 * turns + 1) * frames), (2 * turns + 1) * frames)
    parts = run_scales(stages, None, noise, frames, loop=frames, max_values=1 if count == 1 else 1 << 25)
    torch.testing.assert_close(gather(parts, frames), expected[:, :, turns * frames:(turns + 1) * frames],
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["volume", "split"])
@pytest.mark.parametrize("frames", LENGTHS)
def test_rolled_noise_rolls_the_loop_and_changes_nothing_else(run: Run, frames: int, form: str) -> None:
    stages, noise = run.stages(CPU), drawn_noise(form)
    loop = gather(run_scales(stages, None, noise, frames, (1.5, 1.5), loop=frames), frames)
    for roll in (1, frames - 1, 5):
        rolled = run_scales(stages, None, changed(noise, frames, roll=roll), frames, (1.5, 1.5), loop=frames,
                            max_values=20_000)
        torch.testing.assert_close(gather(rolled, frames), loop.roll(roll, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", [1, 2])
def test_a_clip_that_enters_goes_round_too(run: Run, start: int) -> None:
    stages, noise = run.stages(CPU)[start:], drawn_noise("split")
    clip, lead = normal((1, 3, 9, *run.plans[start - 1].size), 0, "clip"), lead_frames(stages)
    loop = gather(run_scales(stages, stream(clip, 9, CPU, lead=lead), noise, 9, loop=9), 9)
    entering = stream(clip.roll(4, 2), 9, CPU, lead=lead)
    rolled = gather(run_scales(stages, entering, noise, 9, loop=9), 9)
    torch.testing.assert_close(rolled, loop.roll(4, 2), rtol=1e-4, atol=1e-5)
    assert (rolled - loop).abs().mean() > 1e-3


@pytest.mark.parametrize("form", ["volume", "split"])
@pytest.mark.parametrize("scale", [0, 1, 2], ids=["3D-coarsest", "3D", "2D"])
@pytest.mark.parametrize("frames", [1, 2, 13])
def test_looped_noise_is_the_noise_again_after_its_frames(run: Run, frames: int, scale: int, form: str) -> None:
    plan, noise = run.plans[scale], drawn_noise(form)
    once = whole(noise, plan, plan.size, frames)
    for first, count in ((0, frames), (-5, 4), (-3 * frames - 1, 2 * frames + 3), (frames - 1, 9)):
        z = looped(noise, frames)(plan, plan.size, first, count)
        if isinstance(z, PhiloxNoise):
            assert z.maps == 3
            z = scaled_noise((1, 3, count, *plan.size), z, 1.0)
        assert torch.equal(z, once[:, :, torch.arange(first, first + count) % frames])


def test_a_stream_that_leads_goes_round() -> None:
    clip = normal((1, 3, 5, 4, 5), 0, "clip")
    assert torch.equal(torch.cat(list(stream(clip, 5, CPU, lead=7)), 2), clip[:, :, torch.arange(-7, 12) % 5])


def test_a_long_loop_is_made_as_it_is_asked_for(run: Run) -> None:
    """No scale keeps what it no longer needs, though all but the last one begin before the clip."""
    coarser, made = watched_frames(run.plans[0].size, 10**6)
    parts = run_scales(run.stages(CPU)[1:], coarser, drawn_noise("volume"), 10**6, loop=10**6)
    for part in range(1, 5):
        assert next(parts).shape == (1, 3, 64, *SIZE)
        assert len(made) <= 64 * (part + 1) + 4 * 5
        assert sum(ref() is not None for ref in made) <= 64 + 4 * 5


# ---- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"frames": 2}, {"frames": 70, "size": (9, 40)}, {"start_scale": 1},
                                   {"start_scale": 2, "frames": 3}], ids=str)
def test_frames_of_a_loop_come_as_they_are_made(run: Run, asked: dict[str, Any]) -> None:
    loop = run.sample(1, first=2, seed=5, loop=True, **asked)
    parts = list(run.sample_frames(2, seed=5, loop=True, **asked))
    assert torch.equal(torch.cat(parts), frames_from_tensor(loop))
    assert loop.shape[2:] == (asked.get("frames", 5 if "start_scale" in asked else FRAMES), *asked.get("size", SIZE))


def test_the_seam_is_a_step_like_the_others(run: Run) -> None:
    """Over 24 loops the step at the seam differs from the mean of the loop's other steps by less than three standard
    errors; where the ends are not joined it does not."""
    def off(loop: bool) -> float:
        all_steps = torch.stack([steps(clip) for clip in run.sample(24, frames=12, loop=loop).split(1)])
        extra = all_steps[:, -1] - all_steps[:, :-1].mean(1)
        return float(extra.mean().abs() / (extra.std() / len(extra)**0.5))
    assert off(loop=True) < 3 < off(loop=False)


def test_a_long_loop_is_the_plain_sample_but_at_its_ends(run: Run) -> None:
    plain, loop = run.sample(frames=40, seed=3), run.sample(frames=40, seed=3, loop=True)
    lead = lead_frames(run.stages(CPU))
    torch.testing.assert_close(loop[:, :, lead:-lead], plain[:, :, lead:-lead], rtol=1e-4, atol=1e-5)
    assert (loop - plain)[:, :, [0, -1]].abs().mean() > 1e-3


@pytest.mark.parametrize("frames", [0, 1])
def test_a_loop_that_does_not_move_is_refused(run: Run, frames: int) -> None:
    for use in (run.sample, run.sample_frames):
        with pytest.raises(ValueError, match=r"expected at least"):
            use(frames=frames, loop=True)


# ---- the clip's own ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "frames"), [(12, 9), (12, 6), (7, 4), (3, 2), (6, 5)])
def test_a_cross_fade_begins_where_the_loop_ends(total: int, frames: int) -> None:
    """Frames numbered by their value: every step is between neighbours in the clip, but in the fade."""
    clip = torch.arange(float(total)).view(1, 1, total, 1, 1).expand(-1, 3, -1, 2, 2)
    loop, faded = cross_fade(clip, frames)[0, 0, :, 0, 0].tolist(), total - frames
    assert len(loop) == frames
    assert loop[faded:] == [float(i) for i in range(faded, frames)]
    weights = [(frames + i - value) / frames for i, value in enumerate(loop[:faded])]  # of the clip's beginning
    assert weights == pytest.approx([(i + 1) / (faded + 1) for i in range(faded)])


def test_a_loop_of_the_clip_keeps_its_content(run: Run) -> None:
    loop, free = run.sample(start_scale=2, loop=True), run.sample(loop=True, frames=5)
    target = cross_fade(run.clip, loop_length(FRAMES, 2))
    assert (loop - target).abs().mean() < (free - target).abs().mean()


@pytest.mark.parametrize("frames", [2, 6, 9])
def test_a_loop_of_the_clip_has_half_to_all_but_one_of_its_frames(run: Run, frames: int) -> None:
    with pytest.raises(ValueError, match=rf"^frames is {frames} for a loop with start_scale 1: .* expected 3 to 5 of "):
        run.sample(start_scale=1, frames=frames, loop=True)
    assert [loop_length(n, 1) for n in (3, 4, 6, 8, 12, 16)] == [2, 3, 5, 6, 9, 12]
    assert all(first < second for first, second in pairwise(loop_length(n, 1) for n in (4, 6, 8, 12)))
