"""The suite `step`: a whole training step beside plain ones, and where its time goes.

A critic step and a generator step of one scale. Counters are those of an H100, counted on tensors without memory, on
one clip. Seconds are per clip: `plain` trains on one per step, `plain, two clips` on two, which on a CPU keeps ATen
from its `slow_conv3d`. On a CPU the norms are compiled, as in training. No GPU has run it yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ...engine.config import TrainConfig, preset_config
from ...engine.profiling.rehearsal import RECONSTRUCTION, counting_for, rehearse
from ...engine.pyramid import ScalePlan
from ..baselines import PlainStep, count_plain
from ..cases import SQUARE, WIDE, Clip, coarsest_plan, paper_config, plans_of
from ..counters import COUNTED_ARCH, GPU, Counters, counters_of, require_triton
from ..environment import is_timed
from ..result import NOT_YET, OURS, Case, CaseSet, Row, Settings, Timing, dtype_name
from ..roofline import fraction_values, prediction_values
from ..suite import Suite
from .report import PLAIN, draw, table
from .seconds import Step, engine_step, engine_trainer, fused_norms, step_seconds, steps_of

TWO, SINGAN, AUTOCAST = "plain, two clips", "3D SinGAN, two clips", "plain, autocast"
SECONDS, MIN_ROUNDS, MAX_ROUNDS = 10.0, 3, 40  # of a case's timed rounds
PHASE_STEPS = 3


class Baseline(NamedTuple):
    """A plain step."""

    clips: int
    amp: bool
    singan: bool = False
    note: str = ""


DENSE_GENERATOR = "its generator is dense 3D"
BASELINES: dict[torch.dtype, dict[str, Baseline]] = {
    torch.float32: {PLAIN: Baseline(1, False, note=DENSE_GENERATOR), TWO: Baseline(2, False, note=DENSE_GENERATOR),
                    SINGAN: Baseline(2, False, True, "dense 3D generator and critic, no image critic, no colours")},
    torch.bfloat16: {PLAIN: Baseline(1, False, note=f"in float32; {DENSE_GENERATOR}"),
                     TWO: Baseline(2, False, note=f"in float32; {DENSE_GENERATOR}"),
                     AUTOCAST: Baseline(1, True, note=DENSE_GENERATOR)},
}
"""By the precision of our step: `--amp` is held against float32 too, which is what it replaces."""


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """A scale of a clip."""

    plans: Sequence[ScalePlan]
    scale: int
    num_frames: int
    config: TrainConfig

    @property
    def plan(self) -> ScalePlan:
        return self.plans[self.scale]

    def with_dtype(self, dtype: torch.dtype) -> StepCase:
        """The same in bfloat16 under autocast, or in float32."""
        return replace(self, config=replace(self.config, amp=dtype == torch.bfloat16))

    def to_json(self, dtype: torch.dtype, phase: str | None = None) -> Case:
        plan = self.plan
        return {"what": "phase" if phase else "step", "shape": [plan.channels, plan.frames_per_step, *plan.size],
                "generator": plan.kind, "dtype": dtype_name(dtype), "phase": phase}


def coarsest(height: int, width: int, frames: int = 8, channels: int = 32) -> StepCase:
    """A 3D scale without coarser ones."""
    plan = coarsest_plan(channels, frames, height, width)
    return StepCase(plans=[plan], scale=0, num_frames=frames, config=preset_config("paper"))


def of_clip(clip: Clip, scale: int) -> StepCase:
    """A scale of preset `paper`."""
    return StepCase(plans=plans_of(clip), scale=scale, num_frames=clip[2], config=paper_config(clip))


def cases(chosen: CaseSet) -> list[StepCase]:
    """`small`: three sizes of one scale, minutes on a CPU thread. `paper`, `large`: real pyramids."""
    if chosen == "small":
        return [coarsest(25, 44), coarsest(59, 104), coarsest(105, 186)]
    if chosen == "paper":
        return [of_clip(WIDE, scale) for scale in (0, 3, 5, 7)]
    return [*(of_clip(WIDE, scale) for scale in (0, 7)), *(of_clip(SQUARE, scale) for scale in (7, 9, 11))]


def collect(settings: Settings) -> list[Row]:
    """Of each case a row for ours and each baseline, then ours phase by phase.

    Raises:
        RunError: Triton is not installed.
    """
    require_triton()
    with counting_for(COUNTED_ARCH):
        return [row for dtype in settings.dtypes for case in cases(settings.cases)
                for row in case_rows(case, dtype, settings)]


def case_rows(case: StepCase, dtype: torch.dtype, settings: Settings) -> Iterator[Row]:
    settings.tell(f"step: {'x'.join(map(str, case.to_json(dtype)['shape']))}, {dtype}")
    case = case.with_dtype(dtype)
    phases = rehearse(case.plans, case.scale, case.num_frames, case.config, GPU, fused=False).phases
    phases.pop(RECONSTRUCTION, None)
    counted = {OURS: counters_of(phases)}
    for name, plain in BASELINES[dtype].items():
        counted[name] = count_plain(case.plan, amp=plain.amp, singan=plain.singan)
    timings: dict[str, Timing] = {}
    phase_seconds: dict[str, float] = {}
    if is_timed(dtype, settings):
        timings, phase_seconds = time_steps(case, dtype, settings.device)
    for name, counters in counted.items():
        yield _row(case, dtype, name, counters, timings.get(name), settings.device)
    for phase, cost in phases.items():
        seconds = {"seconds": phase_seconds[phase]} if phase in phase_seconds else {}
        yield Row(case=case.to_json(dtype, phase), way=OURS, counters=counters_of({phase: cost}), values=seconds)


def _row(case: StepCase, dtype: torch.dtype, name: str, counters: Counters, timing: Timing | None,
         device: torch.device) -> Row:
    plain = BASELINES[dtype].get(name)
    precision = dtype if plain is None or plain.amp else torch.float32
    values = prediction_values(counters, precision)
    if timing:
        values |= fraction_values(values, timing.median, device)
    notes = [plain.note] if plain else []
    return Row(case=case.to_json(dtype), way=name, seconds=timing, counters=counters, values=values,
               note="; ".join([*notes, *([] if timing else [NOT_YET])]))


def time_steps(case: StepCase, dtype: torch.dtype, device: torch.device) -> tuple[dict[str, Timing], dict[str, float]]:
    """Seconds per clip of all ways, which take turns; then ours by phase, of steps of their own."""
    plan = case.plan
    makers = {OURS: partial(engine_step, case.plans, case.scale, case.num_frames, case.config, device),
              **{name: partial(plain_step, plan, plain, device) for name, plain in BASELINES[dtype].items()}}
    with fused_norms(case.config, device):
        found = step_seconds(makers, device, seconds=SECONDS, min_rounds=MIN_ROUNDS, max_rounds=MAX_ROUNDS)
        phases = seconds_by_phase(case, device) if found else {}
    clips = {OURS: 1, **{name: plain.clips for name, plain in BASELINES[dtype].items()}}
    return {name: _per_clip(timing, clips[name]) for name, timing in found.items()}, phases


def _per_clip(timing: Timing, clips: int) -> Timing:
    median, p20, p80 = (float(f"{seconds / clips:.4g}") for seconds in (timing.median, timing.p20, timing.p80))
    return Timing(median=median, p20=p20, p80=p80, rounds=timing.rounds)


def plain_step(plan: ScalePlan, plain: Baseline, device: torch.device) -> Step:
    """A plain step on noise."""
    step = PlainStep(plan.channels, TrainConfig(), singan=plain.singan).to(device)
    real, noise, z_fixed = (torch.rand(plain.clips, 3, plan.frames_per_step, *plan.size, device=device) * 2 - 1
                            for _ in range(3))

    def run() -> object:
        with torch.autocast(device.type, torch.bfloat16, enabled=plain.amp):
            return step(real, noise, z_fixed)
    return run


def seconds_by_phase(case: StepCase, device: torch.device) -> dict[str, float]:
    """Of a step of ours, by the clock; on a GPU without a CUDA graph, in which phases cannot be told apart."""
    trainer = engine_trainer(case.plans, case.scale, case.num_frames, replace(case.config, graphs=False), device)
    step = steps_of(trainer)
    step()
    trainer.clock.take()
    for _ in range(PHASE_STEPS):
        step()
    return {phase: float(f"{seconds / PHASE_STEPS:.4g}") for phase, seconds in trainer.clock.take().items()}


STEP = Suite(name="step", summary="a whole training step beside plain ones, and where its time goes", collect=collect,
             table=table, draw=draw, document=Path("docs/performance.md"))
