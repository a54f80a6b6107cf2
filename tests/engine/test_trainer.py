"""Training as a whole: what it tells, what it leaves in the folder, what a scale starts from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine import scale_session
from sgif.engine.clip import Clip, read_clip
from sgif.engine.config import ConfigError, TrainConfig
from sgif.engine.events import Event, RunFinished, RunStarted, ScaleFinished, ScaleStarted, StepDone, StepLogged
from sgif.engine.noise import noise_amplitude
from sgif.engine.runs import Run, load_run
from sgif.engine.sampling import gather, reconstruct
from sgif.engine.storage import read_tensors
from sgif.engine.trainer import train

MakeConfig = Callable[..., TrainConfig]
TERMS = {"D/image", "D/image_gp", "D/video", "D/video_gp", "G/image", "G/video", "G/rec", "G/stat"}


@pytest.fixture
def no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding the preview takes longer than a tiny scale's training."""
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())


def of(kind: type, events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# ---- news ------------------------------------------------------------------------------------------------------------


def test_news_come_in_order(tiny_run: Any) -> None:
    step, logged_step = [StepDone], [StepDone, StepLogged]
    scale = [ScaleStarted, *(step + logged_step) * 3, ScaleFinished]
    assert [type(event) for event in tiny_run.events] == [RunStarted, *scale * 3, RunFinished]


def test_the_run_is_announced(tiny_run: Any) -> None:
    started = tiny_run.events[0]
    assert started.run_dir == tiny_run.run.path
    assert started.config == tiny_run.run.config
    assert (started.device, started.precision, started.fused) == ("cpu, 1 thread", "float32", False)
    assert (started.frames, started.sizes) == (6, ((8, 11), (10, 13), (12, 16)))
    assert started.resumed_at is None


def test_each_scale_is_announced(tiny_run: Any) -> None:
    for scale, started in enumerate(of(ScaleStarted, tiny_run.events)):
        plan = tiny_run.run.plans[scale]
        assert (started.scale, started.num_scales, started.iterations, started.start_iteration) == (scale, 3, 6, 0)
        assert (started.height, started.width, started.kind) == (plan.height, plan.width, plan.kind)
        assert started.frames_per_step == plan.frames_per_step
        assert started.noise_amp == tiny_run.run.scale_record(scale)["noise_amp"]


def test_steps_are_counted_in_every_scale(tiny_run: Any) -> None:
    assert [(event.scale, event.iteration) for event in of(StepDone, tiny_run.events)] == [
        (scale, iteration) for scale in range(3) for iteration in range(1, 7)]


def test_logged_losses_are_those_of_the_log(tiny_run: Any) -> None:
    logged = of(StepLogged, tiny_run.events)
    rows = [json.loads(line) for line in (tiny_run.run.path / "stats.jsonl").read_text().splitlines()]
    assert [(row["scale"], row["iteration"]) for row in rows] == [(s, i) for s in range(3) for i in (2, 4, 6)]
    for event, row in zip(logged, rows, strict=True):
        for name in ("scale", "iteration", "losses", "iterations_per_second", "frames_per_second", "peak_bytes"):
            assert row[name] == getattr(event, name)
        assert row["losses"].keys() == TERMS
        assert row["phase_seconds"].keys() >= {"G/forward", "G/losses", "G/backward", "D/image", "D/video", "coarser"}
        assert event.seconds_left_scale >= 0
        assert event.seconds_left_run >= event.seconds_left_scale
    assert logged[-1].seconds_left_run == 0


@pytest.mark.usefixtures("no_preview")
def test_the_last_iteration_is_always_logged(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    events: list[Event] = []
    train(clip, tmp_path / "run", tiny_config(iterations=3, log_every=2), on_event=events.append)
    assert [event.iteration for event in of(StepLogged, events)] == [2, 3] * 3


def test_a_finished_run_is_left_as_it_is(tiny_run: Any, clip: Clip, tiny_config: MakeConfig) -> None:
    files = {file: file.read_bytes() for file in tiny_run.run.path.rglob("*") if file.is_file()}
    events: list[Event] = []
    run = train(clip, tiny_run.run.path, tiny_config(), on_event=events.append)
    assert [type(event) for event in events] == [RunStarted, RunFinished]
    assert events[0].resumed_at == (3, 0)  # type: ignore[union-attr]
    assert run.scales_done == 3
    assert {file: file.read_bytes() for file in tiny_run.run.path.rglob("*") if file.is_file()} == files


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_finished_run_has_these_files_and_no_others(tiny_run: Any) -> None:
    scale_files = {"generator.safetensors", "image_critic.safetensors", "video_critic.safetensors", "scale.json",
                   "preview.gif"}
    expected = {"config.json", "clip.safetensors", "z_fixed.safetensors", "stats.jsonl", "report.html"} \
        | {f"scale_{scale:02d}/{name}" for scale in range(3) for name in scale_files}
    path = tiny_run.run.path
    assert {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} == expected


def test_a_scale_s_record_says_what_was_told(tiny_run: Any) -> None:
    finished, logged = of(ScaleFinished, tiny_run.events), of(StepLogged, tiny_run.events)
    for scale, record in enumerate(tiny_run.run.scale_info()):
        assert (record["scale"], record["iterations"]) == (scale, 6)
        assert record["rec_psnr_db"] == pytest.approx(finished[scale].rec_psnr_db, abs=1e-3)
        assert record["seconds"] == pytest.approx(finished[scale].seconds, abs=1e-3)
        assert record["cpu_seconds"] > 0
        assert record["losses"] == logged[3 * scale + 2].losses
        assert finished[scale].preview == tiny_run.run.scale_dir(scale) / "preview.gif"
    assert tiny_run.events[-1].seconds == pytest.approx(sum(event.seconds for event in finished), abs=2e-3)


def test_the_preview_is_three_moving_pictures_beside_each_other(tiny_run: Any) -> None:
    for scale, (height, width) in enumerate(tiny_run.run.sizes):
        preview = read_clip(tiny_run.run.scale_dir(scale) / "preview.gif")
        factor = 96 / height
        assert tuple(preview.frames.shape[1:3]) == (96, round(3 * width * factor))
        assert preview.frame_ms == tiny_run.run.frame_ms


def test_noise_amplitude_derives_from_the_coarser_reconstruction(tiny_run: Any) -> None:
    run: Run = tiny_run.run
    assert run.scale_record(0)["noise_amp"] == 1.0
    for scale in (1, 2):
        coarser = gather(reconstruct(run.stages(torch.device("cpu"), scale), run.z_fixed), run.num_frames)
        expected = noise_amplitude(coarser, run.real[scale], run.config.noise_gain)
        assert run.scale_record(scale)["noise_amp"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("no_preview")
def test_training_learns_the_reconstruction(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    events: list[Event] = []
    config = tiny_config(min_size_px=12, iterations=60, width=8, lr=1e-2, log_every=1)  # one scale
    train(clip, tmp_path / "run", config, on_event=events.append)
    losses = [event.losses["G/rec"] for event in of(StepLogged, events)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3]), losses


# ---- what a scale starts from ----------------------------------------------------------------------------------------


def parameters(run: Run, scale: int, network: str) -> dict[str, Tensor]:
    tensors = read_tensors(run.scale_dir(scale) / f"{network}.safetensors")[0]
    return {name: value for name, value in tensors.items() if "running" not in name}


@pytest.mark.usefixtures("no_preview")
def test_a_scale_starts_from_the_previous_one_s_weights_where_shapes_match(clip: Clip, tiny_config: MakeConfig,
                                                                           tmp_path: Path) -> None:
    # Without a learning rate the weights end as they started. Scales 0 and 1 are 3D, 2 to 5 are 2D; 4 is twice as wide.
    run = train(clip, tmp_path / "run", tiny_config(scale_factor=1.1, lr=0.0, iterations=1))
    assert [(plan.kind, plan.channels) for plan in run.plans] == [("3D", 4)] * 2 + [("2D", 4)] * 2 + [("2D", 8)] * 2
    started_anew = {"generator": {2, 4}, "image_critic": {4}, "video_critic": {4}}
    for network, anew in started_anew.items():
        for scale in range(1, 6):
            before, after = parameters(run, scale - 1, network), parameters(run, scale, network)
            same = before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
            assert same == (scale not in anew), f"{network} of scale {scale}"


@pytest.mark.usefixtures("no_preview")
def test_running_statistics_are_handed_over_too(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    run = train(clip, tmp_path / "run", tiny_config(lr=0.0, iterations=1))
    weights = [read_tensors(run.scale_dir(scale) / "generator.safetensors")[0] for scale in (0, 1)]
    means = [tensors["blocks.3.running_var"] for tensors in weights]
    # one update from 1 is 0.9 + 0.1 v; the second scale's update starts there
    assert (means[1] - 0.9 * means[0]).min() >= 0
    assert (means[1] < 0.9).all()


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_an_unknown_device_leaves_no_folder(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^device is 'quantum', expected auto, cpu, cuda or cuda:N$"):
        train(clip, tmp_path / "run", tiny_config(device="quantum"))
    assert not (tmp_path / "run").exists()


def test_training_returns_a_run_that_loads_again(tiny_run: Any) -> None:
    assert torch.equal(load_run(tiny_run.run.path).sample(1), tiny_run.run.sample(1))
