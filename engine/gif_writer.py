"""GIF: every frame in it, cut to what changed, one palette for all. docs/gif-encoding.md measures the palette."""

import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
        found, pixels = np.unique(_packed(colours[skipped::stride]), return_counts=True)
        counts[found] += pixels.astype(np.uint32)
        skipped = (skipped - len(colours)) % stride
    distinct = np.flatnonzero(counts).astype(np.uint32)
    if len(distinct) > 256:
        distinct = np.repeat(distinct, np.rint(np.sqrt(counts[distinct], dtype=np.float64)).astype(np.int64))
        distinct = distinct[:: len(distinct) // _PALETTE_SAMPLE + 1]
    colours = _unpacked(distinct)
    if len(colours) <= 256:
        return colours
    quantized = Image.fromarray(colours[None]).quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=1)
    return np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)


def map_to_palette(frames: Iterable[Pixels], palette: Pixels) -> Iterator[Pixels]:
    """Index of the nearest colour for every pixel, [H, W] per frame. Each colour is looked for once.

    Exact: Pillow's own mapping to a given palette goes through a cache of 64^3 cells that shifts colours by 1.5 levels.
    """
    known, index_of = np.zeros(1 << 24, bool), np.zeros(1 << 24, np.uint8)
    for frame in frames:
        packed = _packed(frame)
        new = np.unique(packed[~known[packed]])
        known[new], index_of[new] = True, _nearest(_unpacked(new), palette)
        yield index_of[packed]


def _nearest(colours: Pixels, palette: Pixels) -> Pixels:
    """Index of the nearest of `palette` for every colour [n, 3]; squared distances are whole numbers below 2^24."""
    entries = torch.from_numpy(palette).float()
    norms = entries.square().sum(dim=1)
    chunks = torch.from_numpy(colours).split(1 << 14)  # 16 MiB of distances at a time
    nearest = [torch.addmm(norms, chunk.float(), entries.T, alpha=-2).argmin(dim=1) for chunk in chunks]
    indices: Pixels = torch.cat(nearest).to(torch.uint8).numpy()
    return indices


def _packed(colours: Pixels) -> npt.NDArray[np.uint32]:
    """Colours [..., 3] as numbers below 2^24."""
    return colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def _unpacked(packed: npt.NDArray[np.uint32]) -> Pixels:
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)


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
