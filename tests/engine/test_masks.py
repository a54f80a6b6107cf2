"""Masks: what selects, which belong to a clip, and the soft border around them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sgif.engine.clip import ClipError
from sgif.engine.clip_writer import write_clip
from sgif.engine.masks import check_mask, mask_at, mask_weights, read_mask


def box(height: int = 12, width: int = 16, frames: int = 1) -> Tensor:
    """Selects rows 4 to 6 and columns 5 to 9."""
    mask = torch.zeros(frames, height, width, dtype=torch.bool)
    mask[:, 4:7, 5:10] = True
    return mask


def picture(mask: Tensor) -> Image.Image:
    return Image.fromarray(mask[0].numpy().astype(np.uint8) * 255)


# ---- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_white_of_a_picture_selects(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mask.{suffix}"
    picture(box(48, 64)).convert("RGB" if (mode, suffix) == ("RGBA", "jpg") else mode).save(path, quality=100)
    assert torch.equal(read_mask(path), box(48, 64))


def test_what_was_painted_white_on_a_transparent_layer_selects(tmp_path: Path) -> None:
    layer = np.zeros((12, 16, 4), np.uint8)
    layer[..., :3] = 255  # white behind full transparency, as some programs leave it
    layer[4:7, 5:10, 3] = 255
    Image.fromarray(layer).save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png"), box())


@pytest.mark.parametrize(("grey", "selected"), [(127, False), (128, True)])
def test_the_threshold_is_mid_grey(grey: int, selected: bool, tmp_path: Path) -> None:
    Image.new("L", (4, 3), grey).save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png"), torch.full((1, 3, 4), selected))


@pytest.mark.parametrize("name", ["mask.gif", "mask.webp", "mask.png", "mask.mp4", "folder"])
def test_a_clip_of_masks_has_one_for_each_frame(name: str, tmp_path: Path) -> None:
    masks = torch.stack([box(48, 64)[0].roll(4 * t, 1) for t in range(5)])
    frames = (masks[..., None].expand(-1, -1, -1, 3) * 255).to(torch.uint8)
    write_clip(tmp_path / name, frames, 100, format="frames" if name == "folder" else None)
    assert torch.equal(read_mask(tmp_path / name), masks)


@pytest.mark.parametrize("content", [None, b"", b"nothing of the kind", b"\x89PNG\r\n\x1a\n cut short"])
def test_what_is_no_mask_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(ClipError, match=r"mask\.png"):
        read_mask(tmp_path / "mask.png")


# ---- belonging to a clip ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [box(), box(frames=7), box(24, 32), box(9, 12), box(10, 13), box(120, 159)],
                         ids=lambda mask: str(list(mask.shape)))
def test_masks_of_the_clip_s_proportions_are_taken(mask: Tensor) -> None:
    check_mask(mask, 7, (12, 16))


@pytest.mark.parametrize(("mask", "words"), [
    (box(16, 12), r"^the mask is 16x12 \(height x width\), the clip 12x16: expected the clip's size or its prop"),
    (box(24, 34), "the mask is 24x34"),
    (box(12, 18), "the mask is 12x18"),
    (box(frames=6), r"^the mask has 6 frames, expected the clip's 7, or one that stands for all$"),
    (box(frames=8), "the mask has 8 frames"),
    (box().float(), r"^the mask is torch.float32 \[1, 12, 16\], expected bool \[T, H, W\]$"),
    (box()[0], "expected bool"),
    (torch.zeros(1, 0, 16, dtype=torch.bool), "expected bool"),
    (torch.zeros(7, 12, 16, dtype=torch.bool), r"^the mask is black throughout and selects nothing: paint white what "),
    (torch.ones(1, 12, 16, dtype=torch.bool), r"^the mask is white throughout and selects everything: paint black "),
], ids=lambda value: value[:20] if isinstance(value, str) else "mask")
def test_a_mask_that_cannot_belong_is_refused(mask: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_mask(mask, 7, (12, 16))


# ---- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", [0, 1, 2, 3, 5, 40])
def test_weights_are_one_inside_none_beyond_the_border_and_fall_between(border: int) -> None:
    weights = mask_weights(box(60, 80, 2), (60, 80), border)
    assert weights.shape == (2, 1, 60, 80)
    assert torch.equal(weights[0], weights[1])
    row = weights[0, 0, 5]
    assert (row[5:10] == 1).all()
    assert (row[10 + border:] == 0).all()
    right = row[9:11 + border]
    assert (right.diff() <= 0).all()
    assert ((right[1:-1] > 0) | (right[1:-1] == right[-1])).all()
    if border > 1:
        assert 0 < right[1:].max() <= 1
        assert right.diff().abs().max() <= 1.01 / (border // 2)
    assert torch.equal(weights.flip(2, 3), mask_weights(box(60, 80, 2).flip(1, 2), (60, 80), border))


def test_a_coarse_pixel_is_selected_with_any_part_of_it() -> None:
    mask = torch.zeros(1, 12, 16, dtype=torch.bool)
    mask[0, 5, 7] = True
    coarse = mask_at(mask, (3, 4))
    assert coarse.nonzero().tolist() == [[0, 0, 1, 1]]
    assert mask_at(mask, (5, 6)).sum() >= 1
    assert mask_at(mask, (24, 32))[0, 0, 10:12, 14:16].min() == 1
