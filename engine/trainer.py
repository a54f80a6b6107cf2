"""Training: `train` goes over the scales of a run, from its folder to its report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from ..kernels import disable_fusion, enable_fusion
from .clip import Clip
from .config import ConfigError, TrainConfig
from .device import resolve_device, set_threads
from .events import Listener, RunFinished, RunStarted
from .profiling.memory import fitted_to_memory
from .ranks import Ranks, join_ranks
from .run_folder import locked_run, open_or_create_run
from .runs import Run
from .saved_state import read_state, resumed_at
from .scale_session import ScaleSession


def train(clip: Clip, run_dir: str | Path, config: TrainConfig, *, on_event: Listener | None = None,
          should_stop: Callable[[], bool] = lambda: False) -> Run:
    """Learn `clip` into the folder `run_dir`, or go on with the run that is there.

    In each of several processes that `torchrun` started, the call learns with the others (docs/distributed.md).

    Args:
        on_event: called with every piece of news, from this thread; of several processes in the first.
        should_stop: asked after every iteration; a yes in any of several processes is one for all.

    Returns:
        The finished run.

    Raises:
        ConfigError: the settings, the clip's size or the device cannot be used, or its memory is too small.
        RunError: the folder holds something else, another process trains in it, or one of this launch has ended.
        UntrainableError: losses ran away in every try of a scale, or memory ended; all work is saved.
        TrainingStopped: `should_stop` said so; all work is saved.
    """
    device = resolve_device(config.device)
    set_threads(config.threads)
    config, memory_note = fitted_config(Path(run_dir), clip, config, device)
    ranks, path = join_ranks(device), Path(run_dir)
    tell = on_event if on_event and ranks.leads else (lambda event: None)
    with ExitStack() as lock:
        with ranks.leader_first():
            run = (lock.enter_context(locked_run(path, clip, config)) if ranks.leads
                   else open_or_create_run(path, clip, config))
        _train(run, (*clip.notes, *([memory_note] if memory_note else [])), device, ranks, tell, should_stop)
    return run


def _train(run: Run, notes: tuple[str, ...], device: torch.device, ranks: Ranks, tell: Listener,
           should_stop: Callable[[], bool]) -> None:
    """All that is left of a run, to its report."""
    config, state = run.config, read_state(run)
    unfused = set_fusion(config, device) if not run.finished else None
    tell(RunStarted(
        run_dir=run.path, config=config, device=ranks.describe(device),
        precision="bfloat16" if config.amp else "float32", fused=config.fuse and unfused is None,
        frames=run.num_frames, sizes=run.sizes,
        resumed_at=resumed_at(run, state) if state or run.scales_done else None,
        notes=(*notes, *([f"norms are not fused: {unfused}"] if unfused else [])),
    ))
    for scale in range(run.scales_done, len(run.plans)):
        ScaleSession(run, scale, device, tell, ranks).train(state, should_stop)
        state = None
    if not ranks.leads:
        return
    report, notes = _report(run)
    tell(RunFinished(run_dir=run.path, seconds=sum(record["seconds"] for record in run.scale_info()), report=report,
                     notes=notes))


def fitted_config(path: Path, clip: Clip, config: TrainConfig, device: torch.device) -> tuple[TrainConfig, str | None]:
    """The settings that fit into the memory, unless all is trained already; one line where that changes something or
    cannot be told. Raises ConfigError."""
    if not config.memory_check:
        return config, None
    if (path / "config.json").exists() and Run(path).finished:
        return config, None
    try:
        num_frames, height, width, _ = clip.frames.shape
        return fitted_to_memory(height, width, num_frames, config, device)
    except ConfigError:
        raise
    except Exception as error:  # the forecast leans on torch's inner parts, which training can do without
        return config, f"memory was not checked ({type(error).__name__}: {error})"


def _report(run: Run) -> tuple[Path | None, tuple[str, ...]]:
    """The run's report, made unless one is there that knows all scales; None and a line where it cannot be made."""
    path, finished = run.path / "report.html", run.scale_dir(len(run.plans) - 1) / "scale.json"
    try:
        if not path.exists() or path.stat().st_mtime_ns < finished.stat().st_mtime_ns:
            from .report.make import make_report

            make_report([run.path], path, device=run.config.device)
    except Exception as error:  # whatever it is, a library that is missing too: what was learned is safe
        return None, (f"no report was written ({type(error).__name__}: {error}); sgif report {run.path} tries again",)
    return path, ()


def set_fusion(config: TrainConfig, device: torch.device) -> str | None:
    """Fuse the norms where asked; one line that says why not where it cannot be had."""
    if not config.fuse:
        disable_fusion()
        return None
    return enable_fusion(device, torch.bfloat16 if config.amp else torch.float32)
