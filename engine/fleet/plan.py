"""Which clip goes into which folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..clip import Clip
from ..clip_paths import clip_stem, digest_name, refuse_twice
from ..config import TrainConfig
from ..explain import explain
from ..pyramid import plan_scales
from ..runs import Run
from ..storage import RunError

Read = Callable[[str], Clip]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One clip and its run."""

    name: str
    source: str
    run_dir: Path
    config: TrainConfig
    frames: int
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of every scale, coarsest first."""
    finished: bool
    """Whether all of it is trained already."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A clip that cannot be trained on, and why."""

    name: str                           # the clip's path, with a dot or a slash, which no name of a run has
    source: str
    sentence: str
    bug: bool


Plan = Sequence[Job | Refused]


def plan_fleet(sources: Sequence[str], read: Read, folder: Path, config: TrainConfig) -> Plan:
    """What is to be trained, in the order given; every clip is read once, and none is kept.

    All runs have one thread unless the settings name a number, so that a run comes out the same whether others run
    beside it or not.

    Raises:
        ConfigError: the same clip is given twice.
    """
    config = replace(config, threads=config.threads or 1)
    clips: list[_Outline | Refused] = []
    for source in sources:
        try:
            clip = read(source)
            frames, height, width, _ = clip.frames.shape
            sizes = tuple(plan.size for plan in plan_scales(height, width, frames, config))
        except Exception as error:
            sentence, bug = explain(error)
            clips.append(Refused(name=os.path.join(".", source), source=source, sentence=sentence, bug=bug))
        else:
            clips.append(_Outline(source, clip.digest(), frames, sizes))
    names = iter(run_names([(clip.source, clip.digest) for clip in clips if isinstance(clip, _Outline)], folder))
    return [clip if isinstance(clip, Refused) else _job(clip, folder / next(names), config) for clip in clips]


def run_names(clips: Sequence[tuple[str, str]], folder: Path) -> list[str]:
    """A name in `folder` for each (source, digest): the clip's own, with its digest where clips share it or the run of
    another clip has it. A run that is there keeps its name whatever clips come beside it.

    Raises:
        ConfigError: a clip is there twice.
    """
    stems = [clip_stem(source) for source, _ in clips]
    folded = [stem.lower() for stem in stems]  # some file systems know no capitals
    names = []
    for (source, digest), stem in zip(clips, stems, strict=True):
        there = _run_in(folder / stem)
        own = folded.count(stem.lower()) == 1 if there is None else there.record["clip"].get("digest") == digest
        names.append(stem if own else digest_name(source, digest))
    refuse_twice(names, [source for source, _ in clips])
    return names


@dataclass(frozen=True)
class _Outline:
    """What is kept of a clip."""

    source: str
    digest: str
    frames: int
    sizes: tuple[tuple[int, int], ...]


def _job(clip: _Outline, run_dir: Path, config: TrainConfig) -> Job:
    there = _run_in(run_dir)
    return Job(name=run_dir.name, source=clip.source, run_dir=run_dir, config=config, frames=clip.frames,
               sizes=clip.sizes, finished=there is not None and there.finished)


def _run_in(folder: Path) -> Run | None:
    """The run there, if there is one that can be opened; what else there is, training says."""
    try:
        return Run(folder)
    except (RunError, OSError):
        return None

