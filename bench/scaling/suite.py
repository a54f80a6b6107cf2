"""The suite `scaling`: how the cost of a training step grows with pixels, frames and channels; and hybrid.py.

One axis at a time, at a coarsest scale of the preset `paper`: launches, bytes, multiply-adds and peak memory counted as
on an H100, lower bounds in seconds predicted from them, and exponents fitted by least squares in log-log. Seconds are
measured where the device is there: on a GPU over the same shapes, on a CPU over small ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...engine.config import preset_config
from ...engine.profiling.rehearsal import RECONSTRUCTION, counting_for, rehearse
from ..cases import coarsest_plan
from ..counters import COUNTED_ARCH, GPU, Counters, counters_of, require_triton
from ..environment import caption, is_timed
from ..pictures import COLOURS, MARKERS, legend_below, save_svg, small_multiples
from ..result import NOT_YET, OURS, Case, Result, Row, Settings, Timing, dtype_name
from ..roofline import FRACTION, GRAPH_LAUNCH_SECONDS, PREDICTED, fraction_values, prediction_values
from ..step.seconds import engine_step, fused_norms, step_seconds
from ..suite import Suite
from .hybrid import SHOWN_DEVICE, draw_hybrid, figure_of, hybrid_rows, hybrid_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shape = tuple[int, int, int, int]
"""[C, T, H, W]"""

AXES = {"H x W": ("H", "W"), "T": ("T",), "C": ("C",)}
COUNTED = ("flops", "bytes", "peak_bytes")
CPU_LAUNCH_SECONDS = 70e-6
"""A step's own work on the host, some 50 ms (docs/performance.md), over its 700 launches."""
SECONDS, MIN_ROUNDS, MAX_ROUNDS = 4.0, 3, 20  # of a shape's timed steps
MIN_POINTS = 3  # through two there is always a line
LAUNCH_BOUND = "launch-bound"


@dataclass(frozen=True, kw_only=True)
class Series:
    """Shapes along one axis from one base shape."""

    axis: str
    base: Shape
    sizes: tuple[int, ...]
    """Sides of a square frame, frames, or channels."""

    def shapes(self) -> list[Shape]:
        c, t, h, w = self.base
        if self.axis == "H x W":
            return [(c, t, side, side) for side in self.sizes]
        return [(c, size, h, w) if self.axis == "T" else (size, t, h, w) for size in self.sizes]


SERIES = (
    Series(axis="H x W", base=(32, 8, 128, 128), sizes=(32, 48, 64, 96, 128, 256, 512)),
    Series(axis="T", base=(32, 8, 128, 128), sizes=(8, 16, 24, 32)),  # large enough not to be bound by launches
    Series(axis="C", base=(32, 8, 128, 128), sizes=(32, 64, 96, 128)),
    Series(axis="T", base=(32, 8, 32, 32), sizes=(8, 16, 32)),        # small enough for a CPU
    Series(axis="C", base=(32, 8, 32, 32), sizes=(32, 64, 96)),
)
CPU_NUMBERS = 2_400_000
"""C T H W of the largest shape that is timed on a CPU: 32x8x96x96, some four seconds a step; all take two minutes."""


def collect(settings: Settings) -> list[Row]:
    """Rows of the steps by axis, of the exponents, and of the hybrid pyramid against a dense one; the same for every
    set of cases.

    Raises:
        RunError: Triton is not installed.
    """
    require_triton()
    rows: list[Row] = []
    with counting_for(COUNTED_ARCH):
        for dtype in settings.dtypes:
            config = preset_config("paper", amp=dtype == torch.bfloat16)
            with fused_norms(config, settings.device) if settings.timed else nullcontext():
                rows += series_rows(SERIES, dtype, settings)
        rows += hybrid_rows(settings)
    return rows


# ---- Steps -----------------------------------------------------------------------------------------------------------


