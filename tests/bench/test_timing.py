"""Who runs when, what a round tells, and how many copies of inputs pass a cache."""

from __future__ import annotations

import itertools
import time

import pytest
import torch

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
    assert all(timing.rounds == 2 for timing in found.values())


def test_the_first_round_does_not_count():
    seconds = iter([1000.0, 1, 2, 3, 4, 5])
    found = alternate({"way": lambda: next(seconds)}, seconds=0, min_rounds=5, max_rounds=9)["way"]
    assert (found.p20, found.median, found.p80, found.rounds) == (1.8, 3, 4.2, 5)


def test_rounds_end_at_the_most_and_after_the_seconds():
    assert alternate({"way": lambda: 1.0}, seconds=60, min_rounds=1, max_rounds=7)["way"].rounds == 7
    assert alternate({"way": lambda: time.sleep(0.01) or 1.0}, seconds=0.025, min_rounds=1,
                     max_rounds=1000)["way"].rounds <= 3


def test_time_of_one_thread_is_that_of_its_processor():
    found = take_turns({"sleeps": lambda: time.sleep(0.02), "works": lambda: sum(range(200_000))}, CPU, seconds=0)
    assert torch.get_num_threads() == 1
    assert found["sleeps"].median < found["works"].median


def test_quantiles_keep_four_digits_of_small_times():
    timing = timing_of([1.23456e-5])
    assert (timing.p20, timing.median, timing.p80) == (1.235e-5,) * 3


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


@pytest.mark.gpu
def test_a_gpu_times_a_graph_and_says_what_cannot_be_captured():
    device, uncaptured = torch.device("cuda"), []
    with measuring_stream(device):
        x = torch.ones(1024, 1024, device=device)
        found = take_turns({"adds": lambda: x + 1, "reads back": lambda: float(x.sum())}, device, seconds=0.1,
                           tell_uncaptured=uncaptured.append)
    assert uncaptured == ["reads back"]
    assert 0 < found["adds"].median < 1e-3
