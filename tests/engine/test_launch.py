"""Which of torchrun's processes this is, and what it may use of the machine."""

from __future__ import annotations

import os

import pytest
import torch

from sgif.engine import device
from sgif.engine.config import ConfigError
from sgif.engine.launch import VARIABLES, Place, place, share
from sgif.engine.profiling import memory


def launched(monkeypatch: pytest.MonkeyPatch, *values: str | None) -> None:
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for values in (("3", None, None, None), ("0", "1", None, None)):
        launched(monkeypatch, *values)
        assert place() == Place(0, 1, 0, 1)


def test_the_place_is_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, "5", "8", "1", "4")
    assert place() == Place(rank=5, ranks=8, local_rank=1, local_ranks=4)


@pytest.mark.parametrize(("values", "said"), [
    ((None, "2", "0", "2"), "RANK is not set"), (("2", "2", "0", "2"), "RANK 2"), (("-1", "2", "0", "2"), "RANK -1"),
    (("0", "two", "0", "2"), "WORLD_SIZE two"), (("0", "2", "2", "2"), "LOCAL_RANK 2"),
    (("0", "2", "0", "3"), "LOCAL_WORLD_SIZE 3"), (("0", "0", "0", "0"), "WORLD_SIZE 0"),
])
def test_what_no_launcher_says_is_refused(values: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, *values)
    with pytest.raises(ConfigError, match=rf"{said}.*expected all four as torchrun sets them"):
        place()


@pytest.mark.parametrize(("number", "shares", "together"), [
    (7, [[0, 3, 6], [1, 4], [2, 5]], False), (3, [[0], [1], [2]], False), (2, [[0, 1]] * 3, True),
])
def test_things_are_shared_out_or_made_together(number: int, shares: list[list[int]], together: bool,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, expected in enumerate(shares):
        launched(monkeypatch, str(rank), "3", str(rank), "3")
        indices, with_others = share(number)
        assert (list(indices), with_others) == (expected, together)


def test_alone_one_makes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, None, None, None, None)
    assert share(2) == (range(2), False)


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve_device("auto") == torch.device("cuda")
    launched(monkeypatch, "3", "4", "1", "2")
    assert device.resolve_device("auto") == device.resolve_device("cuda") == torch.device("cuda:1")
    assert device.resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'cuda:0' for 2 processes"):
        device.resolve_device("cuda:0")
    launched(monkeypatch, "2", "3", "2", "3")
    for name in ("auto", "cuda"):
        with pytest.raises(ConfigError, match=r"3 processes and torch .* sees 2 GPUs"):
            device.resolve_device(name)


def test_processes_of_a_machine_share_its_cores_and_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(memory, "_system_bytes", lambda: 1 << 30)
    monkeypatch.setattr(memory, "_container_bytes", lambda: None)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    for ranks, local in (("1", "1"), ("8", "4"), ("9", "9")):
        launched(monkeypatch, "0", ranks, "0", local)
        device.set_threads(0)
        assert memory.available_bytes(torch.device("cpu")) == (1 << 30) // int(local)
    device.set_threads(5)
    assert threads == [6, 1, 1, 5]
