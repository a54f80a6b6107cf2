"""What reading refuses. Nothing here imports torch, so that a command line can be parsed and refused at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """What reading refuses before it is decoded: a file of kilobytes may ask for terabytes. With these, whatever is
    read takes less than 2 GiB."""

    frame_pixels: int = 1 << 24
    """Of one frame: 4096 x 4096."""
    frames: int = 10_000
    """Of the window that is read."""
    clip_bytes: int = 1 << 30
    """Of all frames that are kept, 3 bytes a pixel, after window and crop: 172 frames of 1080p. Also of a GIF, PNG,
    WebP or JPEG file, which is read whole."""
