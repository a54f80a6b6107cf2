"""Motion transfer: what enters, where, and what comes out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine import Clip, ConfigError, Run, RunError, animate, animate_frames, frames_from_tensor, load_run, train
from sgif.engine.applications.animate import still_size
from sgif.engine.clip import tensor_from_frames
from sgif.engine.generator import generate_scale
from sgif.engine.noise import noise_seed, sample_noise
from sgif.kernels import resize

from ..conftest import CPU, moving_frames

STILL = moving_frames(3, 24, 48)[2]  # twice as wide as high; the run's clip is 12x16


@pytest.fixture(scope="module")
def split_run(clip: Clip, tiny_config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(clip, tmp_path_factory.mktemp("split") / "run", tiny_config(noise="split", iterations=2))


def by_hand(run: Run, frames: int, start: int, sizes: list[tuple[int, int]], motion: float, seed: int) -> Tensor:
    """All frames at once; `sizes` of all scales."""
    stages, drawn = run.stages(CPU), noise_seed(seed, "animate")
    clip: Tensor | None = None
    for stage, size in zip(stages, sizes, strict=True):
        if stage.plan.index == start:
            assert clip is not None
            low = resize(tensor_from_frames(STILL[None]), sizes[start - 1]).clamp(-1, 1)
            clip = low + motion * (clip - clip.mean(2, keepdim=True))
        noise = sample_noise(stage.plan, run.config, drawn, frames, size, first=run.plans[0])
        with torch.no_grad():
            clip = generate_scale(stage.generator, clip, noise, stage.noise_amp, (frames, *size))
    assert clip is not None
    return clip.clamp(-1, 1)


WIDE = [(8, 16), (10, 20), (12, 24)]


@pytest.mark.parametrize("kind", ["volume", "split"])
@pytest.mark.parametrize(("start", "motion"), [(1, 1.0), (2, 0.5)])
def test_the_still_and_what_moves_enter_at_the_start_scale(run: Run, split_run: Run, kind: str, start: int,
                                                           motion: float) -> None:
    trained = run if kind == "volume" else split_run
    expected = by_hand(trained, 9, start, WIDE, motion, 5)
    result = animate(trained, STILL, frames=9, start_scale=start, motion=motion, seed=5)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert (result[:, :, 1:] - result[:, :, :-1]).abs().mean() > 1e-3


def test_without_motion_noise_alone_moves_it_as_in_the_paper(run: Run) -> None:
    result = animate(run, STILL, frames=9, motion=0)
    torch.testing.assert_close(result, by_hand(run, 9, 1, WIDE, 0, 0), rtol=1e-4, atol=1e-5)
    assert (result[:, :, 1:] - result[:, :, :-1]).abs().mean() > 1e-4


def test_without_motion_a_run_whose_frames_share_their_noise_is_refused(run: Run, split_run: Run) -> None:
    for trained, start in ((split_run, 1), (run, 2)):
        with pytest.raises(ConfigError, match=f"motion is 0, and from start scale {start} on all frames"):
            animate_frames(trained, STILL, motion=0, start_scale=start)


def test_a_long_clip_comes_in_parts(split_run: Run) -> None:
    parts = list(animate_frames(split_run, STILL, frames=150))
    assert len(parts) > 2
    whole = frames_from_tensor(by_hand(split_run, 150, 1, WIDE, 1, 0))
    assert (torch.cat(parts).int() - whole.int()).abs().max() <= 1


@pytest.mark.parametrize("frames", [7, 70])
def test_kept_colours_are_the_still_s_at_the_size_it_enters(split_run: Run, frames: int) -> None:
    low = resize(tensor_from_frames(STILL[None]), (8, 16)).clamp(-1, 1) * 0.5

    def error(clip: Tensor) -> float:
        return float((resize(clip, (8, 16)).mean(2, keepdim=True) - low).abs().mean())

    dim = (STILL.float() * 0.5 + 63.75).round().to(torch.uint8)  # away from black and white, where clamping moves means
    plain, kept = (animate(split_run, dim, frames=frames, keep_colours=keep) for keep in (False, True))
    assert kept.shape == plain.shape == (1, 3, frames, 12, 24)
    assert error(kept) < 0.3 * error(plain)
    inside = (kept.abs() < 1) & (plain.abs() < 1)
    difference = torch.where(inside, kept - plain, torch.nan)
    steady = (difference - difference.nanmean(2, keepdim=True)).nan_to_num()
    assert steady.abs().max() < 1e-5, "a shift that all frames share moves nothing"


@pytest.mark.parametrize(("still", "size"), [((100, 200), (12, 24)), ((200, 100), (24, 12)), ((3, 4), (12, 16)),
                                             ((5, 4000), (12, 9600))])
def test_the_still_decides_the_shape(still: tuple[int, int], size: tuple[int, int]) -> None:
    assert still_size(still, (12, 16)) == size


def test_a_size_that_is_asked_for_is_made(run: Run) -> None:
    assert animate(run, STILL, frames=3, size=(33, 17)).shape == (1, 3, 3, 33, 17)


def test_the_clip_s_number_of_frames_is_the_default_and_the_seed_decides(run: Run) -> None:
    first = animate(run, STILL)
    assert first.shape == (1, 3, run.num_frames, 12, 24)
    assert animate(run, STILL).equal(first)
    assert not animate(run, STILL, seed=1).equal(first)


def test_what_cannot_be_is_refused_at_once(run: Run) -> None:
    def refused(error: type[Exception], words: str, still: Tensor = STILL, **asked: Any) -> None:
        with pytest.raises(error, match=words):
            animate_frames(run, still, **asked)

    refused(ConfigError, "start scale is 0, expected 1 or more", start_scale=0)
    refused(RunError, "start scale 3 is not among the 3 finished scales", start_scale=3)
    refused(ValueError, "1 frames of 12x24: expected at least two frames", frames=1)
    refused(ValueError, "1x9: expected at least two frames and 2x2 pixels", size=(1, 9))
    refused(ConfigError, "motion is -1, expected 0 to 10", motion=-1.0)
    refused(ConfigError, "motion is nan", motion=float("nan"))
    refused(ValueError, r"the still is torch\.float32 \[24, 48, 3\], expected uint8", STILL.float())


def test_a_run_with_its_coarsest_scale_alone_is_refused(run: Run, tmp_path: Path) -> None:
    copy = load_run(shutil.copytree(run.path, tmp_path / "run"))
    for scale in (1, 2):
        shutil.rmtree(copy.scale_dir(scale))
    with pytest.raises(RunError, match="start scale 1 is not among the 1 finished scales"):
        animate_frames(copy, STILL)
