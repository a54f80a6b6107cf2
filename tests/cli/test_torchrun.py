"""Commands of which torchrun starts several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sgif.cli.main import main
from sgif.engine import load_run, trainer
from sgif.engine.launch import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [str(ROOT / "examples/clouds.gif"), "--iterations", "60:2", "--max-size", "24", "--frames", "4", "--width", "4",
         "--frames-per-step", "3:3", "--no-fuse", "--no-memory-check", "--device", "cpu", "--save-seconds", "0"]
SECONDS = 100


def launched(monkeypatch, rank, ranks):
    for name, value in zip(VARIABLES, (rank, ranks, rank, ranks), strict=True):
        monkeypatch.setenv(name, str(value))


def child_of(process, rank):
    """The id of torchrun's process of this rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except OSError:
            continue
    return None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_process_ends_the_launch_and_the_same_command_goes_on(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "sgif.cli.train", *TRAIN,
               "-o", str(run)]
    with open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        end = time.monotonic() + SECONDS
        while not (run / "state.safetensors").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(child_of(process, 1), signal.SIGKILL)
        assert process.wait(timeout=SECONDS) == 1
    finally:
        process.terminate()  # which ends its processes too
        process.wait(timeout=SECONDS)
    text = (tmp_path / "said").read_text()
    assert "device     2 ranks, each like cpu, 1 thread" in text
    assert text.count("scale 0 of") == 1
    assert not (run / "report.html").exists()
    monkeypatch.setattr(trainer, "_report", lambda run: (None, ()))
    assert main(["train", *TRAIN, "-o", str(run), "--threads", "1"]) == 0
    assert "going on   from scale 0, iteration " in capsys.readouterr().out
    assert load_run(run).scales_done == len(load_run(run).plans)


@pytest.mark.parametrize(("rank", "made"), [(0, [0, 2]), (1, [1])])
def test_each_process_makes_its_share_of_the_samples(rank, made, fake_run, monkeypatch):
    launched(monkeypatch, rank, 2)
    assert main(["sample", "run", "-n", "3", "--reconstruct"]) == 0
    assert [(call["index"], call["together"]) for call in fake_run.calls] == [(index, False) for index in made]
    written = {path.name for path in (fake_run.path / "samples").iterdir()}
    assert written == {f"sample_seed0_00{index}.gif" for index in made} | ({"reconstruction.gif"} if rank else set())


@pytest.mark.parametrize("rank", [0, 1])
def test_fewer_samples_than_processes_are_made_together_and_written_by_the_first(rank, fake_run, monkeypatch):
    launched(monkeypatch, rank, 2)
    assert main(["sample", "run"]) == 0
    assert [(call["index"], call["together"]) for call in fake_run.calls] == [(0, True)]
    assert (fake_run.path / "samples/sample_seed0_000.gif").exists() == (rank == 0)


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_speaks_of_training(rank, trains, monkeypatch, capsys):
    launched(monkeypatch, rank, 2)
    for words in ([], ["--json"]):
        assert main(["train", "a.gif", *words]) == 0
        assert bool(capsys.readouterr().out) == (rank == 0)
    assert len(trains) == 2


@pytest.mark.parametrize("words", [["info", "run"], ["superres", "a.gif"], ["study", "score", "key", "answers"]])
def test_commands_that_can_use_one_process_refuse_more(words, monkeypatch, capsys):
    launched(monkeypatch, 1, 2)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("sgif, rank 1 of 2: torchrun started 2 processes, of which sgif ")
    assert said.count("\n") == 1


def test_a_launcher_that_says_half_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "a.gif"]) == 2
    assert capsys.readouterr().err.startswith("sgif: RANK is not set, WORLD_SIZE 2, ")


