"""Slow motion (section 5.2): the path in latent space, what each critic sees, and how long frames last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine.applications.animate import animate_frames
from sgif.engine.applications.edit import edit_frames
from sgif.engine.applications.slow_motion import frame_durations
from sgif.engine.clip import Clip, read_clip
from sgif.engine.config import Noise, TrainConfig
from sgif.engine.generator import generate_scale
from sgif.engine.losses import color_statistics_loss, psnr_db
from sgif.engine.noise import noise_seed, path_places, scale_noise
from sgif.engine.runs import Run
from sgif.engine.scale_session import TrainingStopped
from sgif.engine.step import ScaleData, ScaleTrainer
from sgif.engine.trainer import train

MakeTrainer = Callable[..., ScaleTrainer]
FRAMES, K = 6, 3


@pytest.fixture(scope="module")
def run(clip: Clip, tiny_config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(clip, tmp_path_factory.mktemp("slow") / "run", tiny_config(slow_motion=K, noise="split"))


# ---- the path --------------------------------------------------------------------------------------------------------


def path_of(plan: Any, form: Noise, frames: int, *, first: int = 0, total: int, smooth: float = 0.0) -> Tensor:
    config = TrainConfig(noise=form, noise_smooth_px=smooth, slow_motion=2)
    z = scale_noise(plan, config, noise_seed(0, "test"), frames, (40, 50), first_frame=first,
                    path=path_places(first, frames, total))
    assert isinstance(z, Tensor)
    return z


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("form", ["volume", "split"])
def test_path_goes_straight_from_plus_one_to_minus_one(make_plan: Any, form: Noise, smooth: float) -> None:
    z = path_of(make_plan(index=0), form, 9, total=8, smooth=smooth)  # one more than the clip has: the end itself
    maps = 1 if form == "split" else 0
    assert (z[:, :maps] == z[:, :maps, :1]).all()
    ends = z[:, maps:, [0, -1]]
    assert ends.mean((0, 1, 3, 4)).tolist() == pytest.approx([1.0, -1.0], abs=0.1)
    assert ends.std((3, 4)).flatten().tolist() == pytest.approx([1.0] * ends.shape[1] * 2, abs=0.1)
    assert not torch.allclose(ends[:, :, 0] - 1, ends[:, :, 1] + 1)  # drawn apart
    weight = torch.linspace(0, 1, 9).view(-1, 1, 1)
    torch.testing.assert_close(z, torch.lerp(z[:, :, :1], z[:, :, -1:], weight))
    assert bool((z == z[:, :1]).all()) == (form == "volume")


def test_path_is_the_same_at_every_frame_rate_and_in_parts(make_plan: Any) -> None:
    plan = make_plan(index=0)
    slow, fast = path_of(plan, "split", 24, total=24), path_of(plan, "split", 8, total=8)
    torch.testing.assert_close(slow[:, :, ::3], fast)
    torch.testing.assert_close(path_of(plan, "split", 7, first=5, total=24), slow[:, :, 5:12])


@pytest.mark.parametrize("form", ["volume", "split"])
def test_finer_scales_have_maps(make_plan: Any, form: Noise) -> None:
    config = TrainConfig(noise=form, slow_motion=2)
    for kind in ("3D", "2D"):
        noise = scale_noise(make_plan(index=1, kind=kind), config, noise_seed(0, "test"), 4, (9, 11),
                            path=path_places(0, 4, 4))
        assert not isinstance(noise, Tensor)
        assert noise.maps == 3


# ---- training --------------------------------------------------------------------------------------------------------


def numbered(clip: Tensor, per_frame: int = 1) -> Tensor:
    """Every frame filled with the number of the clip's frame that it is made for, and a fraction."""
    return (torch.arange(float(clip.shape[2])) / per_frame).view(1, 1, -1, 1, 1).expand_as(clip).contiguous()


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_what_is_made_belongs_to_the_window_of_the_clip(make_trainer: MakeTrainer, scale: int) -> None:
    trainer = make_trainer(scale, slow_motion=K)
    data, frames = trainer.data, trainer.plan.frames_per_step
    coarser = data.coarser_reconstruction
    trainer.data = ScaleData(real=numbered(data.real), z_fixed=numbered(data.z_fixed, K), noise_amp=1.0,
                             coarser_reconstruction=None if coarser is None else numbered(coarser, K))
    firsts = set()
    for iteration in range(30):
        draw = trainer.draw(iteration, 0)
        batch = trainer.prepare(draw)
        assert batch.inputs.shape == (2, 3, K * frames, *trainer.plan.size)
        assert draw.path is not None
        torch.testing.assert_close(batch.inputs[1:, :, ::K], draw.real)
        torch.testing.assert_close(batch.inputs[1, 0, :, 0, 0], draw.path * FRAMES)
        firsts.add(int(draw.real[0, 0, 0, 0, 0]))
    assert firsts == set(range(FRAMES - frames + 1))


