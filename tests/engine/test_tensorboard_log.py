"""The event files read back: every loss, and clips that play."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sgif.engine import tensorboard_log
from sgif.engine.clip import Clip
from sgif.engine.config import ConfigError, TrainConfig
from sgif.engine.events import RunStarted, ScaleStarted, StepLogged, tell_all
from sgif.engine.scale_session import TrainingStopped
from sgif.engine.storage import RunError
from sgif.engine.tensorboard_log import TensorBoardLog
from sgif.engine.trainer import train

pytest.importorskip("tensorboard", reason="the extra sgif[tensorboard] is not installed")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MakeConfig = Callable[..., TrainConfig]


def read(folder: Path) -> EventAccumulator:
    """One scale's curves and images, all of them."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


@pytest.fixture(scope="module")
def logged(tiny_run: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder that the events of the tiny run were logged to, and these."""
    folder = tmp_path_factory.mktemp("log")
    with TensorBoardLog(folder) as log:
        for event in tiny_run.events:
            log(event)
    return folder, tiny_run.events


def test_every_scale_is_a_run_with_a_curve_per_loss(logged: tuple[Path, list[Any]]) -> None:
    folder, events = logged
    assert sorted(path.name for path in folder.iterdir()) == ["scale_00", "scale_01", "scale_02"]
    for scale in range(3):
        found = read(folder / f"scale_{scale:02d}")
        rows = [event for event in events if isinstance(event, StepLogged) and event.scale == scale]
        assert set(found.Tags()["scalars"]) == {*rows[0].losses, "speed/iterations_per_second",
                                                "speed/frames_per_second", "memory/peak_gib", "scale/seconds",
                                                "scale/reconstruction_psnr_db"}
        for name in rows[0].losses:
            assert [(point.step, point.value) for point in found.Scalars(name)] == [
                (row.iteration, pytest.approx(row.losses[name], rel=1e-6)) for row in rows]


def frames_of(data: bytes) -> tuple[int, tuple[int, int], str]:
    with Image.open(io.BytesIO(data)) as picture:
        return getattr(picture, "n_frames", 1), picture.size, picture.format or ""


def test_clips_play_and_stills_are_their_first_frames(logged: tuple[Path, list[Any]], run: Any) -> None:
    found = read(logged[0] / "scale_02")
    (real,), (preview,), (still,) = (found.Images(tag) for tag in ("clip/real", "clip/preview", "image/preview"))
    assert frames_of(real.encoded_image_string) == (6, (16, 12), "GIF")
    assert preview.encoded_image_string == (run.scale_dir(2) / "preview.gif").read_bytes()
    assert (preview.width, preview.height, preview.step) == (384, 96, 6), "enlarged to 96 pixels, three side by side"
    assert frames_of(still.encoded_image_string) == (1, (384, 96), "PNG")
    assert set(found.Tags()["images"]) == {"clip/real", "clip/preview", "image/real", "image/preview"}


def test_the_real_clip_is_the_scale_s(logged: tuple[Path, list[Any]], run: Any) -> None:
    (still,) = read(logged[0] / "scale_00").Images("image/real")
    with Image.open(io.BytesIO(still.encoded_image_string)) as picture:
        pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8).view(8, 11, 3)
    expected = (run.real[0][0, :, 0].permute(1, 2, 0) + 1) * 127.5
    assert (pixels - expected).abs().mean() < 8, "a GIF has 256 colours"


def test_a_run_that_goes_on_replaces_what_it_does_again(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgif.engine.scale_session.write_preview", write_small_preview)
    config, run_dir = tiny_config(iterations=6, log_every=1), tmp_path / "run"
    asked: list[bool] = []
    with TensorBoardLog() as log, pytest.raises(TrainingStopped):
        train(clip, run_dir, config, on_event=log, should_stop=lambda: asked.append(True) or len(asked) == 3)
    with TensorBoardLog() as log:  # as if it had been killed later: rows of iterations that are done again
        for event in began(run_dir, config):
            log(event)
    with TensorBoardLog() as log:
        train(clip, run_dir, config, on_event=log)
    found = read(run_dir / "tensorboard" / "scale_00")
    points = found.Scalars("G/rec")
    assert [point.step for point in points] == [1, 2, 3, 4, 5, 6]
    assert max(point.value for point in points) < 99, "those of the killed session are gone"
    assert len(found.Images("clip/real")) == 1


def began(run_dir: Path, config: TrainConfig) -> list[Any]:
    """What a session tells that goes on from iteration 3 and comes to 5."""
    rows = [StepLogged(scale=0, iteration=iteration, losses={"G/rec": 99.0}, iterations_per_second=1.0,
                       frames_per_second=1.0, seconds_left_scale=1.0, seconds_left_run=1.0, peak_bytes=1)
            for iteration in (4, 5)]
    return [RunStarted(run_dir=run_dir, config=config, device="cpu", precision="float32", fused=False, frames=6,
                       sizes=((8, 11),), resumed_at=(0, 3)),
            ScaleStarted(scale=0, num_scales=3, height=8, width=11, kind="3D", frames_per_step=4, iterations=6,
                         start_iteration=3, noise_amp=1.0), *rows]


def write_small_preview(path: Path, *_: Any) -> None:
    Image.new("RGB", (4, 3)).save(path)


def test_nothing_is_made_before_a_run_is_begun(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").touch()
    with TensorBoardLog() as log, pytest.raises(RunError):
        train(clip, tmp_path / "full", tiny_config(), on_event=log)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_without_tensorboard_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard_log, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'sgif\[tensorboard\]'"):
        TensorBoardLog()


def test_all_listeners_are_told_in_order() -> None:
    told: list[tuple[str, Any]] = []
    tell_all(lambda event: told.append(("first", event)), lambda event: told.append(("second", event)))("news")  # type: ignore[arg-type]
    assert told == [("first", "news"), ("second", "news")]
