"""What training would do, said before it does it: scales, iterations, frames, memory; nothing is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .clip import Clip
from .config import TrainConfig
from .device import describe_device, resolve_device, set_threads
from .profiling.forecast import forecast_scale
from .profiling.memory import available_bytes
from .pyramid import ScalePlan, plan_scales
from .run_folder import open_run
from .runs import Run
from .saved_state import read_state, resumed_at
from .time_left import seconds_left
from .trainer import fitted_config
from .watch import run_progress


@dataclass(frozen=True, kw_only=True)
class PlannedScale:
    """A scale as it would be trained."""

    plan: ScalePlan
    peak_bytes: int
    """Most memory at once on the device, by forecast."""
    parameters: int
    """Of generator and critics together."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        plan = {"scale" if name == "index" else name: value for name, value in asdict(self.plan).items()}
        return {**plan, "peak_bytes": self.peak_bytes, "parameters": self.parameters}


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What `train` would do with the same arguments."""

    run_dir: Path
    source: str
    frames: int
    device: str
    config: TrainConfig
    """As given, with checkpointing on where training would put it on."""
    scales: tuple[PlannedScale, ...]
    resumed_at: tuple[int, int] | None
    """(scale, iteration) it would go on from, (number of scales, 0) where all is done; None of a new run."""
    available_bytes: int | None
    """Of the device's memory; None where the system does not say."""
    seconds_left: float | None
    """At the speed that the run has had; None of a run that has none."""
    notes: tuple[str, ...]

    @property
    def peak_bytes(self) -> int:
        """Of all scales."""
        return max(scale.peak_bytes for scale in self.scales)

    @property
    def iterations(self) -> int:
        """Of all scales together."""
        return sum(scale.plan.iterations for scale in self.scales)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**vars(self), "config": self.config.to_json(), "scales": [scale.to_json() for scale in self.scales],
                "peak_bytes": self.peak_bytes, "iterations": self.iterations}


def plan_training(clip: Clip, run_dir: str | Path, config: TrainConfig) -> TrainingPlan:
    """What `train` would do with these arguments; what it refuses at once is refused here.

    Raises:
        ConfigError: the settings, the clip's size or the device cannot be used, or its memory is too small.
        RunError: the folder holds something else.
    """
    path, device = Path(run_dir), resolve_device(config.device)
    set_threads(config.threads)
    num_frames, height, width, _ = clip.frames.shape
    config, note = fitted_config(path, clip, config, device)
    run = open_run(path, clip, config)
    place = resumed_at(run, read_state(run)) if run else None
    plans = plan_scales(height, width, num_frames, config)
    forecasts = [forecast_scale(plans, scale, num_frames, config, device, quick=True) for scale in range(len(plans))]
    return TrainingPlan(
        run_dir=path, source=clip.source, frames=num_frames, device=describe_device(device), config=config,
        scales=tuple(PlannedScale(plan=forecast.plan, peak_bytes=forecast.peak_bytes,
                                  parameters=sum(forecast.parameters.values())) for forecast in forecasts),
        resumed_at=place, seconds_left=_seconds_left(run, *place) if run and place else None,
        available_bytes=available_bytes(device), notes=(*clip.notes, *([note] if note else [])))


def _seconds_left(run: Run, scale: int, iteration: int) -> float | None:
    """From where training goes on, at the speed of the scale it is in, or else of the last one that is done."""
    if scale == len(run.plans):
        return 0.0
    if logged := run_progress(run).logged:
        return seconds_left(run.plans, scale, iteration, 1 / logged.iterations_per_second)[1]
    if not scale:
        return None
    done = run.scale_record(scale - 1)
    return seconds_left(run.plans, scale - 1, run.plans[scale - 1].iterations,
                        done["seconds"] / done["iterations"])[1]
