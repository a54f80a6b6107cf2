"""Seconds per phase of a step, without waiting for the device."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.profiler import record_function

MOST_EVENTS = 4096
"""That wait to be read: with rows of a log far apart they would be millions."""


class PhaseClock:
    """`with clock("D/video_gp"): ...` adds to a phase and names it in profiles. On a GPU events mark the times, read
    only by `take`, and where they become many, the older half."""

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
            if len(self.events) > MOST_EVENTS:
                self._read(MOST_EVENTS // 2)  # long past, so nothing is waited for

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
        self._read(len(self.events))
        taken = {phase: round(seconds, 6) for phase, seconds in self.seconds.items()}
        self.seconds.clear()
        return taken

    def _read(self, count: int) -> None:
        """Add up the first `count` events. Waits for the last of them."""
        if count:
            self.events[count - 1][2].synchronize()
        for phase, first, last in self.events[:count]:
            self.seconds[phase] += first.elapsed_time(last) / 1e3
        del self.events[:count]
