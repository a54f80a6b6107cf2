"""The baseline SinGAN (All Frames) and the ablations: what they leave out is not there, and the rest works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine.clip import Clip
from sgif.engine.config import VARIANTS, TrainConfig
from sgif.engine.generator import Generator
from sgif.engine.profiling.forecast import forecast_scale, step_shapes
from sgif.engine.pyramid import plan_scales
from sgif.engine.runs import Run, load_run
from sgif.engine.sampling import NOISE_FRAMES, run_scales
from sgif.engine.scale_session import TrainingStopped
from sgif.engine.step import ScaleTrainer
from sgif.engine.storage import read_json
from sgif.engine.trainer import train
from sgif.kernels import PhiloxNoise

from .inputs import normal

ALL_FRAMES = VARIANTS["singan-all-frames"]
CPU = torch.device("cpu")
MakeConfig = Callable[..., TrainConfig]
MakeTrainer = Callable[..., ScaleTrainer]


@pytest.fixture(scope="module")
def baseline(clip: Clip, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny run of SinGAN (All Frames)."""
    return train(clip, tmp_path_factory.mktemp("baseline") / "run", tiny_config(**ALL_FRAMES))


# ---- a critic or a loss of weight 0 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "network", "phases"), [
    ("image_weight", "image_critic", {"D/image", "D/image_gp", "G/image"}),
    ("video_weight", "video_critic", {"D/video", "D/video_gp", "G/video"}),
    ("stat_weight", None, {"G/stat"}),
])
def test_what_has_weight_0_is_neither_built_nor_trained_nor_told(weight: str, network: str | None, phases: set[str],
                                                                 make_trainer: MakeTrainer) -> None:
    whole, without = make_trainer(1), make_trainer(1, **{weight: 0.0})
    assert whole.networks.keys() - without.networks.keys() == ({network} if network else set())
    assert whole.train_step(0).keys() - without.train_step(0).keys() == phases
    assert phases.isdisjoint(without.clock.take())


@pytest.mark.parametrize(("weight", "network"), [("image_weight", "image_critic"), ("video_weight", "video_critic")])
def test_a_critic_of_weight_0_is_not_in_the_forecast(weight: str, network: str, tiny_config: MakeConfig) -> None:
    config, without = tiny_config(), tiny_config(**{weight: 0.0})
    plans = plan_scales(12, 16, 6, config)
    whole, less = (forecast_scale(plans, 1, 6, c, CPU) for c in (config, without))
    assert whole.parameters.keys() - less.parameters.keys() == {network}
    assert whole.shapes.keys() - less.shapes.keys() == {network}
    assert less.flops < whole.flops
    assert less.lasting.optimizer < whole.lasting.optimizer


