"""What training does to a run folder besides its scales: begin it, refuse a foreign one, keep its log."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .clip import Clip, frames_from_tensor, tensor_from_frames
from .config import TrainConfig
from .noise import fixed_noise
from .one_process import one_process
from .pyramid import ScalePlan, build_pyramid, fit_size, plan_scales
from .run_records import SCHEMA
from .runs import Run
from .scratch import in_use
from .storage import RunError, write_bytes, write_json, write_tensors

# Settings that another session of the same run may change: they decide where and how often, not what is learned.
FREE_SETTINGS = frozenset({"device", "threads", "fuse", "graphs", "checkpointing", "memory_check", "fit", "log_every",
                           "save_seconds"})


STATE = "state.safetensors"
"""The middle of a scale, where a run that was ended goes on."""
MAX_ROWS = 2000
"""Of a scale in stats.jsonl: 1.3 MB."""
LOCK = ".train.lock"
"""Held by the process that trains the run."""


@contextmanager
def locked_run(path: Path, clip: Clip, config: TrainConfig) -> Iterator[Run]:
    """`open_or_create_run`, with the folder locked against other processes that would train in it, and cleared of what
    a kill left. A finished run needs no lock, and may lie on a medium that cannot be written to.

    Raises:
        RunError: as there, or another process trains this run.
    """
    begun = open_run(path, clip, config)
    if begun and begun.finished:
        with suppress(OSError):
            _clear(begun, locked=False)
        yield begun
        return
    if not begun:
        _plans(clip, config)  # what is refused leaves no folder
    path.mkdir(parents=True, exist_ok=True)
    with one_process(path / LOCK, f"another process is training {path}; wait until it is done or stop it, or give this "
                     "run another folder"):
        run = open_or_create_run(path, clip, config)
        _clear(run, locked=True)
        yield run
        _clear(run, locked=True)


def _clear(run: Run, *, locked: bool) -> None:
    """Remove what a kill left, on this machine or, where nobody else trains, on another; of a finished run also what
    training needs."""
    for folder in run.path.glob("scale_*.partial"):
        shutil.rmtree(folder)
    for file in run.path.glob(".*.tmp"):
        if not in_use(file.name) or (locked and not file.name.startswith(".report.")):  # that takes no lock
            file.unlink()
    if run.finished:
        for name in (STATE, *(() if locked else (LOCK,))):
            (run.path / name).unlink(missing_ok=True)


def open_or_create_run(path: Path, clip: Clip, config: TrainConfig) -> Run:
    """The run at `path`: a new folder, or the one there when it learns this clip with these settings.

    Raises:
        RunError: the folder holds something else; the message says what differs.
    """
    if run := open_run(path, clip, config):
        return run
    (height, width), plans = _plans(clip, config)
    path.mkdir(parents=True, exist_ok=True)
    # config.json comes last: a folder that has it has everything.
    finest = torch.cat([frames_from_tensor(build_pyramid(tensor_from_frames(part), [(height, width)])[0])
                        for part in clip.frames.split(16)])  # in float32 the whole clip has four times its bytes
    z_fixed = fixed_noise(plans[0], len(clip.frame_ms), config)
    sha256 = {"clip.safetensors": write_tensors(path / "clip.safetensors", {"frames": finest}),
              "z_fixed.safetensors": write_tensors(path / "z_fixed.safetensors", {"z_fixed": z_fixed})}
    write_json(path / "config.json", {
        "schema": SCHEMA,
        "versions": {"sgif": package_version("sgif"), "torch": torch.__version__, "python": platform.python_version()},
        "clip": {"source": clip.source, "digest": clip.digest(), "height": height, "width": width,
                 "frame_ms": list(clip.frame_ms), "notes": list(clip.notes), "window": clip.window},
        "config": config.to_json(), "sha256": sha256,
    })
    return Run(path)


def open_run(path: Path, clip: Clip, config: TrainConfig) -> Run | None:
    """The run at `path`, None where one can be begun. Raises RunError when the folder holds something else."""
    if (path / "config.json").exists():
        run = Run(path)
        _refuse_other(run, clip, config)
        run.config = config
        return run
    if path.exists() and not (path.is_dir() and all(_is_beginning(file) for file in path.iterdir())):
        raise RunError(f"{path} exists and is not a run folder; expected a new or empty folder, give the run "
                       "another")
    return None


def _plans(clip: Clip, config: TrainConfig) -> tuple[tuple[int, int], list[ScalePlan]]:
    """Size of the finest scale, and all plans, of a new run. Raises ConfigError."""
    height, width = fit_size(clip.frames.shape[1], clip.frames.shape[2], config.max_size_px)
    return (height, width), plan_scales(height, width, len(clip.frame_ms), config)


def package_version(name: str) -> str:
    """The installed version of a package, "unknown" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def row_interval(plan: ScalePlan, config: TrainConfig) -> int:
    """Iterations between rows of a scale in the log: `log_every`, or as many times it as keep them below MAX_ROWS."""
    return config.log_every * -(-plan.iterations // (config.log_every * MAX_ROWS))


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one JSON line to a log."""
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def keep_rows_before(path: Path, scale: int, iteration: int) -> None:
    """Drop the rows of a log that training will write again, and lines that are none: a kill cuts the last one
    short."""
    kept = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            earlier = (row["scale"], row["iteration"]) <= (scale, iteration)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if earlier:
            kept.append(line + b"\n")
    write_bytes(path, b"".join(kept))


def _is_beginning(file: Path) -> bool:
    """Whether a run that was ended before it had its config.json may have left `file`."""
    return any(file.match(pattern) for pattern in ("clip.safetensors", "z_fixed.safetensors", LOCK, ".*.tmp"))


def _refuse_other(run: Run, clip: Clip, config: TrainConfig) -> None:
    if run.record["clip"].get("digest") != clip.digest():
        raise RunError(f"{run.path} learns another clip ({run.source}); give another folder for the run")
    old, new = run.config.to_json(), config.to_json()
    differing = [f"{name} {old[name]} there, {new[name]} now" for name in old
                 if name not in FREE_SETTINGS and old[name] != new[name]]
    if differing:
        raise RunError(f"{run.path} was begun with other settings ({'; '.join(differing)}); give those again, or "
                       "another folder for the run")
