"""Two processes train one clip: their step is that of one process on both batches, and neither's death loses a run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine import scale_session, trainer
from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.events import Event, RunFinished, RunStarted
from sgif.engine.generator import Generator
from sgif.engine.ranks import ALONE, Ranks
from sgif.engine.runs import Run
from sgif.engine.step import ScaleTrainer
from sgif.engine.storage import read_tensors
from sgif.engine.trainer import train

from .plain_step import WEIGHTS, assert_gradients_match, assert_losses_match, below, doubles, plain_step, shift_norms
from .rank_worker import CASES, ITERATION, KILLED_AT, ONE_STEP, STOPPED_AT, sample_in_windows
from .test_resume import assert_same_run

MakeTrainer = Callable[..., ScaleTrainer]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tiny_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes over gloo left, of which the second killed itself in the end."""
    path = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
              "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.engine.rank_worker", path, tiny_run.run.path]
    processes = [subprocess.Popen(command, cwd=ROOT, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
                 for rank in range(2)]
    try:
        codes = [process.wait(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, -9]
    return path


def left(folder: Path, case: int, rank: int) -> dict[str, Tensor]:
    return read_tensors(folder / f"step{case}_rank{rank}.safetensors")[0]


def of_rank(rank: int, case: int, make_trainer: MakeTrainer) -> ScaleTrainer:
    """A trainer alone, which draws what one of the two processes does."""
    scale, changes = CASES[case]
    made = make_trainer(scale, **{**WEIGHTS, **changes})
    made.ranks = Ranks(rank, 1)
    shift_norms(made)
    return made


@pytest.mark.parametrize("case", ONE_STEP)
def test_step_is_that_of_one_process_on_both_batches(case: int, folder: Path, make_trainer: MakeTrainer) -> None:
    two = [of_rank(rank, case, make_trainer) for rank in range(2)]
    draws = [one.draw(ITERATION, 0) for one in two]
    batches = [one.prepare(draw) for one, draw in zip(two, draws, strict=True)]
    assert not torch.equal(batches[0].inputs[:1], batches[1].inputs[:1])  # the random clips
    before = {name: doubles(network) for name, network in two[0].networks.items()}
    found = left(folder, case, 0)
    learned = {name: {key: value.double() for key, value in below(found, f"weight.{name}.").items()}
               for name in before}
    plain = plain_step(two[0], before, learned, list(zip(draws, batches, strict=True)))
    for name in before:
        assert_gradients_match(below(found, f"grad.{name}."), plain.gradients[name], name)
    assert_losses_match(below(found, "loss."), plain.losses)


@pytest.mark.parametrize("rank", range(2))
def test_the_comparison_tells_both_batches_from_one(rank: int, folder: Path, make_trainer: MakeTrainer) -> None:
    one = of_rank(rank, 0, make_trainer)
    one.train_step(ITERATION)
    alone = {key: p.grad.double() for key, p in one.generator.named_parameters() if p.grad is not None}
    with pytest.raises(AssertionError, match="generator"):
        assert_gradients_match(below(left(folder, 0, 0), "grad.generator."), alone, "generator")


@pytest.mark.parametrize("case", ONE_STEP)
def test_running_statistics_are_the_mean_of_what_each_alone_would_have(case: int, folder: Path,
                                                                       make_trainer: MakeTrainer) -> None:
    alone = []
    for rank in range(2):
        one = of_rank(rank, case, make_trainer)
        one.train_step(ITERATION)
        alone.append(dict(one.generator.named_buffers()))
    found = below(left(folder, case, 0), "weight.generator.")
    assert alone[0]
    for name, values in alone[0].items():
        torch.testing.assert_close(found[name], (values + alone[1][name]) / 2)
        assert not torch.equal(found[name], values)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_both_hold_the_same_bits_after_a_step(case: int, folder: Path) -> None:
    one, other = left(folder, case, 0), left(folder, case, 1)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_step_of_an_optimizer_takes_one_message(case: int, folder: Path) -> None:
    changes = CASES[case][1]
    messages = json.loads((folder / f"messages{case}_rank0.json").read_text())
    assert len(messages) == changes.get("d_steps", 1) + changes.get("g_steps", 1)
    found = left(folder, case, 0)
    sent = [value for name, value in found.items() if "weight.generator" in name or "loss.G" in name]
    assert messages[-1] == sum(value.numel() for value in sent)  # weights as many as gradients, and statistics


def test_a_sample_whose_windows_two_make_is_that_of_one(folder: Path, run: Run,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    forward = Generator.forward

    def counted(self: Generator, *inputs: Any) -> Tensor:
        made.append(1)
        return forward(self, *inputs)

    monkeypatch.setattr(Generator, "forward", counted)
    alone = sample_in_windows(run, ALONE)
    assert len(made) > 20
    for rank in range(2):
        assert torch.equal(read_tensors(folder / f"sample_rank{rank}.safetensors")[0]["sample"], alone)
    monkeypatch.setattr(Ranks, "add", lambda self, tensor: None)
    windows = len(made)
    made.clear()
    for rank in range(2):
        assert not torch.equal(sample_in_windows(run, Ranks(rank, 2)), alone)
    assert len(made) == windows


def test_a_run_of_two_is_finished_and_of_one_writer(folder: Path, tiny_run: Any) -> None:
    """One writer: no row of the log is there twice."""
    path = folder / "unbroken"
    assert {file.name for file in path.iterdir()} == {file.name for file in tiny_run.run.path.iterdir()} - {
        "report.html"}
    rows = [json.loads(line) for line in (path / "stats.jsonl").read_text().splitlines()]
    assert [(row["scale"], row["iteration"]) for row in rows] == [(s, i) for s in range(3) for i in (2, 4, 6)]
    assert "2 ranks" in json.loads((path / "scale_00/scale.json").read_text())["device"]
    weights = "scale_00/generator.safetensors"
    assert (path / weights).read_bytes() != (tiny_run.run.path / weights).read_bytes()


def test_when_a_loss_of_one_is_not_finite_both_go_back(folder: Path) -> None:
    records = [json.loads((folder / "diverged" / f"scale_0{scale}/scale.json").read_text()) for scale in range(3)]
    assert [len(record.get("retries", [])) for record in records] == [1, 0, 0]
    log = [json.loads(line) for line in (folder / "diverged/stats.jsonl").read_text().splitlines()]
    assert [(row["scale"], row["iteration"]) for row in log] == [(s, i) for s in range(3) for i in (2, 4, 6)]


def test_a_wish_to_stop_in_one_process_stops_both_and_ends_in_the_same_bits(folder: Path) -> None:
    """The answer comes an iteration after the wish."""
    stopped = [json.loads((folder / f"stopped_rank{rank}.json").read_text()) for rank in range(2)]
    assert stopped == [[STOPPED_AT // 6, STOPPED_AT % 6 + 1]] * 2
    assert_same_run(folder / "stopped", folder / "unbroken")


def test_when_one_dies_the_other_says_so_and_one_process_goes_on(folder: Path, clip: Clip, tmp_path: Path,
                                                                 tiny_config: Callable[..., TrainConfig],
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no answer from the other processes" in (folder / "lost_rank0.txt").read_text()
    assert not (folder / "lost_rank1.txt").exists()
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())
    monkeypatch.setattr(trainer, "_report", lambda run: (None, ()))
    path = Path(shutil.copytree(folder / "killed", tmp_path / "killed"))
    events: list[Event] = []
    train(clip, path, tiny_config(), on_event=events.append)
    started, *_, finished = events
    assert isinstance(started, RunStarted)
    assert started.resumed_at is not None
    scale, iteration = started.resumed_at
    assert KILLED_AT - 2 <= 6 * scale + iteration <= KILLED_AT + 1
    assert isinstance(finished, RunFinished)


def test_a_process_of_its_own_sends_nothing() -> None:
    tensors = [torch.ones(3)]
    ALONE.average(tensors)
    ALONE.wait()
    assert torch.equal(tensors[0], torch.ones(3))
    assert [ALONE.agree(wish) for wish in (True, False)] == [True, False]
    assert not torch.distributed.is_initialized()
