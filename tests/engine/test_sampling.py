"""What a trained run makes: samples of any size and length, part by part, and the reconstruction."""

import gc
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine.clip import frames_from_tensor
from sgif.engine.config import TrainConfig
from sgif.engine.generator import Generator, generate_scale
from sgif.engine.losses import psnr_db
from sgif.engine.noise import noise_seed, scale_noise
from sgif.engine.pyramid import ScalePlan
from sgif.engine.runs import Run
from sgif.engine.sampling import (
    FrameStream,
    NoiseSource,
    TrainedScale,
    frames_at_once,
    gather,
    run_scale,
    run_scales,
    scaled_size,
    stream,
)
from sgif.engine.storage import RunError
from sgif.kernels import PhiloxNoise

from .inputs import normal, watched_frames

CPU = torch.device("cpu")
SCALES, FRAMES, SIZE = 3, 6, (12, 16)


def noise_for(form: str, frames: int) -> NoiseSource:
    """Drawn as a whole and handed out in parts, or drawn in parts."""
    def given(plan: ScalePlan, size: tuple[int, int], first: int, count: int) -> Tensor:
        return normal((1, 3, frames, *size), 0, "noise")[:, :, first:first + count]

    def drawn(plan: ScalePlan, size: tuple[int, int], first: int, count: int) -> Tensor | PhiloxNoise:
        config = TrainConfig(noise=form, noise_smooth_px=1.0)
        return scale_noise(plan, config, noise_seed(0, "test"), count, size, first_frame=first)
    return given if form == "given" else drawn


def values_for(stage: TrainedScale, size: tuple[int, int], count: int) -> int:
    """The `max_values` that lets `count` frames of a scale be made at once."""
    values = 3 * size[0] * size[1] * (count + 2 * stage.generator.reach_frames)
    return values if stage.generator.is_3d else 8 * values


def whole_scale(stage: TrainedScale, coarser: Tensor | None, noise: NoiseSource, frames: int,
                size: tuple[int, int]) -> Tensor:
    with torch.no_grad():
        return generate_scale(stage.generator, coarser, noise(stage.plan, size, 0, frames), stage.noise_amp,
                              (frames, *size))


# ---- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["given", "volume", "split"])
@pytest.mark.parametrize("frames", [1, 2, 13, 23])
@pytest.mark.parametrize("scale", range(SCALES), ids=["3D-coarsest", "3D", "2D"])
def test_parts_in_time_make_the_whole_clip(run: Run, scale: int, frames: int, form: str) -> None:
    stage, noise = run.stage(scale, CPU), noise_for(form, frames)
    size = stage.plan.size
    coarser = None if scale == 0 else normal((1, 3, frames, *run.plans[scale - 1].size), 0, "coarser")
    whole = whole_scale(stage, coarser, noise, frames, size)
    for count in (1, 4, 12, 16, 64):
        for split in (1, 3, 64):
            given = None if coarser is None else coarser.split(split, 2)
            parts = list(run_scale(stage, given, noise, frames, size, max_values=values_for(stage, size, count)))
            assert [part.shape[2] for part in parts[:-1]] == [count if scale == 2 else max(count, 8)] * (len(parts) - 1)
            torch.testing.assert_close(torch.cat(parts, 2), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(33, 41), (2, 50)], ids=str)
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect", "once"])
@pytest.mark.parametrize("scale", range(SCALES), ids=["3D-coarsest", "3D", "2D"])
def test_parts_in_time_and_space_make_the_whole_clip(run: Run, tiny_config: Any, scale: int, padding: str,
                                                     size: tuple[int, int]) -> None:
    stage, noise = run.stage(scale, CPU), noise_for("volume", 9)
    generator = Generator(stage.plan, tiny_config(padding=padding)).eval()
    generator.load_state_dict(stage.generator.state_dict())
    stage = replace(stage, generator=generator)
    coarser = None if scale == 0 else normal((1, 3, 9, 20, 31), 0, "coarser")
    whole = whole_scale(stage, coarser, noise, 9, size)
    parts = run_scale(stage, None if coarser is None else [coarser], noise, 9, size, max_values=1)
    torch.testing.assert_close(gather(parts, 9), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["volume", "split"])
