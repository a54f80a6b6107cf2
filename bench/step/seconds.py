"""Seconds of training steps that take turns, as training runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from ...engine.config import TrainConfig
from ...engine.profiling.rehearsal import scale_data, untrained_stages
from ...engine.pyramid import ScalePlan
from ...engine.step import ScaleTrainer
from ...engine.trainer import set_fusion
from ...kernels import disable_fusion
from ..result import Timing
from ..timing import alternate, take_turns

Step = Callable[[], object]


def engine_step(plans: Sequence[ScalePlan], scale: int, num_frames: int, config: TrainConfig,
                device: torch.device) -> Step:
    """Steps of one of the scales of a clip, from the beginning of its training; its clip noise and the coarser scales
    untrained."""
    return steps_of(engine_trainer(plans, scale, num_frames, config, device))


def engine_trainer(plans: Sequence[ScalePlan], scale: int, num_frames: int, config: TrainConfig,
                   device: torch.device) -> ScaleTrainer:
    data = scale_data(plans, scale, num_frames, lambda *shape: torch.rand(shape) * 2 - 1)[-1]
    coarser = untrained_stages(plans[:scale], config)
    for stage in coarser:
        stage.generator.to(device)
    return ScaleTrainer(plans[scale], config, coarser, data, device)


def steps_of(trainer: ScaleTrainer) -> Step:
    iteration = -1

    def step() -> object:
        nonlocal iteration
        iteration += 1
        return trainer.train_step(iteration)
    return step


@contextmanager
def fused_norms(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Norms as training has them; afterwards eager again."""
    set_fusion(config, device)
    try:
        yield
    finally:
        disable_fusion()


def step_seconds(makers: Mapping[str, Callable[[], Step]], device: torch.device, *, seconds: float, min_rounds: int,
                 max_rounds: int) -> dict[str, Timing]:
    """Time the steps that `makers` make; they take turns, and a round that does not count comes first.

    On a GPU the engine's step replays the CUDA graph that training captures. Steps are timed there by the host's clock
    until the device has done them, the draw of their random numbers included. **That has not run on a GPU yet.**

    Returns:
        Seconds by name; nothing where a GPU has no room for all of them at once.
    """
    try:
        steps = {name: make() for name, make in makers.items()}
        if device.type == "cpu":
            return take_turns(steps, device, seconds=seconds, min_rounds=min_rounds, max_rounds=max_rounds)
        clocks = {name: _synchronised(step, device) for name, step in steps.items()}
        for clock in clocks.values():
            clock()  # compiles, and captures the graph
        return alternate(clocks, seconds=seconds, min_rounds=min_rounds, max_rounds=max_rounds)
    except torch.OutOfMemoryError:
        return {}


def _synchronised(run: Step, device: torch.device) -> Callable[[], float]:
    def clock() -> float:
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        run()
        torch.cuda.synchronize(device)
        return time.perf_counter() - began
    return clock
