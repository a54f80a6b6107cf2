"""Where and how to compute: the device, its description, threads, precision."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from .config import ConfigError
from .launch import place


def resolve_device(name: str) -> torch.device:
    """The device that `name` asks for; "auto" is the first GPU, else the CPU. Of the processes of a launch each has the
    GPU of its number on its machine.

    Raises:
        ConfigError: the device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    here = place()
    if device.type == "cuda" and here.ranks > 1:
        if device.index is not None or here.local_ranks > count:
            raise ConfigError(f"device is {name!r} for {here.local_ranks} processes and torch {torch.__version__} sees "
                              f"{count} GPUs: each process takes the one of its number, so expected cuda, and no more "
                              "processes than GPUs; or use --device cpu")
        return torch.device("cuda", here.local_rank)
    if (device.index or 0) >= count:
        raise ConfigError(f"device {name!r} is not there: torch {torch.__version__} sees {count} GPUs; "
                          "use --device cpu")
    return device


def describe_device(device: torch.device) -> str:
    """For people: "cpu, 2 threads" or "cuda:0, NVIDIA H200"."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    return f"{device}, {torch.cuda.get_device_name(device)}"


def available_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def set_threads(threads: int) -> None:
    """Use `threads` CPU threads, 0 for as many as this process may run on, shared with others of its launch."""
    torch.set_num_threads(threads or max(1, available_cores() // place().local_ranks))


def peak_bytes(device: torch.device) -> int:
    """Most memory used so far: allocated on a GPU, resident in this process on a CPU; 0 where it cannot be had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
        import sys
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def host_copy(clip: Tensor, device: torch.device) -> Tensor:
    """`clip` as `frames_on` reads it fastest: in page-locked host memory where `device` is a GPU."""
    return clip.contiguous().pin_memory() if device.type == "cuda" else clip


def frames_on(device: torch.device, clip: Tensor, first: int, frames: int) -> Tensor:
    """Frames `first` to `first + frames` of a host clip [1, 3, T, H, W] on `device`. From page-locked memory the copy
    does not wait: a channel's frames are one block, all channels' are not."""
    part = torch.empty((1, clip.shape[1], frames, *clip.shape[3:]), dtype=clip.dtype, device=device)
    for channel in range(clip.shape[1]):
        part[:, channel].copy_(clip[:, channel, first:first + frames], non_blocking=True)
    return part
