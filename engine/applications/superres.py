"""Super-resolution (section 5.5): the finest generator of a run, applied over and over to a clip that grows.

The generator has learned what a clip gains from one scale to the next. Patches recur at other sizes, so what it adds to
a clip of the trained size, enlarged by the same ratio, is detail that the scene has. With `steps` applications the
ratio is factor^(1/steps); the paper takes as many steps as the factor, 3^(1/3) for 3 times.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..clip import Clip, frames_from_tensor, tensor_from_frames
from ..config import ConfigError, TrainConfig
from ..device import resolve_device
from ..noise import noise_seed, scale_noise
from ..pyramid import ScalePlan, fit_size
from ..runs import Run
from ..sampling import NOISE_FRAMES, ScaleNoise, TrainedScale, gather, run_scale
from ..storage import RunError

REC_WEIGHT = 125.0
"""beta for super-resolution, section 5.5."""
MIN_RATIO, MAX_RATIO, MAX_FACTOR = 1.1, 3.0, 16.0
"""Of one step, and of all."""
MIN_SIDE_PX = 8  # of the coarsest scale


def superres_config(config: TrainConfig, height: int, width: int, *, factor: float = 3.0,
                    steps: int | None = None) -> TrainConfig:
    """`config` with the scales that super-resolution by `factor` needs, for a clip of `height` x `width` pixels.

    The pyramid's ratio becomes r = factor^(1/steps). `plan_scales` solves the ratio anew from both ends, so the
    coarsest scale becomes the one near `config.min_size_px` that lies a whole number of such steps below the finest,
    and the ratio is given as it follows from that: it differs from r by the rounding to whole pixels.

    Args:
        config: everything else, `max_size_px` and `rec_weight` (REC_WEIGHT in the paper) too.
        height, width: the clip's, before `config.max_size_px`.
        factor: how many times as high and as wide the result is to be, MIN_RATIO to MAX_FACTOR.
        steps: applications of the finest generator; `paper_steps(factor)` by default.

    Raises:
        ConfigError: the factor and the steps, or the clip's size, cannot be used.
    """
    ratio = step_ratio(factor, paper_steps(factor) if steps is None else steps)
    short = min(fit_size(height, width, config.max_size_px))
    deepest = math.floor(math.log(short / MIN_SIDE_PX) / math.log(ratio))
    if deepest < 1:
        raise ConfigError(f"frames of {height}x{width} pixels are too small to learn steps of {ratio:.4g} from, "
                          f"expected at least {math.ceil(MIN_SIDE_PX * ratio)} on the shorter side; take more steps, "
                          "or raise --max-size")
    count = min(max(1, round(math.log(short / config.min_size_px) / math.log(ratio))), deepest)
    coarsest = round(short / ratio**count)
    return dataclasses.replace(config, min_size_px=coarsest, scale_factor=(short / coarsest) ** (1 / count))


def paper_steps(factor: float) -> int:
    """As many as the factor, rounded; the paper's factors are whole numbers."""
    return max(1, round(factor)) if math.isfinite(factor) else 1


def step_ratio(factor: float, steps: int) -> float:
    """r = factor^(1/steps). Raises ConfigError where a step would be too small or too large."""
    if not MIN_RATIO <= factor <= MAX_FACTOR:
        raise ConfigError(f"the factor is {factor:g}, expected {MIN_RATIO:g} to {MAX_FACTOR:g}")
    fewest, most = (math.log(factor) / math.log(ratio) for ratio in (MAX_RATIO, MIN_RATIO))
    if not math.ceil(fewest - 1e-9) <= steps <= math.floor(most + 1e-9):
        raise ConfigError(f"{steps} steps to {factor:g} times the size, expected {math.ceil(fewest - 1e-9)} to "
                          f"{math.floor(most + 1e-9)}: a step is {MIN_RATIO:g} to {MAX_RATIO:g} times")
    return float(factor ** (1 / steps))


@dataclass(frozen=True, kw_only=True)
class SuperresPlan:
    """What an enlargement goes through."""

    sizes: tuple[tuple[int, int], ...]
    """(height, width) of the clip and after each step; the last one is the factor times the first, rounded."""
    ratio: float
    """Of each step."""
    learned_ratio: float
    """Of the run's finest scale to the one below it, mean of height and width: the ratio that its generator knows."""


