"""The paper's claim measured again: separable and hybrid generators against dense 3D ones at every scale, 256x256.

The paper says that training takes about 20 % less time. Here are launches, bytes and multiply-adds of every scale of
preset `paper`, for the generator's part and for the whole step, counted as on an H100, and the lower bounds in seconds
that follow from them; seconds where a GPU is there. No GPU has run it yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from ...engine.config import ALL_SCALES, TrainConfig
from ...engine.profiling.rehearsal import RECONSTRUCTION, rehearse
from ...engine.profiling.step_meter import PhaseCost
from ...engine.pyramid import ScalePlan, plan_scales
from ..cases import Clip, paper_config
from ..counters import GPU, Counters, counters_of
from ..environment import digits, is_there
from ..pictures import COLOURS, MARKERS, legend_below, save_svg, small_multiples
from ..result import NOT_YET, OURS, Case, Result, Row, Settings, Timing, dtype_name
from ..roofline import PREDICTED, fraction_values, prediction_values
from ..step.seconds import engine_step, step_seconds

DENSE = "dense 3D everywhere"
CLIP = (256, 256, 16)  # height, width, frames
STEP, GENERATOR = "step", "generator"
GENERATOR_PHASES = ("coarser", "G/forward", "G/backward", "G/adam")
SHOWN_DEVICE = "H100 SXM"
SECONDS, MIN_ROUNDS, MAX_ROUNDS = 10.0, 5, 50  # of a scale's timed steps, on a GPU


def ways_of_clip(clip: Clip, amp: bool) -> dict[str, TrainConfig]:
    """Preset `paper` and the same with dense 3D generators at every scale."""
    return {OURS: paper_config(clip, amp=amp),
            DENSE: paper_config(clip, amp=amp, separable="dense", num_3d_scales=ALL_SCALES)}


def hybrid_rows(settings: Settings, clip: Clip = CLIP) -> Iterator[Row]:
    """Two rows, step and generator, per scale, precision and way; then their sums over scales, of one iteration of each
    and of all."""
    for dtype in settings.dtypes:
        ways = ways_of_clip(clip, dtype == torch.bfloat16)
        plans = {way: plan_scales(*clip, config) for way, config in ways.items()}
        sums: dict[tuple[str, str, str], list[Counters]] = {}
        for scale in range(len(plans[OURS])):
            settings.tell(f"scaling: hybrid against dense, scale {scale}, {dtype}")
            timings = _timings(plans, scale, clip[2], ways, settings)
            for way, config in ways.items():
                plan = plans[way][scale]
                phases = rehearse(plans[way], scale, clip[2], config, GPU, fused=False).phases
                for part, counters in _parts(phases).items():
                    case = _case(clip, plan, dtype, part)
                    values = prediction_values(counters, dtype)
                    timing = timings.get(way) if part == STEP else None
                    if timing:
                        values |= fraction_values(values, timing.median, settings.device)
                    yield Row(case=case, way=way, counters=counters, values=values, seconds=timing,
                              note="" if timing or part == GENERATOR else NOT_YET)
                    sums.setdefault((way, part, "an iteration of each"), []).append(counters)
                    sums.setdefault((way, part, "all iterations"), []).append(_times(counters, plan.iterations))
        for (way, part, scales), counted in sums.items():
            total = _sum(counted)
            yield Row(case={**_case(clip, None, dtype, part), "scale": scales}, way=way, counters=total,
                      values=_summed_predictions(counted, dtype), note="" if part == GENERATOR else NOT_YET)


def _case(clip: Clip, plan: ScalePlan | None, dtype: torch.dtype, part: str) -> Case:
    shape = [plan.channels, plan.frames_per_step, *plan.size] if plan else None
    return {"what": "hybrid", "axis": None, "clip": [clip[2], *clip[:2]], "scale": plan.index if plan else None,
            "shape": shape, "dtype": dtype_name(dtype), "of": part}


def _parts(phases: dict[str, PhaseCost]) -> dict[str, Counters]:
    """The whole step, and what of it is the generator's: its forward and backward, the coarser ones' forward, Adam."""
    step = {name: cost for name, cost in phases.items() if name != RECONSTRUCTION}
    return {STEP: counters_of(step), GENERATOR: counters_of({name: step[name] for name in GENERATOR_PHASES
                                                             if name in step})}


def _times(counters: Counters, iterations: int) -> Counters:
    return {name: value if name == "peak_bytes" else value * iterations for name, value in counters.items()}


def _sum(counted: Sequence[Counters]) -> Counters:
    """Of all scales; the peak is that of the largest."""
    return {name: (max if name == "peak_bytes" else sum)(counters[name] for counters in counted)
            for name in counted[0]}


def _summed_predictions(counted: Sequence[Counters], dtype: torch.dtype) -> dict[str, float]:
    """Scales run one after the other: their bounds add."""
    bounds = [prediction_values(counters, dtype) for counters in counted]
    return {name: float(f"{sum(bound[name] for bound in bounds):.4g}") for name in bounds[0]}


def _timings(plans: dict[str, list[ScalePlan]], scale: int, num_frames: int, ways: dict[str, TrainConfig],
             settings: Settings) -> dict[str, Timing]:
    """Seconds of a step of each way, on a GPU that is there: on a CPU the finest scales take minutes a step."""
    if not settings.timed or settings.device.type != "cuda" or not is_there(settings.device):
        return {}
    makers = {way: partial(engine_step, plans[way], scale, num_frames, config, settings.device)
              for way, config in ways.items()}
    return step_seconds(makers, settings.device, seconds=SECONDS, min_rounds=MIN_ROUNDS, max_rounds=MAX_ROUNDS)


# ---- Report ----------------------------------------------------------------------------------------------------------


def hybrid_table(result: Result) -> list[str]:
    """Sums over the pyramid, ours beside dense, and the difference; then the scales in the first precision."""
    rows = [row for row in result.rows if row.case["what"] == "hybrid"]
    if not rows:
        return []
    _, height, width = rows[0].case["clip"]
    lines = [f"Separable and hybrid generators against dense 3D ones at every scale, clip of {height}x{width}: one "
             f"iteration of each scale, ours / dense (difference). Seconds are **predicted** lower bounds for "
             f"{SHOWN_DEVICE}; measured ones: {_measured_words(rows)}.", "",
             "| part, precision | launches | GB moved | TFLOP | peak GiB | predicted s |", "|---|--:|--:|--:|--:|--:|"]
    for (part, dtype), pair in _pairs(rows, "an iteration of each").items():
        lines.append(f"| {part}, {dtype} | {_cells(pair, part)} |")
    lines += ["", "The same by scale:", "",
              "| scale, C x T x H x W | generator: GB | TFLOP | step: GB | TFLOP | predicted ms |",
              "|---|--:|--:|--:|--:|--:|"]
    first = rows[0].case["dtype"]
    for scale in dict.fromkeys(row.case["scale"] for row in rows if isinstance(row.case["scale"], int)):
        pairs = {part: pair for (part, dtype), pair in _pairs(rows, scale).items() if dtype == first}
        shape = "x".join(map(str, pairs[STEP][OURS].case["shape"]))
        cells = [_against(pairs[part], name, unit) for part in (GENERATOR, STEP)
                 for name, unit in (("bytes", 1e9), ("flops", 1e12))]
        predicted = _against(pairs[STEP], PREDICTED + SHOWN_DEVICE, 1e-3)
        lines.append(f"| {scale}, {shape} | {' | '.join(cells)} | {predicted} |")
    return [*lines, "", f"By scale in {first}. A generator's part is its forward and backward, the coarser ones' "
                        "forward, and Adam; all of the rest is the critics', the same in both. The paper reports about "
                        "20 % less time. The bounds take both ways to come equally near a device's peak, which nothing "
                        "here shows."]


def _measured_words(rows: Sequence[Row]) -> str:
    """Sum of the medians of all scales, by precision."""
    words = []
    for dtype in dict.fromkeys(row.case["dtype"] for row in rows):
        medians: dict[str, list[float]] = {}
        for row in rows:
            if row.seconds and row.case["dtype"] == dtype:
                medians.setdefault(row.way, []).append(row.seconds.median)
        if medians.keys() >= {OURS, DENSE}:
            ours, dense = sum(medians[OURS]), sum(medians[DENSE])
            words.append(f"{dtype} {ours:.3g} / {dense:.3g} ({100 * (ours / dense - 1):+.0f} %)")
    return ", ".join(words) or NOT_YET


def _pairs(rows: Sequence[Row], scale: int | str) -> dict[tuple[str, str], dict[str, Row]]:
    """Rows of a scale, or of a sum, by part and dtype, then by way."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.case["scale"] == scale:
            found.setdefault((row.case["of"], row.case["dtype"]), {})[row.way] = row
    return found


