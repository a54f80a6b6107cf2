"""Events as training sends them, and an engine that answers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sgif import engine
from sgif.engine.config import TrainConfig, preset_config
from sgif.engine.events import Event, RunFinished, RunStarted, ScaleFinished, ScaleStarted, StepDone, StepLogged

SIZES = ((25, 42), (34, 56), (51, 89))


def events(run_dir: Path, config: TrainConfig) -> list[Event]:
    """A run of three scales with one logged row each; the first row's losses are not finite."""
    sent: list[Event] = [RunStarted(run_dir=run_dir, config=config, device="cpu, 1 thread", precision="float32",
                                    fused=False, frames=4, sizes=SIZES, resumed_at=None, notes=("kept [bold]as is",))]
    for scale, (height, width) in enumerate(SIZES):
        loss = 0.25 * scale or float("nan")
        sent += [
            ScaleStarted(scale=scale, num_scales=3, height=height, width=width, kind="3D", frames_per_step=4,
                         iterations=2, start_iteration=0, noise_amp=0.1),
            StepDone(scale=scale, iteration=1),
            StepDone(scale=scale, iteration=2),
            StepLogged(scale=scale, iteration=2, losses={"D/image": loss, "D/image_gp": 9.0, "G/rec": 0.5},
                       iterations_per_second=4.0, frames_per_second=16.0, seconds_left_scale=90.0,
                       seconds_left_run=4000.0, peak_bytes=1 << 30),
            ScaleFinished(scale=scale, num_scales=3, seconds=72.0, rec_psnr_db=27.31,
                          preview=run_dir / f"scale_0{scale}" / "preview.gif"),
        ]
    return [*sent, RunFinished(run_dir=run_dir, seconds=216.0)]


class FakeRun:
    """A run with `scales_done` of three scales; samples are black clips, and the calls for them are kept."""

    def __init__(self, path: Path, scales_done: int = 3) -> None:
        self.path, self.scales_done, self.sizes = path, scales_done, SIZES
        self.config = preset_config("draft", iterations=2, amp=True, num_3d_scales=-1, lr=1e-3)
        self.frame_ms, self.num_frames, self.source = (100, 50, 70, 80), 4, "my clip.gif"
        self.record = {"clip": {"window": {"start": 0, "frames": 4, "crop": None, "background": "white"}}}
        self.calls: list[dict[str, Any]] = []

    @property
    def finished(self) -> bool:
        return self.scales_done == len(self.sizes)

    def sample_frames(self, index: int, **asked: Any) -> Iterator[torch.Tensor]:
        self.calls.append({"index": index, **asked})
        size, frames = asked["size"] or SIZES[self.scales_done - 1], asked["frames"]
        yield from torch.zeros((frames, *size, 3), dtype=torch.uint8).split(3)

    def reconstruct_frames(self, device: str | None = None) -> Iterator[torch.Tensor]:
        yield torch.full((self.num_frames, *SIZES[self.scales_done - 1], 3), 255, dtype=torch.uint8)

    def scale_info(self) -> list[dict[str, Any]]:
        return [{"scale": scale, "height": height, "width": width, "kind": "3D", "iterations": 2, "noise_amp": 0.1,
                 "rec_psnr_db": 27.31, "seconds": 72.0, "losses": {}}
                for scale, (height, width) in enumerate(SIZES[:self.scales_done])]

    def describe(self) -> dict[str, Any]:
        return {"path": str(self.path), "scales_done": self.scales_done}


@pytest.fixture
def fake_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """What `load_run` returns, whatever it is asked for."""
    run = FakeRun(tmp_path / "run")
    monkeypatch.setattr(engine, "load_run", lambda path: run)
    return run


@pytest.fixture
def fake_train(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Puts a function in the place of `train`, and a clip of four frames in the place of every file."""
    clip = SimpleNamespace(frames=torch.zeros(4, 51, 89, 3, dtype=torch.uint8), frame_ms=(100,) * 4, notes=())
    monkeypatch.setattr(engine, "read_clip", lambda path, **window: clip)
    return lambda train: monkeypatch.setattr(engine, "train", train)


@pytest.fixture
def trains(fake_train: Callable[[Callable[..., Any]], None], monkeypatch: pytest.MonkeyPatch,
           tmp_path: Path) -> list[TrainConfig]:
    """Training that sends its events and is done; the list collects the configs it was called with."""
    configs: list[TrainConfig] = []

    def train(clip: Any, run_dir: Path, config: TrainConfig, *, on_event: Callable[[Event], None], **_: Any) -> None:
        configs.append(config)
        for event in events(run_dir, config):
            on_event(event)

    fake_train(train)
    monkeypatch.chdir(tmp_path)
    return configs


@pytest.fixture
def run_events(tmp_path: Path) -> list[Event]:
    return events(tmp_path, preset_config("draft"))