def test_a_coarsest_scale_may_be_2d(make_plan: Any, tiny_config: Any, form: str) -> None:
    """Its noise is drawn four frames at a time, though it makes one at a time."""
    plan = make_plan(index=0, kind="2D")
    stage = TrainedScale(plan=plan, generator=Generator(plan, tiny_config()).eval(), noise_amp=1.0)
    noise = noise_for(form, 9)
    parts = list(run_scale(stage, None, noise, 9, (20, 30), max_values=1))
    assert [part.shape[2] for part in parts] == [1] * 9
    torch.testing.assert_close(torch.cat(parts, 2), whole_scale(stage, None, noise, 9, (20, 30)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 9])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_all_scales_in_parts_make_the_whole_clip(run: Run, start: int, frames: int) -> None:
    """From noise, or from a clip that enters at a later scale; at three times the trained height and width."""
    stages, noise = run.stages(CPU)[start:], noise_for("volume", frames)
    clip = normal((1, 3, frames, 21, 30), 0, "clip") if start else None
    parts = run_scales(stages, None if clip is None else stream(clip, frames, CPU), noise, frames, (3.0, 3.0),
                       max_values=1)
    for stage in stages:
        clip = whole_scale(stage, clip, noise, frames, scaled_size(stage.plan.size, (3.0, 3.0)))
    assert clip is not None
    torch.testing.assert_close(gather(parts, frames), clip, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "lengths"), [(1, [13, 18, 18, 18, 13]), (2, [9, 10, 10, 10, 9])], ids=["3D", "2D"])
def test_a_part_takes_the_neighbours_that_it_reaches(run: Run, scale: int, lengths: list[int]) -> None:
    stage, seen = run.stage(scale, CPU), []
    stage.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2]))
    coarser = normal((1, 3, 40, *run.plans[scale - 1].size), 0, "coarser")
    size = stage.plan.size
    gather(run_scale(stage, [coarser], noise_for("volume", 40), 40, size, max_values=values_for(stage, size, 8)), 40)
    assert seen == lengths


def test_a_long_clip_is_made_as_it_is_asked_for(run: Run) -> None:
    """No scale draws more of the coarser one than the parts so far need, nor keeps what they no longer need."""
    coarser, made = watched_frames(run.plans[0].size, 10**6)
    stages, noise = run.stages(CPU)[1:], noise_for("volume", 10**6)
    parts = run_scales(stages, coarser, noise, 10**6)
    for part in range(1, 5):
        assert next(parts).shape == (1, 3, 64, *SIZE)
        assert len(made) <= 64 * (part + 1) + 4 * 5
        assert sum(ref() is not None for ref in made) <= 64 + 4 * 5


@pytest.mark.parametrize(("kind", "size", "count"), [
    ("3D", (12, 20), 64), ("2D", (12, 20), 64), ("3D", (1080, 1920), 8), ("2D", (1080, 1920), 1),
    ("3D", (360, 640), 36), ("2D", (270, 480), 8)])
def test_frames_at_once_shrink_with_their_size(make_plan: Any, tiny_config: Any, kind: str, size: tuple[int, int],
                                               count: int) -> None:
    assert frames_at_once(Generator(make_plan(kind=kind), tiny_config()), size) == count


def test_memory_does_not_grow_with_the_frames(run: Run) -> None:
    def live_bytes() -> int:
        storages = [x.untyped_storage() for x in gc.get_objects() if type(x) is Tensor]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    held = []
    for part in run.sample_frames(frames=8 * 64):
        assert part.shape == (64, *SIZE, 3)
        held.append(live_bytes())
    assert len(held) == 8
    assert max(held[2:]) == held[1]


