"""Loops: clips whose last frame flows into the first. The circular time itself is in `sampling.run_scales`; here is how
long a loop is, and how the trained clip, which has two ends, becomes one (issue 6; not in the paper).
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_FRAMES = 2


def loop_length(num_frames: int, start_scale: int = 0) -> int:
    """How many frames a loop has unless asked otherwise: as many as the trained clip; where the clip itself enters, a
    quarter fewer, which are faded into its beginning."""
    return num_frames - max(1, num_frames // 4) if start_scale else num_frames


def check_loop(frames: int, num_frames: int, start_scale: int = 0) -> None:
    """Raises ValueError for a number of frames that a loop cannot have; `num_frames` are the trained clip's."""
    if frames < MIN_FRAMES:
        raise ValueError(f"a loop of {frames} frames does not move: expected at least {MIN_FRAMES}")
    if not start_scale:
        return
    shortest, longest = max(MIN_FRAMES, (num_frames + 1) // 2), num_frames - 1
    if shortest > longest:
        raise ValueError(f"the clip has {num_frames} frames, too few to fade its end into its beginning: make loops "
                         "from start scale 0")
    if not shortest <= frames <= longest:
        raise ValueError(f"frames is {frames} for a loop with start_scale {start_scale}: the clip enters there, whose "
                         f"end is faded into its beginning, so expected {shortest} to {longest} of its {num_frames} "
                         "frames")


def cross_fade(clip: Tensor, frames: int) -> Tensor:
    """The clip [N, C, T, H, W] as a loop of `frames` frames, T/2 to T - 1: what is beyond them is faded into the first
    ones, so that frame `frames` - 1 is followed by what followed it in the clip.

        y_i = (1 - w_i) x_(frames + i) + w_i x_i,  w_i = (i + 1) / (T - frames + 1),  for i < T - frames;  y_i = x_i
    """
    faded = clip.shape[2] - frames
    weight = torch.arange(1, faded + 1, device=clip.device, dtype=clip.dtype).view(-1, 1, 1) / (faded + 1)
    return torch.cat((torch.lerp(clip[:, :, frames:], clip[:, :, :faded], weight), clip[:, :, faded:frames]), 2)
