"""Who runs when, what a round tells, and how many copies of inputs pass a cache."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager

import pytest
import torch

from sgif.bench import timing
from sgif.bench.timing import (
    CPU_CACHE_BYTES,
    MAX_COPIES,
    alternate,
    cache_bytes,
    copies_past_cache,
    measuring_stream,
    rotated,
    take_turns,
    timing_of,
)

CPU = torch.device("cpu")


def test_ways_take_turns_call_by_call():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = take_turns(ways, CPU, seconds=0, min_rounds=2)
    assert "".join(calls) == "abc" * 3
    assert list(found) == ["a", "b", "c"]
    assert all(way.rounds == 2 for way in found.values())


def test_the_first_round_does_not_count():
    seconds = iter([1000.0, 1, 2, 3, 4, 5])
    found = alternate({"way": lambda: next(seconds)}, seconds=0, min_rounds=5, max_rounds=9)["way"]
    assert (found.p20, found.median, found.p80, found.rounds) == (1.8, 3, 4.2, 5)


def test_rounds_end_at_the_most_and_after_the_seconds():
    assert alternate({"way": lambda: 1.0}, seconds=60, min_rounds=1, max_rounds=7)["way"].rounds == 7
    assert alternate({"way": lambda: time.sleep(0.01) or 1.0}, seconds=0.025, min_rounds=1,
                     max_rounds=1000)["way"].rounds <= 3


@pytest.mark.parametrize(("threads", "clock"), [(1, "thread_time"), (2, "perf_counter")])
def test_time_of_one_thread_is_that_of_its_processor(threads, clock, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(timing.time, clock, lambda: float(next(ticks)))
    assert timing._cpu_clock(lambda: None)() == 1.0
    assert next(ticks) == 2


def test_quantiles_keep_four_digits_of_small_times():
    found = timing_of([1.23456e-5])
    assert (found.p20, found.median, found.p80) == (1.235e-5,) * 3


@pytest.mark.parametrize(("call", "cache", "copies"),
                         [(10, 100, 11), (60, 100, 3), (199, 100, 2), (200, 100, 1), (1, 10**6, MAX_COPIES)])
def test_copies_pass_the_cache(call, cache, copies):
    assert copies_past_cache(call, cache) == copies
    if 1 < copies < MAX_COPIES:
        assert (copies - 1) * call >= cache


def test_copies_come_round_in_order():
    run = rotated([lambda i=i: i for i in range(3)])
    assert [run() for _ in range(7)] == [*itertools.islice(itertools.cycle(range(3)), 7)]


def test_the_largest_cache_is_read_from_the_system(tmp_path):
    for index, size in enumerate(("32K", "1024K", "24576K\n", "what")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size)
    assert cache_bytes(CPU, tmp_path) == 24 << 20
    assert cache_bytes(CPU, tmp_path / "absent") == CPU_CACHE_BYTES


@pytest.fixture
def half_millisecond_gpu(monkeypatch):
    """Stands in for torch.cuda: whatever is between two events takes half a millisecond. Gives what happened."""
    happened = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            happened.append("event")

        def elapsed_time(self, _end):
            return 0.5

    class Graph:
        def replay(self):
            happened.append("replay")

    @contextmanager
    def capture(_graph, stream):
        assert stream == "side stream"
        happened.append("capture")
        yield
    for name, stand_in in {"Event": Event, "CUDAGraph": Graph, "graph": capture, "synchronize": lambda _device: None,
                           "current_stream": lambda _device: "side stream"}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(timing, "_l2_flush", lambda _device: lambda: happened.append("flush"))
    return happened


def test_a_gpus_calls_fill_a_millisecond_in_a_graph_that_is_replayed_after_a_flush(half_millisecond_gpu):
    found = take_turns({"way": lambda: half_millisecond_gpu.append("call")}, torch.device("cuda"), seconds=0,
                       min_rounds=2, tell_uncaptured=pytest.fail)
    one = ["flush", "event", "call", "event"]
    assert half_millisecond_gpu[:7] == ["call"] * 3 + one
    assert half_millisecond_gpu[7:] == ["capture", "call", "call"] + ["flush", "event", "replay", "event"] * 3
    assert found["way"].median == 0.25e-3  # of two calls


def test_what_no_graph_takes_is_timed_call_by_call_and_named(half_millisecond_gpu):
    def reads_back():
        half_millisecond_gpu.append("call")
        if half_millisecond_gpu[-2:-1] == ["capture"]:
            raise RuntimeError("operation not permitted when stream is capturing")
    told = []
    found = take_turns({"reads back": reads_back}, torch.device("cuda"), seconds=0, min_rounds=1,
                       tell_uncaptured=told.append)
    assert told == ["reads back"]
    assert half_millisecond_gpu[-5:] == ["flush", "event", "call", "call", "event"]
    assert found["reads back"].median == 0.25e-3


@pytest.mark.gpu
def test_a_gpu_times_a_graph_and_says_what_cannot_be_captured():
    device, uncaptured = torch.device("cuda"), []
    with measuring_stream(device):
        x = torch.ones(1024, 1024, device=device)
        found = take_turns({"adds": lambda: x + 1, "reads back": lambda: float(x.sum())}, device, seconds=0.1,
                           tell_uncaptured=uncaptured.append)
    assert uncaptured == ["reads back"]
    assert 0 < found["adds"].median < 1e-3
