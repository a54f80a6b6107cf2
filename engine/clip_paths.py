"""Which clips are meant by the paths of clips and of folders of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .clip import FRAME_SUFFIXES, ClipError, natural_order

CLIP_SUFFIXES = {".gif", ".apng", ".webp", ".mp4", ".webm", ".mov"}


def clip_paths(paths: Iterable[str | Path]) -> list[Path]:
    """The paths themselves, but of a folder that holds no frames the clips and folders of frames in it, in the order of
    their numbers.

    Raises:
        ClipError: a folder with neither.
    """
    return [clip for path in map(Path, paths) for clip in ([path] if _is_clip(path) else _clips_in(path))]


def _is_clip(path: Path) -> bool:
    return not path.is_dir() or _holds_frames(path)


def _holds_frames(folder: Path) -> bool:
    return any(entry.suffix.lower() in FRAME_SUFFIXES for entry in folder.iterdir())


def _clips_in(folder: Path) -> list[Path]:
    found = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and
             (_holds_frames(entry) if entry.is_dir() else entry.suffix.lower() in CLIP_SUFFIXES)]
    if not found:
        raise ClipError(f"{folder} holds neither frames nor clips: give a clip, or a folder of either")
    return sorted(found, key=lambda entry: natural_order(entry.name))
