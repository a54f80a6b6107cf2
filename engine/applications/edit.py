"""Seamless composition (section 5.4): an edited clip enters at a coarse scale and comes out without its seams.

    x = D clip
    as often as there are passes:  x = G_N(... G_n(x)),  and before the next one  x = D x

D resizes to the size of scale n - 1, G_n to G_N are the scales from n on, with noise as in samples. With a mask every
scale's result is w x + (1 - w) R clip: R resizes the edited clip to that scale, w is 1 where the mask selects, 0
elsewhere, with a soft border. What the mask does not select is the edited clip's own, and the scales see it beside what
they change. Then n may be 0 too: what the mask selects is made from noise, and the passes after the first begin at 1.

A pass is a stream that feeds the next: of the clip, only what was given is in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...kernels import resize
from ..clip import Clip, frames_from_tensor, tensor_from_frames
from ..masks import check_mask, mask_weights
from ..noise import noise_seed, sample_noise
from ..pyramid import ScalePlan, fit_size
from ..sampling import (
    NOISE_FRAMES,
    FrameStream,
    ScaleNoise,
    TrainedScale,
    check_shape,
    device_of,
    run_scale,
    scaled_size,
)
from ..storage import RunError

if TYPE_CHECKING:
    from ..runs import Run

START_SCALE = 3  # the paper's, with three scales left out
PASSES = 1  # the paper has more; runs trained for minutes overdraw with each (docs/applications.md)
BORDER = 1 / 16  # of the shorter side


def edit_frames(run: Run, clip: Clip, *, mask: Tensor | None = None, start_scale: int | None = None,
                passes: int = PASSES, border_px: int | None = None, size: tuple[int, int] | None = None,
                seed: int = 0, device: str | None = None) -> Iterator[Tensor]:
    """An edited clip of what `run` was trained on, with the edit's seams gone (section 5.4), as it is made.

    Args:
        clip: frames that were moved, pasted or painted over; any number of them.
        mask: bool [T, H, W] at the clip's size or proportions, one frame or as many as the clip: what may change.
            The whole frame by default.
        start_scale: the first scale that runs, 1 or higher, with a mask 0 too; the lower, the more changes. 3 by
            default, or the finest one that is done.
        passes: how often the scales run; each pass takes what the one before it gave.
        border_px: width of the soft border around what the mask selects, in pixels of the result; by default a
            sixteenth of its shorter side.
        size: (height, width) of the result. By default the trained one where the clip has its proportions, else the
            clip's proportions with the shorter side as trained.
        seed: what the noise derives from.
        device: where to compute; the run's own choice by default.

    Yields:
        As many frames as the clip has, uint8 [t, H, W, 3] on the host, t from 1 to 64.

    Raises:
        RunError: no scale is done yet, or start_scale is not among them.
        ValueError: for a mask, a size, a border or a number of passes that cannot be, or a run trained with slow
            motion. All of them at once, not at the first frame.
    """
    run.refuse_slow_motion("an edited clip")
    if passes < 1:
        raise ValueError(f"passes is {passes}, expected at least one")
    start = min(START_SCALE, max(1, run.scales_done - 1)) if start_scale is None else start_scale
    if run.scales_done == 1:
        raise RunError(f"{run.path} has only scale 0, which takes no clip: run 'sgif train' again to go on")
    stages = run.usable_stages(start, device)
    if start == 0 and mask is None:
        raise RunError("a clip cannot enter at scale 0, which is made from noise: expected start scale 1 or higher, "
                       "or a mask of what is to be made anew")
    trained = stages[-1].plan.size
    size = size or fitted_size(clip, trained, run.sizes[-1])
    check_shape(len(clip.frames), *size)
    border_px = round(BORDER * min(size)) if border_px is None else border_px
    if not 0 <= border_px <= max(size):
        raise ValueError(f"the border is {border_px} pixels wide, expected 0 to {max(size)}, the frame's longer side")
    if mask is not None:
        check_mask(mask, len(clip.frames), (clip.frames.shape[1], clip.frames.shape[2]))
    edit = _Edit(run=run, stages=stages[start:], frames=clip.frames, mask=mask, size=size, border_px=border_px)
    return (frames_from_tensor(part.clamp(-1, 1)).cpu() for part in edit.parts(passes, seed))


def fitted_size(clip: Clip, trained: tuple[int, int], finest: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what is made from `clip`: `trained`, the finest scale that is done, where training would have
    brought the clip to the size `finest`, else the clip's proportions with the shorter side of `trained`."""
    height, width = clip.frames.shape[1:3]
    if fit_size(height, width, max(finest)) == finest:
        return trained
    ratio = min(trained) / min(height, width)
    return round(height * ratio), round(width * ratio)