def superres_plan(run: Run, factor: float, *, size: tuple[int, int] | None = None,
                  steps: int | None = None) -> SuperresPlan:
    """How `run` enlarges frames of `size` (its own by default); as many steps as make steps of the learned ratio by
    default.

    Raises:
        RunError: the run is not finished, or has one scale only, whose generator takes noise and no clip.
        ConfigError: factor or steps are out of range.
    """
    if not run.finished:
        raise RunError(f"{run.path} has {run.scales_done} of {len(run.plans)} scales: super-resolution needs the "
                       "finest one, run the command that trains it again to go on")
    if len(run.plans) < 2:
        raise RunError(f"{run.path} has a single scale, made from noise alone: super-resolution needs a finer one, "
                       "train with a smaller --min-size")
    coarser, finest = run.sizes[-2:]
    learned = (finest[0] / coarser[0] + finest[1] / coarser[1]) / 2
    if steps is None:
        steps = max(1, round(math.log(factor) / math.log(learned))) if MIN_RATIO <= factor <= MAX_FACTOR else 1
    ratio = step_ratio(factor, steps)
    height, width = finest if size is None else size
    scales = [factor ** (step / steps) for step in range(steps + 1)]
    return SuperresPlan(sizes=tuple((round(height * scale), round(width * scale)) for scale in scales), ratio=ratio,
                        learned_ratio=learned)


def superres_frames(run: Run, factor: float = 3.0, *, clip: Clip | None = None, steps: int | None = None,
                    noise: bool = False, seed: int = 0, device: str | None = None) -> Iterator[Tensor]:
    """The clip `factor` times as high and as wide, as it is made (section 5.5).

    Args:
        run: finished; best trained with `superres_config`.
        factor: MIN_RATIO to MAX_FACTOR.
        clip: another clip than the run's own; of any size and length.
        steps: applications of the finest generator; as `superres_plan` has them by default.
        noise: add the finest scale's noise at every step. Without it the result is the one mapping that the
            reconstruction loss has trained.
        seed: what the noise derives from.
        device: where to compute; the run's own choice by default.

    Yields:
        Frames in order, uint8 [t, factor H, factor W, 3] on the host.

    Raises:
        RunError, ConfigError: at once, for a run without a finished finer scale, for factors and steps out of range.
    """
    parts = _superres(run, factor, clip, steps, noise, seed, device)
    return (frames_from_tensor(part).cpu() for part in parts)


def superres(run: Run, factor: float = 3.0, *, clip: Clip | None = None, steps: int | None = None,
             noise: bool = False, seed: int = 0, device: str | None = None) -> Tensor:
    """The same as one clip [1, 3, T, factor H, factor W] in [-1, 1] on the host; arguments as of `superres_frames`."""
    frames = run.num_frames if clip is None else len(clip.frame_ms)
    return gather(_superres(run, factor, clip, steps, noise, seed, device), frames)


def _superres(run: Run, factor: float, clip: Clip | None, steps: int | None, noise: bool, seed: int,
              device: str | None) -> Iterator[Tensor]:
    frames = run.frames if clip is None else clip.frames
    plan = superres_plan(run, factor, size=(frames.shape[1], frames.shape[2]), steps=steps)
    torch_device = resolve_device(run.config.device if device is None else device)
    stage = run.stage(len(run.plans) - 1, torch_device)
    parts = (tensor_from_frames(part.to(torch_device)) for part in frames.split(NOISE_FRAMES))
    return _grown(run, stage, parts, len(frames), plan.sizes[1:], seed if noise else None, torch_device)


def _grown(run: Run, stage: TrainedScale, parts: Iterator[Tensor], frames: int, sizes: Sequence[tuple[int, int]],
           seed: int | None, device: torch.device) -> Iterator[Tensor]:
    """The clip in `parts` after a step to each of `sizes`; noise where there is a seed."""
    for step, size in enumerate(sizes):
        drawn = None if seed is None else noise_seed(seed, "superres", step, device=device)

        def noise(plan: ScalePlan, at: tuple[int, int], first: int, count: int,
                  drawn: Tensor | None = drawn) -> ScaleNoise:
            if drawn is None:
                return None
            return scale_noise(plan, run.config, drawn, count, at, first_frame=first)

        parts = run_scale(stage, parts, noise, frames, size)
    return (part.clamp_(-1, 1) for part in parts)
