"""Tables and picture of the suite `step`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ...engine.profiling.picture import OTHER_COLOUR, PHASE_COLOURS
from ..environment import caption, counted, digits
from ..pictures import COLOURS, legend_below, save_svg, small_multiples
from ..result import OURS, Case, Result, Row, ways_of
from ..roofline import PREDICTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAIN = "plain"
PREDICTED_ON = "H100 SXM"
SHORT = {"float32": "fp32", "bfloat16": "bf16"}


def table(result: Result) -> str:
    """Seconds, counters and predictions of whole steps, then ours by phase."""
    cases = [ways for ways in ways_of(result.rows).values() if _case(ways)["what"] == "step"]
    parts = [*_times(cases), *_counters(cases), *_phases([row for row in result.rows if row.case["what"] == "phase"])]
    return "\n\n".join([*parts, caption(result)])


def _case(ways: Mapping[str, Row]) -> Case:
    return next(iter(ways.values())).case


def _name(case: Case) -> str:
    return f"{SHORT[case['dtype']]} {'x'.join(map(str, case['shape']))}"


def baselines(cases: Sequence[Mapping[str, Row]]) -> list[str]:
    """Every way but ours, in the order of their first row."""
    return list(dict.fromkeys(way for ways in cases for way in ways if way != OURS))


def _times(cases: Sequence[Mapping[str, Row]]) -> Iterator[str]:
    timed = [ways for ways in cases if ways[OURS].seconds]
    if not timed:
        yield "Seconds: not yet measured on such a device."
        return
    others = baselines(timed)
    titles = " | ".join(f"{name}, s | times" for name in others)
    lines = [f"| precision, C x T x H x W | sgif, s (p20-p80) | {titles} |",
             f"|---|--:|{'--:|--:|' * len(others)}"]
    for ways in timed:
        ours = ways[OURS].seconds
        assert ours is not None
        cells = [f"{ours.median:.3g} ({ours.p20:.3g}-{ours.p80:.3g})"]
        for name in others:
            theirs = ways[name].seconds if name in ways else None
            cells += [f"{theirs.median:.3g}", f"{theirs.median / ours.median:.2f}"] if theirs else ["", ""]
        lines.append(f"| {_name(_case(ways))} | {' | '.join(cells)} |")
    yield "Seconds per clip, and how many times less ours takes:\n\n" + "\n".join(lines)


def _counters(cases: Sequence[Mapping[str, Row]]) -> Iterator[str]:
    lines = ["| precision, C x T x H x W | way | launches | GB moved | GFLOP | peak MiB | predicted ms |",
             "|---|---|--:|--:|--:|--:|--:|"]
    for ways in cases:
        for name, row in ways.items():
            c = row.counters
            if c == ways[PLAIN].counters and name != PLAIN:  # the same on one clip
                continue
            lines.append(f"| {_name(row.case)} | {name} | {c['launches']} | {c['bytes'] / 1e9:.3g} | "
                         f"{c['flops'] / 1e9:,.0f} | {c['peak_bytes'] / 2**20:,.0f} | "
                         f"{1e3 * row.values[PREDICTED + PREDICTED_ON]:.3g} |")
    yield (f"A step on one clip as on an H100, counted; the **predicted** milliseconds are a lower bound for "
           f"{PREDICTED_ON}, not measured:\n\n" + "\n".join(lines))


def _phases(rows: Sequence[Row]) -> Iterator[str]:
    """The smallest and the largest shape, a column per precision for what differs between them."""
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(_name(row.case), {})[row.case["phase"]] = row
    shown = sorted(by_case.items(), key=lambda item: sum(row.counters["bytes"] for row in item[1].values()))
    ends = dict([shown[0], shown[-1]]) if shown else {}
    for name, phases in ends.items():
        timed = any("seconds" in row.values for row in phases.values())
        lines = [f"| phase | launches | MB moved | GFLOP | peak MiB |{' ms |' if timed else ''}",
                 f"|---|--:|--:|--:|--:|{'--:|' if timed else ''}"]
        for phase, row in phases.items():
            c = row.counters
            ms = f" {digits(1e3 * row.values['seconds'])} |" if "seconds" in row.values else " |" if timed else ""
            lines.append(f"| {phase} | {c['launches']} | {c['bytes'] / 1e6:,.1f} | {c['flops'] / 1e9:,.1f} | "
                         f"{c['peak_bytes'] / 2**20:,.1f} |{ms}")
        yield f"Ours by phase, {name}:\n\n" + "\n".join(lines)


# ---- Picture ---------------------------------------------------------------------------------------------------------


def draw(result: Result) -> dict[str, str]:
    """How many times less ours takes than each baseline, and ours by phase: of seconds, where timed, else of bytes."""
    cases = [ways for ways in ways_of(result.rows).values() if _case(ways)["what"] == "step"]
    phases = [row for row in result.rows if row.case["what"] == "phase"]
    if not cases:
        return {}
    timed = any(ways[OURS].seconds for ways in cases)
    device = result.device.get("gpu") or f"{result.device['cpu']}, {counted(result.device['threads'], 'thread')}"
    what = "time" if timed else "bytes moved, as on an H100"
    title = f"A training step of sgif beside plain ones ({device})"
    with small_multiples([f"Times less {what}", f"Where the {what} goes, %"], columns=2, title=title,
                         panel_inches=(5.2, 1.0 + 0.62 * len(cases))) as (figure, axes):
        _draw_times(axes[0], cases, timed)
        _draw_phases(axes[1], cases, phases, timed)
        legend_below(figure, axes, columns=6)
        return {"bench-step.svg": save_svg(figure)}


def _draw_times(panel: Axes, cases: Sequence[Mapping[str, Row]], timed: bool) -> None:
    others = baselines(cases)
    thick = 0.8 / len(others)
    for index, name in enumerate(others):
        places, times = [], []
        for place, ways in enumerate(cases):
            if name in ways and (times_less := _times_less(ways[OURS], ways[name], timed)):
                places.append(place + (index - (len(others) - 1) / 2) * thick)
                times.append(times_less)
        bars = panel.barh(places, times, height=thick, color=COLOURS[index], label=name)
        panel.bar_label(bars, [f"{value:.1f}" for value in times], padding=2, fontsize=7)
    panel.axvline(1, color="black", linewidth=1)
    panel.set_yticks(range(len(cases)), [_name(_case(ways)) for ways in cases])
    panel.invert_yaxis()
    panel.set_xlabel("times")


def _times_less(ours: Row, other: Row, timed: bool) -> float | None:
    if not timed:
        return other.counters["bytes"] / ours.counters["bytes"]
    return other.seconds.median / ours.seconds.median if other.seconds and ours.seconds else None


def _draw_phases(panel: Axes, cases: Sequence[Mapping[str, Row]], phases: Sequence[Row], timed: bool) -> None:
    shares: list[dict[str, float]] = []
    for ways in cases:
        own = {row.case["phase"]: row.values.get("seconds", 0.0) if timed else float(row.counters["bytes"])
               for row in phases if _name(row.case) == _name(_case(ways))}
        total = sum(own.values()) or 1.0
        shares.append({phase: 100 * value / total for phase, value in own.items()})
    left = [0.0] * len(cases)
    for phase in dict.fromkeys(phase for own in shares for phase in own):
        widths = [own.get(phase, 0.0) for own in shares]
        panel.barh(range(len(cases)), widths, left=left, height=0.7, label=phase,
                   color=PHASE_COLOURS.get(phase, OTHER_COLOUR))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    panel.set_yticks(range(len(cases)), [""] * len(cases))
    panel.invert_yaxis()
    panel.set_xlim(0, 100)
