"""Which clips are meant by the paths of clips and of folders of them, and names for folders of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .clip import FRAME_SUFFIXES, ClipError, natural_order
from .config import ConfigError

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


def clip_stem(source: str) -> str:
    """Of a clip's name what every file system and address takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source).resolve().stem).strip("-")[:40] or "clip"


def digest_name(source: str, digest: str) -> str:
    """The same and the beginning of the clip's digest: clips of one name are told apart."""
    return f"{clip_stem(source)}-{digest[:8]}"


def refuse_twice(names: Sequence[str], sources: Sequence[str]) -> None:
    """Raises ConfigError where two of `sources` have one name."""
    for name, source in zip(names, sources, strict=True):
        if names.count(name) > 1:
            raise ConfigError(f"{source} is given twice: expected every clip once")
