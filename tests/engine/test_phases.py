"""The clock of phases on a GPU, which marks times by events and reads them late."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from sgif.engine import phases
from sgif.engine.phases import PhaseClock


class Event:
    """Each is recorded a millisecond behind the one before."""

    ticks: Callable[[], int]
    waits = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = Event.ticks()

    def synchronize(self) -> None:
        Event.waits += 1

    def elapsed_time(self, other: Event) -> float:
        return float(other.at - self.at)


@pytest.mark.parametrize("steps", [0, 1, 9, 10, 11, 57])
def test_events_that_nobody_reads_do_not_pile_up_and_none_is_lost(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(Event, "ticks", lambda: next(ticks), raising=False)
    monkeypatch.setattr(Event, "waits", 0)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(phases, "MOST_EVENTS", 10)
    clock = PhaseClock(torch.device("cuda"))
    for _ in range(steps):
        with clock("step"):
            pass
        assert len(clock.events) <= 10
    assert Event.waits == max(0, steps - 6) // 5
    assert clock.take() == ({"step": round(steps / 1e3, 6)} if steps else {})
    assert clock.take() == {}
