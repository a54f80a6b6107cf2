"""Running a few steps of a scale to see what they take: seconds per phase, the allocator's peak, a trace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ..config import TrainConfig
from ..pyramid import ScalePlan
from ..step import ScaleTrainer
from .rehearsal import reconstruct_scale, scale_data, untrained_stages

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler writes to stderr when it starts and stops


@dataclass(frozen=True, kw_only=True)
class ScaleMeasurement:
    """What steps of a scale took."""

    peak_bytes: int
    """Most memory at once that the device's allocator had handed out, weights and optimizers included; on a CPU with
    the clips that the host keeps."""
    device_used_bytes: int | None
    """What the driver (NVML) says is used of the GPU, by everyone; None on a CPU or without pynvml."""
    steps: int
    seconds_per_step: float
    phase_seconds: dict[str, float]
    """Per step."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def measure_scale(plans: Sequence[ScalePlan], scale: int, num_frames: int, config: TrainConfig, device: torch.device,
                  *, steps: int, trace: Path | None = None) -> ScaleMeasurement:
    """Train a scale for one step that does not count, one whose memory is followed, and `steps` that are timed.

    The coarser scales are untrained and the clip is noise: sizes and seconds are those of training all the same.
    `trace`: where to write a Chrome trace of up to three more steps.
    """
    with _allocator_peak(device) as peak_bytes:
        data = scale_data(plans, scale, num_frames, lambda *shape: torch.rand(shape) * 2 - 1)
        coarser = untrained_stages(plans[:scale], config)
        for stage in coarser:
            stage.generator.to(device)
        trainer = ScaleTrainer(plans[scale], config, coarser, data[-1], device)
        trainer.train_step(0)  # and Adam has its moments
        trainer.train_step(1)
        reconstruct_scale(trainer, num_frames * config.slow_motion)
    trainer.clock.take()
    began = time.perf_counter()
    for step in range(steps):
        trainer.train_step(2 + step)
    phases = trainer.clock.take()  # waits for the device
    seconds = time.perf_counter() - began
    if trace is not None:
        write_trace(trainer, range(2 + steps, 2 + steps + min(steps, 3)), trace)
    return ScaleMeasurement(peak_bytes=peak_bytes(), device_used_bytes=_device_used_bytes(device), steps=steps,
                            seconds_per_step=seconds / steps,
                            phase_seconds={name: value / steps for name, value in phases.items()})


def write_trace(trainer: ScaleTrainer, iterations: range, path: Path) -> None:
    """Write a Chrome trace of some steps, whole or not at all; their phases are named ranges in it."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (trainer.device.type == "cuda")
    with profile(activities=activities, acc_events=False) as profiler:
        for iteration in iterations:
            trainer.train_step(iteration)
        trainer.clock.take()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.json")
    try:
        profiler.export_chrome_trace(str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _allocator_peak(device: torch.device) -> Iterator[Callable[[], int]]:
    """A function that tells, afterwards, the most memory that was allocated at once, inside and since before."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        peak = 0

        def cuda_peak() -> int:
            return peak
        yield cuda_peak
        peak = torch.cuda.max_memory_allocated(device) - before
        return
    # Torch's CPU allocator keeps no count; it reports every block to the profiler, oneDNN's scratchpads included.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiler:
        yield lambda: peak
    results = profiler.profiler.kineto_results if profiler.profiler else None
    events = [event for event in results.events() if event.name() == "[memory]"] if results else []
    peak = live = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)


def _device_used_bytes(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.device_memory_used(device)
    except (ImportError, RuntimeError):  # no pynvml, or a driver without it
        return None
