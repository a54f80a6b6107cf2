"""Paths of clips and of folders of them."""

from pathlib import Path

import pytest

from sgif.engine import ClipError, write_clip
from sgif.engine.clip_paths import clip_paths

from .conftest import moving_frames

FRAMES = moving_frames(4, 40, 60)


def test_a_folder_of_clips_is_each_of_them_in_natural_order_and_one_of_frames_a_clip(tmp_path: Path) -> None:
    for name in ("s_10.gif", "s_2.gif", "s_3.mp4", ".hidden.gif"):
        write_clip(tmp_path / name, FRAMES, (100,) * 4)
    write_clip(tmp_path / "s_1", FRAMES, (100,) * 4, format="frames")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    inside = [tmp_path / name for name in ("s_1", "s_2.gif", "s_3.mp4", "s_10.gif")]
    assert clip_paths([tmp_path]) == inside
    single = [tmp_path / "s_1", tmp_path / "s_2.gif", tmp_path / "missing.gif"]
    assert clip_paths(map(str, single)) == single


def test_a_folder_with_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="holds neither frames nor clips"):
        clip_paths([tmp_path])
