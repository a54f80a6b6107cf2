"""docs/shell.md and docs/watching.md do what they say: their commands and then their Python run, small."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from sgif.cli.main import main

from .scripts import SMALL, run_python

ROOT = Path(__file__).resolve().parents[1]
SMALL_DRAFT = 'preset_config("draft", iterations=1, max_size_px=24, min_size_px=8, width=4, frames_per_step=(2, 2), ' \
              'fuse=False, threads=1, memory_check=False, device="cpu")'
OTHER_PROGRAMS = ("pip", "tensorboard", "eval")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.S | re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example clip and a run of it that has been logged for TensorBoard."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert main(["train", "examples/clouds.gif", "--tensorboard", "--quiet", *SMALL]) == 0
    return folder


@pytest.mark.parametrize("page", ["shell.md", "watching.md"])
def test_the_commands_run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    for line in "".join(blocks(page, "sh")).splitlines():
        program, *words = shlex.split(line.partition(" | ")[0], comments=True)
        if program in OTHER_PROGRAMS:
            continue
        assert program == "sgif", line
        words += SMALL if words[0] == "train" else []
        assert main(words) == 0, line


def test_tensorboard_is_pointed_to_what_training_wrote(folder: Path) -> None:
    (line,) = (line for line in blocks("watching.md", "sh")[1].splitlines() if line.startswith("tensorboard"))
    assert list((folder / line.split()[-1]).glob("scale_00/events.out.tfevents.*"))


@pytest.mark.parametrize(("page", "place", "prints"), [
    ("shell.md", 0, r"\d+ 3 \(3, 0\) 0\.0"), ("watching.md", 0, r"finished 3 100% runs/clouds/scale_02/preview\.gif"),
    ("watching.md", 1, ""),
])
def test_the_python_runs(page: str, place: int, prints: str, folder: Path) -> None:
    source = blocks(page, "python")[place].replace('preset_config("draft")', SMALL_DRAFT)
    assert re.fullmatch(prints, run_python(source, folder).strip())


@pytest.mark.parametrize("page", ["shell.md", "watching.md"])
def test_links_resolve(page: str) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", (ROOT / "docs" / page).read_text(encoding="utf-8")):
        assert (ROOT / "docs" / link).exists()
