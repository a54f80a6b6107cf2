"""`sgif fleet` as people run it: killed and interrupted, the same command goes on; docs/fleet.md does what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgif.cli.main import make_parser
from sgif.engine import load_run, write_clip

from .engine.conftest import moving_frames
from .engine.test_resume import assert_same_run
from .scripts import ROOT, run_python

PAGE = ROOT / "docs" / "fleet.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, flags=re.S | re.M)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
SMALL = shlex.split("--iterations 2:60 --min-size 8 --width 4 --frames-per-step 3:2 --no-fuse --save-seconds 0")


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("sgif")])
def test_command_is_one(line: str) -> None:
    assert make_parser().parse_args(shlex.split(line, comments=True)[1:]).run is not None


def test_python_runs(tmp_path: Path) -> None:
    (source,) = [block for kind, block in BLOCKS if kind == "python"]
    small = source.replace('preset_config("draft"', 'preset_config("draft", iterations=1, max_size_px=16, width=4, '
                                                    "fuse=False, frames_per_step=(2, 2)")
    assert small != source
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips/a.gif", moving_frames(3), (80,) * 3)
    assert run_python(small, tmp_path).startswith("Ended(name='a', state='done'")
    assert load_run(tmp_path / "runs/a").scales_done == 1
    assert (tmp_path / "runs/index.html").is_file()


def fleet(folder: Path, output: str, *words: str, on_event: Callable[[dict[str, Any], int], None] | None = None) -> int:
    """Run the command on two clips in a process group of its own; `on_event` gets every JSON object and the group."""
    command = [sys.executable, "-m", "sgif.cli.main", "fleet", "a.gif", "b.gif", "-o", output, "--json", *SMALL, *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if on_event is not None:
                on_event(json.loads(line), process.pid)
    return process.returncode


@pytest.mark.slow
def test_killed_and_interrupted_it_ends_in_the_bits_of_one_clip_after_another(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    for place, name in enumerate("ab"):
        write_clip(tmp_path / f"{name}.gif", moving_frames(7)[place:][:6], (80,) * 6)
    assert fleet(tmp_path, "turn", "--no-ray") == 0
    seen: list[dict[str, Any]] = []

    def disturb(event: dict[str, Any], group: int) -> None:
        """Kill the process of a once it trains its second scale, and interrupt all once b does after that."""
        retried, seen_before = any(e["event"] == "Retried" for e in seen), list(seen)
        seen.append(event)
        if event["event"] == "ScaleStarted" and event["scale"] == 1 and event["name"] == "a" and not retried:
            (where,) = [e["where"] for e in seen_before if e["event"] == "Started" and e["name"] == "a"]
            os.kill(int(where.split()[-1]), signal.SIGKILL)
        if event["event"] == "Retried":
            os.killpg(group, signal.SIGINT)  # as Ctrl-C of a terminal does

    assert fleet(tmp_path, "ray", on_event=disturb) == 130
    assert [e["state"] for e in seen if e["event"] == "Ended"].count("stopped") >= 1
    assert fleet(tmp_path, "ray") == 0
    for name in "ab":
        assert_same_run(tmp_path / "ray" / name, tmp_path / "turn" / name)
