"""A run that was ended, in whatever way and as often as may be, ends in the bits of one that never was."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sgif.engine import scale_session
from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.events import Event, RunStarted, ScaleStarted, StepDone
from sgif.engine.scale_session import TrainingStopped
from sgif.engine.storage import write_tensors
from sgif.engine.trainer import train

from .same_run import assert_same_run

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding the preview takes longer than a tiny scale's training; here only its place is filled."""
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())


# ---- stopped ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_preview")
def test_stopped_after_every_iteration(clip: Clip, tiny_config: MakeConfig, tiny_run: Any, tmp_path: Path) -> None:
    path, stops, starts, resumed = tmp_path / "run", [], [], []
    for _ in range(3 * 6):
        events: list[Event] = []
        try:
            train(clip, path, tiny_config(), on_event=events.append, should_stop=lambda: True)
        except TrainingStopped as stopped:
            stops.append((stopped.scale, stopped.iteration))
        resumed += [event.resumed_at for event in events if isinstance(event, RunStarted)]
        starts += [(event.scale, event.start_iteration) for event in events if isinstance(event, ScaleStarted)]
        assert sum(isinstance(event, StepDone) for event in events) == 1
    places = [(scale, iteration) for scale in range(3) for iteration in range(6)]
    assert starts == places
    assert stops == places[1:]
    assert resumed == [None, *places[1:]]
    assert_same_run(path, tiny_run.run.path)


@pytest.mark.usefixtures("no_preview")
def test_free_settings_may_change_on_the_way(clip: Clip, tiny_config: MakeConfig, tiny_run: Any,
                                             tmp_path: Path) -> None:
    path, asked = tmp_path / "run", iter(range(100))
    with pytest.raises(TrainingStopped):
        train(clip, path, tiny_config(), should_stop=lambda: next(asked) == 7)
    train(clip, path, tiny_config(checkpointing=True, save_seconds=0.0))
    assert_same_run(path, tiny_run.run.path)


@pytest.mark.usefixtures("no_preview")
def test_what_a_kill_leaves_is_removed(clip: Clip, tiny_config: MakeConfig, tiny_run: Any, tmp_path: Path) -> None:
    path, asked = tmp_path / "run", iter(range(100))
    with pytest.raises(TrainingStopped):
        train(clip, path, tiny_config(), should_stop=lambda: next(asked) == 3)
    (path / ".state.safetensors.123.tmp").write_bytes(b"cut")
    (path / "scale_00.partial").mkdir()
    (path / "scale_00.partial" / "generator.safetensors").write_bytes(b"cut")
    with open(path / "stats.jsonl", "a") as log:
        log.write('{"scale": 0, "iter')
    train(clip, path, tiny_config())
    assert_same_run(path, tiny_run.run.path)


# ---- ended at a file operation ---------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process."""


class Killer:
    """Raises before and after each operation that changes the folder, once for every one of them in each scale."""

    def __init__(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.done = run, set[tuple[Any, ...]]()
        monkeypatch.setattr(os, "replace", self.deadly(os.replace, "replace", lambda args: args[1]))
        monkeypatch.setattr(Path, "rename", self.deadly(Path.rename, "rename", lambda args: args[1]))
        monkeypatch.setattr(Path, "mkdir", self.deadly(Path.mkdir, "mkdir", lambda args: args[0]))
        append = scale_session.append_row
        monkeypatch.setattr(scale_session, "append_row", self.deadly(append, "append", lambda args: args[0]))

    def deadly(self, function: Callable[..., Any], name: str, target: Callable[[Any], Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.kill("before", name, target(args))
            result = function(*args, **options)
            self.kill("after", name, target(args))
            return result
        return call

    def kill(self, *place: Any) -> None:
        if Path(place[2]).is_relative_to(self.run):
            place = (*map(str, place), len(list(self.run.glob("scale_??"))))
            if place not in self.done:
                self.done.add(place)
                raise Killed


@pytest.mark.usefixtures("no_preview")
def test_ended_before_and_after_every_file_operation(clip: Clip, tiny_config: MakeConfig, tiny_run: Any, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    killer = Killer(path, monkeypatch)
    while True:
        try:
            train(clip, path, tiny_config(save_seconds=0.0))
            break
        except Killed:
            continue
    assert len(killer.done) > 40
    assert_same_run(path, tiny_run.run.path)


# ---- killed ----------------------------------------------------------------------------------------------------------

# Imports once what each session needs, then trains in children that it ends itself: a child it has not waited for
# keeps its process id. A line "seconds folder" asks for a session; less than 0 seconds lets it end by itself.
SESSIONS = """
import json, os, signal, sys, time
from pathlib import Path
import torch
from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.storage import read_tensors
from sgif.engine.trainer import train

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports torch._dynamo, which takes seconds
frames = read_tensors(Path(sys.argv[1]))[0]["frames"]
clip = Clip(frames=frames, frame_ms=(80,) * len(frames), source="waves")
config = TrainConfig.from_json(json.loads(sys.argv[2]))
for line in sys.stdin:
    seconds, folder = line.rstrip().split(" ", 1)
    child = os.fork()
    if not child:
        try:
            train(clip, folder, config)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    if float(seconds) >= 0:
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KILLED = -9


@pytest.fixture
def session(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> Iterator[Callable[[float, Path], int]]:
    """Trains in another process, killed after so many seconds, and returns its exit code."""
    write_tensors(tmp_path / "frames", {"frames": clip.frames})
    arguments = [sys.executable, "-c", SESSIONS, str(tmp_path / "frames"),
                 json.dumps(tiny_config(save_seconds=0.0).to_json())]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        talk, answers = process.stdin, process.stdout

        def run(seconds: float, folder: Path) -> int:
            print(seconds, folder, file=talk, flush=True)
            return int(answers.readline())

        yield run
        talk.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="sessions are forked")
@pytest.mark.parametrize("kills", [8, pytest.param(150, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_at_random_moments(session: Callable[[float, Path], int], tiny_run: Any, tmp_path: Path,
                                  kills: int) -> None:
    began = time.perf_counter()
    assert session(-1, tmp_path / "unbroken") == 0
    unbroken_seconds = time.perf_counter() - began  # with the imports: they are no part of the next sessions
    began = time.perf_counter()
    assert session(-1, tmp_path / "again") == 0
    unbroken_seconds = min(unbroken_seconds, time.perf_counter() - began)
    assert_same_run(tmp_path / "unbroken", tiny_run.run.path)

    moments, killed, runs = random.Random(0), 0, 0
    while killed < kills:
        code = session(moments.uniform(0, unbroken_seconds / 3), tmp_path / f"run{runs}")
        assert code in (0, KILLED)
        killed += code == KILLED
        if code == 0:
            assert_same_run(tmp_path / f"run{runs}", tiny_run.run.path)
            runs += 1
    assert session(-1, tmp_path / f"run{runs}") == 0
    assert_same_run(tmp_path / f"run{runs}", tiny_run.run.path)
