"""Generators whose windows go around in time: no frame of a sample is nearer to an end than another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine import Clip, load_run, train
from sgif.engine.generator import Generator, generate_scale
from sgif.engine.noise import noise_seed, scale_noise
from sgif.engine.pyramid import ScalePlan
from sgif.engine.runs import Run
from sgif.engine.sampling import (
    ENDLESS,
    NOISE_FRAMES,
    NoiseSource,
    TrainedScale,
    gather,
    lead_frames,
    reconstruct,
    run_scale,
    run_scales,
)
from sgif.kernels import PhiloxNoise

from .inputs import normal

CPU = torch.device("cpu")
KINDS = {"dense": "3D", "depthwise": "3D", "r2plus1d": "3D", "2D": "2D"}


@pytest.fixture
def stages(run: Run, tiny_config: Any) -> list[TrainedScale]:
    """The tiny run's scales as if their windows had gone around."""
    def circular(stage: TrainedScale) -> TrainedScale:
        generator = Generator(stage.plan, tiny_config(pad_time="circular")).eval()
        generator.load_state_dict(stage.generator.state_dict())
        return replace(stage, generator=generator)
    return [circular(stage) for stage in run.stages(CPU)]


def noise_of(config: Any) -> NoiseSource:
    def noise(plan: ScalePlan, size: tuple[int, int], first: int, frames: int) -> Tensor | PhiloxNoise:
        return scale_noise(plan, config, noise_seed(3, "test"), frames, size, first_frame=first)
    return noise


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_rolling_a_window_rolls_what_is_made_of_it(kind: str, training: bool, make_plan: Any, tiny_config: Any) -> None:
    separable = kind if kind != "2D" else "dense"
    generator = Generator(make_plan(kind=KINDS[kind]), tiny_config(pad_time="circular", separable=separable))
    generator.double().train(training)
    x = normal((2, 3, 5, 9, 11), 0, "x").double()
    rolled = generator(x.roll(2, 2))
    torch.testing.assert_close(rolled, generator(x).roll(2, 2))
    held = Generator(make_plan(kind=KINDS[kind]), tiny_config(separable=separable)).double().train(training)
    held.load_state_dict(generator.state_dict())
    assert not torch.allclose(held(x.roll(2, 2)), held(x).roll(2, 2))


def test_the_first_frames_of_a_longer_sample_are_the_shorter_one(stages: list[TrainedScale], tiny_config: Any) -> None:
    noise = noise_of(tiny_config())
    long = gather(run_scales(stages, None, noise, 23), 23)
    for frames in (1, 6):
        torch.testing.assert_close(gather(run_scales(stages, None, noise, frames), frames), long[:, :, :frames],
                                   rtol=1e-4, atol=1e-5)
    parts = gather(run_scales(stages, None, noise, 23, max_values=1), 23)
    torch.testing.assert_close(parts, long, rtol=1e-4, atol=1e-5)


def test_a_sample_is_a_part_of_a_loop_without_end(stages: list[TrainedScale], tiny_config: Any) -> None:
    """Noise before the first frame is that of the last ones of ENDLESS."""
    asked = []

    def noise(plan: ScalePlan, size: tuple[int, int], first: int, frames: int) -> Tensor | PhiloxNoise:
        asked.append((plan.index, first))
        return noise_of(tiny_config())(plan, size, first, frames)
    gather(run_scales(stages, None, noise, 4), 4)
    before = -(-lead_frames(stages) // NOISE_FRAMES) * NOISE_FRAMES
    assert min(first for scale, first in asked if scale == 0 and first >= ENDLESS // 2) == ENDLESS - before


def test_the_reconstruction_is_a_loop_of_z_fixed(stages: list[TrainedScale], run: Run) -> None:
    clip: Tensor | None = None
    for stage in stages:  # each goes around by its own padding
        noise = run.z_fixed if clip is None else None
        clip = generate_scale(stage.generator, clip, noise, stage.noise_amp, (run.num_frames, *stage.plan.size))
    assert clip is not None
    made = gather(reconstruct(stages, run.z_fixed), run.num_frames)
    torch.testing.assert_close(made, clip.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2], ids=["3D", "2D"])
def test_a_clip_that_enters_is_held_at_its_ends(scale: int, stages: list[TrainedScale], run: Run) -> None:
    stage = stages[scale]
    reach, size = stage.generator.reach_frames, stage.plan.size
    coarser = normal((1, 3, 9, *run.plans[scale - 1].size), 0, "coarser")
    index = torch.arange(-reach, 9 + reach).clamp(0, 8)
    wider = generate_scale(stage.generator, coarser[:, :, index], None, 0.0, (9 + 2 * reach, *size)).detach()
    for most in (1 << 25, 1):
        made = gather(run_scale(stage, [coarser], lambda *_: None, 9, size, max_values=most), 9)
        torch.testing.assert_close(made, wider[:, :, reach:reach + 9], rtol=1e-4, atol=1e-5)


def test_a_run_learns_and_samples_so_and_an_older_one_does_not(clip: Clip, tiny_config: Any, run: Run,
                                                               tmp_path: Path) -> None:
    train(clip, tmp_path / "run", tiny_config(pad_time="circular"))
    circular = load_run(tmp_path / "run")
    for each, same in ((circular, True), (run, False)):
        short, long = each.sample(frames=5, seed=1), each.sample(frames=14, seed=1)[:, :, :5]
        assert torch.allclose(short, long, atol=1e-4) == same
    assert circular.sample(loop=True).shape == circular.sample(start_scale=1).shape == circular.clip.shape


def test_a_path_of_slow_motion_keeps_its_ends(make_plan: Any, tiny_config: Any) -> None:
    config = tiny_config(pad_time="circular", slow_motion=2)
    assert not config.circular
    assert not Generator(make_plan(), config).circular
