"""What stats.jsonl says, as far as it can be read: it may be cut short, and nobody promised what is in it."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_LINE_BYTES = 1 << 20
MAX_NAMES = 16  # of losses or phases: training has 8 and 10
LARGEST = 1e15

Points = list[tuple[float, float]]  # part of the scale's iterations that is done, 0 to 1, and a value that may be NaN


@dataclass(kw_only=True)
class ScaleLog:
    """The rows of one scale."""

    iteration: int = 0
    """The last one of which there is a row."""
    peak_bytes: int = 0
    iterations_per_second: float = 0.0
    """In the last row, as `frames_per_second`."""
    frames_per_second: float = 0.0
    losses: dict[str, Points] = field(default_factory=lambda: defaultdict(list))
    phase_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Per iteration; a row has the sum since the one before."""


def read_log(path: Path, iterations: list[int]) -> list[ScaleLog]:
    """The log of every scale, whose iterations are given, coarsest first. A missing file has no rows."""
    rows: list[dict[int, dict[str, Any]]] = [{} for _ in iterations]
    for row in _rows(path):
        scale, iteration = row.get("scale"), row.get("iteration")
        if type(scale) is int and type(iteration) is int and 0 <= scale < len(rows) \
                and 0 < iteration <= iterations[scale]:
            rows[scale][iteration] = row
    return [_scale_log(dict(sorted(of_scale.items())), count) for of_scale, count in zip(rows, iterations, strict=True)]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with open(path, "rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                yield row


def _scale_log(rows: dict[int, dict[str, Any]], iterations: int) -> ScaleLog:
    log = ScaleLog(iteration=max(rows, default=0))
    for iteration, row in rows.items():
        log.peak_bytes = max(log.peak_bytes, int(_finite(row.get("peak_bytes"))))
        log.iterations_per_second = _finite(row.get("iterations_per_second"))
        log.frames_per_second = _finite(row.get("frames_per_second"))
        for name, value in _numbers(row.get("losses")):
            if name in log.losses or len(log.losses) < MAX_NAMES:
                log.losses[name].append((iteration / iterations, value))
        for name, value in _numbers(row.get("phase_seconds")):
            if name in log.phase_seconds or len(log.phase_seconds) < MAX_NAMES:
                log.phase_seconds[name] += _finite(value) / log.iteration
    return log


def _numbers(values: Any) -> Iterator[tuple[str, float]]:
    """The names that have a number, which may be NaN."""
    for name, value in values.items() if isinstance(values, dict) else ():
        if type(value) in (int, float):
            yield name, _float(value)


def _float(value: float) -> float:
    """Not finite beyond what a picture can show; JSON's whole numbers have no end."""
    return float(value) if -LARGEST < value < LARGEST else math.nan


def _finite(value: Any) -> float:
    """The number, 0 for what is none or less."""
    number = _float(value) if type(value) in (int, float) else 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def thinned(points: Points, most: int) -> Points:
    """At most about `most` points: means of neighbours. NaN where one of them is: a gap in the line."""
    size = -(-len(points) // most) or 1
    parts = [points[first:first + size] for first in range(0, len(points), size)]
    means = ((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts)
    return list(means)
