"""Bad input and odd input, made anew each time: `python -m tests.corpus.make_corpus FOLDER` to look at it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .case import Case
from .folder_cases import folder_cases
from .gif_cases import gif_cases
from .picture_cases import picture_cases
from .video_cases import video_cases

FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "GIF": gif_cases, "pictures": picture_cases, "video": video_cases, "paths": folder_cases}


def write(case: Case, folder: Path) -> str:
    """Make the case's file; its path within the corpus."""
    path = folder / case.name.replace("/", "_") / case.file
    path.parent.mkdir()
    if isinstance(case.content, bytes):
        path.write_bytes(case.content)
    else:
        case.content(path)
    return str(path.relative_to(folder))


if __name__ == "__main__":
    for family in FAMILIES.values():
        for case in family():
            print(write(case, Path(sys.argv[1])), "is refused" if case.refused else "is read")