def series_rows(series: Sequence[Series], dtype: torch.dtype, settings: Settings) -> Iterator[Row]:
    """Of each series a row per shape, then one per figure that was fitted."""
    counted: dict[Shape, Counters] = {}
    measured: dict[Shape, Timing] = {}
    for one in series:
        steps = []
        for shape in one.shapes():
            if shape not in counted:  # the base is in several
                settings.tell(f"scaling: {one.axis}, {'x'.join(map(str, shape))}, {dtype_name(dtype)}")
                counted[shape] = count_step(shape, dtype)
                if _is_timed(shape, dtype, settings) and (timing := time_step(shape, dtype, settings.device)):
                    measured[shape] = timing
            values = prediction_values(counted[shape], dtype)
            if shape in measured:
                values |= fraction_values(values, measured[shape].median, settings.device)
            steps.append(Row(case=_case("step", one.axis, shape, dtype), way=OURS, seconds=measured.get(shape),
                             counters=counted[shape], values=values, note="" if shape in measured else NOT_YET))
        yield from steps
        yield from exponent_rows(one.axis, dtype, steps, settings.device)


def _is_timed(shape: Shape, dtype: torch.dtype, settings: Settings) -> bool:
    """On a CPU only small shapes."""
    return is_timed(dtype, settings) and (settings.device.type == "cuda" or math.prod(shape) <= CPU_NUMBERS)


def count_step(shape: Shape, dtype: torch.dtype) -> Counters:
    """Counters of a step."""
    config = preset_config("paper", amp=dtype == torch.bfloat16)
    phases = rehearse([coarsest_plan(*shape)], 0, shape[1], config, GPU, fused=False).phases
    return counters_of({name: cost for name, cost in phases.items() if name != RECONSTRUCTION})


def time_step(shape: Shape, dtype: torch.dtype, device: torch.device) -> Timing | None:
    """Seconds of a step; None where a GPU has no room for it."""
    config = preset_config("paper", amp=dtype == torch.bfloat16)
    makers = {OURS: partial(engine_step, [coarsest_plan(*shape)], 0, shape[1], config, device)}
    return step_seconds(makers, device, seconds=SECONDS, min_rounds=MIN_ROUNDS, max_rounds=MAX_ROUNDS).get(OURS)


def _case(what: str, axis: str, shape: Sequence[int | str], dtype: torch.dtype, of: str | None = None) -> Case:
    return {"what": what, "axis": axis, "clip": None, "scale": None, "shape": list(shape), "dtype": dtype_name(dtype),
            "of": of}


# ---- Exponents -------------------------------------------------------------------------------------------------------


def exponent_rows(axis: str, dtype: torch.dtype, steps: Sequence[Row], device: torch.device) -> Iterator[Row]:
    """y ~ x^exponent for each figure of `steps` along an axis; of seconds only where launches do not decide."""
    launch = GRAPH_LAUNCH_SECONDS if device.type == "cuda" else CPU_LAUNCH_SECONDS
    shown = PREDICTED + SHOWN_DEVICE
    sizes = {id(row): float(along_axis(axis, row.case["shape"])) for row in steps}
    figures = {name: [(sizes[id(row)], float(row.counters[name])) for row in steps] for name in COUNTED}
    figures[shown] = [(sizes[id(row)], row.values[shown]) for row in steps
                      if row.values[shown] > 1.001 * row.counters["launches"] * GRAPH_LAUNCH_SECONDS]
    timed = [(row, row.seconds.median) for row in steps if row.seconds]
    if len(timed) >= MIN_POINTS:
        figures["seconds"] = [(sizes[id(row)], seconds) for row, seconds in timed
                              if seconds > 2 * row.counters["launches"] * launch]
    for name, points in figures.items():
        case = _case("exponent", axis, fixed_shape(axis, steps[0].case["shape"]), dtype, name)
        if len(points) < MIN_POINTS:
            yield Row(case=case, way=OURS, note=LAUNCH_BOUND)
        else:
            exponent, r2 = power_law(*zip(*points, strict=True))
            yield Row(case=case, way=OURS, values={"exponent": round(exponent, 4), "r2": round(r2, 5),
                                                   "points": len(points)})


def fixed_shape(axis: str, shape: Sequence[int]) -> list[int | str]:
    """[C, T, H, W] with letters along the axis."""
    return [letter if letter in AXES[axis] else size for letter, size in zip("CTHW", shape, strict=True)]


def along_axis(axis: str, shape: Sequence[int]) -> int:
    """Pixels of a frame, frames, or channels of [C, T, H, W]."""
    sizes = dict(zip("CTHW", shape, strict=True))
    return math.prod(sizes[letter] for letter in AXES[axis])


