"""GIF files written by hand, with every oddity that a GIF may have."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
COLOURS = [RED, GREEN, BLUE, BLACK]


@dataclass
class GifFrame:
    indices: Sequence[Sequence[int]]
    left: int = 0
    top: int = 0
    delay: int | None = 10
    disposal: int = 0
    transparent: int | None = None
    palette: Sequence[tuple[int, int, int]] | None = None
    interlaced: bool = False


def gif_bytes(width: int, height: int, frames: Sequence[GifFrame], trailer: bytes = b";") -> bytes:
    """A GIF with `COLOURS` as the global palette and background index 2 (blue, which viewers ignore)."""
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 2, 0) + bytes(sum(COLOURS, ()))
    for frame in frames:
        if frame.delay is not None:
            flags = frame.disposal << 2 | (frame.transparent is not None)
            out += b"\x21\xf9\x04" + struct.pack("<BHBB", flags, frame.delay, frame.transparent or 0, 0)
        indices = np.array(frame.indices, np.uint8)
        h, w = indices.shape
        if frame.interlaced:
            order = [*range(0, h, 8), *range(4, h, 8), *range(2, h, 4), *range(1, h, 2)]
            indices = indices[order]
        local = b"" if frame.palette is None else bytes(sum(frame.palette, ()))
        flags = (0x81 if local else 0) | (0x40 if frame.interlaced else 0)
        out += b"," + struct.pack("<HHHHB", frame.left, frame.top, w, h, flags) + local + lzw(indices.ravel().tolist())
    return out + trailer


def lzw(indices: Sequence[int]) -> bytes:
    """Uncompressed LZW: 9-bit codes, the table cleared before it grows."""
    codes: list[int] = []
    for i, index in enumerate(indices):
        codes += [256, index] if i % 200 == 0 else [index]
    bits = sum(code << (9 * i) for i, code in enumerate([*codes, 257]))
    data = bits.to_bytes((9 * (len(codes) + 1) + 7) // 8, "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
