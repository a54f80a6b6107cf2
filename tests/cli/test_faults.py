"""Commands that are killed, stopped, or run out of disk: the old file or the new one is there, and nothing else.

One process imports what they need and runs each command in a child, which it may end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sgif.engine.clip_writer import write_clip
from sgif.engine.config import TrainConfig
from sgif.engine.trainer import train

from ..engine.conftest import TINY, make_clip

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")

CHILDREN = """
import json, os, signal, sys, time
import av, jinja2, numpy, rich.console, torch
from sgif.cli.main import main
import sgif.engine.applications.edit, sgif.engine.applications.superres, sgif.engine.report.make, sgif.engine.trainer

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports torch._dynamo, which takes seconds
for line in sys.stdin:
    seconds, number, argv, errors = json.loads(line)
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout = open(os.devnull, "w")
            code = main(argv)
        except SystemExit as end:
            code = end.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 99
        sys.stderr.flush()
        os._exit(code)
    began = time.perf_counter()
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, time.perf_counter() - began, flush=True)
"""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    seconds: float
    error: str


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs `sgif` with arguments in a child, which gets a signal after `seconds`."""
    errors = tmp_path_factory.mktemp("errors") / "stderr"
    with subprocess.Popen([sys.executable, "-c", CHILDREN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        talk, answers = process.stdin, process.stdout

        def run(*argv: object, seconds: float | None = None, number: int = signal.SIGKILL) -> Ended:
            print(json.dumps([seconds, int(number), [*map(str, argv)], str(errors)]), file=talk, flush=True)
            code, took = answers.readline().split()
            return Ended(int(code), float(took), errors.read_text())

        yield run
        talk.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three scales."""
    return train(make_clip(), tmp_path_factory.mktemp("trained") / "run", TrainConfig(**TINY)).path


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = make_clip()
    path = tmp_path_factory.mktemp("edited") / "clip.png"
    write_clip(path, clip.frames.flip(2), clip.frame_ms)
    return path


def train_argv(clip: Path, run: Path, iterations: int = 6) -> list[object]:
    return ["train", clip, "-o", run, "--preset", "draft", "--min-size", "8", "--iterations", iterations,
            "--width", "4", "--device", "cpu", "--threads", "1", "--no-fuse", "--quiet"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OUTPUTS = {  # by what is written: the command, of the run and the edited clip, that writes it into a folder
    "gif": lambda run, clip, to: ["sample", run, "-o", to],
    "mp4": lambda run, clip, to: ["sample", run, "-o", to, "--format", "mp4"],
    "webp": lambda run, clip, to: ["sample", run, "-o", to, "--format", "webp"],
    "frames": lambda run, clip, to: ["sample", run, "-o", to, "--format", "png"],
    "edit": lambda run, clip, to: ["edit", run, clip, "-o", to / "edited.apng"],
    "superres": lambda run, clip, to: ["superres", run, "--factor", "2", "-o", to / "large.gif"],
    "report": lambda run, clip, to: ["report", run, "-o", to / "report.html"],
}


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("what", OUTPUTS)
def test_killed_while_writing(what: str, kills: int, command: Run, trained: Path, edited: Path, tmp_path: Path) -> None:
    old, new, folder = (tmp_path / name for name in ("old", "new", "folder"))
    for path in (old, new, folder):
        path.mkdir()
    argv = OUTPUTS[what](trained, edited, folder)
    assert command(*argv).code == 0
    took = min(command(*argv).seconds for _ in range(2))
    whole = contents(folder)
    first = next(iter(whole))
    (folder / first).write_bytes(b"old")
    before, moments, killed = contents(folder), random.Random(0), 0
    while killed < kills:
        killed += command(*argv, seconds=moments.uniform(0, took)).code == -signal.SIGKILL
        found = {name: data for name, data in contents(folder).items() if not any(
            part.startswith(".") for part in Path(name).parts)}
        assert found in (before, whole)
    assert command(*argv).code == 0
    assert contents(folder) == whole  # and no leftover


@pytest.mark.parametrize("moment", [0.3, 0.6])
def test_terminated_while_writing_leaves_nothing(moment: float, command: Run, trained: Path, tmp_path: Path) -> None:
    argv = ["sample", trained, "-o", tmp_path, "--frames", "400"]
    took = command(*argv).seconds
    for path in tmp_path.iterdir():
        path.unlink()
    assert command(*argv, seconds=moment * took, number=signal.SIGTERM).code == 143
    assert list(tmp_path.iterdir()) == []


def test_terminated_training_saves_and_goes_on(command: Run, edited: Path, tmp_path: Path) -> None:
    argv = train_argv(edited, tmp_path / "run", iterations=20)
    ended = command(*argv, seconds=1, number=signal.SIGTERM)
    assert ended.code == 143
    assert ended.error.startswith("Stopped in scale ")
    assert ended.error.endswith("; run the same command again to go on.\n")
    assert command(*argv).code == 0
    assert command("verify", tmp_path / "run").code == 0


def test_a_second_process_is_refused_and_a_killed_one_keeps_nothing_locked(command: Run, edited: Path,
                                                                            tmp_path: Path) -> None:
    argv = train_argv(edited, tmp_path / "run", iterations=5000)
    first = subprocess.Popen([sys.executable, "-m", "sgif.cli.main", *map(str, argv)], env={**os.environ,
                                                                                     "OMP_NUM_THREADS": "1"})
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "config.json").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        refused = command(*argv)
        assert refused.code == 2
        assert refused.error == (f"sgif: another process is training {tmp_path / 'run'}; wait until it is done or stop "
                                 "it, or give this run another folder\n")
    finally:
        first.kill()
        first.wait()
    ended = command(*argv, seconds=2, number=signal.SIGTERM)
    assert ended.code == 143
    assert ended.error.startswith("Stopped in scale ")


# ---- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 4 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave `free` bytes of the disk."""
    ballast = disk / "ballast"
    stat = os.statvfs(disk)
    ballast.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - free)))
    return ballast


