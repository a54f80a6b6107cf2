"""The middle of a scale, as state.safetensors has it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .run_folder import STATE
from .runs import Run
from .storage import RunError, read_tensors
from .trouble import are_retries

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors, none at a scale's beginning, and values.

Tensors: `<network>.<name>` and `adam.<optimizer>.<index>.<slot>`, and the same behind `good.` as they were at
`good_iteration`, from which a further try goes on. Values: scale, iteration, seconds and cpu_seconds spent; where
there are any, retries (`trouble.next_try`), and frames_per_step where it is less than planned.
"""
SLOTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps of every parameter


def read_state(run: Run) -> State | None:
    """The saved middle of the scale that comes next, if there is one. Raises RunError when it makes no sense."""
    path = run.path / STATE
    if not path.exists():
        return None
    tensors, place = read_tensors(path)
    scale, iteration = _whole(place, "scale", -1), _whole(place, "iteration", -1)
    if not 0 <= scale < len(run.plans) or not 0 <= iteration < run.plans[scale].iterations \
            or any(type(place.get(name, 0.0)) not in (int, float) for name in ("seconds", "cpu_seconds")):
        raise RunError(f"{path} does not say its scale and iteration: the run folder is damaged, remove that file")
    if not are_retries(place.get("retries", [])) or not 0 <= _whole(place, "good_iteration", 0) <= iteration \
            or not 1 <= _whole(place, "frames_per_step", 1) <= run.plans[scale].frames_per_step:
        raise RunError(f"{path} does not say how its scale is tried: the run folder is damaged, remove that file")
    # A kill between a finished scale's files and the removal of this one leaves the state of a scale that is done.
    return (tensors, place) if scale == run.scales_done else None


def resumed_at(run: Run, state: State | None) -> tuple[int, int]:
    """(scale, iteration) that training goes on from with what `read_state` gave."""
    return (state[1]["scale"], state[1]["iteration"]) if state else (run.scales_done, 0)


def _whole(place: dict[str, Any], name: str, default: int) -> int:
    value = place.get(name, default)
    return value if type(value) is int else -1
