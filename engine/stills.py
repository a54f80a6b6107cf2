"""Stills: one picture from a PNG, JPEG or WebP file, read by the rules that frames are read by."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import ImageOps
from torch import Tensor

from .clip import refusal
from .decoded import ClipError, Decoded
from .limits import ReadLimits
from .pictures import open_picture, pixels_of

_FORMATS = ("PNG", "JPEG", "WEBP")
_ANIMATED = ("PNG", "WEBP")
_STILLS = "a PNG, JPEG or WebP picture"


def read_still(path: str | os.PathLike[str], *, background: str = "white", limits: ReadLimits | None = None) -> Tensor:
    """Read a picture as uint8 [H, W, 3], RGB, upright as its EXIF data asks, alpha composited over `background`.

    Raises:
        ClipError: the file is no picture, is damaged, moves, or is beyond `limits`.
    """
    source, file = os.fspath(path), Path(path)
    decoded = Decoded(source, 0, None, None, background, limits or ReadLimits())
    try:
        file.stat()
        if not file.is_file():
            raise ClipError(f"{source} is no file: give {_STILLS}")
        with open_picture(file, _FORMATS, decoded) as image:
            count = getattr(image, "n_frames", 1)
            if image.format in _ANIMATED and count > 1:
                raise ClipError(f"{source} has {count} frames, expected a still: give {_STILLS}")
            decoded.keep(pixels_of(ImageOps.exif_transpose(image), decoded), None)
    except Exception as error:  # hostile bytes make decoders raise nearly every type there is
        raise refusal(error, source, _STILLS) from error
    return decoded.finish()[0][0]
