"""A hole is filled from around it, then by the run; nothing of what was in it can come back."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine import inpaint_frames
from sgif.engine.applications.inpaint import fill_smoothly
from sgif.engine.clip import Clip
from sgif.engine.runs import Run
from sgif.engine.storage import RunError

from ..conftest import moving_frames


def hole(height: int = 12, width: int = 16, frames: int = 1) -> Tensor:
    mask = torch.zeros(frames, height, width, dtype=torch.bool)
    mask[:, height // 3:2 * height // 3, width // 4:width // 2] = True
    return mask


def holed(mask: Tensor, paint: int, frames: int = 5) -> Clip:
    pictures = moving_frames(frames, *mask.shape[1:])
    pictures[mask.expand(frames, -1, -1)] = paint
    return Clip(frames=pictures, frame_ms=(80,) * frames, source="hole.gif")


def whole(parts: Any) -> Tensor:
    return torch.cat(list(parts))


def test_what_was_in_the_hole_does_not_matter_and_the_rest_stays(run: Run) -> None:
    mask = hole()
    black, white = (whole(inpaint_frames(run, holed(mask, paint), mask, border_px=2)) for paint in (0, 255))
    assert torch.equal(black, white)
    own = holed(mask, 0).frames
    changed = (black != own).any(-1).any(0)
    assert changed[mask[0]].float().mean() > 0.9
    rows, columns = changed.nonzero().T
    inside = mask[0].nonzero()
    assert (torch.stack((rows.min(), columns.min())) >= inside.min(0).values - 2).all()
    assert (torch.stack((rows.max(), columns.max())) <= inside.max(0).values + 2).all()


def test_the_fill_keeps_within_the_colours_around(run: Run) -> None:
    mask = hole(30, 40)
    clip = holed(mask, 255)
    clip.frames[:, ~mask[0]] = clip.frames[:, ~mask[0]].clamp(40, 90)
    filled = fill_smoothly(clip.frames, mask)
    assert torch.equal(filled[:, ~mask[0]], clip.frames[:, ~mask[0]])
    assert filled.min() >= 40
    assert filled.max() <= 90
    assert clip.frames.max() == 255, "the clip itself stays as it was"


def test_a_hole_in_one_colour_is_filled_with_it() -> None:
    frames = torch.full((2, 31, 45, 3), 77, dtype=torch.uint8)
    mask = hole(31, 45)
    frames[:, mask[0]] = 0
    assert (fill_smoothly(frames, mask) == 77).all()


def test_the_fill_follows_a_slope_of_colours() -> None:
    """Left is dark and right is light, so it is in the hole."""
    slope = torch.arange(0, 240, 4, dtype=torch.uint8)[None, None, :, None].expand(1, 40, -1, 3).clone()
    mask = torch.zeros(1, 40, 60, dtype=torch.bool)
    mask[:, 15:25, 20:40] = True
    filled = fill_smoothly(slope, mask)[0, 20, 20:40, 0].float()
    assert (filled - slope[0, 20, 20:40, 0].float()).abs().max() < 40
    assert filled[-1] - filled[0] > 40


def test_holes_may_move_and_a_frame_may_have_none(run: Run) -> None:
    masks = torch.stack([hole()[0].roll(t, 1) for t in range(5)])
    masks[3] = False
    clip = holed(masks, 0)
    result = whole(inpaint_frames(run, clip, masks, border_px=0))
    assert torch.equal(result[3], clip.frames[3])
    for t in (0, 1, 2, 4):
        assert torch.equal(result[t][~masks[t]], clip.frames[t][~masks[t]])
        assert not torch.equal(result[t][masks[t]], clip.frames[t][masks[t]])


def test_a_mask_of_another_size_covers_the_hole(run: Run) -> None:
    clip = holed(hole(), 0)
    fine = hole(36, 48)
    assert torch.equal(whole(inpaint_frames(run, clip, fine)), whole(inpaint_frames(run, clip, hole())))


def test_the_hole_is_made_from_noise_by_default_and_other_scales_may_be_asked_for(run: Run) -> None:
    clip = holed(hole(), 0)
    default = whole(inpaint_frames(run, clip, hole()))
    from_noise, first, second = (whole(inpaint_frames(run, clip, hole(), start_scale=n)) for n in (0, 1, 2))
    assert torch.equal(default, from_noise)
    assert not torch.equal(from_noise, first)
    assert not torch.equal(first, second)


def test_from_noise_every_seed_fills_the_hole_with_something_else(run: Run) -> None:
    def spread(start_scale: int) -> Tensor:
        clip, mask = holed(hole(), 0), hole()
        filled = [whole(inpaint_frames(run, clip, mask, start_scale=start_scale, passes=1, seed=seed))
                  for seed in range(3)]
        return torch.stack(filled).float().std(0)[:, mask[0]].mean()
    assert spread(0) > 2 * spread(1)


def test_a_frame_that_is_all_hole_is_refused(run: Run) -> None:
    masks = hole(frames=5)
    masks[2] = True
    with pytest.raises(ValueError, match=r"^frame 2 of the mask is white throughout, and nothing is left to fill "):
        inpaint_frames(run, holed(hole(), 0), masks)
    with pytest.raises(ValueError, match="selects everything"):
        inpaint_frames(run, holed(hole(), 0), torch.ones(1, 12, 16, dtype=torch.bool))


def test_a_start_scale_that_is_not_there_is_refused(run: Run) -> None:
    with pytest.raises(RunError, match=r"^start scale 3 is not among the 3 finished scales, 0 to 2$"):
        inpaint_frames(run, holed(hole(), 0), hole(), start_scale=3)
