"""Masks: which pixels of a clip an application may change. White is selected, black stays.

A mask is a bool tensor [T, H, W], True where it selects; one frame stands for all.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, avg_pool2d, max_pool2d, pad

from .clip import read_clip
from .decoded import ClipError, Decoded
from .limits import ReadLimits
from .pictures import open_picture
from .stills import read_still

_STILLS = ("PNG", "JPEG", "WEBP")


def read_mask(path: str | os.PathLike[str], *, limits: ReadLimits | None = None) -> Tensor:
    """Read a mask, bool [T, H, W], from a picture (T is 1) or from whatever `read_clip` reads.

    Selected is what is lighter than mid-grey once transparency lies over black: white paint on a transparent layer
    selects what was painted.

    Raises:
        ClipError: the file is neither, or beyond `limits`.
    """
    still = _is_still(Path(path), limits or ReadLimits())
    frames = read_still(path, background="black", limits=limits)[None] if still else \
        read_clip(path, background="black", limits=limits).frames
    return torch.stack([frame.float().mean(-1) >= 128 for frame in frames])


def _is_still(path: Path, limits: ReadLimits) -> bool:
    try:
        if not path.is_file():
            return False  # a pipe would be waited for
        with open_picture(path, _STILLS, Decoded(str(path), 0, None, None, "black", limits)) as image:
            return getattr(image, "n_frames", 1) == 1 or image.format == "MPO"
    except ClipError:  # it is beyond the limits
        raise
    except Exception:  # a folder, a video, or what is broken: `read_clip` tells
        return False


def check_mask(mask: Tensor, frames: int, size: tuple[int, int]) -> None:
    """Refuse a mask that cannot belong to a clip of `frames` frames of `size` = (height, width), or that selects
    nothing or everything.

    A mask of another size is taken if its sides have the clip's proportions, to the pixel.

    Raises:
        ValueError: what came, what was expected.
    """
    if mask.dtype != torch.bool or mask.dim() != 3 or not mask.numel():
        raise ValueError(f"the mask is {mask.dtype} {list(mask.shape)}, expected bool [T, H, W]")
    if len(mask) not in (1, frames):
        raise ValueError(f"the mask has {len(mask)} frames, expected the clip's {frames}, or one that stands for all")
    height, width = mask.shape[1:]
    small, large = sorted(((height, width), size), key=lambda side: side[0] * side[1])
    across, along = (0, 1) if large[0] <= large[1] else (1, 0)  # as rounding would have it, to the smaller one's pixel
    if abs(large[along] * small[across] / large[across] - small[along]) >= 1:
        raise ValueError(f"the mask is {height}x{width} (height x width), the clip {size[0]}x{size[1]}: expected the "
                         "clip's size or its proportions")
    if not mask.any():
        raise ValueError("the mask is black throughout and selects nothing: paint white what is to change")
    if mask.all():
        raise ValueError("the mask is white throughout and selects everything: paint black what is to stay")


def mask_at(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask [T, H, W] at another size as float32 [T, 1, *size]: 1 where it selects any part of a pixel, else 0."""
    return adaptive_max_pool2d(mask[:, None].float(), size)


def mask_weights(mask: Tensor, size: tuple[int, int], border_px: int) -> Tensor:
    """How much of a new picture shows, float32 [T, 1, *size]: 1 where the mask selects, 0 farther than `border_px` from
    it, falling in a straight line between."""
    selected = mask_at(mask, size)
    if border_px == 0:
        return selected
    # Widened by as much as the blur, or more, what was selected keeps a weight of exactly 1.
    blur = border_px // 2
    grow = border_px - blur
    grown = max_pool2d(selected, 2 * grow + 1, stride=1, padding=grow)
    return avg_pool2d(pad(grown, (blur,) * 4, mode="replicate"), 2 * blur + 1, stride=1)