@pytest.mark.slow
def test_a_process_needs_no_more_memory_for_more_frames(run: Run, tmp_path: Path) -> None:
    code = """if True:
        import resource, sys, torch
        from sgif.engine import load_run, write_clip
        torch.set_num_threads(1)
        run, frames = load_run(sys.argv[1]), int(sys.argv[3])
        write_clip(sys.argv[2], run.sample_frames(size=(120, 160), frames=frames), [40] * frames)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """

    def peak_kib(frames: int) -> int:
        words = [sys.executable, "-c", code, str(run.path), str(tmp_path / "long.mp4"), str(frames)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    short, long = peak_kib(256), peak_kib(1024)  # the frames of the difference: 43 MiB in uint8, 169 MiB in float32
    assert long - short < 30 * 1024


@pytest.mark.gpu
def test_device_memory_grows_neither_with_the_frames_nor_with_activations(run: Run) -> None:
    def peak_bytes(frames: int, size: tuple[int, int]) -> int:
        torch.cuda.reset_peak_memory_stats()
        for _ in run.sample_frames(frames=frames, size=size, device="cuda"):
            pass
        return torch.cuda.max_memory_allocated()

    assert peak_bytes(1024, (240, 320)) <= 1.05 * peak_bytes(256, (240, 320))
    frame = 3 * 4 * 2160 * 3840
    assert peak_bytes(8, (2160, 3840)) < 40 * frame


@pytest.mark.gpu
def test_a_sample_is_the_same_on_a_gpu(run: Run) -> None:
    on_gpu = run.sample(1, frames=70, size=(40, 50), device="cuda")
    torch.testing.assert_close(on_gpu, run.sample(1, frames=70, size=(40, 50), device="cpu"), rtol=0, atol=2e-2)


def test_a_stream_is_read_by_ranges_until_they_are_forgotten() -> None:
    clip = torch.arange(20.0).view(1, 1, 20, 1, 1)
    frames = FrameStream(clip.split([3, 1, 8, 8], 2))
    for low, high in ((0, 2), (5, 7), (0, 7), (5, 6), (5, 20)):
        assert torch.equal(frames.clip(low, high), clip[:, :, low:high])
    assert frames.clip(13, 15).data_ptr() == clip[:, :, 13:].data_ptr()
    frames.forget(4)
    assert torch.equal(frames.clip(4, 20), clip[:, :, 4:])
    assert frames.pieces(0, 4) == []
    with pytest.raises(StopIteration):
        frames.pieces(13, 21)


def test_a_single_frame_stands_for_all() -> None:
    frame = normal((1, 3, 1, 4, 5), 0, "frame")
    assert torch.equal(gather(stream(frame, 9, CPU), 9), frame.expand(-1, -1, 9, -1, -1))


def test_sizes_are_scaled_and_keep_two_pixels() -> None:
    assert scaled_size((12, 16), (1.5, 0.5)) == (18, 8)
    assert scaled_size((12, 16), (0.01, 1.0)) == (2, 16)


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
    def noise(plan: ScalePlan, size: tuple[int, int], first: int, frames: int) -> Tensor | PhiloxNoise:
        return scale_noise(plan, run.config, noise_seed(5, "sample", 0), frames, size, first_frame=first)
    clip = gather(run_scales(run.stages(CPU)[start_scale:], [run.real[start_scale - 1]], noise, FRAMES), FRAMES)
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


@pytest.mark.parametrize("asked", [{"frames": 0}, {"size": (0, 16)}, {"size": (12, -3)}, {"size": (1, 16)}], ids=str)
def test_samples_of_nothing_are_refused(run: Run, asked: dict[str, Any]) -> None:
    for use in (run.sample, run.sample_frames):
        with pytest.raises(ValueError, match=r"frames of .*: expected at least one frame and 2x2 pixels$"):
            use(**asked)


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_are_refused(run: Run, n: int) -> None:
    with pytest.raises(ValueError, match=rf"^n is {n}, expected at least one sample$"):
        run.sample(n)


@pytest.mark.parametrize("asked", [{}, {"frames": 70, "size": (9, 40)}, {"start_scale": 1}], ids=str)
def test_frames_of_a_sample_come_as_they_are_made(run: Run, asked: dict[str, Any]) -> None:
    parts = list(run.sample_frames(2, seed=5, **asked))
    assert max(len(part) for part in parts) <= 64
    assert torch.equal(torch.cat(parts), frames_from_tensor(run.sample(1, first=2, seed=5, **asked)))


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


def test_frames_of_the_reconstruction_come_as_they_are_made(run: Run) -> None:
    assert torch.equal(torch.cat(list(run.reconstruct_frames())), frames_from_tensor(run.reconstruct()))


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
    for use in (run_copy.sample, run_copy.sample_frames, run_copy.reconstruct, run_copy.reconstruct_frames):
        with pytest.raises(RunError, match=r"has no finished scale yet; run 'sgif train' again to go on$"):
            use()
