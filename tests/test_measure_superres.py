"""The measures of docs/measure_superres.py, against what they must be."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from sgif.engine import preset_config
from sgif.kernels import resize

from .engine.inputs import normal
from .scripts import DOCS, load_script

CLIP = normal((1, 3, 3, 24, 32), 0, "measures").clamp(-1, 1)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("measure_superres")


def blurred(clip: Tensor) -> Tensor:
    return resize(resize(clip, (8, 11)), (24, 32))


def test_equal_clips_score_full_marks(script: ModuleType) -> None:
    assert script.ssim(CLIP, CLIP) == pytest.approx(1)
    assert script.psnr(CLIP, CLIP + 0.02) == pytest.approx(40)  # a hundredth of the range of 2


def test_ssim_of_one_window_is_the_formula(script: ModuleType) -> None:
    """Frames of 11x11 have one window; with two grey levels in halves its moments can be written down."""
    a = torch.zeros(1, 3, 1, 11, 11)
    b = torch.full((1, 3, 1, 11, 11), 0.5)
    x, y = 0.5, 0.75
    assert script.ssim(a, b) == pytest.approx((2 * x * y + 1e-4) / (x * x + y * y + 1e-4), rel=1e-6)
    assert script.ssim(CLIP, -CLIP) < 0 < script.ssim(CLIP, blurred(CLIP)) < 0.99


def test_a_blur_takes_sharpness_and_a_constant_has_none(script: ModuleType) -> None:
    for measure in (script.gradient_energy, script.laplacian_variance):
        assert measure(blurred(CLIP)) < 0.9 * measure(CLIP)
        assert measure(torch.full((1, 3, 2, 9, 9), 0.3)) == pytest.approx(0, abs=1e-9)
    ramp = torch.arange(8.0).expand(1, 3, 2, 8, 8) * 0.1
    assert script.gradient_energy(ramp) == pytest.approx(0.01)
    assert script.frame_step(ramp) == 0


def test_a_clip_is_shrunk_learned_and_enlarged(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    monkeypatch.setattr(script, "preset_config", partial(preset_config, fuse=False, width=4))
    words = ["--frames", "3", "--crop", "0,0,65x80", "--iterations", "1", "--threads", "1"]
    script.main(["examples/clouds.gif", "-o", str(tmp_path), *words])
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert rows[2:] == ["bilinear", "bicubic", "Lanczos", "sgif superres", "sgif superres --add-noise", "the true clip"]
    assert (tmp_path / "frame.png").is_file()
