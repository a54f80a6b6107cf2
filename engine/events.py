"""What training tells whoever listens: plain data, one class per kind of news."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """Sent once, before the first scale."""

    run_dir: Path
    config: TrainConfig
    device: str                         # "cpu, 2 threads", "cuda:0, NVIDIA H200"
    precision: str                      # "float32", "bfloat16"
    fused: bool                         # whether the norms are compiled
    frames: int
    sizes: tuple[tuple[int, int], ...]  # (height, width) of every scale, coarsest first
    resumed_at: tuple[int, int] | None  # (scale, iteration) it goes on from
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScaleStarted:
    """Sent before the first iteration of a scale, also when going on in the middle of it."""

    scale: int
    num_scales: int
    height: int
    width: int
    kind: str                           # "3D" or "2D"
    frames_per_step: int
    iterations: int
    start_iteration: int
    noise_amp: float


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """Sent after every iteration; costs nothing and reads nothing from the device."""

    scale: int
    iteration: int                      # iterations done in this scale


@dataclass(frozen=True, kw_only=True)
class StepLogged:
    """Sent with every row of stats.jsonl."""

    scale: int
    iteration: int
    losses: dict[str, float]            # "D/image", "D/image_gp", ..., "G/rec", "G/stat"
    iterations_per_second: float
    frames_per_second: float
    seconds_left_scale: float
    seconds_left_run: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class ScaleFinished:
    """Sent when a scale's files are on disk."""

    scale: int
    num_scales: int
    seconds: float
    rec_psnr_db: float
    preview: Path


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """Sent once, after the last scale."""

    run_dir: Path
    seconds: float                      # of training, all sessions together
    report: Path | None = None          # None where it could not be written; then a note says why
    notes: tuple[str, ...] = ()


Event = RunStarted | ScaleStarted | StepDone | StepLogged | ScaleFinished | RunFinished
Listener = Callable[[Event], None]


def tell_all(*listeners: Listener) -> Listener:
    """One listener that passes every event on to these, in order."""
    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)
    return tell
