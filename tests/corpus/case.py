"""One file of the corpus: how it is made, how it is read, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Either `refused` or what is read is given."""

    name: str
    content: bytes | Callable[[Path], object]
    """What the file holds, or a function that makes whatever shall be at the path."""
    file: str = "x.gif"
    """Its name; the case has a folder of its own."""
    reader: Literal["clip", "still", "mask"] = "clip"
    options: dict[str, Any] = field(default_factory=dict)
    """Of `read_clip`."""
    as_nobody: bool = False
    """Read without the rights of root, where the test has them."""

    refused: str | None = None
    """A pattern that the refusal has."""

    frames: int = 0
    size: tuple[int, int] | None = None
    """Height, width."""
    ms: tuple[int, ...] | None = None
    colours: tuple[Colour, ...] | None = None
    """Of every frame's first pixel, within `tolerance`."""
    tolerance: int = 0
    notes: tuple[str, ...] = ()
    """Patterns, each of a note that reading leaves."""
