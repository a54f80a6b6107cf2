"""Super-resolution: settings that make the step, and the finest generator applied to a clip that grows."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine import (
    Clip,
    ConfigError,
    Run,
    RunError,
    frames_from_tensor,
    load_run,
    superres,
    superres_config,
    superres_frames,
    train,
)
from sgif.engine.applications.superres import paper_steps, superres_plan
from sgif.engine.config import preset_config
from sgif.engine.generator import generate_scale
from sgif.engine.noise import noise_seed, scale_noise
from sgif.engine.pyramid import plan_scales

from ..conftest import CPU, make_clip

Config = Callable[..., Any]


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["draft", "paper"])
@pytest.mark.parametrize(("factor", "steps"), [(2, None), (3, None), (4, None), (4, 2), (1.5, 1), (6, None)])
@pytest.mark.parametrize("size", [(136, 250), (96, 160), (200, 61), (720, 1280), (40, 40)])
def test_the_finest_step_is_that_of_the_factor(size: tuple[int, int], factor: float, steps: int | None,
                                               preset: Any) -> None:
    config = superres_config(preset_config(preset, max_size_px=max(size)), *size, factor=factor, steps=steps)
    ratio = factor ** (1 / (steps or paper_steps(factor)))
    plans = plan_scales(*size, 8, config)
    assert plans[-1].size == size
    for finest, coarser in zip(plans[-1].size, plans[-2].size, strict=True):
        # The coarsest side is rounded to a pixel, which spreads over the steps, and so is the next finest.
        assert abs(coarser - finest / ratio) <= 0.5 + 0.5 * finest / ratio / min(plans[0].size)
    wish = preset_config(preset).min_size_px
    assert min(plans[0].size) <= wish * math.sqrt(ratio) + 0.5
    assert min(plans[0].size) >= wish / math.sqrt(ratio) - 0.5 or len(plans) == 2


def test_everything_else_stays_as_given() -> None:
    config = preset_config("draft", rec_weight=125.0, max_size_px=160, width=8)
    changed = superres_config(config, 96, 160, factor=2)
    names = {name for name, value in config.to_json().items() if changed.to_json()[name] != value}
    assert names <= {"min_size_px", "scale_factor"}


def test_the_paper_s_steps_are_the_factor() -> None:
    assert [paper_steps(factor) for factor in (1.2, 2, 3, 4.4)] == [1, 2, 3, 4]


@pytest.mark.parametrize(("factor", "steps", "words"), [
    (1.0, None, r"factor is 1, expected 1\.1 to 16"), (17, None, "factor is 17"), (math.nan, None, "factor is nan"),
    (math.inf, None, "factor is inf"), (2, 0, "0 steps to 2 times the size, expected 1 to 7"), (2, 8, "8 steps"),
    (16, 2, "2 steps to 16 times the size, expected 3 to 29"),
])
def test_factors_and_steps_out_of_range_are_refused(run: Run, factor: float, steps: int | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        superres_config(preset_config("draft"), 96, 160, factor=factor, steps=steps)
    with pytest.raises(ConfigError, match=words):
        superres_frames(run, factor, steps=steps)


def test_a_clip_without_room_for_a_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"9x30 pixels are too small to learn steps of 1\.442 .* at least 12"):
        superres_config(preset_config("draft"), 9, 30, factor=3)


# ---- application -----------------------------------------------------------------------------------------------------


def by_hand(run: Run, clip: Tensor, sizes: list[tuple[int, int]], seed: int | None) -> Tensor:
    stage = run.stages(CPU)[-1]
    for step, size in enumerate(sizes):
        noise = None if seed is None else scale_noise(stage.plan, run.config, noise_seed(seed, "superres", step),
                                                      clip.shape[2], size)
        with torch.no_grad():
            clip = generate_scale(stage.generator, clip, noise, stage.noise_amp, (clip.shape[2], *size))
    return clip.clamp(-1, 1)


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_the_finest_generator_is_applied_once_a_step(run: Run, seed: int | None) -> None:
    expected = by_hand(run, run.clip, [(17, 23), (24, 32)], seed)
    result = superres(run, 2, steps=2, noise=seed is not None, seed=seed or 0)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_without_steps_they_are_those_that_the_run_has_learned(run: Run) -> None:
    plan = superres_plan(run, 2)  # 12x16 above 10x13, each 1.2 times
    assert plan.learned_ratio == pytest.approx((12 / 10 + 16 / 13) / 2)
    assert plan.sizes == ((12, 16), (14, 19), (17, 23), (20, 27), (24, 32))
    assert plan.ratio == pytest.approx(2 ** (1 / 4))
    assert superres(run, 2).equal(superres(run, 2, steps=4))


def test_another_clip_of_any_size_and_length_is_enlarged_in_parts(run: Run) -> None:
    other = make_clip(70, 9, 21)
    parts = list(superres_frames(run, 3, clip=other, steps=2))
    assert len(parts) > 1
    frames = torch.cat(parts)
    assert frames.shape == (70, 27, 63, 3)
    expected = by_hand(run, other.to_tensor(), [(16, 36), (27, 63)], None)
    assert (frames.int() - frames_from_tensor(expected).int()).abs().max() <= 1


def test_the_noise_is_the_seed_s(run: Run) -> None:
    again = superres(run, 2, noise=True, seed=1)
    assert superres(run, 2, noise=True, seed=1).equal(again)
    assert not superres(run, 2, noise=True, seed=2).equal(again)
    assert superres(run, 2, seed=1).equal(superres(run, 2, seed=2))


def test_an_all_3d_run_enlarges_too(clip: Clip, tiny_config: Config, tmp_path: Path) -> None:
    run = train(clip, tmp_path / "run", tiny_config(num_3d_scales=-1, iterations=1))
    assert run.plans[-1].kind == "3D"
    torch.testing.assert_close(superres(run, 2, steps=1), by_hand(run, run.clip, [(24, 32)], None),
                               rtol=1e-4, atol=1e-5)


def test_an_unfinished_run_is_refused(run: Run, tmp_path: Path) -> None:
    copy = load_run(shutil.copytree(run.path, tmp_path / "run"))
    shutil.rmtree(copy.scale_dir(2))
    with pytest.raises(RunError, match=r"has 2 of 3 scales: super-resolution needs the finest one"):
        superres_frames(copy, 2)


def test_a_run_of_a_single_scale_is_refused(clip: Clip, tiny_config: Config, tmp_path: Path) -> None:
    run = train(clip, tmp_path / "run", tiny_config(min_size_px=12, iterations=1))
    with pytest.raises(RunError, match="has a single scale"):
        superres_frames(run, 2)
