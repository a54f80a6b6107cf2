"""How training's news are worded: the head of a run, a scale, rates, losses; and events as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from ..engine.config import TrainConfig
from ..engine.events import Event, RunStarted, ScaleStarted, StepLogged
from ..engine.fleet.news import News
from ..engine.wording import seconds_text, size_text

BARS = "▁▂▃▄▅▆▇█"
UNCUT = 10_000  # columns: rich would shorten names and figures to what a terminal, or 80 in a pipe, has


def printable(text: str, most: int = 2000) -> str:
    """`text` from a file as a terminal may have it: at most `most` characters, and what it would obey (escapes, ends of
    lines, marks that turn the direction of writing) as backslashes spell it."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
                    for char in text[:most + 1])
    return shown if len(shown) <= most else f"{shown[:most - 3]}..."


def plain_console(width: int | None = None) -> Console:
    """Standard output for lines and tables as they are: nothing in them is highlighted, taken for markup or wrapped;
    `width` in columns, the terminal's by default."""
    return Console(highlight=False, markup=False, soft_wrap=True, width=width)


def head_lines(event: RunStarted) -> Iterator[str]:
    """What a run is, said once before it starts."""
    fused = "norms fused" if event.fused else "norms not fused"
    sizes = " ".join(map(size_text, event.sizes))
    yield f"device     {event.device}; {event.precision}, {fused}"
    yield f"scales     0-{len(event.sizes) - 1}: {sizes}; {event.frames} frames"
    yield f"run        {event.run_dir}"
    if event.resumed_at is not None:
        scale, iteration = event.resumed_at
        finished = scale == len(event.sizes)
        yield "finished   already" if finished else f"going on   from scale {scale}, iteration {iteration}"
    for note in event.notes:
        yield f"note       {note}"


def scale_text(scale: ScaleStarted) -> str:
    return f"scale {scale.scale} of 0-{scale.num_scales - 1}  {size_text((scale.height, scale.width))} {scale.kind}"


def rate_text(per_second: float) -> str:
    """`5.2 it/s`, or `3.1 s/it` where an iteration takes over a second."""
    return f"{per_second:.1f} it/s" if per_second >= 1 or per_second <= 0 else f"{1 / per_second:.1f} s/it"


def left_text(event: StepLogged, since: float = 0.0) -> str:
    """Time left for the scale and the run, `since` seconds after the event."""
    scale, run = (seconds_text(left - since) for left in (event.seconds_left_scale, event.seconds_left_run))
    return f"left: scale {scale}, run {run}"


def losses_text(losses: dict[str, float]) -> str:
    """The losses themselves; gradient penalties are in stats.jsonl."""
    return "  ".join(f"{name} {value:.3g}" for name, value in losses.items() if not name.endswith("_gp"))


def sparkline(values: Sequence[float]) -> str:
    """The values as bars between their least and their largest; blank where one is no finite number."""
    finite = [value for value in values if math.isfinite(value)]
    low, span = min(finite, default=0.0), max(finite, default=0.0) - min(finite, default=0.0)
    return "".join(BARS[round((len(BARS) - 1) * (value - low) / span) if span else 0] if math.isfinite(value) else " "
                   for value in values)


def event_json(event: Event | News, **more: Any) -> str:
    """One line; `event` is the event's class, `more` stands before the rest."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    return json_text({"event": type(event).__name__, **more, **values})


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: what is no finite number becomes null."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, TrainConfig):
        return value.to_json()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
