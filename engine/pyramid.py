"""The scales of a run: their sizes, kinds, widths and frames per step, and the real clip at each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..kernels import resize
from .config import ALL_SCALES, ConfigError, TrainConfig


@dataclass(frozen=True, kw_only=True)
class ScalePlan:
    """What one scale is, known before anything is trained."""

    index: int              # 0 is the coarsest
    height: int
    width: int              # of the frames, in pixels
    kind: Literal["3D", "2D"]
    channels: int           # width of the networks
    frames_per_step: int
    iterations: int
    slow_motion: int = 1    # frames made for each of the clip's

    @property
    def frames_made(self) -> int:
        """Frames of a step that the generator makes."""
        return self.frames_per_step * self.slow_motion

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


def fit_size(height: int, width: int, max_size_px: int) -> tuple[int, int]:
    """(height, width) with the longer side at most `max_size_px`, proportions kept."""
    ratio = min(1.0, max_size_px / max(height, width))
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def scale_sizes(height: int, width: int, min_size_px: int, scale_factor: float) -> list[tuple[int, int]]:
    """(height, width) of every scale, coarsest first; the first has `min_size_px` as its shorter side.

    The factor is re-solved so that both ends are hit: with s steps, r = (shorter side / min_size_px)^(1/s).
    168x298 with 25 and 4/3 gives 8 scales.
    """
    short = min(height, width)
    if short <= min_size_px:
        return [(height, width)]
    steps = math.ceil(math.log(short / min_size_px) / math.log(scale_factor) - 1e-9)
    ratio = (short / min_size_px) ** (1 / steps)
    sizes = [(round(height / ratio**k), round(width / ratio**k)) for k in range(steps, -1, -1)]
    return list(dict.fromkeys(sizes))  # factors near 1 give the same size twice


def frames_schedule(num_scales: int, num_frames: int, frames_per_step: tuple[int, int]) -> list[int]:
    """Frames of a step at every scale: from the first figure down to the last in equal steps, never more than there
    are."""
    first, last = (min(n, num_frames) for n in frames_per_step)
    if num_scales == 1:
        return [first]
    return [round(first + (last - first) * n / (num_scales - 1)) for n in range(num_scales)]


def iterations_schedule(num_scales: int, iterations: tuple[int, int]) -> list[int]:
    """Iterations of every scale: from the first figure to the last by equal factors. Coarse scales decide layout and
    motion, and theirs are cheap."""
    first, last = iterations
    if num_scales == 1:
        return [first]
    return [round(first * (last / first) ** (n / (num_scales - 1))) for n in range(num_scales)]


def plan_scales(height: int, width: int, num_frames: int, config: TrainConfig) -> list[ScalePlan]:
    """The scales for a clip of `num_frames` frames of `height` x `width` pixels.

    Raises:
        ConfigError: when the clip is too small to learn from.
    """
    height, width = fit_size(height, width, config.max_size_px)
    if min(height, width) < 8:
        raise ConfigError(f"frames of {height}x{width} pixels are too small, expected at least 8 on the shorter side; "
                          "raise --max-size or crop less")
    sizes = scale_sizes(height, width, config.min_size_px, config.scale_factor)
    frames = frames_schedule(len(sizes), num_frames, config.frames_per_step)
    iterations = iterations_schedule(len(sizes), config.iterations)
    num_3d = len(sizes) if config.num_3d_scales == ALL_SCALES else config.num_3d_scales
    return [ScalePlan(index=n, height=h, width=w, kind="3D" if n < num_3d else "2D",
                      channels=min(config.width * 2 ** (n // 4), config.max_width), frames_per_step=frames[n],
                      iterations=iterations[n], slow_motion=config.slow_motion)
            for n, (h, w) in enumerate(sizes)]


def build_pyramid(clip: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """The clip [1, 3, T, H, W] at every size, each resized from the clip itself. Space only, never time."""
    return [resize(clip, size).clamp(-1, 1) for size in sizes]
