"""Long runs take no more of memory, file handles and threads than short ones, and their log has an end."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sgif.engine import scale_session
from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.events import Event, StepDone, StepLogged
from sgif.engine.trainer import train

MakeConfig = Callable[..., TrainConfig]
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to ask")


def resident_kib() -> int:
    """Memory of this process, after what is free in the C library's heap was given back."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def handles() -> tuple[int, int, int]:
    """Open files, threads of the system, threads of Python."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), threading.active_count()


def slope(values: list[int]) -> float:
    """Of a line through the second half of `values`, per value."""
    half = values[len(values) // 2:]
    return float(np.polyfit(range(len(half)), half, 1)[0])


def test_runs_leave_no_file_and_no_thread_behind(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    found = []
    for _ in range(3):
        train(clip, tmp_path / "run", tiny_config(iterations=1, save_seconds=0.0))
        shutil.rmtree(tmp_path / "run")
        found.append(handles())
    assert found[1] == found[2]


def test_the_log_of_a_scale_ends_growing(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgif.engine.run_folder.MAX_ROWS", 3)
    told: list[Event] = []
    path = train(clip, tmp_path / "run", tiny_config(iterations=11, log_every=2, max_size_px=12),
                 on_event=told.append).path
    rows = (path / "stats.jsonl").read_text().splitlines()
    assert [row.split(",")[1] for row in rows] == [f' "iteration": {n}' for n in (4, 8, 11)] * 2
    assert [event.iteration for event in told if isinstance(event, StepLogged)] == [2, 4, 6, 8, 10, 11] * 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_steps_take_no_more_memory(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())
    steps = int(os.environ.get("SGIF_SOAK_STEPS", "2000"))
    memory: list[int] = []
    found: set[tuple[int, int, int]] = set()

    def look(event: Event) -> None:
        if isinstance(event, StepDone) and event.scale == 0 and event.iteration % (steps // 40) == 0:
            memory.append(resident_kib())
            if event.iteration > steps // 10:
                found.add(handles())

    train(clip, tmp_path / "run", tiny_config(iterations=(steps, 1), log_every=1, save_seconds=1.0, max_size_px=12,
                                              frames_per_step=(3, 3), width=2), on_event=look)
    growth = slope(memory) * 40_000 / steps
    print(f"\n{steps} steps: resident {memory[0]} to {memory[-1]} KiB, {growth:.1f} KiB per 1000 steps, {found}")
    assert abs(growth) < 300
    assert len(found) == 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_scales_take_no_more_memory(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    runs = int(os.environ.get("SGIF_SOAK_RUNS", "30"))
    memory, found = [], set()
    for index in range(runs):
        train(clip, tmp_path / "run", tiny_config(iterations=2, save_seconds=0.0))
        shutil.rmtree(tmp_path / "run")
        memory.append(resident_kib())
        if index > 2:
            found.add(handles())
    growth = slope(memory) / 3
    print(f"\n{3 * runs} scales: resident {memory[0]} to {memory[-1]} KiB, {growth:.1f} KiB per scale, {found}")
    assert abs(growth) < 100
    assert len(found) == 1
