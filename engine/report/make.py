"""A report made: one page of one run, or of several beside each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..clip import ClipError
from ..pages.render import render
from ..pyramid import ScalePlan
from ..runs import Run, load_run
from ..storage import write_bytes
from .clips import MAX_PIXELS, frames_shown, main_clips, preview
from .content import RunView, content
from .log import read_log

NAME = "report.html"
MAX_RUNS = 8
"""Beside each other: more colours than that nobody tells apart."""
SAMPLES, SAMPLES_BESIDE = 4, 2  # of one run; of each of several


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `make_report` wrote."""

    path: Path
    notes: tuple[str, ...]
    """What is missing or shown in part, one sentence each; the page says it too."""


def make_report(runs: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str] | None = None, *,
                device: str | None = None, on_run: Callable[[int, int], None] = lambda done, runs: None) -> Report:
    """Write the report of a run, or of up to MAX_RUNS beside each other, whole or not at all.

    Args:
        runs: folders of runs, finished or not.
        path: of the page; `report.html`, in the run's folder where it is one run.
        device: where samples are made; each run's own choice by default.
        on_run: called with the runs that are done and the number of all.

    Raises:
        RunError: a folder is no run, or is damaged.
        ValueError: there are no runs or too many, one comes twice, or `path` does not end in .html.
    """
    opened = [load_run(Path(run)) for run in runs]
    if not 1 <= len(opened) <= MAX_RUNS:
        raise ValueError(f"got {len(opened)} runs, expected 1 to {MAX_RUNS}")
    if len({run.path.resolve() for run in opened}) < len(opened):
        raise ValueError("the same run comes twice: name each once")
    page = Path(path) if path is not None else opened[0].path / NAME if len(opened) == 1 else Path(NAME)
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"the report is to be written to {page}, expected a name that ends in .html")
    views = []
    for done, (run, name) in enumerate(zip(opened, _names(opened), strict=True), 1):
        views.append(_view(run, name, len(opened), device))
        on_run(done, len(opened))
    page.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(page, render("engine/report/page.html", **content(views)))
    several = len(views) > 1
    return Report(path=page, notes=tuple(f"{view.name}: {note}" if several else note
                                         for view in views for note in view.notes))


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, with as many of the folders around them as it takes to tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    depth = next(depth for depth in range(1, max(map(len, parts)) + 1)
                 if len({of_run[-depth:] for of_run in parts}) == len(parts))
    return ["/".join(of_run[-depth:]) for of_run in parts]


def _view(run: Run, name: str, runs: int, device: str | None) -> RunView:
    """What the page shows of one of `runs` runs."""
    view = RunView(run=run, name=name, records=run.scale_info(),
                   log=read_log(run.path / "stats.jsonl", [plan.iterations for plan in run.plans]))
    done, planned, samples = run.scales_done, len(run.plans), SAMPLES if runs == 1 else SAMPLES_BESIDE
    if done < planned:
        reached = view.log[done].iteration
        view.notes.append(f"not finished: {done} of {planned} scales are trained"
                          + (f", scale {done} is at iteration {reached} of {run.plans[done].iterations}" if reached
                             else ""))
    view.notes += [note for record in view.records for note in _trouble(record, run.plans[record["scale"]])]
    frames = frames_shown(run, samples, runs == 1, MAX_PIXELS // runs)
    if frames < run.num_frames:
        view.notes.append(f"clips are shown up to frame {frames} of {run.num_frames}, to keep the page small")
    view.clips = main_clips(run, frames, samples, device)
    for scale in range(done if runs == 1 else 0):
        try:
            view.previews.append(preview(run, scale, frames))
        except ClipError:
            view.previews.append(None)
            view.notes.append(f"scale {scale} has no preview.gif that can be read")
    return view


def _trouble(record: dict[str, Any], plan: ScalePlan) -> Iterator[str]:
    """What a finished scale learned with otherwise than the settings say."""
    if retries := record.get("retries"):
        often = "once" if len(retries) == 1 else f"{len(retries)} times"
        yield (f"scale {plan.index} diverged {often} and went on from iteration {retries[-1]['from_iteration']} with "
               f"another seed and a learning rate of {retries[-1]['lr']:.2g}")
    if frames := record.get("frames_per_step"):
        yield f"scale {plan.index} learned from {frames} frames a step instead of {plan.frames_per_step}, for memory"
