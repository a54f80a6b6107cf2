"""Whatever bytes there are, reading them ends in a clip that makes sense or in a ClipError."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgif.engine import ClipError, ReadLimits, read_clip, read_mask, read_still
from sgif.engine.decoded import MAX_FRAME_MS

from .mutations import CHANGES, Change, changed, drawn
from .seeds import clips_that_failed, seeds

LIMITS = ReadLimits(frame_pixels=1 << 14, frames=50, clip_bytes=1 << 22)


def read(path: Path, data: bytes) -> None:
    """Read bytes as everything that a user may say they are."""
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be noise on a user's terminal
        with suppress(ClipError):
            clip = read_clip(path, limits=LIMITS)
            frames, height, width, channels = clip.frames.shape
            assert clip.frames.dtype == torch.uint8
            assert clip.frames.is_contiguous()
            assert 2 <= frames == len(clip.frame_ms) <= LIMITS.frames
            assert 1 <= height * width <= LIMITS.frame_pixels
            assert channels == 3
            assert all(1 <= ms <= MAX_FRAME_MS and type(ms) is int for ms in clip.frame_ms)
        with suppress(ClipError):
            assert read_still(path, limits=LIMITS).shape[2] == 3
        with suppress(ClipError):
            assert read_mask(path, limits=LIMITS).dtype == torch.bool


@pytest.mark.parametrize("form", seeds())
@drawn(50)
@given(changes=CHANGES)
def test_a_changed_file_is_read_or_refused(form: str, changes: list[Change], tmp_path: Path) -> None:
    read(tmp_path / "x", changed(seeds()[form], changes))


@drawn(50)
@given(head=st.sampled_from([b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0AVI ",
                             b"\xff\xd8\xff", b"\0\0\0\x20ftyp", b"\x1a\x45\xdf\xa3"]), data=st.binary(max_size=200))
def test_bytes_of_chance_are_refused(head: bytes, data: bytes, tmp_path: Path) -> None:
    read(tmp_path / "x", head + data)


@pytest.mark.parametrize("name", clips_that_failed())
def test_what_once_failed_no_longer_does(name: str, tmp_path: Path) -> None:
    read(tmp_path / "x", clips_that_failed()[name])
