"""What is compared, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgif.engine import read_clip, write_clip
from sgif.engine.metrics.sources import file_source, raw_source

from ..conftest import moving_frames

FRAMES = moving_frames(4, 40, 60)


@pytest.mark.parametrize(("name", "source"), [
    ("a.gif", "GIF, palette of 256"), ("a.apng", "APNG"), ("a.webp", "WebP, perhaps lossy"),
    ("a.mp4", "MP4 or MOV, lossy"), ("folder", "raw frames"),
])
def test_source_is_told_from_the_content(name: str, source: str, tmp_path: Path) -> None:
    write_clip(tmp_path / name, FRAMES, (100,) * 4, format="frames" if name == "folder" else None)
    found = file_source(tmp_path / name, read_clip(tmp_path / name).frames)
    assert (found.name, found.kind) == (str(tmp_path / name), source)
    assert (found.frames, found.height, found.width) == (4, 40, 60)


def test_a_palette_shows_in_any_container(tmp_path: Path) -> None:
    write_clip(tmp_path / "grey.apng", FRAMES[..., :1].expand(FRAMES.shape), (100,) * 4)
    assert file_source(tmp_path / "grey.apng", read_clip(tmp_path / "grey.apng").frames).kind == "APNG, palette of 256"
    assert raw_source("noise", FRAMES).kind == "raw frames"
    assert raw_source("grey", FRAMES[..., :1].expand(FRAMES.shape)).kind == "raw frames, palette of 256"
