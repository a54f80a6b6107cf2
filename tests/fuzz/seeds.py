"""What fuzzing starts from: small valid files of every format, and inputs that once failed."""

from __future__ import annotations

from functools import cache

from ..corpus.blocks import with_chunk
from ..corpus.gif_cases import WHOLE, tiny_frames
from ..corpus.picture_cases import APNG, JPEG, PNG, WEBP, encoded, flat
from ..corpus.video_cases import video


@cache
def seeds() -> dict[str, bytes]:
    """By format."""
    alpha = [flat((200, 0, 0, 90 * i), "RGBA") for i in range(3)]
    return {"GIF": WHOLE, "APNG": APNG, "APNG with alpha": encoded("PNG", alpha, duration=50, blend=1), "WebP": WEBP,
            "WebP with loss": encoded("WEBP", alpha, duration=50), "PNG": PNG, "JPEG": JPEG,
            "progressive JPEG": encoded("JPEG", [flat((9, 99, 199), size=(32, 24))], progressive=True),
            "MP4": video("mp4"), "WebM": video("webm"), "AVI": video("avi")}


@cache
def clips_that_failed() -> dict[str, bytes]:
    """Bytes that were read as a clip that makes no sense, by what was wrong with it."""
    return {"no pixels, over which training divided": WHOLE[:6] + bytes(4) + WHOLE[10:],
            "frames of 0 rows": WHOLE[:8] + bytes(2) + WHOLE[10:],
            "18 hours": with_chunk(APNG, b"fcTL", 20, b"\xff\xff\0\1"),
            "eleven days": video("webm", starts_ms=(0, 10**9, 10**9 + 40)),
            "a million frames": tiny_frames(1_000_000, 1, 1)}
