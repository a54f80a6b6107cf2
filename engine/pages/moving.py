"""A clip in a page as one image that moves by itself, which browsers decode as it is seen."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor

QUALITY = 85


def moving_image(frames: Tensor, frame_ms: Sequence[int]) -> dict[str, Any]:
    """Frames uint8 [T, H, W, 3] as WebP in base64, and its size."""
    first, *others = map(Image.fromarray, frames.numpy())
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=others, duration=list(frame_ms), loop=0, quality=QUALITY)
    return {"webp": base64.b64encode(file.getvalue()).decode(), "width": first.width, "height": first.height}
