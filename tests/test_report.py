"""docs/report.md does what it says: its commands run, and then its Python example; the picture's script runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from sgif.cli.main import main
from sgif.engine import preset_config, train
from sgif.engine.clip import Clip

from .scripts import load_script, run_python

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small runs in runs/."""
    folder = tmp_path_factory.mktemp("docs")
    clip = Clip(frames=torch.arange(3 * 12 * 14 * 3).reshape(3, 12, 14, 3).to(torch.uint8), frame_ms=(80,) * 3,
                source="ramp.gif")
    for seed, name in enumerate(("clouds", "other")):
        train(clip, folder / "runs" / name,
              preset_config("draft", iterations=1, width=4, frames_per_step=(2, 2), fuse=False, threads=1, seed=seed))
    return folder


def test_the_commands_and_then_the_example_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    Path("runs/clouds/report.html").unlink()
    (commands,), (example,) = (re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.S | re.M)
                               for language in ("sh", "python"))
    for line in commands.splitlines():
        assert main(shlex.split(line, comments=True)[1:]) == 0
    assert Path("runs/clouds/report.html").is_file()
    Path("compared.html").unlink()
    assert run_python(example, runs) == "compared.html ()\n"
    assert Path("compared.html").is_file()


@pytest.mark.browser
def test_the_picture_is_made(runs: Path, tmp_path: Path) -> None:
    script, picture_file = load_script("make_screenshot"), tmp_path / "pictures/report.webp"
    # In a process of its own: playwright runs once in each, for the other tests' browser.
    subprocess.run([sys.executable, script.__file__, str(runs / "runs/clouds"), "-o", str(picture_file)], check=True)
    with Image.open(picture_file) as picture:
        assert picture.size == tuple(script.WINDOW.values())
        dark, light = picture.convert("L").getextrema()
        assert light - dark > 150, "text on its ground"
