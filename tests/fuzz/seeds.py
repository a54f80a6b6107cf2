"""What fuzzing starts from: small valid files of every format, and inputs that once failed."""

from __future__ import annotations

from functools import cache

from ..corpus.gif_cases import WHOLE
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


CLIPS_THAT_FAILED: dict[str, bytes] = {}
"""Bytes for the clip reader that ended otherwise than in a clip or a ClipError, by what they did."""
