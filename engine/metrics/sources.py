"""Where the frames of clips to compare come from: a palette, a lossy file and raw frames differ before anything was
generated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..clip import FRAME_SUFFIXES
from .pixels import PALETTE, has_palette

RAW = "raw frames"

_CONTAINERS = {b"GIF8": "GIF", b"\x89PNG": "APNG", b"RIFF": "WebP, perhaps lossy", b"\x1a\x45\xdf\xa3": "WebM, lossy"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A clip by name, and where its frames come from."""

    name: str
    kind: str
    """For people: "GIF, palette of 256", "MP4 or MOV, lossy", "raw frames"."""
    frames: int
    height: int
    width: int


def file_source(path: Path, frames: Tensor) -> Source:
    """Of a file, or a folder of frames, that was read as uint8 [T, H, W, 3]."""
    return _source(str(path), _container(path), frames)


def raw_source(name: str, frames: Tensor) -> Source:
    """Of frames that no file was between."""
    return _source(name, RAW, frames)


def _source(name: str, kind: str, frames: Tensor) -> Source:
    count, height, width, _ = frames.shape
    palette = f", palette of {PALETTE}" if has_palette(frames) else ""
    return Source(name=name, kind=f"{kind}{palette}", frames=count, height=height, width=width)


def _container(path: Path) -> str:
    if path.is_dir():
        stills = {entry.suffix.lower() for entry in path.iterdir()} & FRAME_SUFFIXES
        return RAW if stills == {".png"} else "JPEG frames, lossy"
    with path.open("rb") as file:
        return _CONTAINERS.get(file.read(4), "MP4 or MOV, lossy")
