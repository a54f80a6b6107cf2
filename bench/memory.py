"""The suite `memory`: what a training step holds at every scale, by options, and what trains in which memory.

Counters are those of an H100, counted on tensors without memory: the bytes that torch's allocator hands out, without
cuBLAS's workspace. *plain* is a step as one would write it first (`baselines.py`): a dense 3D generator at every scale
and one sum of all losses. Where a device is there, training steps are run and the allocator's peak is measured: on a
CPU, without compiled norms, only at scales of at most MEASURED_NUMBERS numbers per activation, some five seconds each;
on a GPU at all. No GPU has run it yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch

from ..engine.config import Preset, TrainConfig, preset_config
from ..engine.profiling.budget import largest_fits, option_sets
from ..engine.profiling.forecast import forecast_scale
from ..engine.profiling.measure import measure_scale
from ..engine.profiling.memory import available_bytes, gib_text
from ..engine.profiling.rehearsal import counting_for
from ..engine.pyramid import ScalePlan
from .baselines import count_plain
from .cases import SQUARE, WIDE, Clip, paper_config, plans_of
from .counters import COUNTED_ARCH, GPU, require_triton
from .environment import caption, is_there
from .pictures import COLOURS, MARKERS, legend_below, save_svg, small_multiples
from .result import NOT_YET, OURS, Case, CaseSet, Result, Row, Settings
from .suite import Suite

PLAIN = "plain"
PAPER_SQUARE = (256, 256, 16)
FINEST = -1

CLIPS: dict[CaseSet, tuple[tuple[Clip, bool], ...]] = {
    "small": ((WIDE, True), (PAPER_SQUARE, False)),
    "paper": ((WIDE, True), (PAPER_SQUARE, True)),
    "large": ((PAPER_SQUARE, True), (SQUARE, True)),
}
"""Clips, and whether all their scales are looked at or the finest only."""
BUDGETS_GIB = (8, 12, 24, 80)
BUDGET_CLIP = (256, 256, 32)
BUDGET_PRESET: Preset = "fast"
"""As `sgif profile --budget 8,12,24,80` asks; its frames may be of any size."""
MEASURED_NUMBERS = 1_000_000
"""C T H W of the largest scale that is measured on a CPU."""


def collect(settings: Settings) -> list[Row]:
    """A row per scale and options, ours and the plain step's; then, unless only counters are wanted, one per memory and
    options: the largest frames, found by many forecasts.

    Raises:
        RunError: Triton is not installed.
    """
    require_triton()
    rows: list[Row] = []
    with counting_for(COUNTED_ARCH):
        for clip, all_scales in CLIPS[settings.cases]:
            for scale in range(len(plans_of(clip))) if all_scales else (FINEST,):
                rows += scale_rows(clip, scale, settings)
        if settings.timed or not is_there(settings.device):
            rows += fit_rows(settings)
    return rows


def four_options(config: TrainConfig, dtypes: Sequence[torch.dtype]) -> dict[str, TrainConfig]:
    """As set, --amp, --checkpointing and both; of these the ones that compute in `dtypes`."""
    wanted = {torch.float32: False, torch.bfloat16: True}
    precisions = {wanted[dtype] for dtype in dtypes if dtype in wanted}
    return {options: changed for options, changed in option_sets(config).items()
            if changed.amp in precisions and changed.frames_per_step == config.frames_per_step}


# ---- Scales ----------------------------------------------------------------------------------------------------------


def scale_rows(clip: Clip, scale: int, settings: Settings) -> Iterator[Row]:
    """Ours with each set of options, and the plain step in float32 and under autocast."""
    plans = plans_of(clip)
    plan = plans[scale]
    for options, config in four_options(paper_config(clip), settings.dtypes).items():
        settings.tell(f"memory: {clip[0]}x{clip[1]}, scale {plan.index}, {options}")
        case = {"what": "step", "clip": [clip[2], *clip[:2]], "scale": plan.index, "kind": plan.kind,
                "shape": [plan.channels, plan.frames_per_step, *plan.size], "options": options, "gib": None}
        yield _our_row(case, plans, plan, config, clip[2], settings)
        if not config.checkpointing:
            yield Row(case=case, way=PLAIN, counters=count_plain(plan, amp=config.amp),
                      note="dense 3D at every scale, no coarser scales below it")


def _our_row(case: Case, plans: Sequence[ScalePlan], plan: ScalePlan, config: TrainConfig, num_frames: int,
             settings: Settings) -> Row:
    forecast = forecast_scale(plans, plan.index, num_frames, config, GPU, fused=False)
    peak = forecast.peak_bytes - forecast.workspace_bytes
    counters = {"launches": forecast.launches, "bytes": forecast.bytes, "flops": forecast.flops, "peak_bytes": peak}
    values: dict[str, float] = {
        "workspace_bytes": forecast.workspace_bytes, "host_bytes": forecast.host_bytes,
        **{f"peak {phase}": cost.peak_bytes for phase, cost in forecast.phases.items()}}
    if settings.timed and is_there(settings.device):
        measured, note = _measured(plans, plan, config, num_frames, settings.device)
        return Row(case=case, way=OURS, counters=counters, values=values | measured, note=note)
    return Row(case=case, way=OURS, counters=counters, values=values, note=NOT_YET)


def _measured(plans: Sequence[ScalePlan], plan: ScalePlan, config: TrainConfig, num_frames: int,
              device: torch.device) -> tuple[dict[str, float], str]:
    """The forecast for the device and, where steps can be run, the allocator's peak; else why not."""
    config = replace(config, fuse=False)  # to compile norms on a CPU takes longer than the rest
    forecast = forecast_scale(plans, plan.index, num_frames, config, device).peak_bytes
    values: dict[str, float] = {"forecast_bytes": forecast}
    if device.type == "cpu" and plan.channels * plan.frames_per_step * prod(plan.size) > MEASURED_NUMBERS:
        return values, f"not measured on a CPU: over {MEASURED_NUMBERS:,} numbers per activation"
    room = available_bytes(device)
    if room is not None and forecast > room:
        return values, f"not measured: {gib_text(forecast)} are needed, {gib_text(room)} are free"
    values["measured_bytes"] = measure_scale(plans, plan.index, num_frames, config, device, steps=1).peak_bytes
    return values, ""


