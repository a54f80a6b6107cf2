"""Inpainting over time: a hole in a clip is filled with what a run has learned, the rest stays.

The hole is first filled smoothly from the pixels around it, frame by frame, so that what was in it shows nowhere. Then
the clip is edited (section 5.4), with the hole as the mask and from noise on: only scale 0 sees enough of what is
around a hole to put a shape in that belongs there, and only its noise is strong enough for one that is not smooth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ..clip import Clip, frames_from_tensor, tensor_from_frames
from ..masks import check_mask, mask_at
from .edit import PASSES, edit_frames

if TYPE_CHECKING:
    from ..runs import Run

START_SCALE = 0


def inpaint_frames(run: Run, clip: Clip, mask: Tensor, *, start_scale: int = START_SCALE, passes: int = PASSES,
                   border_px: int | None = None, size: tuple[int, int] | None = None, seed: int = 0,
                   device: str | None = None) -> Iterator[Tensor]:
    """`clip` with what `mask` selects filled in by `run`, as it is made.

    Args:
        mask: bool [T, H, W] at the clip's size or proportions, True where the hole is; one frame stands for all.
        start_scale: the first scale that runs. At 0 the hole is made from noise, for every seed another way; higher, it
            starts from the smooth fill.
        clip, passes, border_px, size, seed, device: as for `edit_frames`.

    Yields:
        As `edit_frames` does.

    Raises:
        RunError, ClipError: as `edit_frames` does.
        ValueError: as `edit_frames` does, and for a frame that is all hole.
    """
    check_mask(mask, len(clip.frames), (clip.frames.shape[1], clip.frames.shape[2]))
    full = mask.flatten(1).all(1).nonzero()
    if len(full):
        raise ValueError(f"frame {int(full[0])} of the mask is white throughout, and nothing is left to fill the hole "
                         "from: paint black what is to stay")
    filled = replace(clip, frames=fill_smoothly(clip.frames, mask))
    return edit_frames(run, filled, mask=mask, start_scale=start_scale, passes=passes, border_px=border_px, size=size,
                       seed=seed, device=device)


def fill_smoothly(frames: Tensor, mask: Tensor) -> Tensor:
    """Frames uint8 [T, H, W, 3] with what `mask` [T or 1, H', W'] selects replaced by colours from around it: near the
    rim those next to it, farther in averages of more and more of them. No frame may be all hole."""
    height, width = frames.shape[1:3]
    filled = frames.clone()
    for index in range(len(frames)):
        hole = mask_at(mask[index % len(mask)][None], (height, width))[0, 0] > 0
        if hole.any():
            picture = tensor_from_frames(frames[index:index + 1])[:, :, 0]
            smooth = frames_from_tensor(_spread(picture, (~hole).float()[None, None])[:, :, None])[0]
            filled[index][hole] = smooth[hole]
    return filled


def _spread(picture: Tensor, known: Tensor) -> Tensor:
    """Push and pull (Gortler et al. 1996): `picture` [1, 3, H, W] where `known` [1, 1, H, W] is 1; elsewhere the
    picture of half the size, made the same way from averages of what is known."""
    if known.min() == 1:
        return picture
    share = avg_pool2d(known, 2, ceil_mode=True)
    half = avg_pool2d(picture * known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    half = _spread(half, (share > 0).float())
    around = interpolate(half, size=picture.shape[2:], mode="bilinear", align_corners=False)
    return picture * known + around * (1 - known)
