"""Writing clips: every frame and duration survives, colours stay, a failure leaves what was there."""

import io
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from sgif.engine import gif_writer
from sgif.engine.clip import ClipError, read_clip
from sgif.engine.clip_writer import write_clip
from sgif.engine.gif_writer import choose_palette, gif_delays, map_to_palette

SUFFIXES = [".gif", ".mp4", ".webp", ".apng", ".png"]
FORMATS = ["gif", "mp4", "webp", "apng", "frames"]
FRAME_MS = [40, 100, 30, 170, 250, 70]


def scene(t: int = 6, h: int = 33, w: int = 47) -> torch.Tensor:
    """A smooth sky with a ball that moves and rests: uint8 [T, H, W, 3], frames 2 and 3 the same, and the last two."""
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    frames = []
    for at in (0, 1, 2, 2, 3, 3)[:t]:
        sky = torch.stack([60 + 100 * y, 90 + 60 * x, 220 - 80 * y], dim=-1)
        ball = ((x - 0.2 * at - 0.2) ** 2 + (y - 0.5) ** 2 < 0.02)[..., None]
        frames.append(torch.where(ball, torch.tensor([230.0, 200.0, 40.0]), sky))
    return torch.stack(frames).round().to(torch.uint8)


def contents(target: Path) -> list[bytes]:
    """Of a file, or of all files of a folder."""
    return [file.read_bytes() for file in sorted(target.iterdir() if target.is_dir() else [target])]


def count_by_pyav(file: Path) -> int:
    with av.open(str(file)) as container:
        return sum(1 for _ in container.decode(video=0))


