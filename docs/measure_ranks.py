"""Measure what it costs to train one clip in several processes, and what synchronised norms would cost beside that.

    torchrun --nproc-per-node 2 docs/measure_ranks.py --document

Of each scale of the example's `draft` run, steps without messages and steps with them take turns, in all processes at
once; then the messages alone, and as many small ones as a step has passes through norms. With --document the table
goes between the markers in docs/distributed.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sgif.bench.documents import fill_between
from sgif.bench.environment import conditions, machine_and_versions
from sgif.bench.result import Timing
from sgif.bench.step.seconds import engine_trainer, steps_of
from sgif.bench.timing import alternate
from sgif.engine.config import preset_config
from sgif.engine.device import resolve_device, set_threads
from sgif.engine.pyramid import fit_size, plan_scales
from sgif.engine.ranks import Ranks, join_ranks
from sgif.engine.step import ScaleTrainer

DOCUMENT = Path(__file__).with_name("distributed.md")
BEGIN, END = "<!-- ranks:begin -->", "<!-- ranks:end -->"
FRAMES, HEIGHT, WIDTH = 12, 96, 160  # examples/clouds.gif


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="steps of each kind at each scale [30]")
    parser.add_argument("--document", action="store_true", help=f"put the table into docs/{DOCUMENT.name}")
    args = parser.parse_args(argv)
    config = preset_config("draft", fuse=False)
    device = resolve_device(config.device)
    set_threads(0)
    ranks, before = join_ranks(device), conditions(device)
    plans = plan_scales(*fit_size(HEIGHT, WIDTH, config.max_size_px), FRAMES, config)
    lines = ["| scale | KiB a step | step without messages, ms | with | the messages alone, ms | norms' passes "
             "| a message for each, ms |", "|--:|--:|--:|--:|--:|--:|--:|"]
    for plan in plans:
        trainers = [engine_trainer(plans, plan.index, FRAMES, config, device) for _ in range(2)]
        trainers[0].ranks, trainers[1].ranks = Ranks(ranks.index, 1), ranks
        numbers, passes = sent(trainers[1]), norm_passes(trainers[0])
        messages = [torch.zeros(count, device=device) for count in numbers]
        small = torch.zeros(2 * plan.channels, device=device)
        ways: dict[str, Callable[[], object]] = {
            "apart": steps_of(trainers[0]), "together": steps_of(trainers[1]),
            "messages": lambda messages=messages: [ranks.average([message]) for message in messages],
            "norms": lambda small=small, passes=passes: [ranks.add(small) for _ in range(passes)]}
        timings = alternate({name: clock(run) for name, run in ways.items()}, seconds=0, min_rounds=args.rounds,
                            max_rounds=args.rounds)
        figures = {name: text_of(timing) for name, timing in timings.items()}
        lines.append(f"| {plan.index}, {plan.kind} {plan.height}x{plan.width} | {sum(numbers) * 4 / 1024:.0f} "
                     f"| {figures['apart']} | {figures['together']} | {figures['messages']} | {passes} "
                     f"| {figures['norms']} |")
    if not ranks.leads:
        return
    text = ("\n".join(lines) + f"\n\n`torchrun --nproc-per-node {ranks.count} docs/measure_ranks.py`; preset `draft`, "
            f"float32, {ranks.count} ranks, {'gloo' if device.type == 'cpu' else 'NCCL'}, norms not fused, median "
            f"(p20-p80) of {args.rounds}. {machine_and_versions(before.device, before.versions, before.commit)}")
    print(text)
    if args.document:
        DOCUMENT.write_text(fill_between(DOCUMENT.read_text(encoding="utf-8"), BEGIN, END, text), encoding="utf-8")


def clock(run: Callable[[], object]) -> Callable[[], float]:
    """Seconds of a call by the clock: a process that waits for another takes no time of its own."""
    def seconds() -> float:
        began = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began
    return seconds


def text_of(timing: Timing) -> str:
    """Milliseconds, three digits of them."""
    median, p20, p80 = (f"{float(f'{value * 1e3:.3g}'):g}" for value in (timing.median, timing.p20, timing.p80))
    return f"{median} ({p20}-{p80})"


def sent(trainer: ScaleTrainer) -> list[int]:
    """How many numbers each message of a step has."""
    average, found = trainer.ranks.average, []

    def counted(tensors: Sequence[torch.Tensor]) -> None:
        found.append(sum(tensor.numel() for tensor in tensors))
        average(tensors)

    trainer.ranks.average = counted  # type: ignore[method-assign]
    trainer.train_step(0)
    trainer.ranks.average = average  # type: ignore[method-assign]
    return found


class NormPasses(TorchDispatchMode):
    """Counts the passes through norms: forward, backward and double backward, each of which needs sums over a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function.namespace == "sgif" and "batch_norm_act" in function._schema.name
        return function(*args, **(kwargs or {}))


def norm_passes(trainer: ScaleTrainer) -> int:
    with NormPasses() as passes:
        trainer.train_step(0)
    return passes.count


if __name__ == "__main__":
    main()
