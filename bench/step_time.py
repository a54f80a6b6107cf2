"""A training step beside two plain ones: CPU seconds in one run, and what each launches, moves and holds.

    python -m sgif.bench.step_time -o bench/results/step-cpu.json --document docs/performance.md
    python -m sgif.bench.step_time bench/results/step-cpu.json --document docs/performance.md

A clip of 8 frames, 32 channels, a critic step and a generator step; `baselines.py` says what is plain. The three take
turns, step by step, so that a busy machine slows all of them. Time is that of the thread's processor. Launches, bytes
and peaks are counted on tensors without memory, as on an H100; no GPU is needed, and none has run it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ..engine.config import TrainConfig
from ..engine.profiling.rehearsal import RECONSTRUCTION, rehearse
from ..engine.profiling.step_meter import StepMeter
from ..engine.pyramid import ScalePlan
from ..engine.step import ScaleData, ScaleTrainer
from ..kernels import disable_fusion, enable_fusion
from .baselines import PlainStep
from .conditions import Result, machine_and_versions, one_cpu_thread, quantiles, report_command

SCHEMA = 1
BEGIN, END = "<!-- step-time:begin -->", "<!-- step-time:end -->"
SIZES = ((25, 44), (59, 104), (105, 186))
FRAMES, CHANNELS, ROUNDS = 8, 32, 5
OURS, NAIVE, FAIR = "sgif", "naive", "fair"

Size = tuple[int, int]


def plan_of(size: Size) -> ScalePlan:
    return ScalePlan(index=0, height=size[0], width=size[1], kind="3D", channels=CHANNELS, frames_per_step=FRAMES,
                     iterations=1000)


def steps_of(size: Size, amp: bool) -> dict[str, Callable[[int], Any]]:
    """The three steps by name; `fair` trains on two clips."""
    def clips(count: int) -> torch.Tensor:
        return torch.rand(count, 3, FRAMES, *size) * 2 - 1

    def plain(count: int) -> Callable[[int], Any]:
        step = PlainStep(CHANNELS, TrainConfig())
        inputs = [clips(count) for _ in range(3)]
        return lambda _iteration: step(*inputs)

    data = ScaleData(real=clips(1), coarser_reconstruction=None, z_fixed=clips(1), noise_amp=1.0)
    trainer = ScaleTrainer(plan_of(size), TrainConfig(amp=amp), [], data, torch.device("cpu"))
    return {OURS: trainer.train_step, NAIVE: plain(1), FAIR: plain(2)}


def measure(size: Size, amp: bool, rounds: int) -> dict[str, dict[str, float]]:
    """CPU seconds per clip of each step, after one of each that does not count."""
    steps = steps_of(size, amp)
    took: dict[str, list[float]] = {name: [] for name in steps}
    for iteration in range(rounds + 1):
        for name, step in steps.items():
            began = time.thread_time()
            step(iteration)
            took[name].append((time.thread_time() - began) / (2 if name == FAIR else 1))
    return {name: quantiles(seconds[1:]) for name, seconds in took.items()}


def count_ours(size: Size, amp: bool) -> dict[str, dict[str, int]]:
    """Launches, bytes and peak bytes of each phase on an H100."""
    rehearsal = rehearse([plan_of(size)], 0, FRAMES, TrainConfig(amp=amp), torch.device("cuda"), fused=False)
    return {phase: {"launches": cost.launches, "bytes": cost.bytes, "peak_bytes": cost.peak_bytes}
            for phase, cost in rehearsal.phases.items() if phase != RECONSTRUCTION}


def count_plain(size: Size, amp: bool) -> dict[str, int]:
    """The same of a whole plain step on one clip. Its optimizers are fused, which torch's own default is not."""
    meter = StepMeter(on_gpu=True, launchers=True)
    with FakeTensorMode(), meter, torch.autocast("cpu", torch.bfloat16, enabled=amp):
        step = PlainStep(CHANNELS, TrainConfig(), fused=True)
        clips = [torch.empty(1, 3, FRAMES, *size) for _ in range(3)]
        step(*clips)  # the first step makes what optimizers keep
        meter.phases.clear()
        step(*clips)
    cost, = meter.phases.values()
    return {"launches": cost.launches, "bytes": cost.bytes, "peak_bytes": cost.peak_bytes}


def collect(command: str, *, sizes: Sequence[Size] = SIZES, rounds: int = ROUNDS, compiled: bool = True) -> Result:
    """The figures and their conditions, as JSON values; sets one thread. bfloat16 is timed where oneDNN has it."""
    conditions = one_cpu_thread(command, SCHEMA)  # now: the sources may change while this runs
    rows = []
    for amp in (False, True):
        for size in sizes:
            seconds = None
            if not amp or conditions["device"]["onednn_bfloat16"]:
                if compiled:
                    enable_fusion(torch.device("cpu"), torch.bfloat16 if amp else torch.float32)
                seconds = measure(size, amp, rounds)
                disable_fusion()
            rows.append({"size": list(size), "amp": amp, "cpu_seconds": seconds, "phases": count_ours(size, amp),
                         "plain": count_plain(size, amp)})
            print(f"{size}, amp {amp}", file=sys.stderr)
    return {**conditions, "frames": FRAMES, "channels": CHANNELS, "rows": rows}


def markdown_table(result: Result) -> str:
    """Times, then counts of whole steps, then those of the phases at the smallest size."""
    times = ["| precision, frame | sgif, s | naive, s per clip | times | fair, s per clip | times |",
             "|---|--:|--:|--:|--:|--:|"]
    counts = ["| precision, frame | launches | plain | GB moved | plain | peak MiB | plain |",
              "|---|--:|--:|--:|--:|--:|--:|"]
    for row in result["rows"]:
        name = f"{'bf16' if row['amp'] else 'fp32'} {row['size'][0]}x{row['size'][1]}"
        if row["cpu_seconds"]:
            ours, naive, fair = (row["cpu_seconds"][way]["median"] for way in (OURS, NAIVE, FAIR))
            times.append(f"| {name} | {ours:.3g} | {naive:.3g} | {naive / ours:.2f} | {fair:.3g} | {fair / ours:.2f} |")
        plain, phases = row["plain"], row["phases"].values()
        launches, moved = (sum(cost[what] for cost in phases) for what in ("launches", "bytes"))
        peak = max(cost["peak_bytes"] for cost in phases)
        counts.append(f"| {name} | {launches} | {plain['launches']} | {moved / 1e9:.2f} | {plain['bytes'] / 1e9:.2f} | "
                      f"{peak / 2**20:.0f} | {plain['peak_bytes'] / 2**20:.0f} |")
    first = result["rows"][0]
    by_phase = ["| phase | launches | MB moved |", "|---|--:|--:|",
                *(f"| {phase} | {cost['launches']} | {cost['bytes'] / 1e6:.1f} |"
                  for phase, cost in first["phases"].items())]
    return "\n".join([*times, "", *counts, "", *by_phase, "",
                      f"`{result['command']}`. {machine_and_versions(result)}"])


def main(argv: Sequence[str] | None = None) -> None:
    report_command(argv, "step_time", __doc__ or "", SCHEMA, collect, markdown_table, (BEGIN, END))


if __name__ == "__main__":
    main()
