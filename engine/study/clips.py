"""The clips of a study, all put through the same steps, so that nothing but what they show tells real from generated.

Frames behind the view's end are dropped, sizes made alike, each clip's colours brought to one palette of at most 256
without dither, as `write_clip` does for a GIF, and every frame stored as a PNG with that palette.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from PIL import Image
from torch import Tensor

from ...kernels import resize
from ..clip import ClipError, Pixels, frames_from_tensor, read_clip, tensor_from_frames
from ..gif_writer import choose_palette, map_to_palette
from ..limits import ReadLimits
from ..pages.frames import packed

Size = tuple[int, int]  # height, width


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A clip as the page gets it."""

    source: str
    """The path as given."""
    frame_ms: tuple[int, ...]
    """Durations of the frames that a view can show."""
    data: bytes
    """The frames as PNGs with their durations, `packed`."""
    digest: bytes
    """sha256 of the pixels and durations that are shown."""
    notes: tuple[str, ...]
    """What reading changed."""


def common_size(real: Sequence[Size], generated: Sequence[Size]) -> Size | None:
    """The (height, width) that clips of such sizes are brought to, the smallest of all; None to leave them as they are,
    where each size occurs among the real ones and among the generated ones and so says nothing."""
    if set(real) == set(generated):
        return None
    return min((*real, *generated), key=lambda size: size[0] * size[1])


def clip_size(path: str, limits: ReadLimits | None = None) -> Size:
    """(height, width) of a clip's frames. Raises ClipError where it is none."""
    height, width = read_clip(path, frames=2, limits=limits).frames.shape[1:3]
    return height, width


def read_shot(path: str, view_ms: float, size: Size | None, limits: ReadLimits | None = None) -> Shot:
    """Read a clip, keep what a view of `view_ms` shows, make it `size` (its own where None) and encode it.

    Raises:
        ClipError: it is no clip of at least two frames, or its first frame fills the view.
    """
    clip = read_clip(path, limits=limits)
    starts = [0, *accumulate(clip.frame_ms[:-1])]
    count = sum(start < view_ms for start in starts)
    if count < 2:
        raise ClipError(f"{path} shows its first frame for {clip.frame_ms[0]} ms, all of a view of {view_ms:g} ms: "
                        "give a clip that moves sooner, or more seconds")
    frames, frame_ms = clip.frames[:count], clip.frame_ms[:count]
    if size is not None:
        frames = fitted(frames, size)
    digest = hashlib.sha256(repr((tuple(frames.shape), frame_ms)).encode() + frames.numpy().tobytes()).digest()
    return Shot(source=path, frame_ms=frame_ms, data=packed(list(_pngs(frames)), frame_ms), digest=digest,
                notes=clip.notes)


def fitted(frames: Tensor, size: Size) -> Tensor:
    """Frames uint8 [T, H, W, 3] cut around their centre to the proportions of `size`, then resized to it."""
    height, width = frames.shape[1:3]
    if (height, width) == size:
        return frames
    rows = min(height, max(1, round(width * size[0] / size[1])))
    columns = min(width, max(1, round(height * size[1] / size[0])))
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = frames[:, top:top + rows, left:left + columns]
    # One frame at a time: in float a long film would not fit.
    return torch.cat([frames_from_tensor(resize(tensor_from_frames(frame[None]), size)) for frame in cut])


def _pngs(frames: Tensor) -> Iterator[bytes]:
    pixels: Pixels = frames.numpy()
    palette = choose_palette(iter(pixels), pixels[..., 0].size)
    for indices in map_to_palette(iter(pixels), palette):
        image, out = Image.fromarray(indices), io.BytesIO()
        # All 256 entries, bits=8: a clip of few colours must not show in the headers.
        image.putpalette(palette.tobytes().ljust(768, b"\0"))
        image.save(out, "PNG", bits=8, compress_level=9)
        yield out.getvalue()
