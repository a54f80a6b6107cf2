"""What `sgif profile` prints: lines and tables of a profile, and of what fits into a memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from ..engine.wording import seconds_text, size_text

if TYPE_CHECKING:
    from ..engine.profiling.budget import Fit
    from ..engine.profiling.profile import Profile, ScaleProfile


def summary(profile: Profile) -> Iterator[str]:
    """Clip, device, where most memory is held, and notes; a line each."""
    config = profile.config
    switches = [f"--{name}" for name in ("amp", "checkpointing") if getattr(config, name)]
    yield f"clip       {profile.source}, {profile.frames} frames of {size_text(profile.size)}"
    yield f"settings   {' '.join([f'--preset {config.preset}', *switches])}"
    yield f"device     {profile.device}"
    peaks = dict.fromkeys(scale.forecast.peak_phase for scale in profile.scales)
    yield f"peak in    {', '.join(peaks)}"
    if (seconds := profile.training_seconds) is not None:
        iterations = sum(scale.forecast.plan.iterations for scale in profile.scales)
        yield f"training   {seconds_text(seconds)} for {iterations} iterations of these scales, at the steps' speed"
    for note in profile.notes:
        yield f"note       {note}"


def scales_table(profile: Profile) -> Table:
    """One row per scale: memory, seconds, launches, bytes and operations of a step."""
    table = _table("scale", "size", "kind", "T", "parameters", "forecast\nMiB",
                   *(("measured\nMiB", "off by", "s per\nstep") if profile.measured else ()), "launches", "moved\nGiB",
                   "GFLOP")
    for scale in profile.scales:
        forecast, plan = scale.forecast, scale.forecast.plan
        table.add_row(str(plan.index), size_text(plan.size), plan.kind, str(plan.frames_per_step),
                      f"{sum(forecast.parameters.values()):,}", f"{forecast.peak_bytes / 2**20:,.1f}",
                      *(_measured_cells(scale) if profile.measured else ()),
                      f"{forecast.launches:,}", f"{forecast.bytes / 2**30:.2f}", f"{forecast.flops / 1e9:,.1f}")
    return table


def shapes_table(profile: Profile) -> Table:
    """One row per scale: shapes of the clip's window and of what the networks take."""
    titles = {"window": "window", "coarser": "coarser clips", "generator": "generator", "image_critic": "image critic",
              "video_critic": "video critic"}
    table = _table("scale", *titles.values())
    for scale in profile.scales:
        shapes = scale.forecast.shapes
        table.add_row(str(scale.forecast.plan.index),
                      *("x".join(map(str, shapes[name])) if name in shapes else "" for name in titles))
    return table


def phases_table(profile: Profile) -> Table:
    """One row per phase, one column per scale: milliseconds per step, or MiB moved where nothing was measured."""
    table = _table("ms per step" if profile.measured else "MiB moved",
                   *(str(scale.forecast.plan.index) for scale in profile.scales))
    table.columns[0].justify = "left"
    for phase in profile.scales[-1].forecast.step_phases:
        cells = [_phase_cell(scale, phase, profile.measured) for scale in profile.scales]
        if any(cells):
            table.add_row(phase, *cells)
    return table


def budget_table(fits: Sequence[Fit], budgets: Sequence[float]) -> Table:
    """One row per set of options, one column per memory in GiB; `fits` row by row."""
    table = _table("options", "T", *(f"{gib:g} GiB" for gib in budgets))
    table.columns[0].justify = "left"
    table.columns[0].no_wrap = False
    for start in range(0, len(fits), len(budgets)):
        row = fits[start:start + len(budgets)]
        table.add_row(row[0].options, str(max(fit.frames_per_step for fit in row)),
                      *(size_text(fit.size) if fit.size else "-" for fit in row))
    return table


def _table(*titles: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, padding=0)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _measured_cells(scale: ScaleProfile) -> tuple[str, str, str]:
    """Peak, how far the forecast is off, seconds."""
    if scale.measured is None:
        return "-", "-", "-"
    peak = scale.measured.peak_bytes
    return (f"{peak / 2**20:,.1f}", f"{scale.forecast.peak_bytes / peak - 1:+.1%}",
            f"{scale.measured.seconds_per_step:.3f}")


def _phase_cell(scale: ScaleProfile, phase: str, measured: bool) -> str:
    if measured:
        seconds = scale.measured.phase_seconds.get(phase, 0.0) if scale.measured else 0.0
        return f"{seconds * 1e3:.1f}" if seconds else ""
    moved = scale.forecast.phases[phase].bytes if phase in scale.forecast.phases else 0
    return f"{moved / 2**20:,.1f}" if moved > 2**10 else ""
