"""Clips in files, and fleets of the tiny settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgif.engine import write_clip
from sgif.engine.fleet.train import Asked

from ..conftest import moving_frames

MakeAsked = Callable[..., Asked]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Paths of three clips that differ."""
    folder = tmp_path_factory.mktemp("clips")
    for place, name in enumerate("abc"):
        write_clip(folder / f"{name}.gif", moving_frames(6 + place)[place:], (80,) * 6)
    return [str(folder / f"{name}.gif") for name in "abc"]


@pytest.fixture(scope="session")
def make_asked(clips: list[str], tiny_config: Any) -> MakeAsked:
    """What is asked of a fleet, in a folder, with changes; one clip after another unless told otherwise."""
    def make(folder: Path, config: dict[str, Any] | None = None, **changes: Any) -> Asked:
        return Asked(**{"sources": clips, "folder": folder, "config": tiny_config(**config or {}), "ray": False,
                        **changes})
    return make