@pytest.mark.parametrize("variant", ["no-image-critic", "no-video-critic", "no-colour-loss", "all-2d", "r2plus1d"])
def test_a_variant_trains_resumes_and_samples(variant: str, clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgif.engine.scale_session.write_preview", lambda path, *_: path.touch())
    config = tiny_config(min_size_px=10, iterations=3, **VARIANTS[variant])
    unbroken = train(clip, tmp_path / "unbroken", config)
    run = broken_and_resumed(clip, tmp_path / "broken", config)
    assert torch.equal(run.sample(1), unbroken.sample(1))
    names = {"generator", "image_critic", "video_critic"} - {variant.removeprefix("no-").replace("-", "_")}
    assert {file.stem for file in run.scale_dir(0).glob("*.safetensors")} == names


# ---- SinGAN (All Frames) ---------------------------------------------------------------------------------------------


def test_it_is_2d_with_an_image_critic_alone_and_sees_one_frame_a_step(baseline: Run) -> None:
    assert {(plan.kind, plan.frames_per_step) for plan in baseline.plans} == {("2D", 1)}
    for scale in range(len(baseline.plans)):
        found = {file.name for file in baseline.scale_dir(scale).iterdir()}
        assert found == {"generator.safetensors", "image_critic.safetensors", "scale.json", "preview.gif"}
        assert read_json(baseline.scale_dir(scale) / "scale.json")["losses"].keys() == {
            "D/image", "D/image_gp", "G/image", "G/rec"}


def test_steps_of_one_frame_draw_every_frame(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(1, frames=1, video_weight=0.0)
    drawn = [trainer.draw(iteration, 0).real for iteration in range(60)]
    frames = trainer.data.real.split(1, 2)
    assert {tuple(real.shape[:3]) for real in drawn} == {(1, 3, 1)}
    assert all(any(torch.equal(real, frame) for real in drawn) for frame in frames)


def test_its_generator_sees_one_frame(make_plan: Callable[..., Any], tiny_config: MakeConfig) -> None:
    generator = Generator(make_plan(kind="2D"), tiny_config(**ALL_FRAMES)).eval()
    x = normal((1, 3, 5, 9, 11), 0, "x")
    changed = x.clone()
    changed[:, :, 2] += 1
    with torch.no_grad():
        outputs = zip(generator(x).split(1, 2), generator(changed).split(1, 2), strict=True)
        same = [torch.equal(before, after) for before, after in outputs]
    assert same == [True, True, False, True, True]
    assert generator.reach_frames == 0


def test_frames_of_its_samples_know_nothing_of_each_other(baseline: Run) -> None:
    short, long = baseline.sample(frames=4, seed=3), baseline.sample(frames=11, seed=3)
    torch.testing.assert_close(long[:, :, :4], short)
    steps = (long[:, :, 1:] - long[:, :, :-1]).abs().mean((0, 1, 3, 4))
    assert float(steps.min()) > 0.3 * float(steps.max())  # no two frames share their noise


def test_its_noise_is_new_in_every_frame_however_few_are_made_at_once(baseline: Run) -> None:
    """Drawn noise begins at multiples of NOISE_FRAMES, a large 2D frame is made alone."""
    stages, seed = baseline.stages(CPU), torch.tensor(5)

    def noise(plan: Any, size: tuple[int, int], first: int, count: int) -> PhiloxNoise:
        assert first % NOISE_FRAMES == 0
        return PhiloxNoise(seed=seed, stream=plan.index, first_frame=first)

    at_once, one_by_one = ([*run_scales(stages[1:], coarser(7), noise, 7, max_values=most)] for most in (1 << 25, 64))
    assert {part.shape[2] for part in one_by_one} == {1}
    torch.testing.assert_close(torch.cat(one_by_one, 2), torch.cat(at_once, 2))


def coarser(frames: int) -> list[Tensor]:
    return [normal((1, 3, frames, 8, 11), 0, "coarser")]


def broken_and_resumed(clip: Clip, path: Path, config: TrainConfig) -> Run:
    """Stopped after every second iteration, until it is done."""
    while True:
        asked = iter(range(10_000))
        try:
            return train(clip, path, config, should_stop=lambda asked=asked: next(asked) % 2 == 1)  # type: ignore[misc]
        except TrainingStopped:
            continue


@pytest.mark.parametrize("changes", [{}, {"amp": True, "checkpointing": True}], ids=["plain", "amp, checkpointing"])
def test_it_resumes_bit_for_bit(changes: dict[str, Any], clip: Clip, baseline: Run, tiny_config: MakeConfig,
                                tmp_path: Path) -> None:
    config = tiny_config(**ALL_FRAMES, **changes)
    unbroken = train(clip, tmp_path / "unbroken", config) if changes else baseline
    run = broken_and_resumed(clip, tmp_path / "broken", config)
    for scale in range(len(run.plans)):
        for file in unbroken.scale_dir(scale).glob("*.safetensors"):
            assert (run.scale_dir(scale) / file.name).read_bytes() == file.read_bytes(), f"{scale}/{file.name}"


def test_its_reconstruction_has_a_noise_map_for_every_frame(baseline: Run) -> None:
    first, *others = baseline.z_fixed.split(1, 2)
    assert len(others) == baseline.num_frames - 1
    assert not any(torch.equal(first, other) for other in others)
    assert baseline.reconstruct().shape == baseline.clip.shape


def test_it_samples_at_any_size_length_and_as_a_loop(baseline: Run) -> None:
    run = load_run(baseline.path)
    assert run.sample(2, size=(17, 9), frames=3).shape == (2, 3, 3, 17, 9)
    assert run.sample(start_scale=1).shape == run.clip.shape
    assert run.sample(loop=True, frames=5).shape == (1, 3, 5, 12, 16)
    streamed = torch.cat([*run.sample_frames(frames=9, seed=2)])
    assert streamed.shape == (9, 12, 16, 3)


def test_its_forecast_is_of_a_step_of_one_frame(tiny_config: MakeConfig) -> None:
    config = tiny_config(**ALL_FRAMES)
    plans = plan_scales(12, 16, 6, config)
    assert step_shapes(plans, 2, config) == {
        "window": (1, 3, 1, 12, 16), "coarser": (2, 3, 1, *plans[1].size), "generator": (2, 3, 12, 16),
        "image_critic": (2, 3, 12, 16)}
    assert forecast_scale(plans, 2, 6, config, CPU).parameters.keys() == {"generator", "image_critic"}
