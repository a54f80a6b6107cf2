"""One of two processes that `test_ranks.py` starts: steps and trainings that need both, and what came of them as files.

    RANK=0 WORLD_SIZE=2 ... python -m tests.engine.rank_worker FOLDER TINY_RUN
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from sgif.engine import scale_session, trainer
from sgif.engine import step as step_module
from sgif.engine.config import TrainConfig
from sgif.engine.noise import noise_seed, scale_noise
from sgif.engine.pyramid import ScalePlan
from sgif.engine.ranks import Ranks, join_ranks
from sgif.engine.runs import Run, load_run
from sgif.engine.sampling import ScaleNoise, gather, run_scales
from sgif.engine.storage import RunError, write_tensors

from .conftest import CPU, TINY, make_clip, trainer_above
from .plain_step import WEIGHTS, shift_norms

CASES: tuple[tuple[int, dict[str, Any]], ...] = (
    (0, {}), (1, {"separable": "dense", "gp_norm": "sample", "checkpointing": True}), (2, {"padding": "reflect"}),
    (1, {"d_steps": 2, "g_steps": 3}))
ONE_STEP = range(3)  # of each network
MAX_VALUES = 1 << 12  # in an activation: frames as small as the tiny run's are made in windows too
ITERATION = 3
BROKEN_AT, STOPPED_AT, KILLED_AT = 3, 8, 9  # iterations of all scales, of which each has 6


def step(case: int, folder: Path, tiny: Path, ranks: Ranks) -> None:
    """One step of a case: gradients, weights after it, losses, and the messages that it took."""
    scale, changes = CASES[case]
    trained = trainer_above(load_run(tiny), scale, TrainConfig(**{**TINY, **WEIGHTS, **changes}), ranks=ranks)
    shift_norms(trained)
    messages, all_reduce = [], dist.all_reduce

    def counted(tensor: Tensor, *rest: Any, **more: Any) -> Any:
        messages.append(tensor.numel())
        return all_reduce(tensor, *rest, **more)

    dist.all_reduce = counted
    losses = trained.train_step(ITERATION)
    dist.all_reduce = all_reduce
    tensors = {f"loss.{name}": loss for name, loss in losses.items()}
    for name, network in trained.networks.items():
        tensors |= {f"weight.{name}.{key}": value for key, value in network.state_dict().items()}
        tensors |= {f"grad.{name}.{key}": p.grad for key, p in network.named_parameters() if p.grad is not None}
    write_tensors(folder / f"step{case}_rank{ranks.index}.safetensors", tensors)
    (folder / f"messages{case}_rank{ranks.index}.json").write_text(json.dumps(messages))


def learn(path: Path, after: Callable[[int], bool] = lambda done: False, **changes: Any) -> None:
    """Train the tiny run; `after` is told how many iterations this call has done and says whether to stop."""
    done = count(1)
    trainer.train(make_clip(), path, TrainConfig(**{**TINY, **changes}), should_stop=lambda: after(next(done)))


def sample_in_windows(run: Run, ranks: Ranks) -> Tensor:
    """A large sample of the tiny run [1, 3, 5, 60, 80], each of the ranks computing a part of its windows."""
    seed = noise_seed(0, "sample", 0)

    def noise(plan: ScalePlan, size: tuple[int, int], first: int, count: int) -> ScaleNoise:
        return scale_noise(plan, run.config, seed, count, size, first_frame=first)
    parts = run_scales(run.stages(CPU), None, noise, 5, (5.0, 5.0), max_values=MAX_VALUES, ranks=ranks)
    return gather(parts, 5)


def main(folder: Path, tiny: Path) -> None:
    torch.set_num_threads(1)
    ranks = join_ranks(CPU)
    for case in range(len(CASES)):
        step(case, folder, tiny, ranks)

    sample = sample_in_windows(load_run(tiny), ranks)
    write_tensors(folder / f"sample_rank{ranks.index}.safetensors", {"sample": sample})

    def no_preview(path: Path, *_: Any) -> None:
        path.touch()

    scale_session.write_preview, trainer._report = no_preview, lambda run: (None, ())
    learn(folder / "unbroken")

    losses, reconstruction_loss = count(1), step_module.reconstruction_loss

    def breaking(reconstruction: Tensor, real: Tensor) -> Tensor:
        broken = next(losses) == BROKEN_AT and ranks.index == 1
        return reconstruction_loss(reconstruction, real) * (float("nan") if broken else 1.0)

    step_module.reconstruction_loss = breaking
    learn(folder / "diverged")
    step_module.reconstruction_loss = reconstruction_loss

    try:
        learn(folder / "stopped", lambda done: ranks.index == 1 and done == STOPPED_AT)
    except scale_session.TrainingStopped as stopped:
        (folder / f"stopped_rank{ranks.index}.json").write_text(json.dumps([stopped.scale, stopped.iteration]))
    learn(folder / "stopped")

    def die(done: int) -> bool:
        if ranks.index == 1 and done == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    try:
        learn(folder / "killed", die, save_seconds=0.0)
    except RunError as error:
        (folder / f"lost_rank{ranks.index}.txt").write_text(str(error))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
