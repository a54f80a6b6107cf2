"""Clips to compare, and where their frames come from: a palette, a lossy file and raw frames differ before anything was
generated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from ..clip import FRAME_SUFFIXES, ClipError, natural_order
from .pixels import PALETTE, has_palette

CLIP_SUFFIXES = (".gif", ".apng", ".webp", ".mp4", ".webm", ".mov")
RAW = "raw frames"

_CONTAINERS = {b"GIF8": "GIF", b"\x89PNG": "APNG", b"RIFF": "WebP", b"\x1a\x45\xdf\xa3": "WebM"}


def clip_paths(path: Path) -> Iterator[Path]:
    """The path itself, or, where it is a folder that holds no frames, the clips and the folders of frames in it.

    Raises:
        ClipError: a folder with nothing to compare.
    """
    if not path.is_dir() or _is_clip_folder(path):
        yield path
        return
    found = sorted((entry for entry in path.iterdir() if _is_clip_folder(entry) or
                    (entry.is_file() and entry.suffix.lower() in CLIP_SUFFIXES)),
                   key=lambda entry: natural_order(entry.name))
    if not found:
        raise ClipError(f"{path} holds neither frames nor clips: give a clip, or a folder of either")
    yield from found


def _is_clip_folder(path: Path) -> bool:
    return path.is_dir() and any(entry.suffix.lower() in FRAME_SUFFIXES for entry in path.iterdir())


def source_of(path: Path, frames: Tensor) -> str:
    """Where the frames of a file or folder come from, for people: "GIF, palette of 256", "MP4 or MOV, lossy"."""
    if path.is_dir():
        stills = {entry.suffix.lower() for entry in path.iterdir()} & FRAME_SUFFIXES
        return frames_source(RAW if stills == {".png"} else "JPEG frames, lossy", frames)
    with path.open("rb") as file:
        head = file.read(4)
    container = _CONTAINERS.get(head, "MP4 or MOV")
    lossy = {"WebP": ", perhaps lossy", "WebM": ", lossy", "MP4 or MOV": ", lossy"}.get(container, "")
    return frames_source(container + lossy, frames)


def frames_source(what: str, frames: Tensor) -> str:
    """`what`, with a word where the frames have a palette."""
    return f"{what}, palette of {PALETTE}" if has_palette(frames) else what
