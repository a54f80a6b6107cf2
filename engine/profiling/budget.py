"""What trains in a given device memory: the largest frames for each set of options, by forecast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..config import ConfigError, TrainConfig
from .forecast import forecast_largest
from .memory import FITS_BELOW

CONTEXT_BYTES = 600 << 20
"""What CUDA's context and the loaded kernels take of a GPU beside what is allocated; an H100 takes about as much."""
MAX_SIDE_PX = 2048
STEP_PX = 8


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The largest frames that train in some memory with some options."""

    options: str
    budget_bytes: int
    size: tuple[int, int] | None  # height, width; None where nothing fits
    frames_per_step: int          # at the finest scale
    peak_bytes: int
    host_bytes: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"options": self.options, "budget_bytes": self.budget_bytes, "size": self.size,
                "frames_per_step": self.frames_per_step, "peak_bytes": self.peak_bytes, "host_bytes": self.host_bytes}


def option_sets(config: TrainConfig) -> dict[str, TrainConfig]:
    """Settings that decide how much memory a step takes, by the options that a user would add."""
    first, last = config.frames_per_step
    least = min(last, 2)
    small = replace(config, amp=True, checkpointing=True)
    sets = {"as set": config, "--amp": replace(config, amp=True),
            "--checkpointing": replace(config, checkpointing=True), "--amp --checkpointing": small,
            f"--amp --checkpointing --frames-per-step {first}:{least}": replace(small, frames_per_step=(first, least))}
    kept: dict[str, TrainConfig] = {}
    for options, changed in sets.items():
        if changed not in kept.values():
            kept[options] = changed
    return kept


def largest_fits(budgets: Sequence[int], num_frames: int, shape: tuple[int, int], config: TrainConfig,
                 device: torch.device, *, on_options: Callable[[str], None] = lambda options: None) -> list[Fit]:
    """The largest frames of the proportions of `shape` (height, width) for each of `budgets` in bytes and each option.

    The clip has `num_frames` frames; a step sees only `frames_per_step` of them, so that the device hardly notices how
    many there are, while the host keeps them all.
    """
    fits = []
    for options, changed in option_sets(config).items():
        on_options(options)
        search = _Search(num_frames, shape, changed, device)
        fits += [search.largest(options, budget) for budget in budgets]
    return fits


class _Search:
    """Sizes tried for one set of options."""

    def __init__(self, num_frames: int, shape: tuple[int, int], config: TrainConfig, device: torch.device) -> None:
        self.num_frames, self.shape, self.config, self.device = num_frames, shape, config, device
        self.known: dict[int, tuple[int, int]] = {}  # peak and host bytes by the longer side

    def largest(self, options: str, budget: int) -> Fit:
        room = budget * FITS_BELOW - (CONTEXT_BYTES if self.device.type == "cuda" else 0)
        low, high = 0, MAX_SIDE_PX // STEP_PX + 1  # in steps; low fits, high does not
        guess = 256 // STEP_PX
        while high - low > 1:
            guess = min(max(guess, low + 1), high - 1)
            peak = self._bytes(guess * STEP_PX)[0]
            if peak <= room:
                low = guess
            else:
                high = guess
            # A step's bytes grow with the number of pixels.
            guess = math.floor(guess * math.sqrt(max(room, 1) / peak)) if peak else (low + high) // 2
        if not low:
            return Fit(options=options, budget_bytes=budget, size=None, frames_per_step=0, peak_bytes=0, host_bytes=0)
        side = low * STEP_PX
        peak, host = self._bytes(side)
        frames = min(self.config.frames_per_step[1], self.num_frames)
        return Fit(options=options, budget_bytes=budget, size=self._size(side), frames_per_step=frames, peak_bytes=peak,
                   host_bytes=host)

    def _size(self, side: int) -> tuple[int, int]:
        longer = max(self.shape)
        return round(self.shape[0] * side / longer), round(self.shape[1] * side / longer)

    def _bytes(self, side: int) -> tuple[int, int]:
        if side not in self.known:
            config = replace(self.config, max_size_px=side, min_size_px=min(side, self.config.min_size_px))
            try:
                forecast = forecast_largest(*self._size(side), self.num_frames, config, self.device)
                self.known[side] = forecast.peak_bytes, forecast.host_bytes
            except ConfigError:  # fewer than 8 pixels
                self.known[side] = 0, 0
        return self.known[side]
