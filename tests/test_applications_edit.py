"""docs/applications-helper-edit.md does what it says: its examples run in reading order on a small run, and its links
resolve."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sgif.cli.main import main
from sgif.engine import read_clip

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "applications-helper-edit.md"
TEXT = PAGE.read_text(encoding="utf-8")
SMALL = shlex.split("--preset draft --iterations 2 --max-size 24 --min-size 8 --width 4 --frames-per-step 2:2 "
                    "--no-fuse --threads 1 --quiet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of the page's blocks have run, in reading order."""
    folder = tmp_path_factory.mktemp("applications")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert main(["train", "examples/clouds.gif", *SMALL]) == 0
        for language, source in re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.S | re.M):
            if language == "python":
                done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True,
                                      env={**os.environ, "OMP_NUM_THREADS": "1"})
                assert done.returncode == 0, done.stderr
            else:
                for line in source.splitlines():
                    program, *words = shlex.split(line, comments=True)
                    assert program == "sgif"
                    assert main(words) == 0
    return folder


@pytest.mark.parametrize(("name", "shape"), [
    ("moved.gif", (12, 96, 160, 3)), ("holed.gif", (12, 96, 160, 3)), ("seamless.mp4", (12, 14, 24, 3)),
    ("seamless.gif", (12, 14, 24, 3)), ("filled.gif", (12, 14, 24, 3)), ("other.gif", (12, 14, 24, 3)),
    ("runs/clouds/samples/moved_edited.gif", (12, 14, 24, 3)),
    ("runs/clouds/samples/holed_inpainted.gif", (12, 14, 24, 3)),
    ("runs/clouds/samples/sample_seed0_003.gif", (12, 14, 24, 3)),
])
def test_the_examples_make_what_they_say(name: str, shape: tuple[int, ...], folder: Path) -> None:
    clip = read_clip(folder / name)
    assert clip.frames.shape == shape
    assert clip.frame_ms == (100,) * 12


def test_python_and_the_command_give_the_same(folder: Path) -> None:
    from_python = read_clip(folder / "filled.gif")
    assert from_python.digest() == read_clip(folder / "runs/clouds/samples/holed_inpainted.gif").digest()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s#]+)", TEXT))))
def test_link_resolves(link: str) -> None:
    assert (PAGE.parent / link).exists()