# ---- Budgets ---------------------------------------------------------------------------------------------------------


def fit_rows(settings: Settings, budgets_gib: Sequence[int] = BUDGETS_GIB) -> list[Row]:
    """The largest square frames that train in so many GiB of a GPU, by forecast."""
    height, width, frames = BUDGET_CLIP
    fits = largest_fits([gib << 30 for gib in budgets_gib], frames, (height, width), preset_config(BUDGET_PRESET), GPU,
                        on_options=lambda options: settings.tell(f"memory: what fits, {options}"))
    # The clip has no size of its own: 1x1 are its proportions.
    return [Row(case={"what": "fits", "clip": [frames, 1, 1], "scale": None, "kind": None, "shape": None,
                      "options": fit.options, "gib": fit.budget_bytes >> 30}, way=OURS,
                values={"height": fit.size[0] if fit.size else 0, "width": fit.size[1] if fit.size else 0,
                        "frames": fit.frames_per_step, "peak_bytes": fit.peak_bytes, "host_bytes": fit.host_bytes})
            for fit in fits]


# ---- Report ----------------------------------------------------------------------------------------------------------


def table(result: Result) -> str:
    """Peaks by scale and options, measured ones where there are, and what fits."""
    steps = [row for row in result.rows if row.case["what"] == "step"]
    lines = [*_peaks_table(steps), "", *_measured_table(result, steps), "", *fits_table(result)]
    return "\n".join([*lines, "", caption(result)])


def _peaks_table(rows: Sequence[Row]) -> list[str]:
    columns = list(dict.fromkeys((row.way, row.case["options"]) for row in rows))
    columns.sort(key=lambda column: column[0] == PLAIN)
    names = [options if way == OURS else f"plain{'' if options == 'as set' else ', ' + options}"
             for way, options in columns]
    lines = ["Peak of a training step as on an H100, MiB, counted:", "",
             f"| clip | scale | C x T x H x W | {' | '.join(f'`{n}`' if n[0] == '-' else n for n in names)} |",
             f"|---|---|---|{'--:|' * len(names)}"]
    for (clip, scale), cells in _by_scale(rows).items():
        case = next(iter(cells.values())).case
        peaks = [f"{cells[column].counters['peak_bytes'] / 2**20:,.0f}" if column in cells else ""
                 for column in columns]
        lines.append(f"| {clip} | {scale}, {case['kind']} | {'x'.join(map(str, case['shape']))} | "
                     f"{' | '.join(peaks)} |")
    return lines


def _by_scale(rows: Sequence[Row]) -> dict[tuple[str, int], dict[tuple[str, str], Row]]:
    """Rows by clip and scale, then by way and options."""
    found: dict[tuple[str, int], dict[tuple[str, str], Row]] = {}
    for row in rows:
        _, height, width = row.case["clip"]
        place = f"{height}x{width}", row.case["scale"]
        found.setdefault(place, {})[row.way, row.case["options"]] = row
    return found


