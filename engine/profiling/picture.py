"""The picture of a profile: peak memory of every scale, and where a step's time goes. SVG, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar
from xml.sax.saxutils import escape

from ..axes import round_ticks

if TYPE_CHECKING:
    from .profile import Profile, ScaleProfile

# Critics warm, the generator cold: what belongs together is close. The order is that of a step.
PHASE_COLOURS = {
    "coarser": "#8c959f", "D/image": "#ffd8b5", "D/image_gp": "#ffb77c", "D/video": "#fb8f44",
    "D/video_gp": "#e16f24", "D/adam": "#953800", "G/forward": "#b6e3ff", "G/losses": "#54aeff",
    "G/backward": "#0969da", "G/adam": "#0a3069",
}
OTHER_COLOUR = "#d0d7de"
FORECAST, MEASURED = "#d8b9ff", "#8250df"
WIDTH, TOP, PLOT_HEIGHT = 1000, 96, 250
PLOTS = ((70, 400), (560, 290))  # left edge and width of both

V = TypeVar("V")

STYLE = """<style>
  .text { fill: #1f2328; font-size: 13px } .small { fill: #59636e; font-size: 12px }
  .tiny { fill: #59636e; font-size: 10px }
  .head { fill: #1f2328; font-size: 16px; font-weight: 600 } .middle { text-anchor: middle } .end { text-anchor: end }
  .card { fill: #ffffff } .rule { stroke: #d8dee4; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117 } .text, .head { fill: #e6edf3 } .small, .tiny { fill: #9198a1 } .rule { stroke: #30363d }
  }
</style>"""


def draw_profile(profile: Profile) -> str:
    """An SVG of 1000 pixels' width."""
    height = TOP + PLOT_HEIGHT + 100
    subtitle = f"{profile.frames} frames of {profile.size[0]}x{profile.size[1]}, preset {profile.config.preset}" \
        + (", --amp" if profile.config.amp else "") + (", --checkpointing" if profile.config.checkpointing else "") \
        + f"; {profile.device}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="system-ui, '
        "-apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif\">",
        "<title>What training takes at every scale</title>", STYLE,
        f'<rect class="card" width="{WIDTH}" height="{height}" rx="8"/>',
        _text(PLOTS[0][0] - 46, height - 16, subtitle, "small"),
        *_memory(profile, *PLOTS[0]), *_phases(profile, *PLOTS[1]), "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _memory(profile: Profile, left: float, width: float) -> Iterator[str]:
    """Peak memory per scale: forecast beside measured."""
    scales = profile.scales
    peaks = [(scale.forecast.peak_bytes, scale.measured.peak_bytes if scale.measured else 0) for scale in scales]
    top = max(max(pair) for pair in peaks)
    unit, name = (2**30, "GiB") if top >= 2**30 else (2**20, "MiB")
    limit, lines = _axis(left, width, top / unit)
    yield _text(left - 46, 36, f"Peak memory, {name}", "head")
    legend = [("forecast", FORECAST), *([("measured", MEASURED)] if profile.measured else [])]
    for index, (label, colour) in enumerate(legend):
        yield from _key(left - 46 + 92 * index, 60, label, colour)
    yield from lines
    for x, slot, scale, pair in _slots(scales, left, width, peaks):
        yield from _scale_label(x + slot / 2, slot, scale)
        bars = [value for value in pair if value]
        thick = min(28.0, slot * 0.76 / len(bars))
        for index, (value, colour) in enumerate(zip(bars, (FORECAST, MEASURED), strict=False)):
            yield _bar(x + slot / 2 + (index - len(bars) / 2) * thick, thick - 1, 0, value / unit / limit, colour)


def _phases(profile: Profile, left: float, width: float) -> Iterator[str]:
    """Seconds per step, phase upon phase; bytes moved where nothing was measured."""
    costs: list[dict[str, float]]
    if profile.measured:
        head = "Seconds per step"
        costs = [scale.measured.phase_seconds if scale.measured else {} for scale in profile.scales]
    else:
        head = "Operators' inputs and outputs per step, GiB"
        costs = [{name: cost.bytes / 2**30 for name, cost in scale.forecast.step_phases.items()}
                 for scale in profile.scales]
    limit, lines = _axis(left, width, max((sum(cost.values()) for cost in costs), default=0.0) or 1.0)
    yield _text(left - 46, 36, head, "head")
    yield from lines
    phases = [phase for phase in PHASE_COLOURS if any(cost.get(phase) for cost in costs)]
    for x, slot, scale, cost in _slots(profile.scales, left, width, costs):
        yield from _scale_label(x + slot / 2, slot, scale)
        thick, done = min(40.0, slot * 0.7), 0.0
        rest = sum(seconds for phase, seconds in cost.items() if phase not in PHASE_COLOURS)
        for value, colour in [*((cost.get(phase, 0.0), PHASE_COLOURS[phase]) for phase in phases),
                              (rest, OTHER_COLOUR)]:
            yield _bar(x + slot / 2 - thick / 2, thick, done / limit, value / limit, colour)
            done += value
    for index, phase in enumerate(reversed(phases)):
        yield from _key(left + width + 22, TOP + 10 + 24 * index, phase, PHASE_COLOURS[phase])


def _slots(scales: Sequence[ScaleProfile], left: float, width: float, values: Sequence[V],
           ) -> Iterator[tuple[float, float, ScaleProfile, V]]:
    """Left edge and width of every scale's place, the scale, and its value."""
    slot = width / len(scales)
    for index, (scale, value) in enumerate(zip(scales, values, strict=True)):
        yield left + index * slot, slot, scale, value


def _axis(left: float, width: float, top: float) -> tuple[float, list[str]]:
    """The value at the plot's upper edge, and the lines and figures of some four round values."""
    ticks = round_ticks(0, top)
    lines = []
    for tick in ticks:
        y = TOP + PLOT_HEIGHT * (1 - tick / ticks[-1])
        lines += [f'<line class="rule" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>',
                  _text(left - 8, y + 4, f"{tick:g}", "small end")]
    return ticks[-1], lines


def _scale_label(x: float, slot: float, scale: ScaleProfile) -> Iterator[str]:
    """The scale's number, and below it its size, slanting where it would run into its neighbour's."""
    plan, y = scale.forecast.plan, TOP + PLOT_HEIGHT
    yield _text(x, y + 20, str(plan.index), "text middle")
    size = f"{plan.height}x{plan.width}"
    if slot > 48:
        yield _text(x, y + 38, size, "tiny middle")
    else:
        yield f'<g transform="rotate(-40 {x:.1f} {y + 34})">{_text(x + 4, y + 36, size, "tiny end")}</g>'


def _bar(x: float, thick: float, low: float, share: float, colour: str) -> str:
    high = PLOT_HEIGHT * share
    y = TOP + PLOT_HEIGHT * (1 - low) - high
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{thick:.1f}" height="{high:.1f}" fill="{colour}"/>'


def _key(x: float, y: float, label: str, colour: str) -> Iterator[str]:
    yield f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{colour}"/>'
    yield _text(x + 18, y + 11, label, "text")


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
