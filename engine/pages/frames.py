"""Clips as a page gets them, for its own clock and canvas; `frames.js` is the other end.

The page draws the frames on a canvas by its own clock, which needs nothing that Chromium, Firefox and Safari have not
had since 2021. A GIF in an `<img>` would not do: no browser lets a page say when it starts, or stop it.
Videos lose detail, and some browsers lack the codecs; some lack `ImageDecoder`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence


def packed(pictures: Sequence[bytes], frame_ms: Sequence[int]) -> bytes:
    """Encoded frames in one: their number, for each its duration in ms and its length in bytes as little-endian uint32,
    then the pictures."""
    head = [number for ms, picture in zip(frame_ms, pictures, strict=True) for number in (ms, len(picture))]
    return struct.pack(f"<{1 + len(head)}I", len(pictures), *head) + b"".join(pictures)
