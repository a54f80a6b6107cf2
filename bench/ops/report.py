"""Table and picture of the suite `ops`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..environment import caption, counted
from ..pictures import COLOURS, MARKERS, TEXT, legend_below, save_svg, small_multiples
from ..result import GATE_FAILED, OURS, Case, Result, Row, case_text, ways_of
from ..roofline import PREDICTED
from .operators import DENSE, OTHER_FUNCTIONS, OURS_COMPILED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLEARLY = 1.1
"""What a baseline must win by to be marked."""
PREDICTED_ON = "H100 SXM"
NOT_MEASURED = "Not yet measured on such a device."

DASHES = {"float32": "-", "bfloat16": "--"}
LOOKS = {step: (COLOURS[i], MARKERS[i]) for step, i in (
    ("forward", 0), ("input gradient", 1), ("weight gradients", 2), ("backward", 3), ("double backward", 5))}
PICTURE_COLUMNS = 3

Ways = Mapping[str, Row]
Line = tuple[str, str, str]
"""Operator, pass and shape."""


class Duel(NamedTuple):
    """Ours beside the fastest baseline, in seconds."""

    ours: float
    best: float
    name: str

    @property
    def times(self) -> float:
        return self.best / self.ours


def duel(ways: Ways, ours: str, seconds: Mapping[str, float]) -> Duel | None:
    """Ours beside the fastest of what computes the same; None where either has no `seconds`."""
    others = {name: seconds[name] for name in ways
              if name in seconds and not name.startswith(OURS) and name not in OTHER_FUNCTIONS}
    if ours not in seconds or not others:
        return None
    best = min(others, key=others.__getitem__)
    return Duel(seconds[ours], others[best], best)


def measured(ways: Ways) -> dict[str, float]:
    """Median seconds of the ways that were timed."""
    return {name: row.seconds.median for name, row in ways.items() if row.seconds}


def predicted(ways: Ways) -> dict[str, float]:
    """Least seconds on PREDICTED_ON."""
    name = f"{PREDICTED}{PREDICTED_ON}"
    return {way: row.values[name] for way, row in ways.items() if name in row.values}


# ---- Table -----------------------------------------------------------------------------------------------------------


def table(result: Result) -> str:
    """Milliseconds by operator, pass and shape; the separable convolution beside the dense one; what failed the gate;
    predictions."""
    cases = list(ways_of(result.rows).values())
    dtypes = list(dict.fromkeys(row.case["dtype"] for row in result.rows))
    parts = [_times(cases, dtypes) or [NOT_MEASURED], _dense(cases, dtypes), _wrong(result.rows),
             _predictions(cases, dtypes), [caption(result)]]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _times(cases: Sequence[Ways], dtypes: Sequence[str]) -> list[str]:
    lines: dict[Line, dict[str, str]] = {}
    for ways in cases:
        for ours in (OURS, OURS_COMPILED):
            found = duel(ways, ours, measured(ways))
            if found:
                mark = "**" if found.ours > CLEARLY * found.best else ""
                cells = lines.setdefault(_line(ways, ours), {})
                cells[_case(ways)["dtype"]] = (f"{mark}{_ms(found.ours)}{mark} | {_ms(found.best)} {found.name} | "
                                               f"{mark}{found.times:.2f}{mark}")
    return _with_dtypes(lines, dtypes, ("sgif, ms", "best baseline, ms", "times"))


def _dense(cases: Sequence[Ways], dtypes: Sequence[str]) -> list[str]:
    lines: dict[Line, dict[str, str]] = {}
    for ways in cases:
        seconds = measured(ways)
        if OURS in seconds and DENSE in seconds:
            cells = lines.setdefault(_line(ways, OURS), {})
            cells[_case(ways)["dtype"]] = (f"{_ms(seconds[OURS])} | {_ms(seconds[DENSE])} | "
                                           f"{seconds[DENSE] / seconds[OURS]:.2f}")
    found = _with_dtypes(lines, dtypes, ("sgif, ms", "dense 3x3x3, ms", "times"))
    return ["Beside the dense convolution, another function, which it replaces:", "", *found] if found else []


def _wrong(rows: Sequence[Row]) -> list[str]:
    found = [f"- {case_text(row.case)}: {row.way} is {row.note}" for row in rows if row.note.startswith(GATE_FAILED)]
    return ["Without a time, because the result is not float64's within rounding:", "", *found] if found else []


def _predictions(cases: Sequence[Ways], dtypes: Sequence[str]) -> list[str]:
    """Of the largest shape alone: bounds scale with it."""
    largest = max((_positions(_case(ways)["shape"]) for ways in cases), default=0)
    lines: dict[Line, dict[str, str]] = {}
    for ways in cases:
        found = duel(ways, OURS, predicted(ways))
        if found and _positions(_case(ways)["shape"]) == largest:
            cells = lines.setdefault(_line(ways, OURS), {})
            cells[_case(ways)["dtype"]] = (f"{ways[OURS].counters['launches']} | {1e6 * found.ours:.3g} | "
                                           f"{1e6 * found.best:.3g} {found.name} | {found.times:.2f}")
    found_lines = _with_dtypes(lines, dtypes, ("launches", "sgif, us", "best baseline, us", "times"))
    title = (f"**Predicted, not measured**: least microseconds on one {PREDICTED_ON}, from counted bytes, operations "
             "and launches; no kernel reaches such a bound, and libraries may fuse what is counted apart.")
    return [title, "", *found_lines] if found_lines else []


def _with_dtypes(lines: Mapping[Line, Mapping[str, str]], dtypes: Sequence[str], titles: Sequence[str]) -> list[str]:
    """A table of `lines`: the cells of each dtype, under `titles`, beside one another."""
    if not lines:
        return []
    short = {"float32": "fp32", "bfloat16": "bf16"}
    head = [f"{short.get(dtype, dtype)} {title}" for dtype in dtypes for title in titles]
    missing = " | ".join([""] * len(titles))
    return [f"| operator | pass | shape | {' | '.join(head)} |", f"|---|---|---|{'--:|' * len(head)}",
            *(f"| {' | '.join(line)} | {' | '.join(cells.get(dtype, missing) for dtype in dtypes)} |"
              for line, cells in lines.items())]


def _case(ways: Ways) -> Case:
    return next(iter(ways.values())).case


def _line(ways: Ways, ours: str) -> Line:
    case = _case(ways)
    compiled = ", compiled" if ours == OURS_COMPILED else ""
    return case["op"], f"{case['pass']}{compiled}", "x".join(map(str, case["shape"]))


def _positions(shape: Sequence[int]) -> int:
    n, _, t, h, w = shape
    return n * t * h * w


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"


# ---- Picture ---------------------------------------------------------------------------------------------------------


def draw(result: Result) -> dict[str, str]:
    """Speed by size, a panel per operator: nothing where nothing was timed."""
    points = list(_points(result))
    operators = list(dict.fromkeys(point.op for point in points))
    if not operators:
        return {}
    shapes = sorted({point.shape for point in points}, key=lambda shape: (_positions(shape), shape))
    passes = {point.step for point in points}
    device = result.device.get("gpu") or f"{result.device['cpu']}, {counted(result.device['threads'], 'thread')}"
    title = f"sgif beside the fastest other way, above the line it is faster ({device})"
    with small_multiples(operators, columns=PICTURE_COLUMNS, title=title, sharex=True) as (figure, axes):
        for panel, op in zip(axes, operators, strict=True):
            _draw_operator(panel, [point for point in points if point.op == op], shapes)
        for panel in axes[-PICTURE_COLUMNS:]:  # with nothing below them
            panel.tick_params("x", labelbottom=True)
            panel.set_xlabel("frame; clips x channels x frames", fontsize=8)
        for step, (colour, marker) in LOOKS.items():
            if step in passes:
                axes[0].plot([], [], color=colour, marker=marker, label=step)
        for dtype, dashes in DASHES.items():
            axes[0].plot([], [], color=TEXT, linestyle=dashes, label=dtype)
        legend_below(figure, axes, columns=7)
        return {"bench-ops.svg": save_svg(figure)}


class _Point(NamedTuple):
    op: str
    step: str
    dtype: str
    shape: tuple[int, ...]
    times: float


def _points(result: Result) -> Iterator[_Point]:
    """Of ours as the engine runs it: compiled where it can be."""
    for ways in ways_of(result.rows).values():
        seconds = measured(ways)
        found = duel(ways, OURS_COMPILED if OURS_COMPILED in seconds else OURS, seconds)
        if found:
            case = next(iter(ways.values())).case
            yield _Point(case["op"], case["pass"], case["dtype"], tuple(case["shape"]), found.times)


def _draw_operator(panel: Axes, points: Sequence[_Point], shapes: Sequence[tuple[int, ...]]) -> None:
    panel.axhline(1, color=TEXT, linewidth=1)
    for step in dict.fromkeys(point.step for point in points):
        colour, marker = LOOKS[step]
        for dtype, dashes in DASHES.items():
            line = sorted((shapes.index(point.shape), point.times) for point in points
                          if (point.step, point.dtype) == (step, dtype))
            panel.plot([at for at, _ in line], [times for _, times in line], color=colour, marker=marker,
                       linestyle=dashes)
    panel.set_yscale("log", base=2)
    low, high = panel.get_ylim()
    panel.set_ylim(min(low, 1 / 2.2), max(high, 2.2))  # a few per cent are not to look like a difference
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xticks(range(len(shapes)), [f"{h}x{w}\n{n}x{c}x{t}" for n, c, t, h, w in shapes])
    panel.tick_params("x", labelsize=9 if len(shapes) <= 4 else 6.5)
    panel.set_xlim(-0.4, len(shapes) - 0.6)
    panel.set_ylabel("times as fast")
