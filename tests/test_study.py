"""docs/study.md does what it says: its commands run, and then its Python example."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from sgif.cli.main import main
from sgif.engine import write_clip

from .answers import answers_to
from .scripts import run_python

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "study.md").read_text(encoding="utf-8")


def test_the_commands_and_then_the_example_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for level, name in enumerate(("clips/a.gif", "runs/a/samples/a.gif", "runs/b/samples/b.gif")):
        Path(name).parent.mkdir(parents=True)
        write_clip(name, torch.full((2, 8, 8, 3), 60 * level, dtype=torch.uint8), 100)
    (commands,), (example,) = (re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.S | re.M)
                               for language in ("sh", "python"))
    make, score = (shlex.split(line, comments=True)[1:] for line in commands.splitlines())
    assert main(make) == 0
    key = json.loads(Path("study.key.json").read_text())
    Path("answers").mkdir()
    Path("answers/answers.json").write_text(json.dumps(answers_to(key, key["clips"])))
    assert main(score) == 0
    assert run_python(example, tmp_path).startswith("2 of 2 (")
    assert Path("other.html").is_file()
