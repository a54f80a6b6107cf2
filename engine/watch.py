"""How far a run is, from its folder alone: it may be trained by another process, or on another machine that shares the
disk. Nothing is written, and nothing but small files is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from .events import StepLogged
from .report.log import ScaleLog, read_log, thinned
from .run_folder import STATE, row_interval
from .runs import Run, load_run
from .time_left import seconds_left, share_done

QUIET_SECONDS = 60.0
"""Without news for so long, a run may have been stopped: compiling a scale's first step took up to 30 s on two busy
cores."""
QUIET_ROWS = 5.0  # and for as long as so many rows of the log take
TREND_POINTS = 24


@dataclass(frozen=True, kw_only=True)
class ScaleProgress:
    """One scale, as far as it is."""

    scale: int
    height: int
    width: int
    kind: str
    iterations: int
    iteration: int
    """The last one that was logged; all where the scale is done."""
    seconds: float | None = None        # of training it; these two where it is done
    rec_psnr_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """A run at one moment."""

    run_dir: Path
    source: str
    preset: str
    scale: int
    """The one that is trained; the number of scales where all are done."""
    scales: tuple[ScaleProgress, ...]
    share: float
    """Part of the run's time that is behind, 0 to 1, by forecast."""
    logged: StepLogged | None
    """The last row of that scale in stats.jsonl."""
    trend: dict[str, list[float]]
    """Each loss over that scale, at most some TREND_POINTS means."""
    quiet_seconds: float
    """Since training last wrote anything."""
    state: Literal["training", "quiet", "finished"]
    """Quiet: nothing was written for longer than training takes for it."""
    preview: Path | None
    report: Path | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with the last row's beside the run's."""
        own = {name: value for name, value in vars(self).items() if name not in ("logged", "trend", "scales")}
        row = {field.name: getattr(self.logged, field.name, None) for field in fields(StepLogged)}
        return {**row, **own, "scales": [vars(scale) for scale in self.scales]}


def run_progress(run: Run, now: float | None = None) -> RunProgress:
    """How far `run` is at `now`, seconds since the epoch. Raises RunError where a scale's record is damaged."""
    plans, done = run.plans, run.scales_done
    logs = read_log(run.path / "stats.jsonl", [plan.iterations for plan in plans])
    log = logs[done] if done < len(plans) else ScaleLog()
    logged = _logged(run, done, log) if log.iteration else None
    records = run.scale_info()[:done]
    preview, report = run.scale_dir(done - 1) / "preview.gif", run.path / "report.html"
    quiet = max(0.0, (time.time() if now is None else now) - _last_written(run))
    row_seconds = row_interval(plans[done], run.config) / logged.iterations_per_second if logged else 0.0
    return RunProgress(
        run_dir=run.path, source=run.source, preset=run.config.preset, scale=done,
        scales=tuple(ScaleProgress(
            scale=plan.index, height=plan.height, width=plan.width, kind=plan.kind, iterations=plan.iterations,
            iteration=plan.iterations if plan.index < done else log.iteration if plan.index == done else 0,
            **({name: records[plan.index][name] for name in ("seconds", "rec_psnr_db")} if plan.index < done else {}),
        ) for plan in plans),
        share=share_done(plans, done, log.iteration), logged=logged,
        trend={name: [value for _, value in thinned(points, TREND_POINTS)] for name, points in log.losses.items()},
        quiet_seconds=quiet, state="finished" if done == len(plans) else
        "quiet" if quiet > max(QUIET_SECONDS, QUIET_ROWS * row_seconds) else "training",
        preview=preview if preview.is_file() else None, report=report if report.is_file() else None)


def watch_run(path: str | Path, *, every_seconds: float = 2.0,
              sleep: Callable[[float], None] = time.sleep) -> Iterator[RunProgress]:
    """The run in `path` now, and again every `every_seconds` until it is finished.

    Raises:
        RunError: the folder is no run, or is damaged.
    """
    run = load_run(path)
    while True:
        yield (progress := run_progress(run))
        if progress.state == "finished":
            return
        sleep(every_seconds)


def _logged(run: Run, scale: int, log: ScaleLog) -> StepLogged | None:
    """The last row as the event that went with it; None where its speed makes no sense."""
    if not log.iterations_per_second:
        return None
    left_scale, left_run = seconds_left(run.plans, scale, log.iteration, 1 / log.iterations_per_second)
    return StepLogged(scale=scale, iteration=log.iteration, losses={name: points[-1][1] for name, points in
                                                                    log.losses.items()},
                      iterations_per_second=log.iterations_per_second, frames_per_second=log.frames_per_second,
                      seconds_left_scale=left_scale, seconds_left_run=left_run, peak_bytes=log.peak_bytes)


def _last_written(run: Run) -> float:
    """When training last wrote into the folder, seconds since the epoch."""
    times = []
    for name in ("config.json", "stats.jsonl", STATE, "."):
        try:
            times.append((run.path / name).stat().st_mtime)
        except FileNotFoundError:  # not there yet, or just replaced
            continue
    return max(times, default=0.0)
