"""`sgif train --dry-run`: the plan as a table and as JSON, and nothing on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sgif.cli.main import main
from sgif.engine import write_clip
from sgif.engine.launch import VARIABLES

from ..engine.conftest import make_clip

SMALL = ["--preset", "draft", "--iterations", "30:20", "--min-size", "8", "--width", "4", "--frames-per-step", "3:2",
         "--no-fuse", "--threads", "1", "--device", "cpu", "--dry-run"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    clip = make_clip()
    write_clip(tmp_path / "my waves.webp", clip.frames, clip.frame_ms)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_says_scales_iterations_frames_memory_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str],
                                                                    ) -> None:
    assert main(["train", "my waves.webp", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "clip       my waves.webp: 6 frames of 12x16 as trained"
    assert lines[2] == "device     cpu, 1 thread; float32"
    assert lines[3] == "run        runs/my waves: new, 3 scales, 74 iterations"
    assert lines[4].startswith("memory     ")
    assert " MiB at scale 2 by forecast" in lines[4]
    assert lines[5] == "time       not known before steps are timed: sgif profile 'my waves.webp'"
    rows = [line.split()[:6] for line in lines if line.split()[2:3] in (["3D"], ["2D"])]
    assert rows == [["0", "8x11", "3D", "4", "3", "30"], ["1", "10x13", "3D", "4", "2", "24"],
                    ["2", "12x16", "3D", "4", "2", "20"]]
    assert [path.name for path in folder.iterdir()] == ["my waves.webp"]


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "my waves.webp", "-o", "here", "--json", *SMALL]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["run_dir"], plan["iterations"], plan["resumed_at"], plan["seconds_left"]) == ("here", 74, None, None)
    assert plan["peak_bytes"] == max(scale["peak_bytes"] for scale in plan["scales"])


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_ranks_the_first_says_it(rank: int, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in zip(VARIABLES, (rank, 2, rank, 2), strict=True):
        monkeypatch.setenv(name, str(value))
    for words in ([], ["--json"]):
        assert main(["train", "my waves.webp", *SMALL, "--min-size", "12", *words]) == 0
        assert bool(capsys.readouterr().out) == (rank == 0)


def test_a_folder_that_training_would_refuse_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "here").mkdir()
    (folder / "here/letter.txt").touch()
    assert main(["train", "my waves.webp", "-o", "here", *SMALL]) == 2
    assert "here exists and is not a run folder" in capsys.readouterr().err
