"""PNG chunks, RIFF chunks and MP4 boxes: taken apart, put together, found by name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A PNG chunk, with the right checksum unless another is given."""
    checked = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checked)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and data of a PNG's chunks."""
    at = len(PNG_HEAD)
    while at < len(png):
        size = int.from_bytes(png[at:at + 4], "big")
        yield png[at + 4:at + 8], png[at + 8:at + 8 + size]
        at += 12 + size


def with_chunk(png: bytes, name: bytes, start: int, new: bytes, number: int = 0) -> bytes:
    """The PNG with bytes of its chunk `number` of that name replaced from `start` on, checksums right."""
    out, seen = [PNG_HEAD], 0
    for kind, data in chunks(png):
        if kind == name and seen == number:
            data = data[:start] + new + data[start + len(new):]
        seen += kind == name
        out.append(chunk(kind, data))
    return b"".join(out)


def plain_png(width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"",
              before: bytes = b"") -> bytes:
    """A PNG with these words in its header; `rows` are the filtered rows, `before` chunks before them."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG_HEAD + chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def riff(*parts: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """A WebP file of chunks, with the right size unless another is given."""
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
                              for name, data in parts)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def riff_parts(webp: bytes) -> list[tuple[bytes, bytes]]:
    """Names and data of a WebP file's chunks."""
    parts, at = [], 12
    while at < len(webp):
        size = int.from_bytes(webp[at + 4:at + 8], "little")
        parts.append((webp[at:at + 4], webp[at + 8:at + 8 + size]))
        at += 8 + size + size % 2
    return parts


def put(data: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    """Bytes replaced at `offset` from the first `marker`."""
    at = data.index(marker) + offset
    return data[:at] + new + data[at + len(new):]


def cut(data: bytes, marker: bytes, offset: int) -> bytes:
    """What stands before `offset` from the first `marker`."""
    return data[:data.index(marker) + offset]
