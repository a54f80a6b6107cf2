"""Measures on pixels against their definitions."""

from __future__ import annotations

import pytest
import torch

from sgif.engine.losses import color_statistics_loss
from sgif.engine.metrics import pixels
from sgif.engine.metrics.pixels import colour_distance, diversity, has_palette, nearest_real
from sgif.kernels import frame_color_statistics

from ..conftest import moving_frames
from ..inputs import normal

CLIP = moving_frames()


def noise(seed: int, *shape: int) -> torch.Tensor:
    return (normal(shape, seed, "noise") * 40 + 128).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("chunk", [1 << 21, 100])
def test_nearest_real_is_the_least_rmse(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_CHUNK", chunk)
    other = noise(0, 4, *CLIP.shape[1:])
    errors = [min(float((real.double() - frame.double()).square().mean().sqrt()) for real in CLIP) for frame in other]
    assert nearest_real(CLIP, other) == pytest.approx(sum(errors) / 4, rel=1e-12)


def test_copies_of_real_frames_are_found_wherever_they_stand() -> None:
    assert nearest_real(CLIP, CLIP.flip(0)[:3]) == 0
    assert nearest_real(CLIP, torch.cat((CLIP[:1], 255 - CLIP[:1]))) > 0


def test_colour_distance_is_the_loss_of_training() -> None:
    other = noise(1, *CLIP.shape)
    real, fake = (frames.permute(3, 0, 1, 2)[None] / 127.5 - 1 for frames in (CLIP, other))
    assert colour_distance(CLIP, other) == pytest.approx(
        float(color_statistics_loss(fake, *frame_color_statistics(real))), rel=1e-4)
    assert colour_distance(CLIP, CLIP) == 0


def test_colours_of_clips_of_other_lengths_are_compared_at_the_same_part_of_the_time() -> None:
    assert colour_distance(CLIP, CLIP.repeat_interleave(2, 0)) == 0
    assert colour_distance(CLIP, CLIP[::2]) == 0
    assert colour_distance(CLIP, CLIP.flip(0)) > 0


def test_diversity_of_independent_noise_is_one_and_of_copies_none() -> None:
    real, *clips = (noise(seed, 3, 20, 30, 3) for seed in range(9))
    assert diversity(real, clips) == pytest.approx(1, abs=0.04)  # the mean deviation of 8 is 0.965 of the true one
    assert diversity(real, [clips[0]] * 3) == 0


def test_no_diversity_where_there_is_none_to_be_had() -> None:
    assert diversity(CLIP, [CLIP]) is None
    assert diversity(CLIP, [CLIP, CLIP[:2]]) is None
    assert diversity(torch.zeros_like(CLIP), [CLIP, CLIP]) is None


def test_a_palette_is_seen_by_its_colours() -> None:
    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert has_palette(grey)
    one_more = torch.cat((grey, torch.tensor([1, 2, 3], dtype=torch.uint8).expand(1, 1, 16, 3)), 1)
    assert not has_palette(one_more)
    assert not has_palette(torch.cat((grey, grey)).repeat(1, 2, 2, 1) + noise(0, 1, 32, 32, 3))
