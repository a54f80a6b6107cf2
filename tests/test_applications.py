"""docs/applications.md does what it says: its commands and Python examples run, small, in reading order, and its links
and pictures are there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from sgif.cli.main import main
from sgif.engine import read_clip

from .scripts import SMALL, run_python

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "applications.md"
TEXT = PAGE.read_text(encoding="utf-8")

SMALL_DRAFT = 'preset_config("draft", iterations=1, min_size_px=8, width=4, frames_per_step=(2, 2), fuse=False, ' \
              'threads=1, memory_check=False, device="cpu", max_size_px=24, '


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all blocks of the page have run, in reading order."""
    folder = tmp_path_factory.mktemp("applications")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert main(["train", "examples/clouds.gif", "--quiet", *SMALL]) == 0
        for language, source in re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, flags=re.S | re.M):
            if language == "sh":
                run_commands(source)
            else:
                small = source.replace(", max_size_px=160", "").replace('preset_config("draft", ', SMALL_DRAFT)
                run_python(small, folder)
    return folder


def run_commands(source: str) -> None:
    for line in source.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "sgif", line
        trains = words[0] in ("train", "superres") and not Path(words[1], "config.json").exists()
        assert main([*words, *(SMALL if trains else [])]) == 0, line


@pytest.mark.parametrize(("name", "shape"), [
    ("moved.gif", (12, 96, 160, 3)), ("holed.gif", (12, 96, 160, 3)), ("seamless.mp4", (12, 14, 24, 3)),
    ("seamless.gif", (12, 14, 24, 3)), ("filled.gif", (12, 14, 24, 3)), ("other.gif", (12, 14, 24, 3)),
    ("runs/clouds/samples/moved_edited.gif", (12, 14, 24, 3)), ("slow.gif", (24, 14, 24, 3)),
    ("runs/clouds/samples/holed_inpainted.gif", (12, 14, 24, 3)), ("large.webp", (12, 28, 48, 3)),
    ("runs/clouds/samples/sample_seed0_003.gif", (12, 14, 24, 3)),
])
def test_the_examples_make_what_they_say(name: str, shape: tuple[int, ...], folder: Path) -> None:
    assert read_clip(folder / name).frames.shape == shape


def test_python_and_the_command_give_the_same(folder: Path) -> None:
    from_python = read_clip(folder / "filled.gif")
    assert from_python.digest() == read_clip(folder / "runs/clouds/samples/holed_inpainted.gif").digest()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s]+)\)", TEXT))))
def test_link_resolves(link: str) -> None:
    path, _, anchor = link.partition("#")
    target = PAGE.parent / path if path else PAGE
    assert target.exists()
    if anchor:
        titles = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), flags=re.M)
        assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