def power_law(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The exponent of y = a x^exponent by least squares in log-log, and r^2, the part of the spread it explains.

    Raises:
        ValueError: fewer than two different x, or a value that is not positive.
    """
    if len(set(x)) < 2 or min(*x, *y) <= 0:
        raise ValueError(f"a power law through {list(zip(x, y, strict=True))}: expected two different x, all above 0")
    log_x, log_y = ([math.log(value) for value in values] for values in (x, y))
    mean_x, mean_y = (sum(values) / len(values) for values in (log_x, log_y))
    spread_x = sum((u - mean_x) ** 2 for u in log_x)
    spread_y = sum((v - mean_y) ** 2 for v in log_y)
    together = sum((u - mean_x) * (v - mean_y) for u, v in zip(log_x, log_y, strict=True))
    return together / spread_x, 1.0 if spread_y < 1e-24 else together**2 / (spread_x * spread_y)


# ---- Report ----------------------------------------------------------------------------------------------------------


FIGURES = {"flops": ("TFLOP", 1e12), "bytes": ("GB moved", 1e9), "peak_bytes": ("peak memory, GiB", 2**30),
           PREDICTED + SHOWN_DEVICE: (f"ms, predicted for {SHOWN_DEVICE}", 1e-3), "seconds": ("s, measured", 1.0)}


def table(result: Result) -> str:
    """Steps by axis, exponents, and the hybrid pyramid against a dense one."""
    steps, exponents = ([row for row in result.rows if row.case["what"] == what] for what in ("step", "exponent"))
    return "\n".join([*_steps_table(result, steps), "", *_exponents_table(exponents), "", *hybrid_table(result), "",
                      caption(result)])


def _steps_table(result: Result, rows: Sequence[Row]) -> list[str]:
    where = "this GPU" if result.device["kind"] == "cuda" else "this CPU"
    measured = any(row.seconds for row in rows)
    gpu = "" if measured and result.device["kind"] == "cuda" else f" Seconds on a GPU: {NOT_YET}."
    titles = ("axis", "C x T x H x W", "precision", "launches", "GB moved", "TFLOP", "peak GiB", "predicted ms",
              "measured s")
    lines = [f"A training step by shape: counted as on an H100, **predicted** lower bound for {SHOWN_DEVICE}"
             f"{f', measured on {where}' if measured else ''}.{gpu}", "",
             f"| {' | '.join(titles)} |", f"|---|---|---|{'--:|' * 6}"]
    for row in rows:
        c = row.counters
        seconds = f"{row.seconds.median:.3g} ({row.seconds.p20:.3g}-{row.seconds.p80:.3g})" if row.seconds else ""
        if FRACTION in row.values:
            seconds += f", {100 * row.values[FRACTION]:.0f} % of the bound"
        lines.append(f"| {row.case['axis']} | {'x'.join(map(str, row.case['shape']))} | {row.case['dtype']} | "
                     f"{c['launches']} | {c['bytes'] / 1e9:.3g} | {c['flops'] / 1e12:.3g} | "
                     f"{c['peak_bytes'] / 2**30:.3g} | {1e3 * row.values[PREDICTED + SHOWN_DEVICE]:.3g} | {seconds} |")
    return lines


def _exponents_table(rows: Sequence[Row]) -> list[str]:
    """A line per axis, base shape and precision; r^2 where the fit is not nearly exact."""
    lines = ["Fitted exponents, cost ~ size^exponent (r² where it is below 0.999); seconds only where launches do not "
             "decide:", "", "| axis | C x T x H x W | precision | TFLOP | bytes | peak | predicted | measured |",
             "|---|---|---|--:|--:|--:|--:|--:|"]
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        place = row.case["axis"], "x".join(map(str, row.case["shape"])), row.case["dtype"]
        text = row.note
        if "exponent" in row.values:
            r2 = row.values["r2"]
            text = f"{row.values['exponent']:.2f}{f' ({r2:.3f})' if r2 < 0.999 else ''}"
        cells.setdefault(place, {})[row.case["of"]] = text
    return [*lines, *(f"| {' | '.join(place)} | {' | '.join(line.get(name, '') for name in FIGURES)} |"
                      for place, line in cells.items())]


def draw(result: Result) -> dict[str, str]:
    """Cost by pixels, frames and channels with the fitted exponents; hybrid against dense."""
    return {**_draw_steps(result), **draw_hybrid(result)}


AXIS_WORDS = {"H x W": "pixels of a frame", "T": "frames T", "C": "channels C"}
SYMBOLS = {"H x W": "(HW)", "T": "T", "C": "C"}


def _draw_steps(result: Result) -> dict[str, str]:
    """A row of panels per figure, a column per axis, a line per precision."""
    steps = [row for row in result.rows if row.case["what"] == "step"]
    names = [name for name in FIGURES if name != "seconds" or any(row.seconds for row in steps)]
    dtypes = list(dict.fromkeys(row.case["dtype"] for row in steps))
    places = [(name, axis) for name in names for axis in AXES]
    on = f" on a {'GPU' if result.device['kind'] == 'cuda' else 'CPU'}"
    titles = [FIGURES[name][0] + (on if name == "seconds" else "") for name, _ in places]
    with small_multiples(titles, columns=len(AXES), sharey="row",
                         title="Cost of a training step by pixels, frames and channels, counted as on an H100",
                         panel_inches=(3.3, 2.4)) as (figure, axes):
        for panel, (name, axis) in zip(axes, places, strict=True):
            drawn: list[Row] = []
            for index, dtype in enumerate(dtypes):
                series = _series_to_draw([row for row in steps
                                          if row.case["axis"] == axis and row.case["dtype"] == dtype], name)
                if series:
                    panel.plot([along_axis(axis, row.case["shape"]) for row in series],
                               [_value(row, name) for row in series], label=dtype, color=COLOURS[index],
                               marker=MARKERS[index], markersize=6 - 2 * index)  # one may lie on the other
                    panel.text(0.04, 0.96 - 0.13 * index, _exponent(result, series, name), color=COLOURS[index],
                               transform=panel.transAxes, va="top")
                drawn += series
            _log_axes(panel, axis, drawn)
        legend_below(figure, axes)
        return {"bench-scaling.svg": save_svg(figure)}


def _log_axes(panel: Axes, axis: str, drawn: Sequence[Row]) -> None:
    """Ticks where the shapes are, and what is the same in all of them."""
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.minorticks_off()
    panel.margins(y=0.3)
    if drawn:
        ticks = sorted({along_axis(axis, row.case["shape"]) for row in drawn})
        panel.set_xticks(ticks, [f"{math.isqrt(x)}²" if axis == "H x W" else str(x) for x in ticks])
        fixed = dict(zip("CTHW", fixed_shape(axis, drawn[0].case["shape"]), strict=True))
        words = [f"C {fixed['C']}"] * (axis != "C") + [f"T {fixed['T']}"] * (axis != "T") \
            + [f"{fixed['H']}x{fixed['W']}"] * (axis != "H x W")
        panel.set_xlabel(f"{AXIS_WORDS[axis]}; {', '.join(words)}")


def _series_to_draw(rows: Sequence[Row], name: str) -> list[Row]:
    """The first of the series of an axis; of seconds the first that was timed."""
    rows = [row for row in rows if name != "seconds" or row.seconds]
    fixed = [fixed_shape(row.case["axis"], row.case["shape"]) for row in rows]
    series = {str(shape): [row for row, own in zip(rows, fixed, strict=True) if own == shape] for shape in fixed}
    return max(series.values(), key=lambda found: len(found) > 1, default=[])


def _value(row: Row, name: str) -> float:
    seconds = row.seconds.median if row.seconds else 0.0
    return (seconds if name == "seconds" else figure_of(row, name)) / FIGURES[name][1]


def _exponent(result: Result, series: Sequence[Row], name: str) -> str:
    """The fitted law of what is drawn: `~ T^1.00`."""
    case = series[0].case
    wanted = {**case, "what": "exponent", "shape": fixed_shape(case["axis"], case["shape"]), "of": name}
    row = next((row for row in result.rows if row.case == wanted), None)
    if row is None:
        return ""
    return f"~ {SYMBOLS[case['axis']]}^{row.values['exponent']:.2f}" if "exponent" in row.values else row.note


SCALING = Suite(name="scaling", summary="how a step's cost grows with pixels, frames, channels; hybrid against dense",
                collect=collect, table=table, draw=draw, document=Path("docs/benchmarks.md"))