@pytest.mark.parametrize("scale", [0, 2])
def test_video_critic_sees_every_kth_frame_and_the_image_critic_all(make_trainer: MakeTrainer, scale: int) -> None:
    trainer = make_trainer(scale, slow_motion=K)
    seen: dict[str, list[Tensor]] = {"image": [], "video": []}
    for name, critic in (("image", trainer.critics["image"]), ("video", trainer.critics["video"])):
        critic.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0].detach().clone()))
    draw = trainer.draw(0, 0)
    clips = trainer.generate(trainer.prepare(draw))
    fake, frames = clips[:1].detach(), trainer.plan.frames_per_step
    trainer.critic_step(draw, fake)
    losses = trainer.generator_step(draw, clips)
    real_images, fake_images = seen["image"][0].split(K * frames)
    assert torch.equal(fake_images, fake[0].movedim(1, 0))
    assert torch.equal(real_images, draw.real[0].movedim(1, 0).repeat_interleave(K, 0))
    assert torch.equal(seen["video"][0], torch.cat((draw.real, fake[:, :, ::K])))
    assert torch.equal(seen["image"][-1], fake[0].movedim(1, 0))
    assert torch.equal(seen["video"][-1], fake[:, :, ::K])
    torch.testing.assert_close(losses["G/rec"], (clips[1:, :, ::K] - draw.real).abs().mean())
    torch.testing.assert_close(losses["G/stat"], color_statistics_loss(fake[:, :, ::K], draw.real_mean, draw.real_cov))


