"""A study made: what the page holds and does not, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sgif.engine import ClipError, make_study, read_clip, write_clip
from sgif.engine.study import make
from sgif.engine.study.clips import common_size, fitted

from .conftest import FRAME_MS, Made, write_levels


def study_in(page: Path) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="study">(.*?)</script>', page.read_text())
    study: dict[str, Any] = json.loads(text)
    return study


def unpacked(data: str) -> tuple[list[int], list[bytes]]:
    """Durations and encoded frames of a clip in the page."""
    content = base64.b64decode(data)
    (count,) = struct.unpack_from("<I", content)
    head = struct.unpack_from(f"<{2 * count}I", content, 4)
    at, pictures = 4 + 8 * count, []
    for length in head[1::2]:
        pictures.append(content[at:at + length])
        at += length
    return list(head[::2]), pictures


def frames_in(page: Path, key: Path) -> dict[str, np.ndarray]:
    """By the name of its file: a clip's frames [T, H, W, 3] as a browser decodes them."""
    names = {clip: Path(said["source"]).name for clip, said in json.loads(key.read_text())["clips"].items()}
    return {names[clip["clip"]]: np.stack([np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
                                           for picture in unpacked(clip["data"])[1]])
            for clip in study_in(page)["clips"]}


def write_noise(path: Path, size: tuple[int, int], frames: int = 3, colours: int = 1000) -> str:
    pixels = torch.randint(0, colours, (frames, *size, 1), generator=torch.Generator().manual_seed(sum(size)))
    write_clip(path, torch.cat([pixels % 256, pixels // 256 * 60, pixels * 7 % 256], dim=3).to(torch.uint8), 100)
    return str(path)


# ---- what the page gives away ----------------------------------------------------------------------------------------


def test_the_page_holds_no_name_and_no_truth(made: Made) -> None:
    page, study = made.page.read_text(), study_in(made.page)
    assert not any(name in page for name in ("real_a", "real_b", "made_a", "made_b", ".gif"))
    assert study.keys() == {"study", "schema", "seconds", "plays", "clips"}
    assert all(clip.keys() == {"clip", "data"} for clip in study["clips"])
    assert all(re.fullmatch(r"[0-9a-f]{12}", clip["clip"]) for clip in study["clips"])


def test_all_clips_have_the_same_length_and_their_pictures_the_same_form(tmp_path: Path) -> None:
    real = [write_levels(tmp_path / "plain.gif", 10, (16, 20))]
    generated = [write_noise(tmp_path / "noise.webp", (16, 20)), write_noise(tmp_path / "film.mp4", (16, 20), frames=5)]
    study = make_study(tmp_path / "study.html", real, generated)
    clips = study_in(study.page)["clips"]
    assert len({len(clip["data"]) for clip in clips}) == 1
    pictures = [picture for clip in clips for picture in unpacked(clip["data"])[1]]
    assert len(pictures) == 11
    heads = {(picture[:33], picture[33:41]) for picture in pictures}  # signature and IHDR; length and name of PLTE
    assert len(heads) == 1
    assert next(iter(heads))[1] == struct.pack(">I", 768) + b"PLTE"


def test_places_do_not_follow_the_files(tmp_path: Path) -> None:
    files = [write_levels(tmp_path / f"{n}.gif", 2 * n) for n in range(8)]
    places = []
    for seed in range(3):
        study = make_study(tmp_path / f"{seed}.html", files[:4], files[4:], seed=seed)
        truth = json.loads(study.key.read_text())["clips"]
        places.append([truth[clip["clip"]]["real"] for clip in study_in(study.page)["clips"]])
    assert len({tuple(real) for real in places}) == 3
    assert all(sum(real) == 4 for real in places)


def test_a_seed_makes_the_same_page_and_none_another(tmp_path: Path) -> None:
    clips = [write_levels(tmp_path / "a.gif", 1)], [write_levels(tmp_path / "b.gif", 2)]
    pages = [make_study(tmp_path / f"{n}.html", *clips, seed=seed).page for n, seed in enumerate((5, 5, None, None))]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert len({study_in(page)["study"] for page in pages}) == 3


# ---- what clips become -----------------------------------------------------------------------------------------------


def test_frames_of_few_colours_and_their_durations_are_exact(made: Made) -> None:
    for clip in study_in(made.page)["clips"]:
        assert unpacked(clip["data"])[0] == list(FRAME_MS)
    for name, frames in frames_in(made.page, made.key).items():
        assert (frames == read_clip(made.page.parent / name).frames.numpy()).all()


def test_a_clip_of_many_colours_gets_the_palette_of_a_gif(tmp_path: Path) -> None:
    source = write_noise(tmp_path / "noise.webp", (24, 30))
    write_clip(tmp_path / "noise.gif", read_clip(source).frames, 100)
    study = make_study(tmp_path / "study.html", [source], [write_noise(tmp_path / "other.webp", (24, 30), 4)])
    shown = frames_in(study.page, study.key)["noise.webp"]
    assert (shown == read_clip(tmp_path / "noise.gif").frames.numpy()).all()
    assert (shown != read_clip(source).frames.numpy()).any()


def test_frames_that_no_view_reaches_are_left_out(tmp_path: Path) -> None:
    clips = [write_levels(tmp_path / f"{n}.gif", n, frame_ms=(100,) * 30) for n in range(2)]
    study = make_study(tmp_path / "study.html", clips[:1], clips[1:], seconds=1.05)
    assert [unpacked(clip["data"])[0] for clip in study_in(study.page)["clips"]] == [[100] * 11] * 2


@pytest.mark.parametrize(("real", "generated", "size"), [
    ([(8, 10)], [(8, 10)], None),
    ([(8, 10), (20, 9)], [(20, 9), (8, 10), (8, 10)], None),
    ([(80, 100)], [(8, 10)], (8, 10)),
    ([(8, 10), (20, 9)], [(8, 10)], (8, 10)),
])
def test_sizes_stay_only_where_they_say_nothing(real: Any, generated: Any, size: Any) -> None:
    assert common_size(real, generated) == size


def test_different_sizes_become_one_and_that_is_said(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study.html", [write_noise(tmp_path / "a.gif", (40, 40))],
                       [write_noise(tmp_path / "b.gif", (16, 20))])
    assert {frames.shape for frames in frames_in(study.page, study.key).values()} == {(3, 16, 20, 3)}
    assert any("16x20" in note for note in study.notes)


def test_an_asked_for_size_is_that_of_all(tmp_path: Path) -> None:
    clips = [write_noise(tmp_path / f"{n}.gif", (16, 20 + n)) for n in range(2)]
    study = make_study(tmp_path / "study.html", clips[:1], clips[1:], size=(12, 12))
    assert {frames.shape for frames in frames_in(study.page, study.key).values()} == {(3, 12, 12, 3)}


def test_fitting_keeps_the_middle_and_the_proportions() -> None:
    frames = torch.zeros(1, 20, 60, 3, dtype=torch.uint8)
    frames[:, :, 20:40] = 200
    square = fitted(frames, (10, 10))
    assert square.shape == (1, 10, 10, 3)
    assert (square.int() - 200).abs().max() <= 1


@pytest.mark.parametrize(("frame_ms", "said"), [
    ((300, 300, 300), "frames a second"),
    ((100, 200, 300, 100, 200, 300), "length in seconds"),
    (FRAME_MS, None),
])
def test_what_tells_the_groups_apart_is_said(frame_ms: Any, said: str | None, tmp_path: Path) -> None:
    study = make_study(tmp_path / "study.html", [write_levels(tmp_path / "a.gif", 1)],
                       [write_levels(tmp_path / "b.gif", 2, frame_ms=frame_ms)])
    assert any(said in note for note in study.notes) if said else study.notes == ()


def test_progress_is_told_clip_by_clip(tmp_path: Path) -> None:
    clips, told = [write_levels(tmp_path / f"{n}.gif", n) for n in range(3)], []
    make_study(tmp_path / "study.html", clips[:1], clips[1:], on_clip=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "said"), [
    ({"seconds": 0.01}, "seconds is 0.01, expected 0.1 to 60"),
    ({"seconds": float("nan")}, "seconds is nan"),
    ({"plays": 0}, "plays is 0, expected 1 to 10"),
    ({"size": (4000, 10)}, "size is 4000x10"),
    ({"path": "study.gif"}, "ends in .html"),
    ({"real": []}, "got 0 real and 1 generated clips"),
    ({"real": ["nothing.gif"]}, "nothing.gif does not exist"),
    ({"generated": ["a.gif"]}, "a.gif and a.gif show the same"),
    ({"generated": ["same.webp"]}, "a.gif and same.webp show the same"),
    ({"seconds": 0.1}, "a.gif shows its first frame for 100 ms"),
])
def test_refused_in_one_sentence_with_nothing_written(settings: dict[str, Any], said: str, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_levels(Path("a.gif"), 1)
    write_levels(Path("b.gif"), 2)
    write_clip("same.webp", read_clip("a.gif").frames, FRAME_MS)
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match=re.escape(said)):
        make_study(**{"path": "study.html", "real": ["a.gif"], "generated": ["b.gif"], **settings})
    assert set(tmp_path.iterdir()) == before


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    clips = [write_levels(tmp_path / "a.gif", 1)], [write_levels(tmp_path / "b.gif", 2)]
    key = make_study(tmp_path / "study.html", *clips).key
    before = key.read_bytes()
    with pytest.raises(ValueError, match=r"study\.key\.json is there already"):
        make_study(tmp_path / "study.html", *clips)
    assert key.read_bytes() == before


def test_a_page_too_large_is_refused_before_all_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "MAX_PAGE_BYTES", 20_000)
    clips, told = [write_noise(tmp_path / f"{n}.gif", (32, 40 + n)) for n in range(8)], []
    with pytest.raises(ValueError, match=r"over the limit of 0 MB: 8 clips, each as long as .*0\.gif"):
        make_study(tmp_path / "study.html", clips[:4], clips[4:], on_clip=lambda *now: told.append(now))
    assert len(told) < 8
    assert not list(tmp_path.glob("study*"))


def test_a_clip_error_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(ClipError):
        make_study(tmp_path / "study.html", [str(tmp_path / "a.gif")], [str(tmp_path / "a.gif")])
