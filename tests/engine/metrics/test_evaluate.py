"""What the measures must do: nothing to identical clips, and order what is nearer before what is farther."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sgif.engine import RunError, evaluate, evaluate_run, read_clip
from sgif.engine.metrics import evaluate as module
from sgif.engine.metrics.evaluate import Evaluation, RealClip, moments, rows, run_frames
from sgif.engine.metrics.features import Features, load_features
from sgif.engine.metrics.frechet import frechet_distance
from sgif.engine.runs import Run
from sgif.kernels import resize

from ..conftest import TinyRun, moving_frames
from ..inputs import normal
from .conftest import EXAMPLE

CLIP = moving_frames(8, 40, 48)


@pytest.fixture
def features(save_weights: Callable[..., Path]) -> Features:
    """Inception of random weights: they suffice for what holds of any features."""
    return load_features(weights=save_weights())


def noisy(clip: Tensor, levels: float, seed: int = 0) -> Tensor:
    return (clip + normal(tuple(clip.shape), seed, "noise") * levels).round().clamp(0, 255).to(torch.uint8)


def one(real: Tensor, clip: Tensor, features: Features) -> dict[str, float]:
    (figures,) = evaluate(real, [clip], features).clips
    assert all(value is not None for value in figures.values())
    return {name: value for name, value in figures.items() if value is not None}


# ---- With real features ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clouds() -> Tensor:
    return read_clip(EXAMPLE).frames


@pytest.fixture(scope="module")
def real(clouds: Tensor, lite: Features) -> RealClip:
    return RealClip(clouds, lite)


def test_identical_clips_are_at_no_distance(clouds: Tensor, real: RealClip) -> None:
    assert max(value for value in real.figures(clouds).values() if value is not None) < 1e-9


def test_nearer_clips_score_lower(clouds: Tensor, lite: Features, real: RealClip) -> None:
    """The clip's own halves, a little noise, the clip upside down, its negative: in every layer."""
    clips = [noisy(clouds, 4), clouds.flip(1), 255 - clouds]
    scores = [module.yardstick(clouds, lite), *(real.figures(clip) for clip in clips)]
    for name in lite.layers:
        found = [float(figures[name] or 0) for figures in scores]
        assert found == sorted(found)
        assert found[0] > 0