def _cells(pair: dict[str, Row], part: str) -> str:
    figures = [("launches", 1), ("bytes", 1e9), ("flops", 1e12), ("peak_bytes", 2**30), (PREDICTED + SHOWN_DEVICE, 1)]
    return " | ".join("" if part == GENERATOR and name == "peak_bytes" else _against(pair, name, unit)
                      for name, unit in figures)


def _against(pair: dict[str, Row], name: str, unit: float) -> str:
    ours, dense = (figure_of(row, name) / unit for row in (pair[OURS], pair[DENSE]))
    return f"{digits(ours)} / {digits(dense)} ({100 * (ours / dense - 1):+.0f} %)"


def figure_of(row: Row, name: str) -> float:
    """A counter or a value."""
    return row.counters[name] if name in row.counters else row.values[name]


def draw_hybrid(result: Result) -> dict[str, str]:
    """By scale: bars of what the generator's part and the step compute and move, and ours as a part of dense."""
    rows = [row for row in result.rows if row.case["what"] == "hybrid" and isinstance(row.case["scale"], int)]
    if not rows:
        return {}
    first, (_, height, width) = rows[0].case["dtype"], rows[0].case["clip"]
    rows = [row for row in rows if row.case["dtype"] == first]
    figures = (("TFLOP", "flops", 1e12), ("GB moved", "bytes", 1e9),
               (f"s, predicted for {SHOWN_DEVICE}", PREDICTED + SHOWN_DEVICE, 1.0))
    parts = {GENERATOR: "generator", STEP: "whole step"}
    titles = [f"{words}: {figure[0]}" for figure in figures[:2] for words in parts.values()]
    titles += [f"{words}: ours, % of dense" for words in parts.values()]
    title = f"Separable and hybrid (ours) against dense 3D everywhere, {height}x{width}, {first}, per iteration"
    with small_multiples(titles, columns=2, title=title, panel_inches=(4.6, 2.5)) as (figure, axes):
        for index, panel in enumerate(axes):
            part = list(parts)[index % 2]
            ours, dense = ([row for row in rows if row.way == way and row.case["of"] == part] for way in (OURS, DENSE))
            scales = [row.case["scale"] for row in ours]
            if index < 4:
                _, name, unit = figures[index // 2]
                for shift, of_way, label in ((-0.2, ours, "separable and hybrid"), (0.2, dense, DENSE)):
                    panel.bar([scale + shift for scale in scales], [figure_of(row, name) / unit for row in of_way],
                              width=0.4, color=COLOURS[shift > 0], label=label)
            else:
                for shown, (words, name, _) in enumerate(figures, 2):
                    shares = [100 * figure_of(a, name) / figure_of(b, name) for a, b in zip(ours, dense, strict=True)]
                    panel.plot(scales, shares, color=COLOURS[shown], marker=MARKERS[shown], label=words)
                panel.set_ylim(0, 110)
            panel.set_xticks(scales)
            panel.set_xlabel("scale")
        legend_below(figure, axes, columns=3)
        return {"bench-hybrid.svg": save_svg(figure)}
