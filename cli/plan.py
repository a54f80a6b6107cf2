"""What `sgif train --dry-run` prints."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from ..engine.wording import changed_options, seconds_text, size_text

if TYPE_CHECKING:
    from ..engine import TrainingPlan


def plan_lines(plan: TrainingPlan) -> Iterator[str]:
    """Clip, settings, device, run, memory, time, notes; a line each."""
    from ..engine.profiling.memory import gib_text

    largest = max(plan.scales, key=lambda scale: scale.peak_bytes).plan.index
    free = "" if plan.available_bytes is None else f", {gib_text(plan.available_bytes)} are free"
    yield f"clip       {plan.source}: {plan.frames} frames of {size_text(plan.scales[-1].plan.size)} as trained"
    yield f"preset     {' '.join([plan.config.preset, *changed_options(plan.config)])}"
    yield f"device     {plan.device}; {'bfloat16' if plan.config.amp else 'float32'}"
    yield f"run        {plan.run_dir}: {place_text(plan)}"
    yield f"memory     {gib_text(plan.peak_bytes)} at scale {largest} by forecast{free}"
    yield f"time       {time_text(plan)}"
    for note in plan.notes:
        yield f"note       {note}"
    yield "nothing was written"


def place_text(plan: TrainingPlan) -> str:
    """Where training would begin."""
    if plan.resumed_at is None:
        return f"new, {len(plan.scales)} scales, {plan.iterations} iterations"
    scale, iteration = plan.resumed_at
    return "finished already" if scale == len(plan.scales) else f"goes on from scale {scale}, iteration {iteration}"


def time_text(plan: TrainingPlan) -> str:
    if plan.seconds_left is None:
        return f"not known before steps are timed: sgif profile {shlex.quote(plan.source)}"
    return f"{seconds_text(plan.seconds_left)} left, at the speed that the run has had"


def plan_table(plan: TrainingPlan) -> Table:
    """One row per scale."""
    table = Table(box=SIMPLE, pad_edge=False)
    for title in ("scale", "size", "kind", "channels", "frames\na step", "iterations", "parameters", "memory\nMiB"):
        table.add_column(title, justify="right")
    for scale in plan.scales:
        one = scale.plan
        table.add_row(str(one.index), size_text(one.size), one.kind, str(one.channels), str(one.frames_per_step),
                      str(one.iterations), f"{scale.parameters:,}", f"{scale.peak_bytes / 2**20:,.1f}")
    return table
