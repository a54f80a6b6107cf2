"""The few benchmark figures that the README shows, of the results of all suites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from .environment import digits, machine_and_versions
from .memory import fits_table
from .result import OURS, Result, Row, ways_of

NOT_MEASURED = "Not yet measured."
OTHER_FUNCTION = "another function"
"""In the note of a row that computes something else in the same place: no baseline."""
SIZE = [256, 256]
COUNTERS = ("launches", "bytes", "peak_bytes")

Figure = Callable[[Row], float | None]


def table(results: Mapping[str, Result], *, gpu_measured: bool = False) -> str:
    """Markdown of `results`, by suite: how many times less ours takes than each baseline, and memory at 256x256."""
    gpu = "a GPU's times are in docs/benchmarks.md" if gpu_measured else "a GPU's times are not yet measured"
    lines = [*_step_lines(results.get("step")), *_ops_lines(results.get("ops"))]
    parts = []
    if lines:
        parts += ["\n".join(["| | beside | cases | time | launches | bytes moved | peak memory |",
                             "|---|---|--:|--:|--:|--:|--:|", *lines]),
                  "How many times less sgif takes, from the worst case to the best. Launches, bytes and memory are "
                  f"counted as on an H100; {gpu}."]
    memory = results.get("memory")
    if memory:
        parts += [_memory_text(memory), "\n".join(fits_table(memory))]
    timed = results.get("step") or results.get("ops")
    if timed:
        parts.append(f"Times: {machine_and_versions(timed.device, timed.versions, timed.commit)}")
    return "\n\n".join(filter(None, parts)) or NOT_MEASURED


def _step_lines(result: Result | None) -> Iterator[str]:
    """A line per baseline of a training step."""
    cases = list(ways_of(result.rows).values()) if result else []
    for baseline in dict.fromkeys(way for ways in cases for way in ways if not way.startswith(OURS)):
        pairs = [(ways, ways[baseline]) for ways in cases if baseline in ways and OURS in ways]
        seconds = [ratio for ways, row in pairs if (ratio := _ratio(_fastest(_ours(ways)), row, _seconds))]
        counted = [[ratio for ways, row in pairs if (ratio := _ratio(ways[OURS], row, _counter(name)))]
                   for name in COUNTERS]
        if pairs:
            yield f"| training step | {baseline} | {len(pairs)} | {' | '.join(map(_range, (seconds, *counted)))} |"


def _ops_lines(result: Result | None) -> Iterator[str]:
    """One line of all operators, each beside the fastest of the others."""
    ratios = []
    for ways in ways_of(result.rows).values() if result else ():
        others = [row for way, row in ways.items()
                  if not way.startswith(OURS) and OTHER_FUNCTION not in row.note]
        ours, best = _fastest(_ours(ways)), _fastest(others)
        if best and (ratio := _ratio(ours, best, _seconds)):
            ratios.append(ratio)
    if ratios:
        middle = f"median {median(ratios):.2g}"
        yield f"| operators | the fastest other way | {len(ratios)} | {_range(ratios)}, {middle} | | | |"


def _memory_text(result: Result) -> str:
    """Peaks of a step of the finest scale that has SIZE, by options."""
    rows = [row for row in result.rows if "peak_bytes" in row.counters and row.case.get("what") == "step"
            and row.case["shape"][-2:] == SIZE]
    if not rows:
        return ""
    ours, plain = ([row for row in rows if (row.way == OURS) == own] for own in (True, False))
    by_way = {"sgif": ours, "a plain step": plain}
    texts = [f"{name} {', '.join(map(_peak, peaks))}" for name, peaks in by_way.items() if peaks]
    channels, frames, height, width = rows[0].case["shape"]
    return (f"Memory of a training step of {frames} frames of {height}x{width}, {channels} channels, counted as on an "
            f"H100: {'; '.join(texts)}.")


def _peak(row: Row) -> str:
    """`6.9 GiB as set`, `3.5 GiB with --amp`."""
    options = row.case["options"] if row.case["options"] == "as set" else f"with `{row.case['options']}`"
    return f"{row.counters['peak_bytes'] / 2**30:.2g} GiB {options}"


def _ours(ways: Mapping[str, Row]) -> list[Row]:
    return [row for way, row in ways.items() if way.startswith(OURS)]


def _fastest(rows: Sequence[Row]) -> Row | None:
    return min((row for row in rows if row.seconds), key=lambda row: _seconds(row) or 0.0, default=None)


def _seconds(row: Row) -> float | None:
    return row.seconds.median if row.seconds else None


def _counter(name: str) -> Figure:
    return lambda row: row.counters.get(name)


def _ratio(ours: Row | None, other: Row, figure: Figure) -> float | None:
    """How many times less ours is."""
    mine, theirs = ours and figure(ours), figure(other)
    return theirs / mine if mine and theirs else None


def _range(ratios: Sequence[float]) -> str:
    """`1.2 to 3.4`, one figure where both are the same, nothing where there are none."""
    ends = dict.fromkeys(digits(end, 2) for end in (min(ratios), max(ratios))) if ratios else {}
    return " to ".join(ends)
