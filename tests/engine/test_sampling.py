"""What a trained run makes: samples of any size and length, chunk by chunk, and the reconstruction."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine.config import TrainConfig
from sgif.engine.generator import Generator, generate_scale
from sgif.engine.losses import psnr_db
from sgif.engine.noise import noise_seed, scale_noise
from sgif.engine.pyramid import ScalePlan
from sgif.engine.runs import Run, load_run
from sgif.engine.sampling import TrainedScale, run_scale, run_scales, scaled_size
from sgif.engine.storage import RunError
from sgif.kernels import PhiloxNoise

from .inputs import normal

CPU = torch.device("cpu")
SCALES, FRAMES, SIZE = 3, 6, (12, 16)


@pytest.fixture
def run(tiny_run: Any) -> Run:
    return load_run(tiny_run.run.path)


@pytest.fixture
def run_copy(run: Run, tmp_path: Path) -> Run:
    """The tiny run in a folder that a test may change."""
    return load_run(shutil.copytree(run.path, tmp_path / "run"))


def noise_for(stage: TrainedScale, frames: int, form: Any = "volume") -> Tensor | PhiloxNoise:
    if form == "given":
        return normal((1, 3, frames, *stage.plan.size), 0, "noise")
    return scale_noise(stage.plan, TrainConfig(noise=form), noise_seed(0, "test"), frames, stage.plan.size)


# ---- chunks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["given", "volume", "split"])
@pytest.mark.parametrize("frames", [1, 2, 13, 23])
@pytest.mark.parametrize("scale", range(SCALES), ids=["3D-coarsest", "3D", "2D"])
def test_chunks_make_the_whole_clip(run: Run, scale: int, frames: int, form: str) -> None:
    stage = run.stage(scale, CPU)
    coarser = None if scale == 0 else normal((1, 3, frames, *run.plans[scale - 1].size), 0, "coarser")
    noise = noise_for(stage, frames, form)
    with torch.no_grad():
        whole = generate_scale(stage.generator, coarser, noise, stage.noise_amp, (frames, *stage.plan.size))
    assert whole.shape == (1, 3, frames, *stage.plan.size)
    for chunk_frames in (1, 2, 3, 5, 8, 16, 100):
        clip = run_scale(stage, coarser, noise, frames, stage.plan.size, CPU, chunk_frames=chunk_frames)
        torch.testing.assert_close(clip, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "reach"), [(1, 5), (2, 1)], ids=["3D", "2D"])
def test_a_chunk_takes_what_it_reaches_and_begins_with_four_frames_of_noise(run: Run, scale: int, reach: int) -> None:
    stage, lengths = run.stage(scale, CPU), []
    stage.generator.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[2]))
    coarser = normal((1, 3, 40, *run.plans[scale - 1].size), 0, "coarser")
    run_scale(stage, coarser, noise_for(stage, 40), 40, stage.plan.size, CPU, chunk_frames=8)
    before = {5: 8, 1: 4}[reach]
    assert lengths == [8 + reach, *[before + 8 + reach] * 3, before + 8]


def test_a_single_coarser_frame_stands_for_all(run: Run) -> None:
    stage = run.stage(1, CPU)
    frame = normal((1, 3, 1, *run.plans[0].size), 0, "coarser")
    noise = noise_for(stage, 9)
    still = frame.expand(-1, -1, 9, -1, -1)
    torch.testing.assert_close(run_scale(stage, frame, noise, 9, stage.plan.size, CPU, chunk_frames=4),
                               run_scale(stage, still, noise, 9, stage.plan.size, CPU, chunk_frames=4))


def test_sizes_are_scaled_and_keep_two_pixels() -> None:
    assert scaled_size((12, 16), (1.5, 0.5)) == (18, 8)
    assert scaled_size((12, 16), (0.01, 1.0)) == (2, 16)


def test_no_stages_leave_the_clip_as_it_is(run: Run) -> None:
    clip = run.real[0]
    assert run_scales([], clip, lambda *_: None, FRAMES, (1.0, 1.0), CPU) is clip


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_sample_is_the_same_clip_in_every_batch(run: Run) -> None:
    batch = run.sample(3, seed=5)
    assert batch.shape == (3, 3, FRAMES, *SIZE)
    assert torch.equal(run.sample(1, seed=5, first=2), batch[2:])
    assert torch.equal(run.sample(2, seed=5, first=1), batch[1:])


def test_samples_differ_by_index_and_seed(run: Run) -> None:
    a, b, c = run.sample(2, seed=5)[0], run.sample(2, seed=5)[1], run.sample(1, seed=6)[0]
    assert all((x - y).abs().mean() > 1e-3 for x, y in ((a, b), (a, c), (b, c)))


def test_samples_are_colours(run: Run) -> None:
    sample = run.sample(2)
    assert sample.dtype == torch.float32
    assert sample.isfinite().all()
    assert sample.abs().max() <= 1
    assert not sample.requires_grad


def test_sample_runs_the_scales_in_turn(run: Run) -> None:
    clip = None
    with torch.no_grad():
        for stage in run.stages(CPU):
            noise = scale_noise(stage.plan, run.config, noise_seed(5, "sample", 1), FRAMES, stage.plan.size)
            clip = generate_scale(stage.generator, clip, noise, stage.noise_amp, (FRAMES, *stage.plan.size))
    assert clip is not None
    torch.testing.assert_close(run.sample(1, seed=5, first=1), clip.clamp(-1, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 16), (24, 20), (9, 40), (2, 2)], ids=str)
@pytest.mark.parametrize("frames", [1, 2, 6, 19])
def test_samples_have_any_size_and_length(run: Run, size: tuple[int, int], frames: int) -> None:
    sample = run.sample(2, size=size, frames=frames)
    assert sample.shape == (2, 3, frames, *size)
    assert sample.isfinite().all()


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect", "once"])
def test_the_smallest_size_works_with_every_padding(run: Run, tiny_config: Any, padding: str) -> None:
    for plan in run.plans:
        generator = Generator(plan, tiny_config(padding=padding)).eval()
        with torch.no_grad():
            assert generator(normal((1, 3, 2, 2, 2), 0, "x")).shape == (1, 3, 2, 2, 2)


@pytest.mark.parametrize("start_scale", [1, 2])
def test_start_scale_lets_the_clip_itself_enter(run: Run, start_scale: int) -> None:
    def noise(plan: ScalePlan, size: tuple[int, int]) -> Tensor | PhiloxNoise:
        return scale_noise(plan, run.config, noise_seed(5, "sample", 0), FRAMES, size)
    clip = run_scales(run.stages(CPU)[start_scale:], run.real[start_scale - 1], noise, FRAMES, (1.0, 1.0), CPU)
    assert clip is not None
    sample = run.sample(1, seed=5, start_scale=start_scale)
    assert torch.equal(sample, clip.clamp(-1, 1))
    free = run.sample(1, seed=5)
    assert (sample - run.real[-1]).abs().mean() < (free - run.real[-1]).abs().mean()


def test_start_scale_works_at_another_size(run: Run) -> None:
    assert run.sample(1, start_scale=1, size=(18, 24)).shape == (1, 3, FRAMES, 18, 24)


@pytest.mark.parametrize("start_scale", [-1, SCALES])
def test_start_scale_that_is_not_there_is_refused(run: Run, start_scale: int) -> None:
    with pytest.raises(RunError, match=rf"^start scale {start_scale} is not among the 3 finished scales, 0 to 2$"):
        run.sample(1, start_scale=start_scale)


def test_start_scale_with_another_number_of_frames_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match=r"^frames is 9 with start_scale 1: the clip enters there, so expected its"):
        run.sample(1, start_scale=1, frames=9)
    assert run.sample(1, start_scale=1, frames=FRAMES).shape[2] == FRAMES


@pytest.mark.parametrize("asked", [{"n": 0}, {"n": -1}, {"frames": 0}, {"size": (0, 16)}, {"size": (12, -3)},
                                   {"size": (1, 16)}], ids=str)
def test_samples_of_nothing_are_refused(run: Run, asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"frames of .*: expected at least one sample, one frame and 2x2 pixels$"):
        run.sample(**asked)


def test_sampling_leaves_the_generators_as_they_were(run: Run) -> None:
    first = run.sample(1)
    assert torch.equal(first, run.sample(1))


# ---- reconstruction --------------------------------------------------------------------------------------------------


def test_reconstruction_goes_from_fixed_noise_and_no_other(run: Run) -> None:
    clip = None
    with torch.no_grad():
        for stage in run.stages(CPU):
            noise = run.z_fixed if stage.plan.index == 0 else None
            clip = generate_scale(stage.generator, clip, noise, stage.noise_amp, (FRAMES, *stage.plan.size))
    assert clip is not None
    torch.testing.assert_close(run.reconstruct(), clip.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_reconstruction_is_as_good_as_the_record_says(run: Run) -> None:
    assert psnr_db(run.reconstruct(), run.clip) == pytest.approx(run.scale_record(SCALES - 1)["rec_psnr_db"], abs=2e-3)


# ---- runs that are not finished --------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [1, 2])
def test_a_partial_run_samples_at_its_finest_finished_scale(run_copy: Run, done: int) -> None:
    for scale in range(done, SCALES):
        shutil.rmtree(run_copy.scale_dir(scale))
    size = run_copy.plans[done - 1].size
    assert run_copy.scales_done == done
    assert run_copy.sample(2, frames=4).shape == (2, 3, 4, *size)
    assert run_copy.sample(1, size=(20, 20)).shape == (1, 3, FRAMES, 20, 20)
    assert run_copy.reconstruct().shape == (1, 3, FRAMES, *size)
    with pytest.raises(RunError, match=f"not among the {done} finished scales"):
        run_copy.sample(1, start_scale=done)


def test_scales_after_a_missing_one_do_not_count(run_copy: Run) -> None:
    shutil.rmtree(run_copy.scale_dir(1))
    assert run_copy.scales_done == 1


def test_a_run_without_scales_is_refused(run_copy: Run) -> None:
    for scale in range(SCALES):
        shutil.rmtree(run_copy.scale_dir(scale))
    for use in (run_copy.sample, run_copy.reconstruct):
        with pytest.raises(RunError, match=r"has no finished scale yet; run 'sgif train' again to go on$"):
            use()
