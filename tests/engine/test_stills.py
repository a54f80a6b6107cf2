"""Stills: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sgif.engine import ClipError, ReadLimits, read_still

from .conftest import moving_frames

PICTURE = moving_frames(1, 10, 14)[0]


def saved(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    (image or Image.fromarray(PICTURE.numpy())).save(path, **options)
    return path


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.webp", {"lossless": True})])
def test_a_lossless_picture_comes_as_it_is(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    assert read_still(saved(tmp_path / name, **options)).equal(PICTURE)


def test_a_jpeg_is_close_and_the_suffix_does_not_matter(tmp_path: Path) -> None:
    still = read_still(saved(tmp_path / "a.dat", format="JPEG", quality=100, subsampling=0))
    assert (still.int() - PICTURE.int()).abs().max() <= 4


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_exif_turns_the_picture_upright(tmp_path: Path, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    still = read_still(saved(tmp_path / "a", format=form, exif=exif, **options))
    assert (still.int() - PICTURE.rot90(-1).int()).abs().max() <= 4


def test_alpha_is_composited_over_the_background(tmp_path: Path) -> None:
    image = Image.fromarray(PICTURE.numpy()).convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 7, 1).repeat(10, 0)))
    still = read_still(saved(tmp_path / "a.png", image), background="#ff0000")
    assert still[:, 7:].equal(PICTURE[:, 7:])
    assert (still[:, :7] == still.new_tensor([255, 0, 0])).all()


def test_a_jpeg_with_a_second_picture_is_its_first(tmp_path: Path) -> None:
    first, second = Image.fromarray(PICTURE.numpy()), Image.new("RGB", (14, 10), "red")
    path = saved(tmp_path / "a.jpg", first, format="MPO", save_all=True, append_images=[second], quality=100)
    assert (read_still(path).float() - PICTURE.float()).abs().mean() < 20


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_is_no_still(tmp_path: Path, form: str) -> None:
    other = Image.fromarray(255 - PICTURE.numpy())
    path = saved(tmp_path / "a", format=form, save_all=True, append_images=[other])
    with pytest.raises(ClipError, match=r"a has 2 frames, expected a still"):
        read_still(path)


def test_what_is_no_picture_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    cut = saved(tmp_path / "cut.png")
    cut.write_bytes(cut.read_bytes()[:-200])
    for name, words in (("text.png", "cannot be read"), ("cut.png", "cannot be read"), ("none.png", "does not exist"),
                        ("", "is no file")):
        with pytest.raises(ClipError, match=words):
            read_still(tmp_path / name)
    with pytest.raises(ClipError, match="is no colour"):
        read_still(saved(tmp_path / "a.png"), background="nothing")


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(ClipError, match="over the limit of 139 pixels"):
        read_still(path, limits=ReadLimits(frame_pixels=139))
