"""The pictures of a report: SVG that takes its colours from the page's style and stays sharp in print.

All have the scales along their lower edge, each as wide as the others: then a line can be read beside the bars, and
runs of other lengths beside each other. What else than shapes and figures is in them is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..axes import round_ticks
from ..profiling.picture import OTHER_COLOUR, PHASE_COLOURS
from .log import Points, thinned

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 250, 150, 38, 4, 8, 20
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
POINTS_PER_SCALE = 25  # some two pixels each: of more, several runs hide each other
QUIET_SHARE = 0.01  # of a loss's values at either end, by which an axis is not stretched: penalties have spikes


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Where values lie in a picture: `scales` slots side by side, and the round values of the upright axis."""

    scales: int
    ticks: Sequence[float]

    def x(self, place: float) -> float:
        return LEFT + PLOT_WIDTH * place / self.scales

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return TOP + PLOT_HEIGHT * (1 - (value - low) / (high - low))


def bars(title: str, runs: Sequence[Sequence[float]]) -> str:
    """A bar per scale and run; 0 where there is none."""
    axes = Axes(scales=max(map(len, runs)), ticks=round_ticks(0, max(map(max, runs)) or 1.0))
    return _svg(title, axes, _bars(axes, runs))


def _bars(axes: Axes, runs: Sequence[Sequence[float]]) -> Iterator[str]:
    thick = min(26.0, 0.7 * PLOT_WIDTH / axes.scales / len(runs))
    for run, values in enumerate(runs):
        for scale, value in enumerate(values):
            x = axes.x(scale + 0.5) + (run - len(runs) / 2) * thick
            yield _bar(axes, x, max(thick - 1, 0.5), 0, value, f'class="fill{run}"')


def phases(title: str, scales: Sequence[Mapping[str, float]]) -> tuple[str, dict[str, str]]:
    """Seconds per iteration of every scale, phase upon phase, and the colours of the phases that occur."""
    axes = Axes(scales=len(scales), ticks=round_ticks(0, max(sum(cost.values()) for cost in scales) or 1.0))
    order = dict.fromkeys([*PHASE_COLOURS, *(phase for cost in scales for phase in cost)])
    colours = {phase: PHASE_COLOURS.get(phase, OTHER_COLOUR) for phase in order
               if any(cost.get(phase) for cost in scales)}

    def stacks() -> Iterator[str]:
        thick = min(34.0, 0.7 * PLOT_WIDTH / axes.scales)
        for scale, cost in enumerate(scales):
            done = 0.0
            for phase, colour in colours.items():
                yield _bar(axes, axes.x(scale + 0.5) - thick / 2, thick, done, cost.get(phase, 0.0),
                           f'fill="{colour}"')
                done += cost.get(phase, 0.0)
    return _svg(title, axes, stacks()), colours


def dots(title: str, runs: Sequence[Sequence[float | None]]) -> str:
    """A value per scale and run, joined; None where there is none."""
    middles = [[[(0.5, math.nan if value is None else value)] for value in run] for run in runs]
    return _lines(title, middles, dotted=True)


def curves(title: str, runs: Sequence[Sequence[Points]]) -> str:
    """A line per run through its scales; a gap where a value is not finite."""
    return _lines(title, [[thinned(points, POINTS_PER_SCALE) for points in run] for run in runs], dotted=False)


def _lines(title: str, runs: Sequence[Sequence[Points]], *, dotted: bool) -> str:
    finite = sorted(y for run in runs for points in run for _, y in points if math.isfinite(y)) or [0.0]
    low, high = (finite[round(share * (len(finite) - 1))] for share in (QUIET_SHARE, 1 - QUIET_SHARE))
    if high - low <= 1e-6 * abs(high):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    axes = Axes(scales=max(map(len, runs)), ticks=round_ticks(low, high))

    def shapes() -> Iterator[str]:
        for place in range(1, 0 if dotted else axes.scales):
            yield f'<path class="slot" d="M{axes.x(place):.1f} {TOP}v{PLOT_HEIGHT}"/>'
        for run, scales in enumerate(runs):
            points = [(axes.x(scale + x), axes.y(_within(y, axes))) for scale, of_scale in enumerate(scales)
                      for x, y in of_scale]
            yield f'<path class="line{run}" d="{_path(points)}"/>'
            # A point between two gaps would be no line.
            yield from (f'<circle class="fill{run}" cx="{x:.1f}" cy="{y:.1f}" r="{2.5 if dotted else 1}"/>'
                        for at, (x, y) in enumerate(points)
                        if math.isfinite(y) and (dotted or _alone(points, at)))
    return _svg(title, axes, shapes())


def _within(value: float, axes: Axes) -> float:
    return min(max(value, axes.ticks[0]), axes.ticks[-1]) if math.isfinite(value) else math.nan


def _alone(points: Points, at: int) -> bool:
    return not any(math.isfinite(y) for _, y in (*points[max(0, at - 1):at], *points[at + 1:at + 2]))


def _path(points: Points) -> str:
    """Lines between neighbours that are both there."""
    parts, pen = [], "M"
    for x, y in points:
        if math.isfinite(y):
            parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L" if math.isfinite(y) else "M"
    return "".join(parts)


def _bar(axes: Axes, x: float, thick: float, low: float, value: float, style: str) -> str:
    top, bottom = axes.y(low + value), axes.y(low)
    return f'<rect {style} x="{x:.1f}" y="{top:.1f}" width="{thick:.1f}" height="{bottom - top:.1f}"/>'


def _svg(title: str, axes: Axes, shapes: Iterator[str]) -> str:
    grid = [part for tick in axes.ticks for part in (
        f'<path class="rule" d="M{LEFT} {axes.y(tick):.1f}h{PLOT_WIDTH}"/>',
        f'<text class="end" x="{LEFT - 6}" y="{axes.y(tick) + 3.5:.1f}">{tick:.6g}</text>')]
    labels = [f'<text class="middle" x="{axes.x(scale + 0.5):.1f}" y="{HEIGHT - 5}">{scale}</text>'
              for scale in range(axes.scales)]
    return "\n".join([f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}, by scale">', *grid,
                      *labels, *shapes, "</svg>"])
