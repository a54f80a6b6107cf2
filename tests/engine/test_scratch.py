"""Names of what is being written: a dead process's are cleared away, a living one's are left alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sgif.engine import scratch as scratch_module
from sgif.engine.scratch import HOST, TOKEN, in_use, naming, remove_leftovers, replace_folder, scratch

DEAD = "999999999"  # beyond the largest process id


def test_what_keeps_its_scratch_name_is_removed_and_what_was_renamed_stays(tmp_path: Path) -> None:
    with scratch(tmp_path / "a") as kept, scratch(tmp_path / "a") as lost, scratch(tmp_path / "b") as folder:
        kept.write_text("whole")
        lost.write_text("half")
        (folder / "within").mkdir(parents=True)
        os.replace(kept, tmp_path / "a")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "whole")]


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    with scratch(path) as place:
        place.write_text("long")
        os.replace(place, path)
    assert path.read_text() == "long"


@pytest.mark.skipif(os.name != "posix", reason="process ids say nothing here")
def test_leftovers_of_the_dead_go_and_those_of_the_living_and_of_other_machines_stay(tmp_path: Path) -> None:
    me, other = os.getpid(), "00000000" if HOST != "00000000" else "11111111"
    stay = [f".a.{HOST}-{me}-{TOKEN}-0.tmp", f".a.{other}-{DEAD}-abcdef-0.tmp", f".a.{HOST}-1-abcdef-0.partial",
            ".hidden", ".a.partial", "a.tmp", f".a.{HOST}-{DEAD}-abcdef-0.other"]
    go = [f".a.{HOST}-{DEAD}-abcdef-0.tmp", f".b.gif.{HOST}-{DEAD}-abcdef-12.partial",
          f".a.{HOST}-{me}-{'0' * 6 if TOKEN != '0' * 6 else '1' * 6}-0.tmp"]  # the last: a process that had our id
    for name in stay:
        (tmp_path / name).touch()
    for name in go[:2]:
        (tmp_path / name).touch()
    (tmp_path / go[2]).mkdir()
    assert [in_use(name) for name in stay[:3]] == [True] * 3
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stay)


def test_a_process_that_ended_is_told_from_one_that_runs(tmp_path: Path) -> None:
    code = "import os, sys; from sgif.engine.scratch import *; print(f'.a.{HOST}-{os.getpid()}-{TOKEN}-0.tmp'," \
           " flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert in_use(name)
        process.kill()
    assert not in_use(name)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "renamed twice"])
def test_a_folder_takes_another_s_place(exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(scratch_module, "_exchange", lambda a, b: False)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
        replace_folder(tmp_path / name, tmp_path / "target")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["target", "target/second"]


def test_an_error_names_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    for named in (None, str(tmp_path / f".clip.gif.{HOST}-7-abcdef-0.partial" / "frame_0000.png")):
        with pytest.raises(OSError, match=r"/clip\.gif'$") as error, naming(path):
            raise OSError(errno.ENOSPC, "No space left on device", named)
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    with pytest.raises(FileNotFoundError) as other, naming(path):
        open(tmp_path / "other")  # noqa: SIM115 (it is not there)
    assert other.value.filename == str(tmp_path / "other")
