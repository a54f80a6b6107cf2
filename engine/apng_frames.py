"""APNG as its specification has it: chunks parsed and frames composed here, pixels left to Pillow.

Pillow pastes a frame that is blended over the ones before as if it replaced their opacity too: where half of it shows,
the clip becomes half transparent. https://www.w3.org/TR/png-3/ (section 13.5) has the rules that are followed.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from .pictures import copy_opaque

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DISPOSE_TO_NOTHING, _DISPOSE_TO_PREVIOUS = 1, 2
_BLEND_OVER = 1


@dataclass(frozen=True, kw_only=True)
class ApngFrame:
    """One frame: where it lies on the canvas, how it comes and goes, and its compressed rows."""

    width: int
    height: int
    left: int
    top: int
    ms: float
    """Duration; 0 where the file gives none."""
    disposal: int
    blend: int
    rows: list[memoryview] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Apng:
    """A PNG taken apart."""

    width: int
    height: int
    header: bytes
    """IHDR behind width and height: depth, colour type and methods, 5 bytes."""
    palette: list[tuple[bytes, memoryview]]
    """PLTE and tRNS, where they are."""
    frames: list[ApngFrame]
    """No more than were asked for; one, of no duration, where nothing moves."""
    complete: bool
    """Whether nothing is missing behind them."""

    def still(self, frame: ApngFrame) -> bytes:
        """A PNG of its own, with the frame for a canvas."""
        head = struct.pack(">II", frame.width, frame.height) + self.header
        chunks: list[tuple[bytes, bytes | memoryview]] = [
            (b"IHDR", head), *self.palette, *((b"IDAT", part) for part in frame.rows), (b"IEND", b"")]
        return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def parse_apng(data: bytes, most_frames: int) -> Apng:
    """Take a PNG apart, no further than to its frame number `most_frames`. Nothing is decoded.

    Raises:
        ValueError: a checksum is wrong, a chunk is cut short or out of order, or a frame leaves the canvas.
    """
    chunks = _chunks(data)
    name, head = next(chunks, (b"", memoryview(b"")))
    if name != b"IHDR" or len(head) != 13:
        raise ValueError("the file does not begin with IHDR")
    width, height = struct.unpack(">II", head[:8])
    whole = ApngFrame(width=width, height=height, left=0, top=0, ms=0, disposal=0, blend=0)
    frames: list[ApngFrame] = []
    palette, expected, sequence, name = [], 0, 0, b""
    for name, part in chunks:
        if name in (b"PLTE", b"tRNS"):
            palette.append((name, part))
        elif name == b"acTL" and not whole.rows:
            expected = struct.unpack(">I", part[:4])[0]
        elif name == b"IDAT":
            whole.rows.append(part)
        elif name in (b"fcTL", b"fdAT") and expected:
            if struct.unpack(">I", part[:4])[0] != sequence:
                raise ValueError(f"{name.decode()} {sequence} is out of order")
            sequence += 1
            if name == b"fdAT":
                if not frames or frames[-1].rows is whole.rows:
                    raise ValueError("fdAT comes before its fcTL")
                frames[-1].rows.append(part[4:])
                continue
            if len(frames) == min(expected, most_frames):
                break
            # The first frame is the image that viewers without animation show, unless that came before.
            rows = whole.rows if not frames and not whole.rows else []
            frames.append(_frame(part, width, height, rows))
    if expected and len(frames) < min(expected, most_frames):
        raise ValueError(f"{expected} frames are announced, {len(frames)} are there")
    return Apng(width=width, height=height, header=bytes(head[8:]), palette=palette, frames=frames or [whole],
                complete=name in (b"IEND", b"fcTL"))


def draw_apng(apng: Apng, to_rgba: Callable[[Image.Image], npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
    """The canvas after each frame, RGBA [height, width, 4], decoded as the caller asks for the next, which draws over
    it; `to_rgba` gives the pixels [h, w, 4] of whatever mode a frame has."""
    canvas = np.zeros((apng.height, apng.width, 4), np.uint8)
    for index, frame in enumerate(apng.frames):
        with Image.open(io.BytesIO(apng.still(frame)), formats=("PNG",)) as image:
            drawn = to_rgba(image)
        place = canvas[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        before = place.copy() if frame.disposal == _DISPOSE_TO_PREVIOUS and index else None
        if frame.blend == _BLEND_OVER:
            _blend_over(place, drawn)
        else:
            place[:] = drawn
        yield canvas
        if before is not None:
            place[:] = before
        elif frame.disposal in (_DISPOSE_TO_NOTHING, _DISPOSE_TO_PREVIOUS):  # before the first frame there was nothing
            place[:] = 0


def _blend_over(below: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8]) -> None:
    """Straight alpha over straight alpha, in place."""
    copy_opaque(below, above)
    partly = (above[..., 3] > 0) & (above[..., 3] < 255)
    if not partly.any():
        return
    top, bottom = above[partly].astype(np.float32), below[partly].astype(np.float32)  # [n, 4]
    weight = top[:, 3:] / 255
    rest = bottom[:, 3:] / 255 * (1 - weight)
    alpha = weight + rest
    colour = (top[:, :3] * weight + bottom[:, :3] * rest) / alpha
    below[partly] = np.rint(np.concatenate((colour, 255 * alpha), 1)).astype(np.uint8)


def _frame(control: memoryview, width: int, height: int, rows: list[memoryview]) -> ApngFrame:
    columns, lines, left, top, ticks, rate, disposal, blend = struct.unpack(">IIIIHHBB", control[4:26])
    if not (columns and lines) or left + columns > width or top + lines > height:
        raise ValueError(f"a frame of {columns}x{lines} at {left}, {top} leaves the canvas of {width}x{height}")
    return ApngFrame(width=columns, height=lines, left=left, top=top, ms=1000 * ticks / (rate or 100),
                     disposal=disposal, blend=blend, rows=rows)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Names and data up to IEND or the end of the file; a last chunk that is cut short is an error."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 <= len(data):
        size, name = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        end = at + 8 + size
        if end + 4 > len(data):
            raise ValueError(f"{name!r} is cut short")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"{name!r} has a wrong checksum")
        yield name, view[at + 8 : end]
        if name == b"IEND":
            return
        at = end + 4


def _chunk(name: bytes, data: bytes | memoryview) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