def test_a_blur_is_seen_in_proportion(clouds: Tensor, lite: Features, real: RealClip) -> None:
    def blurred(factor: int) -> Tensor:
        video, size = clouds.permute(3, 0, 1, 2)[None].float(), (clouds.shape[1], clouds.shape[2])
        smaller = resize(video, (size[0] // factor, size[1] // factor))
        return resize(smaller, size)[0].permute(1, 2, 3, 0).round().clamp(0, 255).to(torch.uint8)
    for name in lite.layers:
        once, twice = (float(real.figures(blurred(factor))[name] or 0) for factor in (2, 4))
        assert 0.1 < once < twice


def test_shuffled_frames_are_seen_in_time_alone(clouds: Tensor, lite: Features, real: RealClip) -> None:
    order = torch.randperm(len(clouds), generator=torch.Generator().manual_seed(0))
    figures = real.figures(clouds[order])
    assert max(float(figures[name] or 0) for name in lite.layers) < 1e-9
    assert float(figures[lite.temporal] or 0) > 10 * float(module.yardstick(clouds, lite)[lite.temporal] or 0)


@pytest.mark.parametrize("change", ["frozen", "half speed"])
def test_wrong_motion_is_seen_in_time(change: str, clouds: Tensor, lite: Features, real: RealClip) -> None:
    clip = clouds[:1].expand(clouds.shape) if change == "frozen" else clouds[: len(clouds) // 2].repeat_interleave(2, 0)
    figures = real.figures(clip)
    assert float(figures[lite.temporal] or 0) > 3 * float(module.yardstick(clouds, lite)[lite.temporal] or 0)


# ---- With any features -----------------------------------------------------------------------------------------------


def test_figures_are_frechet_distances_of_all_rows(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batches, also of the differences across their borders."""
    other = noisy(CLIP, 20)
    expected = []
    for clip in (CLIP, other):
        maps = features(clip.permute(0, 3, 1, 2) / 127.5 - 1)
        expected.append([rows(layer).double() for layer in (*maps, maps[0][1:] - maps[0][:-1])])
    whole = [frechet_distance(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))
             for a, b in zip(*expected, strict=True)]
    for pixels in (1, 3 * 40 * 48, 1 << 30):
        monkeypatch.setattr(module, "_BATCH_PIXELS", pixels)
        found = one(CLIP, other, features)
        assert [found[name] for name in ("sgfid64", "sgfid192", "tsgfid")] == pytest.approx(whole, rel=1e-4)


def test_memory_is_of_a_batch_and_not_of_the_clip(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    counting = type("Counting", (type(features),), {"__call__": lambda self, x: seen.append(len(x)) or features(x)})
    counted = object.__new__(counting)
    monkeypatch.setattr(module, "_BATCH_PIXELS", 3 * 40 * 48)
    assert moments(CLIP.repeat(4, 1, 1, 1), counted)[0].count == 32 * 17 * 21
    assert max(seen) == 3


def test_mean_and_spread_are_over_the_clips(features: Features) -> None:
    clips = [noisy(CLIP, levels) for levels in (5, 10, 15)]
    evaluation = evaluate(CLIP, clips, features)
    for name in ("sgfid64", "sgfid192", "tsgfid", "nearest_real", "colour"):
        column = [float(clip[name] or 0) for clip in evaluation.clips]
        assert column == sorted(column)
        assert evaluation.mean[name] == pytest.approx(statistics.fmean(column))
        assert evaluation.spread[name] == pytest.approx(statistics.stdev(column))
    assert 0 < float(evaluation.mean["diversity"] or 0) < 1
    assert evaluation.reconstruction is None


def test_the_yardstick_is_the_clip_s_last_half_against_its_first(features: Features) -> None:
    found = evaluate(CLIP[:7], [CLIP, CLIP], features).yardstick
    assert found == one(CLIP[:3], CLIP[4:7], features)


def test_a_reconstruction_has_a_row_and_no_part_in_the_mean(features: Features) -> None:
    evaluation = evaluate(CLIP, [CLIP, CLIP], features, reconstruction=noisy(CLIP, 9))
    assert evaluation.reconstruction == one(CLIP, noisy(CLIP, 9), features)
    assert evaluation.mean["nearest_real"] == 0


def test_json_is_the_whole_evaluation(features: Features) -> None:
    evaluation = evaluate(CLIP, [CLIP, noisy(CLIP, 9)], features)
    written = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert Evaluation(**{**written, "clips": tuple(written["clips"]), "warnings": tuple(written["warnings"])}) == \
        evaluation
    assert written["features"] == features.describe()


# ---- Warnings and errors ---------------------------------------------------------------------------------------------


def warned(real: Tensor, clips: list[Tensor], features: Features) -> str:
    return "\n".join(evaluate(real, clips, features).warnings)


def large(frames: int = 8) -> Tensor:
    """Enough rows for 192 channels, and more colours than a palette."""
    return noisy(moving_frames(frames, 96, 128), 20)


def test_sound_comparisons_have_no_warnings(features: Features) -> None:
    assert warned(large(), [large(), noisy(large(), 9)], features) == ""


def test_clips_of_another_size_have_frechet_distances_and_no_nearest_frame(features: Features) -> None:
    evaluation = evaluate(large(), [large()[:, 4:, 2:], large()], features)
    assert evaluation.clips[0]["nearest_real"] is None
    assert evaluation.clips[0]["sgfid192"] is not None
    assert evaluation.mean["nearest_real"] == 0
    assert evaluation.mean["diversity"] is None
    assert [line.split(":")[0] for line in evaluation.warnings] == [
        "the clips are of several shapes", "clips of another size than the real one's 96x128 have no nearest_real"]


def test_one_frame_has_no_time_and_one_clip_no_diversity(features: Features) -> None:
    evaluation = evaluate(large(), [large(1)], features)
    assert evaluation.clips[0]["tsgfid"] is None
    assert evaluation.clips[0]["sgfid64"] is not None
    assert evaluation.mean["diversity"] is evaluation.spread["sgfid64"] is None
    text = "\n".join(evaluation.warnings)
    assert "a clip of one frame has no tsgfid" in text
    assert "one clip has neither spread nor diversity" in text
    assert set(evaluate(large(1), [large()], features).yardstick.values()) == {None}


def test_a_palette_against_raw_frames_is_warned_of_and_not_its_like(features: Features) -> None:
    grey = large()[..., :1].expand(8, 96, 128, 3)
    assert "compare GIF with GIF" in warned(large(), [large(), grey], features)
    assert "compare GIF with GIF" in warned(grey, [large(), large()], features)
    assert warned(grey, [grey, grey], features) == ""


def test_few_rows_are_warned_of_by_layer(features: Features) -> None:
    """Half of 8 frames of 40x48: 17x21 rows each for 64 channels, 6x8 for 192."""
    said = warned(CLIP, [CLIP, CLIP], features)
    assert "sgfid192 is of as few as 192 rows for 192 channels" in said
    assert "sgfid64 is of" not in said


@pytest.mark.parametrize(("real", "clips", "said"), [
    (CLIP, [], "no generated clips"),
    (CLIP, [CLIP[:0]], r"generated clip 0 is torch.uint8 \[0, 40, 48, 3\], expected uint8"),
    (CLIP.float(), [CLIP], "the real clip is torch.float32"),
    (CLIP, [CLIP, CLIP.permute(3, 0, 1, 2)], "generated clip 1 is"),
    (CLIP, [CLIP[:, :18]], "generated clip 0 is 18x48, too small for inception, which needs 19"),
])
def test_what_cannot_be_compared_is_refused(real: Tensor, clips: list[Tensor], said: str, features: Features) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate(real, clips, features)


# ---- Runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_compared_with_its_clip_at_its_size(tiny_run: TinyRun, lite: Features) -> None:
    run = tiny_run.run
    evaluation = evaluate_run(run, lite, n=2, seed=3)
    samples = [torch.cat(list(run.sample_frames(index, seed=3))) for index in range(2)]
    reconstruction = torch.cat(list(run.reconstruct_frames()))
    assert evaluation == evaluate(run.frames, samples, lite, reconstruction=reconstruction)
    assert len(evaluation.clips) == 2


def test_a_run_half_done_is_compared_at_the_size_that_it_has(run_copy: Run, lite: Features) -> None:
    run_copy.scale_dir(2).rename(run_copy.path / "later")
    assert tuple(run_frames(run_copy).shape) == (6, *run_copy.sizes[1], 3)
    assert evaluate_run(run_copy, lite, n=1).clips[0]["nearest_real"] is not None
    run_copy.scale_dir(0).rename(run_copy.path / "sooner")
    with pytest.raises(RunError, match="no finished scale"):
        evaluate_run(run_copy, lite)
