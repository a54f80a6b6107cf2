"""What training does to a run folder besides its scales: begin it, refuse a foreign one, keep its log."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .clip import Clip, frames_from_tensor, tensor_from_frames
from .config import TrainConfig
from .noise import fixed_noise
from .pyramid import build_pyramid, fit_size, plan_scales
from .run_records import SCHEMA
from .runs import Run
from .storage import RunError, write_bytes, write_json, write_tensors

# Settings that another session of the same run may change: they decide where and how often, not what is learned.
FREE_SETTINGS = frozenset({"device", "threads", "fuse", "graphs", "checkpointing", "memory_check", "log_every",
                           "save_seconds"})


def open_or_create_run(path: Path, clip: Clip, config: TrainConfig) -> Run:
    """The run at `path`: a new folder, or the one there when it learns this clip with these settings.

    Raises:
        RunError: the folder holds something else; the message says what differs.
    """
    if run := open_run(path, clip, config):
        return run
    height, width = fit_size(clip.frames.shape[1], clip.frames.shape[2], config.max_size_px)
    plans = plan_scales(height, width, len(clip.frame_ms), config)
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


def package_version(name: str) -> str:
    """The installed version of a package, "unknown" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


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
    return any(file.match(pattern) for pattern in ("clip.safetensors", "z_fixed.safetensors", ".*.tmp"))


def _refuse_other(run: Run, clip: Clip, config: TrainConfig) -> None:
    if run.record["clip"].get("digest") != clip.digest():
        raise RunError(f"{run.path} learns another clip ({run.source}); give another folder for the run")
    old, new = run.config.to_json(), config.to_json()
    differing = [f"{name} {old[name]} there, {new[name]} now" for name in old
                 if name not in FREE_SETTINGS and old[name] != new[name]]
    if differing:
        raise RunError(f"{run.path} was begun with other settings ({'; '.join(differing)}); give those again, or "
                       "another folder for the run")
