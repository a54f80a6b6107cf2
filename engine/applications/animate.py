"""Motion transfer (section 5.6): a still that looks like the clip enters a coarse scale, repeated over time, and comes
out moving as the clip does.

The paper lets noise do the moving: its 3D scales draw it anew in every frame. Runs with `noise="split"` (presets
`draft` and `fast`) draw anew at the coarsest scale alone, so a repeated still would stay one. What moves is therefore
added to the still where it enters: a sample of the scales below, less its mean over time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ...kernels import resize, upsample
from ..clip import frames_from_tensor, tensor_from_frames
from ..config import ConfigError
from ..noise import is_map, noise_seed, sample_noise
from ..pyramid import ScalePlan
from ..runs import Run
from ..sampling import ScaleNoise, TrainedScale, check_shape, device_of, gather, run_scales, scaled_size

MAX_MOTION = 10.0


def animate_frames(run: Run, still: Tensor, *, frames: int | None = None, start_scale: int = 1,
                   size: tuple[int, int] | None = None, motion: float = 1.0, keep_colours: bool = False, seed: int = 0,
                   device: str | None = None) -> Iterator[Tensor]:
    """A clip of `still`, moving as the run's clip does, as it is made (section 5.6).

    Args:
        still: uint8 [H, W, 3], as `read_still` gives it.
        frames: how many; the clip's own number by default.
        start_scale: where the still enters, from 1: the higher, the more of it stays and the less moves.
        size: (height, width) of the result; by default the still's shape, with the shorter side as trained.
        motion: strength of what the coarser scales add; 0 leaves the motion to noise, as the paper does.
        keep_colours: shift the result's colours so that its mean over time is the still, as far as the scale that the
            still enters shows it; the clip is made twice for it.
        seed: what the noise derives from.
        device: where to compute; the run's own choice by default.

    Yields:
        Frames in order, uint8 [t, H, W, 3] on the host.

    Raises:
        RunError, ConfigError, ValueError: at once, for a start scale, a size, a number of frames or a still that cannot
            be.
    """
    parts = _animate(run, still, run.num_frames if frames is None else frames, start_scale, size, motion, keep_colours,
                     seed, device)
    return (frames_from_tensor(part).cpu() for part in parts)


def animate(run: Run, still: Tensor, *, frames: int | None = None, start_scale: int = 1,
            size: tuple[int, int] | None = None, motion: float = 1.0, keep_colours: bool = False, seed: int = 0,
            device: str | None = None) -> Tensor:
    """The same as one clip [1, 3, T, H, W] in [-1, 1] on the host; arguments as of `animate_frames`."""
    frames = run.num_frames if frames is None else frames
    return gather(_animate(run, still, frames, start_scale, size, motion, keep_colours, seed, device), frames)


def still_size(still: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in the still's proportions, with the shorter side of `trained`."""
    ratio = min(trained) / min(still)
    return max(2, round(still[0] * ratio)), max(2, round(still[1] * ratio))


def _animate(run: Run, still: Tensor, frames: int, start_scale: int, size: tuple[int, int] | None, motion: float,
             keep_colours: bool, seed: int, device: str | None) -> Iterator[Tensor]:
    if still.ndim != 3 or still.shape[2] != 3 or still.dtype != torch.uint8:
        raise ValueError(f"the still is {still.dtype} {list(still.shape)}, expected uint8 [H, W, 3]")
    run.refuse_slow_motion("an animated still")
    if start_scale < 1:
        raise ConfigError(f"start scale is {start_scale}, expected 1 or more: the coarsest takes noise and no picture")
    stages = run.usable_stages(start_scale, device)
    trained = stages[-1].plan.size
    height, width = still_size((still.shape[0], still.shape[1]), trained) if size is None else size
    if not 0 <= motion <= MAX_MOTION:
        raise ConfigError(f"motion is {motion:g}, expected 0 to {MAX_MOTION:g}")
    check_shape(frames, height, width, least_frames=2)
    if not motion and is_map(run.plans[start_scale], run.config):
        raise ConfigError(f"motion is 0, and from start scale {start_scale} on all frames of {run.path} share their "
                          "noise, so nothing would move: expected more than 0")
    return _moving(run, stages, still, frames, start_scale, (height, width), motion, keep_colours, seed)


def _moving(run: Run, stages: list[TrainedScale], still: Tensor, frames: int, start_scale: int, size: tuple[int, int],
            motion: float, keep_colours: bool, seed: int) -> Iterator[Tensor]:
    """Parts [1, 3, t, *size] in [-1, 1] on the device."""
    trained, device = stages[-1].plan.size, device_of(stages)
    scale = (size[0] / trained[0], size[1] / trained[1])
    drawn = noise_seed(seed, "animate", device=device)
    grid = scaled_size(run.plans[start_scale - 1].size, scale)
    entering = resize(tensor_from_frames(still.to(device)[None]), grid).clamp(-1, 1)

    def noise(plan: ScalePlan, at: tuple[int, int], first: int, count: int) -> ScaleNoise:
        return sample_noise(plan, run.config, drawn, count, at, first=run.plans[0], first_frame=first)

    def coarse() -> Iterator[Tensor]:
        return run_scales(stages[:start_scale], None, noise, frames, scale)

    # A mean over time is known when all frames were there: they are made once more rather than kept.
    still_part = time_mean(coarse(), frames) if motion else 0.0

    def finest() -> Iterator[Tensor]:
        moving = (entering + motion * (part - still_part) for part in coarse())
        return run_scales(stages[start_scale:], moving, noise, frames, scale)

    shift = None
    if keep_colours:
        shift = upsample(entering - time_mean((resize(part.clamp_(-1, 1), grid) for part in finest()), frames), size)
    for part in finest():
        yield (part if shift is None else part.add_(shift)).clamp_(-1, 1)


def time_mean(parts: Iterable[Tensor], frames: int) -> Tensor:
    """The mean frame [1, 3, 1, H, W] of parts [1, 3, t, H, W] with `frames` frames in all."""
    total: Tensor | float = 0.0
    for part in parts:
        total = total + part.sum(2, keepdim=True)
    return torch.as_tensor(total / frames)
