"""A folder that vanishes, a clock that goes back, a compiler that dies: training says what is wrong, or does without.

Kills, signals and disks: `test_resume.py`, and `tests/cli/test_faults.py` for every command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgif.engine import scale_session
from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.events import Event, StepDone
from sgif.engine.scale_session import TrainingStopped
from sgif.engine.trainer import train

from .same_run import assert_same_run

MakeConfig = Callable[..., TrainConfig]


@pytest.mark.parametrize("save_seconds", [0.0, 1000.0], ids=["saving", "logging"])
def test_a_folder_that_vanishes_ends_training_and_is_not_made_again(save_seconds: float, clip: Clip,
                                                                    tiny_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "run"

    def vanish(event: Event) -> None:
        if isinstance(event, StepDone) and event.iteration == 3:
            shutil.rmtree(path)

    with pytest.raises(FileNotFoundError) as error:
        train(clip, path, tiny_config(save_seconds=save_seconds), on_event=vanish)
    assert str(error.value.filename).startswith(str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_goes_back_changes_nothing(clip: Clip, tiny_config: MakeConfig, tiny_run: Any, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())
    path, asked = tmp_path / "run", iter(range(100))
    for _ in range(2):
        with pytest.raises(TrainingStopped):
            train(clip, path, tiny_config(), should_stop=lambda: next(asked) % 8 == 7)
        for file in path.rglob("*"):
            os.utime(file, (2**32, 2**32))  # of a hundred years from now
    train(clip, path, tiny_config())
    for file in path.rglob("scale.json"):
        os.utime(file, (2**32, 2**32))
    train(clip, path, tiny_config())  # the report, older than what it shows, is made again
    assert_same_run(path, tiny_run.run.path)


COMPILING = """
import torch
from sgif.kernels import enable_fusion
print(enable_fusion(torch.device("cpu"), torch.float32))
"""


@pytest.mark.skipif(os.name != "posix" or not shutil.which("g++"), reason="no compiler to end")
def test_a_compiler_that_is_killed_is_done_without(tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\nkill -9 $$\n")
    compiler.chmod(0o755)
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "TORCHINDUCTOR_FX_GRAPH_CACHE": "0"}
    done = subprocess.run([sys.executable, "-c", COMPILING], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **cache, "CXX": str(compiler), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torch.compile failed (")
