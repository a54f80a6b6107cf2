"""The measures that docs/make_pictures.py prints: what they say of clips whose answer is known."""

from types import ModuleType, SimpleNamespace

import pytest
import torch

from .scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("make_pictures")


def test_a_seam_is_a_step_that_stands_out_where_it_is(script: ModuleType) -> None:
    slope = (torch.arange(40) * 3)[None, None, :, None].expand(2, 10, -1, 3)
    assert script.step_across(slope, 20) == 1
    cut = torch.where(torch.arange(40)[:, None] > 20, slope + 30, slope)
    assert script.step_across(cut, 20) == 11
    assert script.step_across(cut, 18) == 11
    assert script.step_across(cut, 17) == 1


def test_rows_are_filled_with_white(script: ModuleType) -> None:
    clips = {name: torch.zeros(1, 3, 2, 20, 30) for name in "abc"}
    picture = script.in_rows(clips, 2)(1.0)
    gap = script.GAP_PX
    assert picture.shape == (2, 40 + gap, 60 + gap, 3)
    assert (picture[:, 20 + gap:, 30 + gap:] == 255).all()
    assert script.in_rows(clips, 4)(1.0).shape == (2, 20, 90 + 2 * gap, 3)


def test_diversity_is_the_samples_deviation_by_the_clip_s(script: ModuleType) -> None:
    clip = torch.tensor([-0.5, 0.5]).repeat(1, 3, 2, 4, 4)
    shifts = torch.linspace(-1, 1, 8).view(-1, 1, 1, 1, 1)

    def sample(n: int, *, seed: int, start_scale: int) -> torch.Tensor:
        assert (n, seed) == (8, 5)
        return clip + 0.1 * shifts / (1 + start_scale)
    run = SimpleNamespace(scales_done=2, sizes=((3, 5), (4, 8)), clip=clip, sample=sample)
    rows = script.diversity_table(run, 5).splitlines()[2:]
    deviation, difference = 0.1 * shifts.std() / clip.std(), 0.1 * shifts.abs().mean() * 127.5
    assert rows == [f"| 0 | no scale | {deviation:.3f} | {difference:.1f} |",
                    f"| 1 | 3x5 | {deviation / 2:.3f} | {difference / 2:.1f} |"]
