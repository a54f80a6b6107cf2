"""GIF: every frame in it, cut to what changed, one palette for all. docs/gif-encoding.md measures the palette."""

import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from PIL import GifImagePlugin, Image

from .animation_writers import changed_box
from .clip import ClipError, Pixels

_COUNTED_PIXELS = 1 << 24
"""Pixels whose colours are counted, or up to twice that: all of a clip of 256x256 and 256 frames."""
_PALETTE_SAMPLE = 1 << 19
"""Colours that choose the palette; more cost time and move it little."""


def write_gif(frames: Iterator[tuple[Pixels, int]], size: tuple[int, int], file: Path) -> None:
    """256 colours, no dither; durations rounded to 10 ms without drift, at least 20 ms; loops for ever.

    The palette needs all frames before the first can be written: until then they lie, 3 bytes a pixel, in an unnamed
    file in the same folder.
    """
    height, width = size
    if max(size) > 0xFFFF:
        raise ClipError(f"GIF frames are at most 65535 pixels wide and high, got {width}x{height}: write MP4")
    with tempfile.TemporaryFile(dir=file.parent) as spool, file.open("xb") as out:
        durations = []
        for frame, ms in frames:
            spool.write(np.ascontiguousarray(frame).data)
            durations.append(ms)

        def spooled() -> Iterator[Pixels]:
            spool.seek(0)
            for _ in durations:
                yield np.frombuffer(spool.read(3 * height * width), np.uint8).reshape(height, width, 3)

        palette = choose_palette(spooled(), len(durations) * height * width)
        out.write(b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\0\0")  # a global table of 256 colours follows
        out.write(palette.tobytes().ljust(768, b"\0"))
        out.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")  # loop for ever
        before = None
        for indices, delay in zip(map_to_palette(spooled(), palette), gif_delays(durations), strict=True):
            out.write(_gif_frame(indices, before, delay, len(palette)))
            before = indices
        out.write(b";")


def _gif_frame(indices: Pixels, before: Pixels | None, delay: int, unused: int) -> bytes:
    """The part of the frame that changed; where it is smaller so, with index `unused` < 256 for the unchanged in it."""
    if before is None:
        return _gif_image(indices, (0, 0), delay)
    changed = indices != before
    top, left, bottom, right = changed_box(changed)
    box, changed = indices[top:bottom, left:right], changed[top:bottom, left:right]
    plain = _gif_image(box, (left, top), delay)
    if unused > 255:
        return plain
    seen_through = np.where(changed, box, unused).astype(np.uint8)
    return min(plain, _gif_image(seen_through, (left, top), delay, transparency=unused), key=len)


def _gif_image(indices: Pixels, offset: tuple[int, int], delay: int, **options: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(indices))
    blocks = GifImagePlugin.getdata(image, offset, duration=10 * delay, disposal=1, interlace=0, **options)
    return b"".join(blocks)


def choose_palette(frames: Iterable[Pixels], num_pixels: int) -> Pixels:
    """One palette [n <= 256, 3] for frames of `num_pixels` in all: their own colours where they are few, else 255 by
    mediancut and k-means.

    A colour counts by the root of its pixels: by all of them a wide sky takes the colours of what moves before it.
    """
    stride = num_pixels // _COUNTED_PIXELS | 1  # odd, so that it does not follow the columns
    counts, skipped = np.zeros(1 << 24, np.uint32), 0
    for frame in frames:
        colours = frame.reshape(-1, 3)
        packed = colours[skipped::stride].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        found, pixels = np.unique(packed, return_counts=True)
        counts[found] += pixels.astype(np.uint32)
        skipped = (skipped - len(colours)) % stride
    distinct = np.flatnonzero(counts).astype(np.uint32)
    if len(distinct) > 256:
        distinct = np.repeat(distinct, np.rint(np.sqrt(counts[distinct], dtype=np.float64)).astype(np.int64))
        distinct = distinct[:: len(distinct) // _PALETTE_SAMPLE + 1]
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1).astype(np.uint8)
    if len(colours) <= 256:
        return colours
    quantized = Image.fromarray(colours[None]).quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=1)
    return np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)


def map_to_palette(frames: Iterable[Pixels], palette: Pixels) -> Iterator[Pixels]:
    """Index of the nearest colour for every pixel, [H, W] per frame.

    Exact: Pillow's own mapping to a given palette goes through a cache of 64^3 cells that shifts colours by 1.5 levels.
    """
    colours = torch.from_numpy(palette).float()
    norms = colours.square().sum(dim=1)
    for frame in frames:
        chunks = torch.tensor(frame).reshape(-1, 3).split(1 << 16)  # 64 MiB of distances at a time
        nearest = [torch.addmm(norms, chunk.float(), colours.T, alpha=-2).argmin(dim=1) for chunk in chunks]
        yield torch.cat(nearest).to(torch.uint8).reshape(frame.shape[:2]).numpy()


def gif_delays(frame_ms: Sequence[int]) -> list[int]:
    """Hundredths of a second per frame, at least 2 (viewers slow down below that), rounded without drift.

    The frames' ends are rounded, not the durations: 16, 17, 17 ms become 2, 2, 2 and 125 ms repeated 12, 13, 12, 13.
    """
    delays, shown = [], 0
    for end in accumulate(frame_ms):
        delay = min(max(2, (end + 5) // 10 - shown), 0xFFFF)
        delays.append(delay)
        shown += delay
    return delays
