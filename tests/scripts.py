"""The scripts of docs/ and examples/, which are in no package, and options that make a page's trainings small."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from types import ModuleType

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
