"""Stills: one picture from a PNG, JPEG or WebP file, read by the rules that frames are read by."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageOps
from torch import Tensor

from .clip import ClipError, Decoded, pixels_of

_FORMATS = ("PNG", "JPEG", "WEBP")
_ANIMATED = ("PNG", "WEBP")


def read_still(path: str | os.PathLike[str], *, background: str = "white") -> Tensor:
    """Read a picture as uint8 [H, W, 3], RGB, upright as its EXIF data asks, alpha composited over `background`.

    Raises:
        ClipError: the file is no picture, is damaged, moves, or is larger than MAX_FRAME_PIXELS.
    """
    source = os.fspath(path)
    decoded = Decoded(source, 0, None, None, background)
    if not Path(path).is_file():
        raise ClipError(f"{source} {'is no file' if Path(path).exists() else 'does not exist'}: give a PNG, JPEG or "
                        "WebP picture")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            count = getattr(image, "n_frames", 1)
            if image.format in _ANIMATED and count > 1:
                raise ClipError(f"{source} has {count} frames, expected a still: give a PNG, JPEG or WebP picture")
            decoded.announce(image.height, image.width)
            decoded.keep(pixels_of(ImageOps.exif_transpose(image), decoded), None)
    except (ClipError, MemoryError):
        raise
    except Exception as error:  # hostile bytes make decoders raise nearly every type there is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClipError(f"{source} cannot be read as a PNG, JPEG or WebP picture ({reason})") from error
    return decoded.finish().frames[0]
