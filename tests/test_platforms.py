"""Where triton is not installed, and where the modules of POSIX are not there, sgif trains, samples and says what it
lacks. One process for each: what is missing has to be missing before the first import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from .scripts import ROOT

CLIP = ROOT / "examples" / "clouds.gif"
SMALL = "--preset draft --iterations 1 --max-size 16 --min-size 8 --width 4 --frames-per-step 2:2 --frames 3"
POSIX_ONLY = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}

# Python's own way of saying that a module is not there: None in sys.modules makes its import an ImportError.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
import contextlib, io, os, shlex
from sgif.cli.main import main

def run(line):
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        code = main(shlex.split(line))
    return code, said.getvalue() + told.getvalue()
"""


def answers(missing: set[str], code: str, folder: Path) -> str:
    """What a Python program prints where `missing` cannot be imported."""
    program = WITHOUT.format(missing=sorted(missing)) + code
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_triton_everything_but_its_kernels_is_there(tmp_path: Path) -> None:
    said = answers({"triton"}, f"""
for line in ("train {CLIP} -o run --no-fuse {SMALL}", "sample run -n 1", "info run", "report run"):
    code, text = run(line)
    assert code == 0, (line, text)
print(run("bench ops --counters --cases small"))
import torch
from sgif.kernels import frame_color_statistics
try:
    frame_color_statistics(torch.zeros(1, 3, 1, 2, 2), impl="triton")
except ValueError as error:
    print(error)
""", tmp_path)
    assert "pip install 'sgif[triton]', or use impl='torch'" in said
    assert said.startswith("(2, ")
    assert "triton" in said.splitlines()[0]
    assert (tmp_path / "run" / "report.html").is_file()


def test_without_posix_and_without_compiling_it_trains_and_samples(tmp_path: Path) -> None:
    """As on Windows, which itself was not to be had."""
    said = answers({"triton", *POSIX_ONLY}, f"""
import types
from sgif.kernels import fusion
fusion.sys = types.SimpleNamespace(platform="win32")  # the whole of sys would mislead Python's own library
print(run("train {CLIP} -o run {SMALL}"))
print(run("sample run -n 1 --format mp4"))
""", tmp_path)
    assert said.startswith("(0, ")
    assert "torch.compile is not used on Windows" in said
    assert len(list((tmp_path / "run" / "samples").glob("*.mp4"))) == 1


@pytest.mark.parametrize("layer", ["kernels", "engine", "bench", "cli"])
def test_modules_of_posix_are_imported_where_they_are_needed_and_may_be_missing(layer: str) -> None:
    found = []
    for path in sorted((ROOT / layer).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found += [f"{path}:{node.lineno}: {name}" for name in names  # type: ignore[attr-defined]
                      if name in POSIX_ONLY and id(node) not in guarded]
    assert found == []
