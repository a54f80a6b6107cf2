"""What training a clip takes of a machine, by the memory forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..config import ConfigError, TrainConfig
from ..device import available_cores
from ..profiling.budget import CONTEXT_BYTES
from ..profiling.forecast import forecast_largest
from ..profiling.memory import FITS_BELOW, available_bytes
from .plan import Job

PROCESS_BYTES = 480 << 20
"""What a process takes of its machine beside what the forecast counts: mostly imports (docs/memory.md)."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one task can be given at most: of a cluster the largest machine's, of its GPUs the smallest's memory."""

    cpus: int
    memory_bytes: int | None            # None where the system does not say
    gpu_bytes: int | None = None        # None where there is no GPU, or it is not to be used


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a job takes, and the settings with which it does."""

    config: TrainConfig
    peak_bytes: int | None
    """Of its largest scale on the device; None where the forecast failed."""
    cpus: int
    gpus: float                         # below 1: a part of one, that others share
    memory_bytes: int                   # of the host

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the settings."""
        return {"peak_bytes": self.peak_bytes, "cpus": self.cpus, "gpus": self.gpus, "memory_bytes": self.memory_bytes}


def this_machine(device: str) -> Machine:
    """This computer, whose GPUs count unless `device` is the CPU."""
    gpus = range(torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0)
    return Machine(cpus=available_cores(), memory_bytes=available_bytes(torch.device("cpu")),
                   gpu_bytes=min((torch.cuda.get_device_properties(n).total_memory for n in gpus), default=None))


def check_possible(config: TrainConfig, machine: Machine) -> None:
    """Raises ConfigError for settings that no machine can serve: a task that asks for too much waits for ever."""
    if config.device.startswith("cuda") and machine.gpu_bytes is None:
        raise ConfigError(f"device is {config.device!r} and there is no GPU; expected auto or cpu")
    if config.threads > machine.cpus:
        raise ConfigError(f"threads is {config.threads} and no machine has more than {machine.cpus} CPUs; expected at "
                          "most that")


class Forecasts:
    """What jobs need; those of clips alike in size and length are forecast once, for it takes seconds."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.device = torch.device("cpu" if machine.gpu_bytes is None else "cuda")
        self.known: dict[object, Need] = {}

    def __call__(self, job: Job) -> Need:
        key = job.sizes, job.frames, job.config
        if key not in self.known:
            self.known[key] = self._need(job)
        return self.known[key]

    def _need(self, job: Job) -> Need:
        config, room = job.config, self.machine.gpu_bytes or self.machine.memory_bytes
        try:
            peak, host = self._bytes(job, config)
            if config.memory_check and not config.checkpointing and room is not None and peak > FITS_BELOW * room:
                config = replace(config, checkpointing=True)  # changes no bit of the result
                peak, host = self._bytes(job, config)
        except Exception:  # it leans on torch's inner parts, which training can do without
            return Need(config=config, peak_bytes=None, cpus=config.threads, memory_bytes=PROCESS_BYTES,
                        gpus=0.0 if self.machine.gpu_bytes is None else 1.0)
        return need(config, peak, host, self.machine)

    def _bytes(self, job: Job, config: TrainConfig) -> tuple[int, int]:
        forecast = forecast_largest(*job.sizes[-1], job.frames, config, self.device)
        return forecast.peak_bytes, forecast.host_bytes


def need(config: TrainConfig, peak_bytes: int, host_bytes: int, machine: Machine) -> Need:
    """Of a run whose largest scale takes `peak_bytes` on its device and `host_bytes` of clips on the host. Never more
    than there is, or it would wait for ever: `train` refuses what cannot fit."""
    gpus, memory_bytes = 0.0, PROCESS_BYTES + peak_bytes
    if machine.gpu_bytes is not None:
        share = (peak_bytes + CONTEXT_BYTES) / (machine.gpu_bytes * FITS_BELOW)
        gpus, memory_bytes = min(1.0, math.ceil(100 * share) / 100), PROCESS_BYTES + host_bytes
    if machine.memory_bytes is not None:
        memory_bytes = min(memory_bytes, machine.memory_bytes)
    return Need(config=config, peak_bytes=peak_bytes, cpus=config.threads, gpus=gpus, memory_bytes=memory_bytes)
