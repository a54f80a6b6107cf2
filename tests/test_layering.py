"""The rules on imports and on what the tree may hold, read from the sources without running them."""

import ast
import os
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("kernels", "engine", "bench", "cli")  # each may import itself and what stands before it

# By import name, what setup.py declares: a library beyond these fails for whoever installs sgif.
KERNEL_LIBRARIES = {"torch", "triton"}
LIBRARIES = KERNEL_LIBRARIES | {"numpy", "PIL", "av", "safetensors", "rich", "jinja2", "filelock"}
# Those of extras, each imported where it is used: sgif[tensorboard], sgif[ray], sgif[bench], sgif[shell].
BY_LAYER = {"kernels": KERNEL_LIBRARIES, "engine": LIBRARIES | {"tensorboard", "ray"},
            "bench": LIBRARIES | {"matplotlib", "pynvml"}, "cli": LIBRARIES | {"shtab"}}

PYTEST_BENCHES = "bench/bench_*.py"  # collected by path, as tests are, and like them users of `sgif.*`

# Each of them runs code that a file or a string brought along. Checkpoints are safetensors and JSON.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "torch.load"}
# Public weights come as state dicts: one file may read them, by the form that makes tensors and calls nothing.
WEIGHTS_READER, SAFE_LOAD = PurePosixPath("engine/metrics/weights.py"), "weights_only=True"

# Generated, as .gitignore says: they may hold paths of the machine.
GENERATED = (".git", ".venv", "runs", "profiles", "benchmarks", "build", "dist", "*.egg-info", "__pycache__",
             ".*_cache", ".hypothesis")
PRIVATE_PATHS = (b"../" + b"shared", b"/wo" + b"rk/")  # in two parts, or this file would hold them


def files() -> Iterator[Path]:
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if not any(fnmatch(name, pattern) for pattern in GENERATED)]
        yield from (path for name in names  # a dangling link is no file, and in a worktree .git is one with a path
                    if (path := Path(folder, name)).is_file() and name != ".git")


def imported(path: PurePosixPath, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import of `path`, relative ones resolved below `sgif`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = ("sgif", *path.parent.parts)
            base = parents[: max(0, len(parents) - node.level + 1)] or ("outside",)
            base = (*base, node.module) if node.module else base
            yield from ((node.lineno, ".".join((".", *base, alias.name))) for alias in node.names)


def import_violations(path: PurePosixPath, source: str) -> list[str]:
    layer = path.parts[0]
    below = LAYERS[: LAYERS.index(layer) + 1]
    libraries = BY_LAYER[layer]
    found = []
    for line, name in imported(path, ast.parse(source)):
        where = f"{path}:{line}: "
        if name.startswith(".."):  # relative, resolved: "..sgif.engine.config"
            top, target, *_ = name[2:].split(".")
            if top != "sgif" or target not in below:
                found.append(where + f"{layer} may import {', '.join(below)}, not {target}")
        elif (top := name.split(".")[0]) in ("sgif", *LAYERS):
            found.append(where + f"{name} is imported absolutely; inside the project imports are relative")
        elif top not in libraries and top not in sys.stdlib_module_names:
            found.append(where + f"{layer} may import {', '.join(sorted(libraries))}, not {top}")
    return found


def unsafe_code(path: PurePosixPath, source: str) -> list[str]:
    tree = ast.parse(source)
    calls = [(node.lineno, ast.unparse(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)
             and not (path == WEIGHTS_READER and ast.unparse(node.func) == "torch.load"
                      and SAFE_LOAD in map(ast.unparse, node.keywords))]
    unsafe = [use for use in imported(path, tree) if use[1].split(".")[0] in UNSAFE_MODULES or use[1] in UNSAFE_CALLS]
    unsafe += [use for use in calls if use[1] in UNSAFE_CALLS]
    return [f"{path}:{line}: {name}" for line, name in unsafe]


def sources(*folders: str) -> list[PurePosixPath]:
    found = sorted(PurePosixPath(path.relative_to(ROOT)) for path in files() if path.suffix == ".py")
    return [path for path in found if not folders or (path.parts[0] in folders and not path.match(PYTEST_BENCHES))]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down_and_are_relative(layer: str) -> None:
    paths = sources(layer)
    assert paths, f"no sources in {layer}/"
    assert [line for path in paths for line in import_violations(path, (ROOT / path).read_text(encoding="utf-8"))] == []


def test_nothing_runs_code_from_a_file_or_a_string() -> None:
    assert [line for path in sources() for line in unsafe_code(path, (ROOT / path).read_text(encoding="utf-8"))] == []


def test_no_file_names_a_path_outside_the_project() -> None:
    assert [str(path) for path in files() if any(text in path.read_bytes() for text in PRIVATE_PATHS)] == []


def test_no_package_of_others_lies_in_the_tree() -> None:
    """What a stray `pip download` leaves, and `git add` takes along."""
    assert [str(path) for path in files() if path.name.endswith((".whl", ".tar.gz", ".zip", ".egg"))] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kernels/op.py", "from ..engine import config"),
        ("kernels/op.py", "from .. import engine"),
        ("kernels/op.py", "import numpy as np"),
        ("engine/trainer.py", "from ..cli.main import main"),
        ("engine/applications/motion.py", "from ...bench import cases"),
        ("engine/trainer.py", "def f():\n    import sgif.kernels"),
        ("engine/trainer.py", "from sgif.kernels import op"),
        ("engine/trainer.py", "from kernels import op"),
        ("engine/trainer.py", "from ...outside import thing"),
        ("engine/trainer.py", "import scipy.linalg"),
        ("bench/cases.py", "from ..cli import main"),
    ],
)
def test_import_rule_rejects(path: str, source: str) -> None:
    assert len(import_violations(PurePosixPath(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kernels/op.py", "import math\nimport torch.nn.functional as F\nimport triton\nfrom . import other"),
        ("engine/applications/motion.py", "from ...kernels import op\nfrom ..trainer import train\nfrom . import x"),
        ("cli/main.py", "from .. import bench, engine\nfrom rich.console import Console"),
    ],
)
def test_import_rule_accepts(path: str, source: str) -> None:
    assert import_violations(PurePosixPath(path), source) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from pickle import loads", "eval('1')", "exec(s)", "torch.load(f)", "from torch import load"],
)
def test_unsafe_code_rule_rejects(source: str) -> None:
    assert len(unsafe_code(PurePosixPath("engine/x.py"), source)) == 1


@pytest.mark.parametrize(("path", "source", "found"), [
    (WEIGHTS_READER, "torch.load(f, weights_only=True)", 0),
    (WEIGHTS_READER, "torch.load(f)", 1),
    (WEIGHTS_READER, "torch.load(f, weights_only=False)", 1),
    (PurePosixPath("engine/x.py"), "torch.load(f, weights_only=True)", 1),
])
def test_unsafe_code_rule_lets_one_file_read_tensors(path: PurePosixPath, source: str, found: int) -> None:
    assert len(unsafe_code(path, source)) == found


def test_unsafe_code_rule_lets_a_module_be_put_in_eval_mode() -> None:
    assert unsafe_code(PurePosixPath("engine/x.py"), "generator.eval()") == []
