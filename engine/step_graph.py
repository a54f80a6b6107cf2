"""A training step as one CUDA graph: at coarse scales a step is some hundred launches of microseconds each, and the
host, which makes them one by one, is what takes the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .phases import PhaseClock

if TYPE_CHECKING:
    from .step import Draw

Step = Callable[[Sequence["Draw"]], dict[str, Tensor]]


class StepGraph:
    """What `step` does with draws of these shapes, captured once. A call replays it on other draws."""

    def __init__(self, step: Step, warm_up: Callable[[Sequence[Draw]], None], draws: Sequence[Draw],
                 clock: PhaseClock) -> None:
        self.draws = [replace(draw, **{name: value.clone() for name, value in tensors(draw)}) for draw in draws]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with clock.paused():  # a captured event cannot be read
            with torch.cuda.stream(side):
                warm_up(self.draws)
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.losses = step(self.draws)

    def __call__(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        for held, draw in zip(self.draws, draws, strict=True):
            for name, value in tensors(draw):
                getattr(held, name).copy_(value)
        self.graph.replay()
        return self.losses


def tensors(draw: Draw) -> list[tuple[str, Tensor]]:
    """Those of a draw, by name."""
    values = [(field.name, getattr(draw, field.name)) for field in fields(draw)]
    return [(name, value) for name, value in values if value is not None]
