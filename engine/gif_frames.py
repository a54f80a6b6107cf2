"""GIF as browsers show it: blocks parsed and frames composed here, LZW and interlacing left to Pillow.

Pillow composes in RGB, and fills with the background colour what browsers leave transparent: a first frame smaller than
its canvas, and "restore to background" in a GIF whose first frame has no transparent colour. Both occur in the wild.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from .pictures import copy_opaque

_DISPOSE_TO_NOTHING, _DISPOSE_TO_PREVIOUS = 2, 3


@dataclass(frozen=True, kw_only=True)
class GifFrame:
    """One image block: where it lies on the canvas, how it leaves it, and its bytes."""

    left: int
    top: int
    width: int
    height: int
    disposal: int
    ms: int | None
    """Duration; None without a graphic control block."""
    interlaced: bool
    colours: bytes
    control: bytes
    """The graphic control block, or nothing."""
    codes: memoryview
    """The LZW data of the file, as sub-blocks."""

    def still(self) -> bytes:
        """A GIF of its own, with the frame for a canvas."""
        size = struct.pack("<HH", self.width, self.height)
        table = bytes([0x80 | _table_bits(self.colours) if self.colours else 0, 0, 0]) + self.colours
        descriptor = b",\0\0\0\0" + size + bytes([0x40 * self.interlaced])
        return b"".join((b"GIF89a", size, table, self.control, descriptor, self.codes, b";"))


def parse_gif(data: bytes, most_frames: int) -> tuple[int, int, list[GifFrame], bool]:
    """(width, height, frames, whether nothing is missing behind them): no more than `most_frames`, after which nothing
    is looked at. Nothing is decoded; a frame cut short fails when drawn."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, table = _colour_table(data, 13, flags)
    frames: list[GifFrame] = []
    control, disposal, ms = b"", 0, None
    while (marker := data[at : at + 1]) == b"!" or (marker == b"," and at + 10 <= len(data)):
        if len(frames) == most_frames:
            return width, height, frames, True
        if marker == b"!":
            if data[at + 1 : at + 2] == b"\xf9" and at + 8 <= len(data):
                control, disposal = data[at : at + 8], data[at + 3] >> 2 & 7
                ms = 10 * int.from_bytes(data[at + 4 : at + 6], "little")
            at = _skip_blocks(data, at + 2)
            continue
        left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, at + 1)
        start, local = _colour_table(data, at + 10, flags)
        at = _skip_blocks(data, start + 1)
        if data[start : start + 1] == b"\0":  # Pillow decodes it to whatever was in memory
            raise ValueError("a frame has LZW codes of 0 bits")
        frames.append(GifFrame(left=left, top=top, width=columns, height=rows, disposal=disposal, ms=ms,
                               interlaced=bool(flags & 0x40), colours=local or table, control=control,
                               codes=memoryview(data)[start:at]))
        control, disposal, ms = b"", 0, None
    return width, height, frames, marker == b";"


def draw_gif(width: int, height: int, frames: list[GifFrame]) -> Iterator[npt.NDArray[np.uint8]]:
    """The canvas after each frame, RGBA [height, width, 4], decoded as the caller asks for the next, which draws over
    it."""
    canvas = np.zeros((height, width, 4), np.uint8)
    for frame in frames:
        with Image.open(io.BytesIO(frame.still()), formats=("GIF",)) as image:
            drawn = np.asarray(image.convert("RGBA"))
        place = canvas[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        before = place.copy() if frame.disposal == _DISPOSE_TO_PREVIOUS else None
        drawn = drawn[: place.shape[0], : place.shape[1]]  # what leaves the canvas is cut
        copy_opaque(place, drawn)
        yield canvas
        if frame.disposal == _DISPOSE_TO_NOTHING:
            place[:] = 0
        elif before is not None:
            place[:] = before


def _colour_table(data: bytes, at: int, flags: int) -> tuple[int, bytes]:
    """(where it ends, the table), empty if the flags say there is none."""
    end = at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    return end, data[at:end]


def _table_bits(table: bytes) -> int:
    return (len(table) // 3).bit_length() - 2  # a table of 2^(n + 1) colours is written as n


def _skip_blocks(data: bytes, at: int) -> int:
    """Behind a chain of sub-blocks, each led by its length, closed by an empty one; or the end of the data."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return min(at + 1, len(data))