def count_by_pillow(file: Path) -> int:
    with Image.open(file) as image:
        return int(getattr(image, "n_frames", 1))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_keeps_frames_and_durations(tmp_path: Path, suffix: str) -> None:
    frames = scene()
    write_clip(tmp_path / f"clip{suffix}", frames, FRAME_MS)
    clip = read_clip(tmp_path / f"clip{suffix}")
    assert clip.frame_ms == tuple(FRAME_MS)
    assert clip.notes == ()
    error = clip.frames[:, :33, :47].double() - frames.double()
    if suffix in (".gif", ".mp4"):
        floor_db = {".gif": 38, ".mp4": 28}[suffix]  # 4:2:0 halves the colour edge of the ball
        assert error.square().mean() < 255**2 / 10 ** (floor_db / 10)
        assert error.mean(dim=(0, 1, 2)).abs().max() < 0.5
    else:
        assert error.abs().max() == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_identical_frames_are_counted_by_independent_readers(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"clip{suffix}"
    write_clip(file, scene(1).expand(5, -1, -1, -1), 60)
    if suffix != ".webp":  # ffmpeg 8.1 decodes no animated WebP, of whatever writer
        assert count_by_pyav(file) == 5
    if suffix != ".mp4":
        assert count_by_pillow(file) == 5


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2)])
def test_odd_sizes_are_written(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    height, width = size
    frames = torch.full((2, height, width, 3), 200, dtype=torch.uint8)
    frames[1] = 100
    write_clip(tmp_path / f"clip{suffix}", frames, 50)
    read = read_clip(tmp_path / f"clip{suffix}").frames
    assert (read[:, :height, :width].int() - frames.int()).abs().max() <= 3
    pad = (height % 2, width % 2) if suffix == ".mp4" else (0, 0)
    assert read.shape == (2, height + pad[0], width + pad[1], 3)


def test_loops_for_ever(tmp_path: Path) -> None:
    for suffix in (".gif", ".webp", ".apng"):
        write_clip(tmp_path / f"clip{suffix}", scene(), FRAME_MS)
        with Image.open(tmp_path / f"clip{suffix}") as image:
            assert image.info["loop"] == 0


# ---- GIF -------------------------------------------------------------------------------------------------------------


def test_gif_of_up_to_256_colours_is_exact(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (3, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    frames[1], frames[2] = frames[0].flip(0), frames[0].flip(1)
    write_clip(tmp_path / "a.gif", frames, 50)
    assert torch.equal(read_clip(tmp_path / "a.gif").frames, frames)


def test_gif_reads_the_same_in_ffmpeg(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.gif", scene(), FRAME_MS)
    with av.open(str(tmp_path / "a.gif")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.array_equal(read_clip(tmp_path / "a.gif").frames, decoded)


def test_gif_does_not_flicker_where_the_picture_rests(tmp_path: Path) -> None:
    frames = scene()
    write_clip(tmp_path / "a.gif", frames, FRAME_MS)
    read = read_clip(tmp_path / "a.gif").frames
    rests = (frames == frames[:1]).all(dim=0)
    assert (read == read[:1]).all(dim=0)[rests].all()


def test_nearest_colour_is_exact() -> None:
    rng = np.random.default_rng(0)
    frames, palette = rng.integers(0, 256, (2, 9, 7, 3), np.uint8), rng.integers(0, 256, (40, 3), np.uint8)
    distance = ((frames[..., None, :].astype(int) - palette) ** 2).sum(-1)
    indices = np.stack(list(map_to_palette(frames, palette))).astype(int)
    chosen = np.take_along_axis(distance, indices[..., None], -1)[..., 0]
    assert np.array_equal(chosen, distance.min(-1))


def test_palette_leaves_one_index_free_when_colours_are_many() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert choose_palette(frames, 2 * 64 * 64).shape == (255, 3)


def test_colours_of_a_large_clip_are_counted_every_few_pixels_across_its_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gif_writer, "_COUNTED_PIXELS", 40)
    frames = np.random.default_rng(0).integers(0, 256, (3, 7, 7, 3), np.uint8)
    palette = choose_palette(frames, 3 * 7 * 7)
    expected = np.unique(frames.reshape(-1, 3)[:: 147 // 40 | 1], axis=0)
    assert np.array_equal(palette, expected)


@pytest.mark.parametrize(
    ("frame_ms", "delays"),
    [
        ([125, 125, 125, 125], [13, 12, 13, 12]),
        ([33] * 6, [3, 4, 3, 3, 4, 3]),
        ([1, 1, 100], [2, 2, 6]),
        ([10**6, 40], [0xFFFF, 0xFFFF - 0xFFFF + 34469]),
    ],
)
def test_gif_delays_round_without_drift(frame_ms: list[int], delays: list[int]) -> None:
    assert gif_delays(frame_ms) == delays


@given(st.lists(st.integers(20, 5000), min_size=1, max_size=30))
def test_gif_delays_add_up_to_the_clip(frame_ms: list[int]) -> None:
    delays = gif_delays(frame_ms)
    assert min(delays) >= 2
    assert abs(10 * sum(delays) - sum(frame_ms)) <= 15


# ---- Folder ----------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_folder_of_png_keeps_any_clip_exactly(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6), st.just(3)))
    frames = torch.from_numpy(data.draw(arrays(np.uint8, shape)))
    frame_ms = data.draw(st.lists(st.integers(1, 10**6), min_size=shape[0], max_size=shape[0]))
    write_clip(tmp_path / "frames", frames, frame_ms, format="frames")
    clip = read_clip(tmp_path / "frames")
    assert torch.equal(clip.frames, frames)
    assert clip.frame_ms == tuple(frame_ms)
    assert os.listdir(tmp_path) == ["frames"]


def test_folder_with_anything_else_inside_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with pytest.raises(ClipError, match=r"mine exists and is more than a folder of frame_0000\.png"):
        write_clip(tmp_path / "mine", scene(), 50, format="frames")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep me"


# ---- Whole or not at all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_failure_between_frames_leaves_no_file_and_keeps_the_old_one(tmp_path: Path, format: str) -> None:
    target = tmp_path / "clip"
    write_clip(target, scene(), FRAME_MS, format=format)
    before = contents(target)

    def failing() -> Iterator[torch.Tensor]:
        yield scene()[:4]
        raise RuntimeError("no more frames")

    with pytest.raises(RuntimeError, match="no more frames"):
        write_clip(target, failing(), FRAME_MS, format=format)
    assert os.listdir(tmp_path) == ["clip"]
    assert contents(target) == before


@pytest.mark.parametrize("format", FORMATS)
def test_frames_as_they_come_give_the_same_bytes(tmp_path: Path, format: str) -> None:
    write_clip(tmp_path / "whole", scene(), FRAME_MS, format=format)
    write_clip(tmp_path / "parts", iter(scene().split([1, 3, 2])), iter(FRAME_MS), format=format)
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


@pytest.mark.parametrize("format", FORMATS)
def test_frames_are_taken_one_part_at_a_time(tmp_path: Path, format: str) -> None:
    """Each part may be written before the next is made, and is not kept when it has been."""
    made: list[weakref.ref[torch.Tensor]] = []

    def parts() -> Iterator[torch.Tensor]:
        for index in range(12):
            part = torch.full((2, 6, 8, 3), 20 * index, dtype=torch.uint8)
            made.append(weakref.ref(part))
            yield part
            del part
            assert sum(ref() is not None for ref in made) <= 1

    write_clip(tmp_path / "clip", parts(), 50, format=format)
    assert len(made) == 12


def test_full_disk_leaves_no_file_and_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gif").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_clip(tmp_path / "a.gif", scene(), 50)
    with pytest.raises(OSError, match="No space left"):
        write_clip(tmp_path / "frames", scene(), 50, format="frames")
    assert os.listdir(tmp_path) == ["a.gif"]
    assert (tmp_path / "a.gif").read_bytes() == b"old"


def test_same_clip_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        write_clip(first, scene(), FRAME_MS)
        write_clip(second, scene(), FRAME_MS)
        assert first.read_bytes() == second.read_bytes()


def test_format_overrides_the_suffix(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.bin", scene(), 50, format="gif")
    assert (tmp_path / "clip.bin").read_bytes().startswith(b"GIF89a")


def test_apng_container_is_well_formed(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.apng", scene(), FRAME_MS)
    stream, chunks = io.BytesIO((tmp_path / "a.apng").read_bytes()[8:]), []
    while head := stream.read(8):
        body, crc = stream.read(int.from_bytes(head[:4])), stream.read(4)
        assert int.from_bytes(crc) == zlib.crc32(head[4:] + body)
        chunks.append((head[4:], body))
    names = [name for name, _ in chunks]
    assert names == [b"IHDR", b"acTL", b"fcTL", b"IDAT", *[b"fcTL", b"fdAT"] * 5, b"IEND"]
    assert chunks[1][1] == struct.pack(">II", 6, 0)
    assert [int.from_bytes(body[:4]) for name, body in chunks if name in (b"fcTL", b"fdAT")] == list(range(11))


@pytest.mark.parametrize("suffix", [".apng", ".webp"])
def test_a_frame_may_be_shown_for_minutes(tmp_path: Path, suffix: str) -> None:
    write_clip(tmp_path / f"a{suffix}", scene(), [65535, 66000, 120000, 40, 40, 40])
    assert read_clip(tmp_path / f"a{suffix}").frame_ms == (65535, 66000, 120000, 40, 40, 40)


def test_webp_container_is_well_formed(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.webp", scene(), FRAME_MS)
    data = (tmp_path / "a.webp").read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    stream, names = io.BytesIO(data[12:]), []
    while head := stream.read(8):
        names.append(head[:4])
        size = struct.unpack("<I", head[4:])[0]
        stream.seek(size + size % 2, os.SEEK_CUR)
    assert names == [b"VP8X", b"ANIM"] + [b"ANMF"] * 6


@pytest.mark.parametrize(
    ("name", "frames", "frame_ms", "format", "sentence"),
    [
        ("a.bmp", scene(), 50, None, r"cannot write .*a\.bmp as None: use \.gif"),
        ("a.gif", scene(), 50, "tiff", "as tiff: use"),
        ("a.gif", scene().float(), 50, None, r"expected frames uint8 \[T, H, W, 3\] .* got torch.float32"),
        ("a.gif", scene()[0], 50, None, "expected frames uint8"),
        ("a.gif", scene()[:0], 50, None, "expected frames uint8"),
        ("a.gif", [scene(), scene(6, 33, 46)], 50, None, "of one size, got"),
        ("a.gif", [], 50, None, "expected frames uint8 .* got none"),
        ("a.gif", scene(), [50, 50], None, "expected a duration of at least 1 ms for each frame, got None for frame 2"),
        ("a.mp4", scene(), [50] * 7, None, "got more than the 6 frames"),
        ("a.gif", scene(), 0, None, "expected a duration of at least 1 ms for each frame, got 0 for frame 0"),
        ("none/a.gif", scene(), 50, None, "none does not exist: create it first"),
        ("", scene(), 50, "gif", "is a folder: give a file name"),
    ],
)
def test_impossible_request_is_refused(
    tmp_path: Path,
    name: str,
    frames: torch.Tensor | list[torch.Tensor],
    frame_ms: int | list[int],
    format: str | None,
    sentence: str,
) -> None:
    with pytest.raises(ClipError, match=sentence):
        write_clip(tmp_path / name, frames, frame_ms, format=format)
    assert os.listdir(tmp_path) == []