@dataclass(frozen=True, kw_only=True)
class _Edit:
    """One call of `edit_frames`, checked."""

    run: Run
    stages: list[TrainedScale]  # those that run
    frames: Tensor              # uint8 [T, H, W, 3] on the host
    mask: Tensor | None
    size: tuple[int, int]
    border_px: int

    @cached_property
    def device(self) -> torch.device:
        return device_of(self.stages)

    def parts(self, passes: int, seed: int) -> Iterator[Tensor]:
        """The result in parts [1, 3, t, *size] on the device, beyond [-1, 1] where a residual overshoots."""
        from_noise = self.stages[0].plan.index == 0
        again = self.stages[from_noise:]
        entry = self.size_of(self.run.plans[again[0].plan.index - 1])
        clip = self.one_pass(self.stages, None if from_noise else self.at(entry), seed, 0)
        for index in range(1, passes):
            clip = self.one_pass(again, resized(clip, entry), seed, index)
        return clip

    def one_pass(self, stages: Sequence[TrainedScale], clip: Iterator[Tensor] | None, seed: int,
                 index: int) -> Iterator[Tensor]:
        """`clip` [1, 3, t, h, w], None where the first of `stages` is scale 0, through the stages, pass `index`."""
        # Noise as in samples from scale 0, wherever the clip enters: more would be seen, and variety is not asked for.
        config, drawn = self.run.config, noise_seed(seed, "edit", index, device=self.device)

        def noise(plan: ScalePlan, at: tuple[int, int], first: int, frames: int) -> ScaleNoise:
            return sample_noise(plan, config, drawn, frames, at, first=self.run.plans[0], first_frame=first)
        for stage in stages:
            size = self.size_of(stage.plan)
            clip = run_scale(stage, clip, noise, len(self.frames), size)
            if self.mask is not None:
                clip = self.with_own_pixels(clip, self.mask, size)
        assert clip is not None
        return clip

    def with_own_pixels(self, clip: Iterator[Tensor], mask: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
        """`clip` of `size` where the mask selects, the edited clip elsewhere."""
        border = round(self.border_px * min(size) / min(self.size))

        def weights(first: int, last: int) -> Tensor:
            return mask_weights(mask[first:last].to(self.device), size, border).movedim(0, 1)[None]
        of_all = weights(0, 1) if len(mask) == 1 else None
        own, first = FrameStream(self.at(size)), 0
        for part in clip:
            for some in part.split(NOISE_FRAMES, 2):
                last = first + some.shape[2]
                weight = weights(first, last) if of_all is None else of_all
                yield torch.lerp(own.clip(first, last), some, weight)  # exact where the weight is 0 or 1
                own.forget(last)
                first = last

    def at(self, size: tuple[int, int]) -> Iterator[Tensor]:
        """The edited clip at `size`, a few frames at a time."""
        firsts = range(0, len(self.frames), NOISE_FRAMES)
        parts = (self.frames[first:first + NOISE_FRAMES].to(self.device) for first in firsts)
        return resized(map(tensor_from_frames, parts), size)

    def size_of(self, plan: ScalePlan) -> tuple[int, int]:
        """(height, width) of a scale of the result."""
        trained = self.run.plans[self.stages[-1].plan.index].size
        return scaled_size(plan.size, (self.size[0] / trained[0], self.size[1] / trained[1]))


def resized(clip: Iterable[Tensor], size: tuple[int, int]) -> Iterator[Tensor]:
    """Parts [1, 3, t, h, w] at `size` and within [-1, 1], as the clip of a scale is, a few frames at a time."""
    for part in clip:
        for some in part.split(NOISE_FRAMES, 2):
            yield resize(some.clamp(-1, 1), size).clamp_(-1, 1)
