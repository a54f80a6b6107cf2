"""docs/applications*.md does what it says: its commands and Python examples run, small, in reading order."""

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

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("applications*.md"))

SMALL = shlex.split("--iterations 1 --max-size 24 --min-size 8 --width 4 --frames-per-step 2:2 --no-fuse --threads 1 "
                    "--no-memory-check --preset draft --device cpu")
SMALL_DRAFT = 'preset_config("draft", iterations=1, min_size_px=8, width=4, frames_per_step=(2, 2), fuse=False, ' \
              'threads=1, memory_check=False, device="cpu", '


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, source) of the page's fenced blocks that can be run."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, flags=re.S | re.M)


def trains(words: list[str]) -> bool:
    return words[0] in ("train", "superres") and not Path(words[1], "config.json").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "examples/clouds.gif", "--quiet", *SMALL]) == 0
    ran = 0
    for language, source in blocks(page.read_text(encoding="utf-8")):
        if language == "sh":
            for line in source.replace("\\\n", " ").splitlines():
                program, *words = shlex.split(line, comments=True)
                assert program == "sgif", line
                assert main([*words, *(SMALL if trains(words) else [])]) == 0, line
                ran += 1
            continue
        small = re.sub(r"max_size_px=\d+", "max_size_px=24", source).replace('preset_config("draft", ', SMALL_DRAFT)
        Path("example.py").write_text(small, encoding="utf-8")
        done = subprocess.run([sys.executable, "example.py"], capture_output=True, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        ran += 1
    assert ran
