"""Seconds per phase of a step, without waiting for the device."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.profiler import record_function


class PhaseClock:
    """`with clock("D/video_gp"): ...` adds to a phase and names it in profiles. On a GPU events mark the times, read
    only by `take`."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.seconds: dict[str, float] = defaultdict(float)
        self.events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self.running = True

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        with record_function(phase):
            if not self.running:
                yield
                return
            if not self.on_gpu:
                begin = time.perf_counter()
                yield
                self.seconds[phase] += time.perf_counter() - begin
                return
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            yield
            last.record()
            self.events.append((phase, first, last))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, phases only have names."""
        self.running = False
        try:
            yield
        finally:
            self.running = True

    def take(self) -> dict[str, float]:
        """Seconds of every phase since the last call. Waits for the device."""
        if self.events:
            self.events[-1][2].synchronize()
        for phase, first, last in self.events:
            self.seconds[phase] += first.elapsed_time(last) / 1e3
        self.events.clear()
        taken = {phase: round(seconds, 6) for phase, seconds in self.seconds.items()}
        self.seconds.clear()
        return taken
