"""Seconds of a call, where the ways of computing one thing take turns, so that a busy machine slows all of them alike.

On a CPU: processor time of the thread where torch has one thread, else the clock's. On a GPU: device events around a
CUDA graph of as many calls as fill a millisecond, or around the calls themselves where they cannot be captured; before
each the L2 cache is overwritten. **The GPU's part has not run on a GPU yet.**
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch

from .result import Timing

Run = Callable[[], object]
Clock = Callable[[], float]
"""Makes a call, or several, and tells the seconds of one."""

CPU_CACHE_BYTES = 32 << 20  # where the system does not tell
MAX_COPIES = 512
GRAPH_SECONDS = 1e-3
MAX_GRAPH_CALLS = 200


def take_turns(ways: Mapping[str, Run], device: torch.device, *, seconds: float, min_rounds: int = 5,
               max_rounds: int = 60, tell_uncaptured: Callable[[str], None] = lambda way: None) -> dict[str, Timing]:
    """Time each of `ways`: one round that does not count, then A B A B ... until `seconds` of rounds have passed.

    On a GPU call it, and build `ways`, inside `measuring_stream`: a backward pass runs on the stream of its forward
    pass, and no graph can capture what runs on the default stream. A captured way must read nothing back.

    Args:
        seconds: stop after the round in which as much time has passed by the clock; at least `min_rounds`, at most
            `max_rounds` are made.
        tell_uncaptured: called with the name of each way that no CUDA graph takes; its time includes the host's
            launches where these are slower than the device.
    """
    if device.type == "cuda":
        flush = _l2_flush(device)
        clocks = {name: _cuda_clock(run, device, flush, partial(tell_uncaptured, name)) for name, run in ways.items()}
    else:
        clocks = {name: _cpu_clock(run) for name, run in ways.items()}
    return alternate(clocks, seconds=seconds, min_rounds=min_rounds, max_rounds=max_rounds)


def alternate(clocks: Mapping[str, Clock], *, seconds: float, min_rounds: int, max_rounds: int) -> dict[str, Timing]:
    """`take_turns` on any clocks."""
    for clock in clocks.values():
        clock()
    took: dict[str, list[float]] = {name: [] for name in clocks}
    began, rounds = time.perf_counter(), 0
    while rounds < min_rounds or (rounds < max_rounds and time.perf_counter() - began < seconds):
        for name, clock in clocks.items():
            took[name].append(clock())
        rounds += 1
    return {name: timing_of(values) for name, values in took.items()}


def timing_of(seconds: Sequence[float]) -> Timing:
    """Median, p20 and p80 to four digits; the only value there is stands for all three."""
    cuts = statistics.quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else [*seconds] * 9
    p20, median, p80 = (float(f"{cuts[i]:.4g}") for i in (1, 4, 7))
    return Timing(median=median, p20=p20, p80=p80, rounds=len(seconds))


def measuring_stream(device: torch.device) -> AbstractContextManager[object]:
    """A context whose work is not on the default stream of a GPU; nothing on a CPU."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(stream)


def _cpu_clock(run: Run) -> Clock:
    now = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def clock() -> float:
        began = now()
        run()
        return now() - began
    return clock


def _cuda_clock(run: Run, device: torch.device, flush: Run, tell_uncaptured: Run) -> Clock:
    for _ in range(3):  # cuDNN chooses, Triton and inductor compile
        run()
    one = _event_seconds(run, device, flush)
    calls = min(MAX_GRAPH_CALLS, max(1, round(GRAPH_SECONDS / max(one, 1e-7))))

    def several() -> None:
        for _ in range(calls):
            run()
    play: Run = several
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(device)):
            several()
        play = graph.replay
    except RuntimeError:  # it reads back, or uses the default stream
        torch.cuda.synchronize(device)
        tell_uncaptured()
    return lambda: _event_seconds(play, device, flush) / calls


def _event_seconds(run: Run, device: torch.device, flush: Run) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    flush()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return float(begin.elapsed_time(end)) / 1000


def _l2_flush(device: torch.device) -> Run:
    return torch.empty(2 * cache_bytes(device), dtype=torch.int8, device=device).zero_


# ---- Inputs past the cache -------------------------------------------------------------------------------------------


def cache_bytes(device: torch.device, folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Size of the last-level cache."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    found = [_bytes_of(path.read_text()) for path in folder.glob("index*/size")]
    return max(found, default=0) or CPU_CACHE_BYTES


def _bytes_of(size: str) -> int:
    """`32768K` as the kernel writes it; 0 for anything else."""
    match = re.fullmatch(r"(\d+)([KMG]?)", size.strip())
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]] if match else 0


def copies_past_cache(call_bytes: int, cache: int) -> int:
    """How many copies of what a call reads must take turns so that none is in the cache when it comes round again:
    more than the cache holds beside one; at most MAX_COPIES."""
    if call_bytes >= 2 * cache:
        return 1
    return min(MAX_COPIES, 1 + -(-cache // max(call_bytes, 1)))


def rotated(runs: Sequence[Run]) -> Run:
    """A call of one of `runs`, the next one each time."""
    if len(runs) == 1:
        return runs[0]
    place = -1

    def run() -> object:
        nonlocal place
        place = (place + 1) % len(runs)
        return runs[place]()
    return run
