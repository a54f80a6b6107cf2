"""The scripts of docs/ and examples/, which are in no package; the Python that pages show; and options that make a
page's trainings small."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import runpy
import shlex
from pathlib import Path
from types import ModuleType

import torch

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SMALL = shlex.split("--iterations 1 --max-size 24 --min-size 8 --width 4 --frames-per-step 2:2 --no-fuse --threads 1 "
                    "--no-memory-check --preset draft --device cpu")


def load_script(name: str, folder: str = "docs") -> ModuleType:
    """<folder>/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_python(source: str, folder: Path) -> str:
    """What the Python of a page prints in `folder`. It runs in this process: another takes seconds to import torch."""
    printed, threads = io.StringIO(), torch.get_num_threads()
    (folder / "page.py").write_text(source, encoding="utf-8")
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
            runpy.run_path("page.py", run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    return printed.getvalue()
