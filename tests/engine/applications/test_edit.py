"""An edited clip goes through the finer scales: as often as asked, masked or not, a few frames at a time."""

import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.cli.main import main
from sgif.engine import edit_frames, inpaint_frames, read_clip, write_clip
from sgif.engine.applications.edit import fitted_size
from sgif.engine.clip import Clip, frames_from_tensor
from sgif.engine.generator import generate_scale
from sgif.engine.masks import mask_weights
from sgif.engine.noise import noise_seed, sample_noise
from sgif.engine.runs import Run
from sgif.engine.storage import RunError
from sgif.kernels import resize

from ..conftest import moving_frames

CPU = torch.device("cpu")
SIZE = (12, 16)


def clip_of(frames: Tensor) -> Clip:
    return Clip(frames=frames, frame_ms=(80,) * len(frames), source="edited.gif")


def edited(frames: int = 5, height: int = 12, width: int = 16) -> Clip:
    """The clip moved to the left by a third, what left it set in on the right."""
    return clip_of(moving_frames(frames, height, width).roll(-width // 3, 2))


def right_half(height: int = 12, width: int = 16, frames: int = 1) -> Tensor:
    mask = torch.zeros(frames, height, width, dtype=torch.bool)
    mask[..., width // 2:] = True
    return mask


def whole(parts: Any) -> Tensor:
    return torch.cat(list(parts))


def by_hand(run: Run, clip: Clip, start: int, passes: int, *, mask: Tensor | None = None, border_px: int = 0,
            seed: int = 0) -> Tensor:
    """What the module's docstring says, on whole clips."""
    own, stages = clip.to_tensor(), run.stages(CPU)
    result: Tensor | None = own
    for index in range(passes):
        first = start if index == 0 else max(start, 1)
        assert result is not None
        result = resize(result.clamp(-1, 1), run.sizes[first - 1]).clamp(-1, 1) if first else None
        for stage in stages[first:]:
            size, frames = stage.plan.size, len(clip.frames)
            noise = sample_noise(stage.plan, run.config, noise_seed(seed, "edit", index), frames, size,
                                 first=run.plans[0])
            with torch.no_grad():
                result = generate_scale(stage.generator, result, noise, stage.noise_amp, (frames, *size))
            if mask is not None:
                weight = mask_weights(mask, size, round(border_px * size[0] / SIZE[0])).movedim(0, 1)[None]
                result = weight * result + (1 - weight) * resize(own, size).clamp(-1, 1)
    assert result is not None
    return frames_from_tensor(result)


def assert_within_a_level(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one.int() - other.int()).abs().max() <= 1


# ---- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 5, 70])
@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("start", [1, 2])
def test_the_clip_enters_and_every_pass_takes_what_the_one_before_gave(run: Run, start: int, passes: int,
                                                                       frames: int) -> None:
    clip = edited(frames)
    result = whole(edit_frames(run, clip, start_scale=start, passes=passes, seed=4))
    assert_within_a_level(result, by_hand(run, clip, start, passes, seed=4))


@pytest.mark.parametrize("mask", [right_half(), right_half(24, 32), torch.stack([right_half()[0].roll(t, 1)
                                                                                for t in range(9)])],
                         ids=["one", "of-twice-the-size", "of-each-frame"])
def test_with_a_mask_every_scale_sees_the_clip_s_own_pixels(run: Run, mask: Tensor) -> None:
    clip = edited(9)
    result = whole(edit_frames(run, clip, mask=mask, start_scale=1, passes=2, border_px=3))
    assert_within_a_level(result, by_hand(run, clip, 1, 2, mask=mask, border_px=3))


@pytest.mark.parametrize("passes", [1, 3])
def test_with_a_mask_it_may_be_made_from_noise(run: Run, passes: int) -> None:
    clip, mask = edited(9), right_half()
    results = [whole(edit_frames(run, clip, mask=mask, start_scale=0, passes=passes, border_px=2, seed=seed))
               for seed in (3, 4)]
    assert_within_a_level(results[0], by_hand(run, clip, 0, passes, mask=mask, border_px=2, seed=3))
    difference = (results[0].float() - results[1].float()).abs()
    assert difference[:, :, 8:].mean() > 0.2
    assert difference[:, :, :6].max() == 0


@pytest.mark.parametrize("border", [0, 1, 4])
def test_what_the_mask_does_not_select_is_the_clip_s_own_to_the_bit(run: Run, border: int) -> None:
    clip, mask = edited(), torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[:, :, 12:] = True
    result = whole(edit_frames(run, clip, mask=mask, border_px=border))
    free = whole(edit_frames(run, clip))
    assert torch.equal(result[:, :, :12 - border], clip.frames[:, :, :12 - border])
    assert not torch.equal(free[:, :, :12 - border], clip.frames[:, :, :12 - border])
    assert (result[:, :, 12:] != clip.frames[:, :, 12:]).float().mean() > 0.5


def test_a_lower_start_scale_and_more_passes_change_more(run: Run) -> None:
    def change(**asked: Any) -> float:
        return float((whole(edit_frames(run, edited(), **asked)).float() - edited().frames.float()).abs().mean())
    assert change(start_scale=2, passes=1) < change(start_scale=1, passes=1) < change(start_scale=1, passes=3)


def test_a_seam_is_softened(run: Run) -> None:
    clip = clip_of(torch.full((5, *SIZE, 3), 60, dtype=torch.uint8))
    clip.frames[:, :, 8:] = 190
    result = whole(edit_frames(run, clip)).float()
    assert result.diff(dim=2).abs().mean((0, 1, 3)).max() < 0.8 * 130


def test_a_seed_gives_one_result_and_another_another(run: Run) -> None:
    first, again, other = (whole(edit_frames(run, edited(), start_scale=1, seed=seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_large_frames_go_through_in_windows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_frames = whole(edit_frames(run, edited(), size=(60, 80), start_scale=1, passes=2))
    from sgif.engine import sampling

    seen: list[int] = []
    original = sampling.windowed_residual

    def small(generator: Any, pieces: Any, context: Any, *, max_values: int, **others: Any) -> Tensor:
        seen.append(max_values)
        return original(generator, pieces, context, max_values=1, **others)
    monkeypatch.setattr(sampling, "windowed_residual", small)
    assert_within_a_level(whole(edit_frames(run, edited(), size=(60, 80), start_scale=1, passes=2)), whole_frames)
    assert seen


# ---- sizes and scales ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "size"), [
    (12, 16, (12, 16)), (24, 32, (12, 16)), (600, 799, (12, 16)), (12, 24, (12, 24)), (48, 24, (24, 12)),
    (6, 8, (12, 16)), (3, 9, (12, 36)),
])
def test_the_result_has_the_clip_s_proportions_at_the_trained_size(run: Run, height: int, width: int,
                                                                   size: tuple[int, int]) -> None:
    clip = edited(3, height, width)
    assert fitted_size(clip, SIZE, SIZE) == size
    assert whole(edit_frames(run, clip, passes=1)).shape == (3, *size, 3)


def test_a_size_may_be_asked_for(run: Run) -> None:
    assert whole(edit_frames(run, edited(), size=(19, 31), mask=right_half())).shape == (5, 19, 31, 3)


def test_the_paper_s_start_scale_or_else_the_finest_is_the_default(run: Run) -> None:
    assert torch.equal(whole(edit_frames(run, edited())), whole(edit_frames(run, edited(), start_scale=2)))


def test_a_partial_run_edits_at_its_finest_finished_scale(run_copy: Run) -> None:
    shutil.rmtree(run_copy.scale_dir(2))
    assert whole(edit_frames(run_copy, edited())).shape == (5, *run_copy.sizes[1], 3)
    shutil.rmtree(run_copy.scale_dir(1))
    with pytest.raises(RunError, match=r"has only scale 0, which takes no clip: run 'sgif train' again to go on$"):
        edit_frames(run_copy, edited())
    shutil.rmtree(run_copy.scale_dir(0))
    with pytest.raises(RunError, match="has no finished scale yet"):
        edit_frames(run_copy, edited())


@pytest.mark.parametrize(("asked", "error", "words"), [
    ({"start_scale": 0}, RunError, r"^a clip cannot enter at scale 0, which is made from noise: expected "),
    ({"start_scale": 3}, RunError, "^start scale 3 is not among the 3 finished scales, 0 to 2$"),
    ({"start_scale": -1}, RunError, "^start scale -1 is not"),
    ({"passes": 0}, ValueError, "^passes is 0, expected at least one$"),
    ({"border_px": -1}, ValueError, "^the border is -1 pixels wide, expected 0 to "),
    ({"size": (1, 9)}, ValueError, " frames of 1x9: expected at least one frame and 2x2 pixels$"),
    ({"size": (9, 10**30)}, ValueError, "expected at most 65536 pixels each way$"),
    ({"mask": right_half(12, 17)}, ValueError, "^the mask is 12x17"),
    ({"mask": right_half(frames=4)}, ValueError, "^the mask has 4 frames, expected the clip's 5"),
    ({"mask": ~right_half() & right_half()}, ValueError, "selects nothing"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else None)
def test_what_cannot_be_is_refused_at_once(run: Run, asked: dict[str, Any], error: type[Exception],
                                           words: str) -> None:
    with pytest.raises(error, match=words):
        edit_frames(run, edited(), **asked)


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_memory_does_not_grow_with_the_frames(run: Run, masked: bool) -> None:
    """Three passes, each a stream that feeds the next; a million frames are there as one."""
    clip = clip_of(moving_frames(1).expand(10**6, -1, -1, -1))
    parts = edit_frames(run, clip, mask=right_half() if masked else None, start_scale=1, passes=3)

    def live_bytes() -> int:
        storages = [x.untyped_storage() for x in gc.get_objects() if type(x) is Tensor]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    held = []
    for _ in range(9):
        for _ in range(16 if masked else 1):  # a masked part has 4 frames, another one 64
            next(parts)
        held.append(live_bytes())
    assert max(held[6:]) <= max(held[:6])


@pytest.mark.gpu
def test_an_edit_is_the_same_on_a_gpu(run: Run) -> None:
    on_gpu, on_cpu = (whole(edit_frames(run, edited(70), mask=right_half(), device=name)) for name in ("cuda", "cpu"))
    assert (on_gpu.int() - on_cpu.int()).abs().max() <= 3


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "function"), [("edit", edit_frames), ("inpaint", inpaint_frames)])
def test_the_command_writes_what_python_gives(run_copy: Run, tmp_path: Path, command: str,
                                              function: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    mask = (right_half()[..., None].expand(2, -1, -1, 3) * 255).to(torch.uint8)
    write_clip(tmp_path / "moved.png", edited(2).frames, (80, 120))
    write_clip(tmp_path / "mask.gif", mask, 100)
    words = ["--mask", str(tmp_path / "mask.gif"), "--seed", "3", "--passes", "2", "--start-scale", "1",
             "--border", "2", "--size", "24x32", "--format", "png"]
    assert main([command, str(run_copy.path), str(tmp_path / "moved.png"), *words]) == 0
    path = run_copy.path / "samples" / f"moved_{command}ed"
    assert capsys.readouterr().out == f"{path}\n"
    expected = whole(function(run_copy, edited(2), mask=right_half(), seed=3, passes=2, start_scale=1, border_px=2,
                              size=(24, 32)))
    assert torch.equal(read_clip(path).frames, expected)
    assert read_clip(path).frame_ms == (80, 120)