@pytest.mark.parametrize("what", OUTPUTS)
def test_a_full_disk_keeps_the_old_file_and_says_what_to_do(what: str, command: Run, trained: Path, edited: Path,
                                                            disk: Path) -> None:
    folder = disk / "folder"
    folder.mkdir()
    argv = OUTPUTS[what](trained, edited, folder)
    assert command(*argv).code == 0
    whole = contents(folder)
    for free in (0, 4096, 8192):
        ballast = fill(disk, free)
        ended = command(*argv)
        ballast.unlink()
        if ended.code == 0:  # it fitted
            break
        assert ended.code == 2
        assert f"sgif: no space left on the disk: {folder}/" in ended.error
        assert ended.error.endswith("; make room and run the same command again\n")
        assert "partial" not in ended.error
        assert contents(folder) == whole
    else:
        free = -1
    assert free != 0, "a disk without room was enough"
    assert command(*argv).code == 0
    assert contents(folder) == whole


def test_training_on_a_disk_that_fills_ends_with_a_sentence_and_goes_on(command: Run, edited: Path, disk: Path) -> None:
    argv = [*train_argv(edited, disk / "run"), "--save-seconds", "0"]
    stops = 0
    for free in (*range(0, 40_000, 8192), *range(40_000, 400_000, 65_536)):
        ballast = fill(disk, free)
        ended = command(*argv)
        ballast.unlink()
        if ended.code == 0 and "report" not in ended.error:
            break
        stops += 1
        assert ended.code == 2
        assert ended.error.startswith(f"sgif: no space left on the disk: {disk / 'run'}")
        assert [path.name for path in (disk / "run").rglob("*.tmp")] == []
    assert stops > 4
    assert command(*argv).code == 0
    assert command("verify", disk / "run").code == 0
    assert not [path.name for path in (disk / "run").iterdir() if path.name.startswith(".")]


def test_a_medium_that_cannot_be_written_to(command: Run, trained: Path, edited: Path, disk: Path) -> None:
    argv = train_argv(edited, disk / "run")
    assert command(*argv).code == 0
    half = disk / "half"
    subprocess.run(["cp", "-r", disk / "run", half], check=True)
    subprocess.run(["rm", "-r", *half.glob("scale_0[1-9]")], check=True)
    whole = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert command(*argv)[::2] == (0, "")  # finished: nothing to write
    assert command("verify", disk / "run").code == 0
    assert command("info", disk / "run").code == 0
    ended = command("sample", disk / "run")
    assert ended.code == 2
    assert ended.error == (f"sgif: read-only file system: {disk / 'run' / 'samples'}; name a place that can be written "
                           "to with --output\n")
    ended = command(*train_argv(edited, half))
    assert ended.code == 2
    assert ended.error.startswith(f"sgif: read-only file system: {half}")
    assert contents(disk) == whole
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert command(*train_argv(edited, half)).code == 0
    assert contents(half)["scale_01/generator.safetensors"] == whole["run/scale_01/generator.safetensors"]