def test_frames_between_learn_from_the_image_critic_alone(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(1, slow_motion=K)
    for name in ("G/image", "G/video", "G/rec", "G/stat"):
        draw = trainer.draw(0, 0)
        clips = trainer.generate(trainer.prepare(draw))
        clips.retain_grad()
        for other in trainer.weights:
            trainer.weights[other] = torch.tensor(1.0 if other == name else 0.0)
        trainer.generator_step(draw, clips)
        assert clips.grad is not None
        by_frame = clips.grad.abs().amax((0, 1, 3, 4))
        between = torch.arange(len(by_frame)) % K != 0
        assert by_frame[~between].min() > 0, name
        assert bool((by_frame[between] > 0).all() if name == "G/image" else (by_frame[between] == 0).all()), name


def test_a_stopped_run_goes_on_in_the_same_bits(run: Run, clip: Clip, tmp_path: Path) -> None:
    path, config = tmp_path / "run", run.config
    asked = iter([False] * 8 + [True] + [False] * 1000)
    with pytest.raises(TrainingStopped):
        train(clip, path, config, should_stop=lambda: next(asked))
    train(clip, path, config)
    for file in run.path.rglob("generator.safetensors"):
        assert (path / file.relative_to(run.path)).read_bytes() == file.read_bytes()


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_samples_and_the_reconstruction_have_k_frames_for_each_of_the_clip(run: Run) -> None:
    assert run.frames_made == K * FRAMES
    assert run.sample(2).shape == (2, 3, K * FRAMES, *run.sizes[-1])
    assert run.sample(frames=7).shape[2] == 7
    assert sum(len(part) for part in run.sample_frames()) == K * FRAMES
    reconstruction = run.reconstruct()
    assert reconstruction.shape == (1, 3, K * FRAMES, *run.sizes[-1])
    recorded = run.scale_record(len(run.plans) - 1)["rec_psnr_db"]
    assert psnr_db(reconstruction[:, :, ::K], run.clip) == pytest.approx(recorded, abs=2e-3)


@pytest.mark.parametrize("frames", [K * FRAMES, 7])
def test_a_sample_goes_along_the_whole_path_in_parts(run: Run, frames: int) -> None:
    clip, path = None, path_places(0, frames, frames)
    with torch.no_grad():
        for stage in run.stages(torch.device("cpu")):
            noise = None if stage.plan.kind == "2D" else scale_noise(  # as sampling leaves it out with "split"
                stage.plan, run.config, noise_seed(5, "sample", 0), frames, stage.plan.size, path=path)
            clip = generate_scale(stage.generator, clip, noise, stage.noise_amp, (frames, *stage.plan.size))
    assert clip is not None
    torch.testing.assert_close(run.sample(seed=5, frames=frames), clip.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_previews_last_as_long_as_the_clip(run: Run) -> None:
    clip = read_clip(run.scale_dir(0) / "preview.gif")
    assert len(clip.frame_ms) == K * FRAMES
    assert sum(clip.frame_ms) == pytest.approx(sum(run.frame_ms), abs=10)


@pytest.mark.parametrize(("asked", "what"), [({"loop": True}, "a loop"), ({"start_scale": 1}, "start_scale 1")])
def test_what_needs_other_noise_is_refused(run: Run, asked: dict[str, Any], what: str) -> None:
    for use in (run.sample, run.sample_frames):
        with pytest.raises(ValueError, match=rf"^{what} of a run trained with slow_motion 3: .* train without"):
            use(**asked)


# ---- durations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("speed", "expected"), [
    (None, [33, 34, 33, 17, 16, 17]), (1.0, [33, 34, 33, 17, 16, 17]), (0.5, [67, 66, 67, 33, 34, 33]),
    (0.75, [44, 45, 44, 23, 22, 22]), (1 / 3, [100, 100, 100, 50, 50, 50])])
def test_frames_last_their_part_of_the_clip_divided_by_the_speed(speed: float | None, expected: list[int]) -> None:
    assert frame_durations((100, 50), 6, 3, speed) == expected


@pytest.mark.parametrize("frames", [1, 2, 5, 7, 12, 100])
@pytest.mark.parametrize("speed", [0.25, 0.3, 0.77, 1.0])
def test_durations_add_up_to_the_clip_s_divided_by_the_speed(frames: int, speed: float) -> None:
    durations = frame_durations((70, 90, 110), frames, 4, speed)
    assert len(durations) == frames
    assert sum(durations) == round(270 / speed)


def test_a_clip_or_a_still_does_not_enter(run: Run, clip: Clip) -> None:
    with pytest.raises(ValueError, match="an edited clip of a run trained with slow_motion"):
        edit_frames(run, clip)
    with pytest.raises(ValueError, match="an animated still of a run trained with slow_motion"):
        animate_frames(run, clip.frames[0])


def test_without_slow_motion_durations_are_the_clip_s_repeated() -> None:
    assert frame_durations((70, 90), 5) == frame_durations((70, 90), 5, 1, 1.0) == [70, 90, 70, 90, 70]


@pytest.mark.parametrize(("slow_motion", "speed", "words"), [
    (1, 0.5, "speed is 0.5, but this run makes no frames between the clip's: .* --slow-motion 2 or more"),
    (2, 0.4, r"speed is 0.4, expected 0.5 to 1: .* with --slow-motion 2"), (2, 1.5, "speed is 1.5, expected 0.5 to 1"),
    (3, 0.0, "expected 0.3333 to 1"), (2, -1.0, "expected"), (2, float("nan"), "expected"), (2, float("inf"), "to 1")])
def test_speeds_that_a_run_was_not_trained_for_are_refused(slow_motion: int, speed: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        frame_durations((100, 100), 4, slow_motion, speed)


def test_a_third_may_be_written_short() -> None:
    assert frame_durations((99, 99), 6, 3, 0.33) == [100] * 6
