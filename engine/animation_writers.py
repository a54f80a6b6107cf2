"""APNG and WebP, lossless: Pillow encodes single frames, cut to what changed, and they are put into the container here.

The libraries' own animation writers merge a frame that repeats the one before it, and keep all frames in memory.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from .clip import ClipError, Pixels


def changed_box(changed: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) around the pixels that changed; one pixel if none did: a frame cannot be empty."""
    if not changed.any():
        return 0, 0, 1, 1
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _changes(frames: Iterator[tuple[Pixels, int]]) -> Iterator[tuple[Pixels, tuple[int, int, int, int], int]]:
    """Each frame with the box that changed, the whole one at first, and its duration."""
    before = None
    for frame, ms in frames:
        height, width, _ = frame.shape
        yield frame, (0, 0, height, width) if before is None else changed_box((frame != before).any(axis=2)), ms
        before = frame


# ---- APNG ------------------------------------------------------------------------------------------------------------


def write_apng(frames: Iterator[tuple[Pixels, int]], size: tuple[int, int], file: Path) -> None:
    """Loops for ever. The number of frames stands before them: it is filled in at the end."""
    height, width = size
    with file.open("xb") as out:
        out.write(b"\x89PNG\r\n\x1a\n")
        _png_chunk(out, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))  # RGB, 8 bits, not interlaced
        count_at, count, number = out.tell(), 0, 0
        _png_chunk(out, b"acTL", bytes(8))
        for frame, (top, left, bottom, right), ms in _changes(frames):
            box = (right - left, bottom - top, left, top)
            delay = (ms, 1000) if ms <= 0xFFFF else (min(ms // 1000, 0xFFFF), 1)
            _png_chunk(out, b"fcTL", struct.pack(">IIIIIHHBB", number, *box, *delay, 0, 0))  # paint over and leave
            number += 1
            data = _png_data(frame[top:bottom, left:right])
            if count == 0:
                _png_chunk(out, b"IDAT", data)
            else:
                _png_chunk(out, b"fdAT", struct.pack(">I", number) + data)
                number += 1
            count += 1
        _png_chunk(out, b"IEND", b"")
        out.seek(count_at)
        _png_chunk(out, b"acTL", struct.pack(">II", count, 0))


def _png_data(pixels: Pixels) -> bytes:
    """The compressed pixels of a PNG, without their headers."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    encoded.seek(8)
    data = []
    while head := encoded.read(8):
        body, _checksum = encoded.read(int.from_bytes(head[:4])), encoded.read(4)
        if head[4:] == b"IDAT":
            data.append(body)
    return b"".join(data)


def _png_chunk(out: BinaryIO, name: bytes, body: bytes) -> None:
    out.write(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))


# ---- WebP ------------------------------------------------------------------------------------------------------------


def write_webp(frames: Iterator[tuple[Pixels, int]], size: tuple[int, int], file: Path) -> None:
    """Loops for ever. The length of the file stands at its start: it is filled in at the end."""
    height, width = size
    if max(size) > 1 << 14:
        raise ClipError(f"WebP frames are at most 16384 pixels wide and high, got {width}x{height}: write MP4")
    with file.open("xb") as out:
        out.write(b"RIFF\0\0\0\0WEBP")
        _riff_chunk(out, b"VP8X", bytes([0b10, 0, 0, 0]) + _uint24(width - 1) + _uint24(height - 1))  # 0b10: animated
        _riff_chunk(out, b"ANIM", bytes([255, 255, 255, 255, 0, 0]))  # white behind it, loop for ever
        for frame, (top, left, bottom, right), ms in _changes(frames):
            top, left = top & ~1, left & ~1  # offsets are stored in units of two pixels
            image = io.BytesIO()
            Image.fromarray(frame[top:bottom, left:right]).save(image, "WEBP", lossless=True, quality=50)
            box = b"".join(map(_uint24, (left // 2, top // 2, right - left - 1, bottom - top - 1, min(ms, 0xFFFFFF))))
            _riff_chunk(out, b"ANMF", box + b"\x02" + image.getvalue()[12:])  # 2: paint over, leave in place
            if out.tell() > 0xFFFFFFFF:
                raise ClipError("a WebP file holds at most 4 GiB: write MP4")
        length = out.tell() - 8
        out.seek(4)
        out.write(struct.pack("<I", length))


def _riff_chunk(out: BinaryIO, name: bytes, body: bytes) -> None:
    out.write(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2))


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
