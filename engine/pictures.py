"""Pictures and animations that Pillow decodes: opened within limits and without its warnings, any mode as RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from .decoded import ClipError, Decoded, Pixels

MAX_JPEG_SCANS = 100
"""Progressive pictures have some ten. Each is a pass over all pixels, so that a small file can take minutes."""


@contextmanager
def own_limits() -> Iterator[None]:
    """While entered, Pillow neither warns nor has a limit of pixels: `Decoded` has one, which can be raised."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def open_picture(file: Path, formats: tuple[str, ...], into: Decoded) -> Iterator[Image.Image]:
    """A file opened by Pillow as one of `formats`, its first frame not yet decoded, after its sizes passed the limits
    of `into`. Raises ClipError, and whatever Pillow raises."""
    into.check_bytes(size := file.stat().st_size, f"is a file of {size} bytes")
    with file.open("rb") as stream:
        head = stream.read(32)
    if width_height := _webp_size(head):  # Pillow would take memory for the canvas as it opens the file
        into.announce(width_height[1], width_height[0])
    if head[:2] == b"\xff\xd8" and (scans := file.read_bytes().count(b"\xff\xda")) > MAX_JPEG_SCANS:
        raise ClipError(f"{file} is a JPEG of {scans} scans, over the limit of {MAX_JPEG_SCANS}: save it anew")
    with own_limits(), Image.open(file, formats=formats) as image:
        into.announce(image.height, image.width)
        yield image


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Width and height that the first 32 bytes of a WebP file give; None for other files and broken heads."""
    if (head[:4], head[8:12]) != (b"RIFF", b"WEBP") or len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def pixels_of(image: Image.Image, into: Decoded) -> Pixels:
    """Any Pillow mode as RGB, or RGBA where the picture has alpha."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        into.note("16-bit grey reduced to 8 bits")
        grey = np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "CMYK":
        into.note("CMYK converted to RGB")
        return np.asarray(_cmyk_to_rgb(image))
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def copy_opaque(below: Pixels, above: Pixels) -> None:
    """Copy those pixels [H, W, 4] of `above` that are opaque throughout."""
    # As 32-bit words, in a sixth of the time that four masked bytes a pixel take.
    np.copyto(below.view(np.uint32), above.view(np.uint32), where=above[..., 3:] == 255)


def with_alpha(pixels: Pixels) -> Pixels:
    """RGBA, opaque where there was no alpha."""
    return pixels if pixels.shape[2] == 4 else np.dstack((pixels, np.full(pixels.shape[:2], 255, np.uint8)))


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is no reason to refuse the picture
    return image.convert("RGB")
