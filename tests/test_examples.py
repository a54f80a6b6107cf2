"""Every script of examples/ runs, small, and does what it says; examples/README.md names them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from sgif.engine import load_run, read_clip, write_clip
from sgif.kernels import disable_fusion

from .scripts import ROOT, load_script

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 24x32 pixels: two scales."""
    clip = read_clip(EXAMPLES / "clouds.gif", frames=4)
    path = tmp_path_factory.mktemp("examples") / "small.png"
    write_clip(path, clip.frames[:, ::4, ::5], clip.frame_ms[0])
    return path


def run_example(name: str, *words: str | Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        monkeypatch.setattr("sgif.engine.trainer.set_fusion", lambda config, device: disable_fusion())
        monkeypatch.setattr("sgif.engine.trainer.set_threads", lambda threads: None)  # tests have one
        load_script(name, "examples").main()


@pytest.fixture(scope="module")
def run_folder(small_clip: Path) -> Path:
    folder = small_clip.parent / "run"
    run_example("train_and_sample", small_clip, "-o", folder, "--iterations", "1", "-n", "2")
    return folder


def test_a_network_of_one_s_own_gets_a_penalty_s_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    run_example("separable_network")
    norms = dict(re.findall(r"(\S+): gradient of the penalty (\S+)", capsys.readouterr().out))
    assert len(norms) == 15
    assert all(float(norm) > 0 for name, norm in norms.items() if not name.endswith("beta"))


def test_train_and_sample_leaves_a_finished_run_and_samples(run_folder: Path) -> None:
    run = load_run(run_folder)
    assert run.scales_done == len(run.plans)
    assert {read_clip(path).frames.shape for path in run_folder.glob("sample_*.gif")} == {(4, 24, 32, 3)}
    assert len(list(run_folder.glob("sample_*.gif"))) == 2


def test_a_panorama_is_wider_and_longer(run_folder: Path) -> None:
    path = run_folder / "panorama.webp"
    run_example("panorama", run_folder, "-o", path, "--wider", "2.5", "--frames", "9")
    assert read_clip(path).frames.shape == (9, 24, 80, 3)


def test_the_sheet_has_a_row_for_every_scale(run_folder: Path) -> None:
    path = run_folder / "sheet.png"
    run_example("variations_sheet", run_folder, "-o", path, "--columns", "3")
    frames = read_clip(path).frames
    run = load_run(run_folder)
    assert frames.shape == (4, run.scales_done * 26, 3 * 34, 3)
    assert not torch.equal(frames[:, :24, :32], frames[:, 26:50, :32])


def test_settings_are_compared_in_figures_and_on_a_page(small_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small_clip.parent / "compare"
    run_example("compare_settings", small_clip, "-o", folder, "--iterations", "1")
    measured = re.findall(r"^(\S+) sgfid-lite96 [\d.]+ ", capsys.readouterr().out, re.MULTILINE)
    assert measured == ["blurred", "not-blurred"]
    assert "not-blurred" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_names_every_script() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\[`(\w+)\.py`\]", text)) - {"test_examples"} == scripts
    here = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in sorted(scripts) if f'run_example("{name}"' not in here] == []


@pytest.mark.slow
def test_the_example_clip_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    """By the pinned NumPy and Pillow."""
    run_example("make_clouds", "-o", tmp_path / "clouds.gif")
    assert (tmp_path / "clouds.gif").read_bytes() == (EXAMPLES / "clouds.gif").read_bytes()
