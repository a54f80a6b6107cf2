"""Which folder a clip's run goes into."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sgif.engine import ConfigError, read_clip, train, write_clip
from sgif.engine.clip import Clip
from sgif.engine.fleet.plan import Job, Refused, plan_fleet, run_names

from ..conftest import moving_frames


def test_a_clip_has_its_name_and_clips_of_one_name_have_their_digests_too(tmp_path: Path) -> None:
    clips = [("x/sea.gif", "1" * 64), ("y/Sea.mp4", "2" * 64), ("y/sky.gif", "3" * 64)]
    assert run_names(clips, tmp_path) == ["sea-11111111", "Sea-22222222", "sky"]


@pytest.mark.parametrize(("source", "name"), [
    ("a/../b/my clip (1).gif", "my-clip-1"), ("über.gif", "ber"), ("...", "clip"), ("x" * 300 + ".gif", "x" * 40),
    ("<script>.gif", "script"), ("frames", "frames")])
def test_a_name_is_one_that_file_systems_and_addresses_take(source: str, name: str, tmp_path: Path) -> None:
    assert run_names([(source, "1" * 64)], tmp_path) == [name]


def test_a_run_that_is_there_keeps_its_name_whatever_comes_beside_it(tiny_run: Any, tmp_path: Path) -> None:
    digest = tiny_run.run.record["clip"]["digest"]
    shutil.copytree(tiny_run.run.path, tmp_path / "sea")
    assert run_names([("b/sea.gif", "2" * 64), ("a/sea.gif", digest)], tmp_path) == ["sea-22222222", "sea"]
    assert run_names([("b/sea.gif", "2" * 64)], tmp_path) == ["sea-22222222"]


def test_the_same_clip_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^y/sea\.gif is given twice: expected every clip once$"):
        run_names([("y/sea.gif", "1" * 64), ("y/sea.gif", "1" * 64)], tmp_path)


def test_a_plan_says_sizes_and_what_is_done_and_refuses_single_clips(tiny_config: Any, tmp_path: Path) -> None:
    for name, side in (("new", 12), ("old", 12), ("small", 6)):
        write_clip(tmp_path / f"{name}.gif", moving_frames(4, side, 16), (100,) * 4)
    config = tiny_config(iterations=1, threads=0)
    train(read_clip(tmp_path / "old.gif"), tmp_path / "runs/old", tiny_config(iterations=1))
    sources = [str(tmp_path / f"{name}.gif") for name in ("new", "missing", "small", "old")]
    new, missing, small, old = plan_fleet(sources, read_clip, tmp_path / "runs", config)
    assert isinstance(new, Job)
    assert isinstance(old, Job)
    assert (new.name, new.run_dir, new.frames, new.sizes) == ("new", tmp_path / "runs/new", 4, old.sizes)
    assert new.sizes == ((8, 11), (10, 13), (12, 16))
    assert (new.finished, old.finished) == (False, True)
    assert new.config.threads == 1, "alone or in company a run has as many threads, and so the same bits"
    assert isinstance(missing, Refused)
    assert isinstance(small, Refused)
    assert "does not exist" in missing.sentence
    assert "too small" in small.sentence
    assert not missing.bug


def test_an_error_that_nobody_expects_is_a_bug(tiny_config: Any, tmp_path: Path) -> None:
    def read(path: str) -> Clip:
        raise KeyError("frames")

    (refused,) = plan_fleet(["a.gif"], read, tmp_path, tiny_config())
    assert isinstance(refused, Refused)
    assert refused.bug
    assert refused.sentence.startswith("this is a bug: KeyError")