def _measured_table(result: Result, rows: Sequence[Row]) -> list[str]:
    """What the allocator really handed out, beside the forecast for the same device."""
    measured = [row for row in rows if "measured_bytes" in row.values]
    gpu = "" if result.device["kind"] == "cuda" and measured else f"Peak memory on a GPU: {NOT_YET}."
    if not measured:
        return [gpu]
    lines = [f"Peak of a training step on this {'GPU' if not gpu else 'CPU, without compiled norms'}, MiB:", "",
             "| C x T x H x W | options | forecast | measured | forecast off by |", "|---|---|--:|--:|--:|"]
    for row in measured:
        forecast, peak = row.values["forecast_bytes"], row.values["measured_bytes"]
        lines.append(f"| {'x'.join(map(str, row.case['shape']))} | {row.case['options']} | {forecast / 2**20:,.1f} | "
                     f"{peak / 2**20:,.1f} | {100 * (forecast / peak - 1):+.1f} % |")
    return [*lines, *(["", gpu] if gpu else [])]


def fits_table(result: Result) -> list[str]:
    """Largest frames by options and memory."""
    rows = [row for row in result.rows if row.case["what"] == "fits"]
    memories = list(dict.fromkeys(row.case["gib"] for row in rows))
    lines = ["Largest frames that train in so much of a GPU's memory, H x W, by forecast; T: frames of a step:", "",
             f"| options | T | {' | '.join(f'{gib} GiB' for gib in memories)} |", f"|---|--:|{'--:|' * len(memories)}"]
    for options in dict.fromkeys(row.case["options"] for row in rows):
        fits = {row.case["gib"]: row.values for row in rows if row.case["options"] == options}
        sizes = [f"{v['height']:.0f}x{v['width']:.0f}" if v["height"] else "-" for v in fits.values()]
        frames = max(v["frames"] for v in fits.values())
        lines.append(f"| {options if options == 'as set' else f'`{options}`'} | {frames:.0f} | {' | '.join(sizes)} |")
    return lines


def draw(result: Result) -> dict[str, str]:
    """Memory by scale, a panel per clip of which more than one scale is there; a line per options."""
    rows = [row for row in result.rows if row.case["what"] == "step"]
    by_clip: dict[str, dict[int, dict[tuple[str, str], Row]]] = {}
    for (clip, scale), cells in _by_scale(rows).items():
        by_clip.setdefault(clip, {})[scale] = cells
    by_clip = {clip: scales for clip, scales in by_clip.items() if len(scales) > 1}
    if not by_clip:
        return {}
    titles = [f"Clip of {clip}" for clip in by_clip]
    with small_multiples(titles, columns=1, title="Peak memory of a training step, as on an H100 (counted)",
                         panel_inches=(8, 3.8)) as (figure, axes):
        for panel, scales in zip(axes, by_clip.values(), strict=True):
            columns = list(dict.fromkeys(column for cells in scales.values() for column in cells))
            columns.sort(key=lambda column: column[0] == PLAIN)
            for index, column in enumerate(columns):
                way, options = column
                points = [(scale, cells[column].counters["peak_bytes"] / 2**20)
                          for scale, cells in scales.items() if column in cells]
                label = options if way == OURS else f"plain step{'' if options == 'as set' else ', ' + options}"
                panel.plot(*zip(*points, strict=True), label=label, color=COLOURS[index % len(COLOURS)],
                           marker=MARKERS[index % len(MARKERS)], linestyle="-" if way == OURS else "--")
            panel.set_yscale("log", base=4)
            panel.yaxis.set_major_formatter(lambda mib, _: f"{mib / 1024:g} GiB" if mib >= 1024 else f"{mib:g} MiB")
            shapes = {scale: next(iter(cells.values())).case for scale, cells in scales.items()}
            panel.set_xticks(list(shapes), [f"{scale} {case['kind']}\n{case['shape'][2]}x{case['shape'][3]}\n"
                                            f"C {case['shape'][0]} T {case['shape'][1]}"
                                            for scale, case in shapes.items()], fontsize=8)
            panel.set_xlabel("scale, its frames in pixels, channels C and frames T of a step")
        legend_below(figure, axes, columns=3)
        return {"bench-memory.svg": save_svg(figure)}


MEMORY = Suite(name="memory", summary="peak memory of every scale by options, and what trains in which memory",
               collect=collect, table=table, draw=draw, document=Path("docs/benchmarks.md"))
