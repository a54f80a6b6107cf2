"""Every model on every clip: trained, sampled, measured. A folder that goes on wherever it was ended.

    FOLDER/<clip>-<digest>/<model>/   a run, as `sgif train` leaves it, which goes on by itself
        samples/                      its samples, lossless, each file whole or not there
        evaluation.json               its figures with their conditions; kept while they are of the same run, samples
                                      and features
    FOLDER/table1.json, table1.md, index.html    all of them so far, written anew after each model
    FOLDER/quality.svg                           of "quality", where matplotlib is there
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...engine import Clip, ConfigError, Run, TrainingStopped, evaluate, train, write_clip
from ...engine.clip_paths import digest_name, refuse_twice
from ...engine.config import Preset, TrainConfig
from ...engine.device import resolve_device
from ...engine.events import Listener
from ...engine.metrics.features import Features
from ...engine.pyramid import plan_scales
from ...engine.storage import read_json, write_bytes, write_json
from ..environment import Conditions, conditions
from ..pictures import has_matplotlib
from .models import What, models_of
from .page import write_page
from .picture import quality_svg
from .results import SCHEMA, Result, collect, markdown


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is asked for."""

    what: What
    clips: Sequence[Clip]
    folder: Path
    command: str
    preset: Preset
    settings: dict[str, Any] = field(default_factory=dict)
    """Changes of the preset, for all models."""
    samples: int = 10
    features: Features


class Stopped(RuntimeError):
    """Asked to stop; what is done is saved, and the same call goes on."""


def reproduce(experiment: Experiment, *, tell: Callable[[str], None] = lambda line: None,
              on_event: Listener | None = None, should_stop: Callable[[], bool] = lambda: False) -> Result:
    """Do what is left of an experiment; its figures, as they stand in the folder.

    Args:
        tell: called with a line before each model.
        on_event: called with the news of training.
        should_stop: asked after every iteration and every sample.

    Raises:
        ConfigError: the settings cannot be used, or a clip is given twice or too small.
        RunError: the folder holds runs of other settings.
        Stopped: `should_stop` said so.
    """
    models, notes = models_of(experiment.what, experiment.preset, experiment.settings)
    names = folder_names(experiment.clips)
    for clip in experiment.clips:
        check_size(clip, models[0].config, experiment.features)
    experiment.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    now = conditions(resolve_device(models[0].config.device))
    total = len(names) * len(models)
    for place, (name, clip) in enumerate(zip(names, experiment.clips, strict=True)):
        for number, model in enumerate(models):
            where = f"{Path(clip.source).name}, {model.title}"
            tell(f"{place * len(models) + number + 1} of {total}     {where}")
            try:
                run = train(clip, experiment.folder / name / model.key, model.config, on_event=on_event,
                            should_stop=should_stop)
            except TrainingStopped:
                raise Stopped(where) from None
            record = measured(run, experiment, now, should_stop)
            if record is None:
                raise Stopped(where)
            found[name][model.key] = record
            result = collect(experiment.what, experiment.command, now, models, notes, found)
            write_results(experiment.folder, result)
    return result


def write_results(folder: Path, result: Result) -> None:
    """The figures as JSON, Markdown and a picture, and the page, each whole or not at all."""
    write_json(folder / f"{result['what']}.json", result)
    write_bytes(folder / f"{result['what']}.md", (markdown(result) + "\n").encode())
    curve = quality_svg(result) if result["what"] == "quality" and has_matplotlib() else None
    if curve:
        write_bytes(folder / "quality.svg", curve.encode())
    write_page(folder / "index.html", result, curve)


def check_size(clip: Clip, config: TrainConfig, features: Features) -> None:
    """Raises ConfigError for a clip too small to learn from or for the features: before hours of training."""
    frames, height, width, _ = clip.frames.shape
    height, width = plan_scales(height, width, frames, config)[-1].size
    if min(height, width) < features.min_side_px:
        raise ConfigError(f"{clip.source} is learned at {height}x{width}, too small for {features.name}, which needs "
                          f"{features.min_side_px} pixels each way; expected a larger size or other features")


def measured(run: Run, experiment: Experiment, now: Conditions,
             should_stop: Callable[[], bool]) -> dict[str, Any] | None:
    """The record of a finished run, as evaluation.json has it: from there, or made now; None where it was stopped."""
    path, seed, features = run.path / "evaluation.json", run.config.seed, experiment.features
    files = [run.path / "samples" / f"sample_seed{seed}_{i:03d}.webp" for i in range(experiment.samples)]
    asked = {"schema": SCHEMA, "samples": experiment.samples, "features": features.describe(),
             "config": run.record["config"]}
    if path.is_file() and all(file.is_file() for file in files):
        kept = read_json(path)
        if isinstance(kept, dict) and {name: kept.get(name) for name in asked} == asked:
            return kept
    files[0].parent.mkdir(exist_ok=True)
    for leftover in files[0].parent.glob(".*.partial"):  # a kill in the middle of a write leaves it
        leftover.unlink()
    samples: list[Tensor] = []
    for i, file in enumerate(files):
        if should_stop():
            return None
        samples.append(torch.cat(list(run.sample_frames(i, seed=seed))))
        write_clip(file, samples[-1], run.frame_ms)
    # Raw frames with raw frames, at the size that was trained: a palette alone would cost as much as models differ.
    evaluation = evaluate(run.frames, samples, features, reconstruction=torch.cat(list(run.reconstruct_frames())))
    scales = run.scale_info()
    record = {
        **asked, "commit": now.commit, "device": now.device, "versions": now.versions,
        "clip": {"name": Path(run.source).name, "digest": run.record["clip"]["digest"], "frames": run.num_frames,
                 "height": run.sizes[-1][0], "width": run.sizes[-1][1]},
        "training": {"seconds": round(sum(scale["seconds"] for scale in scales), 3),
                     "cpu_seconds": round(sum(scale["cpu_seconds"] for scale in scales), 3)
                     if all("cpu_seconds" in scale for scale in scales) else None, "scales": len(scales),
                     "iterations": sum(scale["iterations"] for scale in scales),
                     "frames_seen": sum(plan.iterations * plan.frames_per_step for plan in run.plans),
                     "rec_psnr_db": scales[-1]["rec_psnr_db"]},
        "evaluation": evaluation.to_json(), "files": [str(file.relative_to(run.path)) for file in files],
    }
    write_json(path, record)
    return dict(read_json(path))  # as it will be read: lists, no tuples


def folder_names(clips: Sequence[Clip]) -> list[str]:
    """A folder for each clip: what of its name any file system takes, and the beginning of its digest.

    Raises:
        ConfigError: a clip is there twice.
    """
    names = [digest_name(clip.source, clip.digest()) for clip in clips]
    refuse_twice(names, [clip.source for clip in clips])
    return names
