"""Reading clips: every format people bring, every oddity a GIF may have, every refusal with its sentence."""

import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sgif.engine import video_frames
from sgif.engine.clip import Clip, ClipError, frames_from_tensor, read_clip
from sgif.engine.limits import ReadLimits

from ..corpus.gif_bytes import BLACK, BLUE, COLOURS, GREEN, RED, GifFrame, gif_bytes

WHITE = (255, 255, 255)


def noise(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def rows(clip: Clip, t: int, y: int) -> list[tuple[int, ...]]:
    return [tuple(pixel) for pixel in clip.frames[t, y].tolist()]


ReadGif = Callable[..., Clip]


@pytest.fixture
def read_gif(tmp_path: Path) -> ReadGif:
    def read(width: int, height: int, *frames: GifFrame, trailer: bytes = b";", **options: object) -> Clip:
        file = tmp_path / "made.gif"
        file.write_bytes(gif_bytes(width, height, frames, trailer))
        return read_clip(file, **options)  # type: ignore[arg-type]

    return read


def test_gif_local_palettes_are_used(read_gif: ReadGif) -> None:
    local = [WHITE, (1, 2, 3), BLACK, BLACK]
    clip = read_gif(2, 1, GifFrame([[0, 1]]), GifFrame([[0, 1]], palette=local), GifFrame([[1, 0]]))
    assert [rows(clip, t, 0) for t in range(3)] == [[RED, GREEN], [WHITE, (1, 2, 3)], [GREEN, RED]]


def test_gif_disposal_none_leaves_the_frame_in_place(read_gif: ReadGif) -> None:
    frames = GifFrame([[0, 0, 0]], disposal=1), GifFrame([[1]], left=1, disposal=1), GifFrame([[3]], left=2)
    clip = read_gif(3, 1, *frames)
    assert rows(clip, 2, 0) == [RED, GREEN, BLACK]


@pytest.mark.parametrize("transparent", [None, 3])
def test_gif_disposal_background_clears_to_transparent_not_to_the_background_colour(
    read_gif: ReadGif, transparent: int | None
) -> None:
    middle = GifFrame([[1, 1]], left=1, disposal=2, transparent=transparent)
    clip = read_gif(3, 1, GifFrame([[0, 0, 0]], disposal=1), middle, GifFrame([[3]], left=2))
    assert [rows(clip, t, 0) for t in (1, 2)] == [[RED, GREEN, GREEN], [RED, WHITE, BLACK]]
    assert clip.notes == ("alpha composited over white",)


def test_gif_disposal_previous_brings_back_what_was_there(read_gif: ReadGif) -> None:
    frames = GifFrame([[0, 0, 0]], disposal=1), GifFrame([[1, 1]], left=1, disposal=3), GifFrame([[3]])
    clip = read_gif(3, 1, *frames)
    assert rows(clip, 2, 0) == [BLACK, RED, RED]


def test_gif_transparent_pixels_show_the_frame_below(read_gif: ReadGif) -> None:
    clip = read_gif(2, 1, GifFrame([[0, 0]], disposal=1), GifFrame([[1, 3]], transparent=3, disposal=1))
    assert rows(clip, 1, 0) == [GREEN, RED]
    assert clip.notes == ()


@pytest.mark.parametrize(("background", "colour"), [("white", WHITE), ("#102030", (16, 32, 48))])
def test_gif_transparency_is_composited_over_the_background(
    read_gif: ReadGif, background: str, colour: tuple[int, ...]
) -> None:
    frames = GifFrame([[3, 0]], transparent=3, disposal=2), GifFrame([[1, 3]], transparent=3)
    clip = read_gif(2, 1, *frames, background=background)
    assert [rows(clip, t, 0) for t in range(2)] == [[colour, RED], [GREEN, colour]]
    assert clip.notes == (f"alpha composited over {background}",)


def test_gif_first_frame_smaller_than_the_canvas_leaves_the_rest_transparent(read_gif: ReadGif) -> None:
    clip = read_gif(3, 1, GifFrame([[1]], left=1, disposal=1), GifFrame([[3]], left=2))
    assert [rows(clip, t, 0) for t in range(2)] == [[WHITE, GREEN, WHITE], [WHITE, GREEN, BLACK]]


def test_gif_frame_that_leaves_the_canvas_is_cut(read_gif: ReadGif) -> None:
    clip = read_gif(2, 1, GifFrame([[0, 0]], disposal=1), GifFrame([[1, 3, 1]], left=1, disposal=1), GifFrame([[2]]))
    assert [rows(clip, t, 0) for t in range(3)] == [[RED, RED], [RED, GREEN], [BLUE, GREEN]]


def test_gif_interlaced_rows_come_in_order(read_gif: ReadGif) -> None:
    indices = [[y % 4] for y in range(13)]
    clip = read_gif(1, 13, GifFrame(indices, interlaced=True), GifFrame([[0]]))
    assert [tuple(pixel) for pixel in clip.frames[0, :, 0].tolist()] == [COLOURS[y % 4] for y in range(13)]


def test_gif_durations_are_kept_and_zero_or_missing_become_100_ms(read_gif: ReadGif) -> None:
    frames = [GifFrame([[i % 3]], delay=delay) for i, delay in enumerate([4, 0, 1, None, 65535])]
    clip = read_gif(1, 1, *frames)
    assert clip.frame_ms == (40, 100, 10, 100, 655350)
    assert clip.notes == ("2 of 5 frames had no duration: 100 ms",)


def test_gif_identical_neighbours_stay_frames_of_their_own(read_gif: ReadGif) -> None:
    clip = read_gif(1, 1, *[GifFrame([[1]])] * 3)
    assert len(clip.frames) == 3


def test_gif_without_trailer_is_read_and_noted(read_gif: ReadGif) -> None:
    clip = read_gif(1, 1, GifFrame([[0]]), GifFrame([[1]]), trailer=b"")
    assert clip.notes == ("the GIF does not end with its trailer: it may be cut short",)


def test_gif_comment_before_the_trailer_is_no_matter(read_gif: ReadGif) -> None:
    assert read_gif(1, 1, GifFrame([[0]]), GifFrame([[1]]), trailer=b"\x21\xfe\0;").notes == ()


def test_gif_cut_inside_a_frame_is_refused(tmp_path: Path) -> None:
    whole = gif_bytes(30, 30, [GifFrame([[i] * 30] * 30) for i in range(3)])
    (tmp_path / "cut.gif").write_bytes(whole[:-200])
    with pytest.raises(ClipError, match=r"cut\.gif cannot be read, it is damaged, cut short"):
        read_clip(tmp_path / "cut.gif")


def test_window_does_not_decode_behind_its_end(tmp_path: Path) -> None:
    whole = gif_bytes(30, 30, [GifFrame([[i] * 30] * 30) for i in range(3)])
    (tmp_path / "cut.gif").write_bytes(whole[:-200])
    assert len(read_clip(tmp_path / "cut.gif", frames=2).frames) == 2


# ---- APNG, WebP ------------------------------------------------------------------------------------------------------


def save_animation(file: Path, frames: npt.NDArray[np.uint8], kind: str, **options: object) -> Path:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(file, kind, save_all=True, append_images=images[1:], **options)
    return file


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_of_apng_and_webp_is_composited_and_noted(tmp_path: Path, kind: str) -> None:
    frames = noise(3, 6, 7, 4)
    frames[..., 3] |= 128
    options: dict[str, object] = {"lossless": True, "exact": True} if kind == "WEBP" else {"blend": 0}
    file = save_animation(tmp_path / "clip", frames, kind, duration=[30, 40, 50], **options)
    clip = read_clip(file, background="black")
    weight = frames[..., 3:] / 255
    assert np.abs(clip.frames.numpy() - frames[..., :3] * weight).max() <= 1
    assert clip.frame_ms == (30, 40, 50)
    assert clip.notes == ("alpha composited over black",)


def test_apng_default_image_is_no_frame(tmp_path: Path) -> None:
    frames = noise(4, 5, 6, 3)
    clip = read_clip(save_animation(tmp_path / "a.png", frames, "PNG", default_image=True, duration=60))
    assert np.array_equal(clip.frames, frames[1:])
    assert clip.frame_ms == (60, 60, 60)


def test_format_is_told_from_content_not_suffix(tmp_path: Path) -> None:
    frames = noise(2, 4, 4, 3)
    file = save_animation(tmp_path / "really_a_png.gif", frames, "PNG", duration=50)
    assert np.array_equal(read_clip(file).frames, frames)


# ---- Folders ---------------------------------------------------------------------------------------------------------


def save_frames(folder: Path, images: dict[str, Image.Image]) -> Path:
    folder.mkdir()
    for name, image in images.items():
        image.save(folder / name)
    return folder


def grey(level: int, size: tuple[int, int] = (3, 2)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def test_folder_is_read_in_natural_order_with_gaps_noted(tmp_path: Path) -> None:
    names = {f"f{n}.png": grey(n) for n in (1, 2, 10, 9, 12)}
    clip = read_clip(save_frames(tmp_path / "f", names))
    assert clip.frames[:, 0, 0, 0].tolist() == [1, 2, 9, 10, 12]
    assert clip.notes[:7] == tuple(f"gap: f{n}.png missing" for n in (3, 4, 5, 6, 7, 8, 11))
    assert clip.frame_ms == (100,) * 5


def test_folder_gap_keeps_the_zeros_of_the_names_and_counts_the_rest(tmp_path: Path) -> None:
    clip = read_clip(save_frames(tmp_path / "f", {f"frame_{n:04d}.png": grey(n) for n in (0, 2, 30)}))
    assert clip.notes[0] == "gap: frame_0001.png missing"
    assert clip.notes[8] == "gap: 20 more files missing"


def test_folder_ignores_other_files_and_decodes_only_the_window(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "f", {f"{n}.png": grey(n) for n in range(5)})
    (folder / "notes.txt").write_text("not a frame")
    (folder / "4.png").write_bytes(b"broken")
    assert read_clip(folder, start=1, frames=3).frames[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_folder_of_mixed_sizes_is_refused(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "f", {"0.png": grey(0), "1.png": grey(1, (4, 2))})
    with pytest.raises(ClipError, match=r"mixes frame sizes, 3x2 and 4x2"):
        read_clip(folder)


def test_folder_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="holds no PNG or JPEG frames"):
        read_clip(tmp_path)


def test_16_bit_grey_palette_and_grey_alpha_are_converted_not_clipped(tmp_path: Path) -> None:
    wide = Image.fromarray(np.full((2, 3), 0x8080, np.uint16))
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    clear, one_bit = Image.new("LA", (3, 2), (0, 0)), Image.new("1", (3, 2), 1)
    images = {"0.png": wide, "1.png": palette, "2.png": clear, "3.png": one_bit}
    clip = read_clip(save_frames(tmp_path / "f", images))
    assert clip.frames[:, 0, 0].tolist() == [[128] * 3, [10, 20, 30], [255] * 3, [255] * 3]
    assert "16-bit grey reduced to 8 bits" in clip.notes
    assert "alpha composited over white" in clip.notes


def test_cmyk_jpeg_is_converted_and_noted(tmp_path: Path) -> None:
    images = {f"{n}.jpg": Image.new("CMYK", (8, 8), (0, 255, 255, 0)) for n in range(2)}
    clip = read_clip(save_frames(tmp_path / "f", images))
    red = clip.frames[0, 4, 4].tolist()
    assert red[0] > 200
    assert max(red[1:]) < 60
    assert "CMYK converted to RGB" in clip.notes


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    (tmp_path / "f").mkdir()
    for n in range(2):
        grey(50, (16, 8)).save(tmp_path / "f" / f"{n}.jpg", exif=exif)
    assert read_clip(tmp_path / "f").frames.shape == (2, 16, 8, 3)


# ---- Video -----------------------------------------------------------------------------------------------------------


def save_video(
    file: Path,
    levels: Sequence[int],
    pts_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    alpha: int = 255,
) -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, pix_fmt  # type: ignore[attr-defined]
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, level in enumerate(levels):
            pixels = np.full((16, 32, 4), level, np.uint8)
            pixels[..., 3] = alpha
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (pts_ms[i] if pts_ms else 40 * i), Fraction(1, 1000)
            container.mux(stream.encode(frame))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    return file


LEVELS = [10, 60, 110, 160, 210]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mov", "libx264"), (".webm", "libvpx-vp9"), (".webm", "libvpx"), (".avi", "mpeg4")],
)
def test_video_frames_come_in_order_with_their_colours(tmp_path: Path, suffix: str, codec: str) -> None:
    clip = read_clip(save_video(tmp_path / f"v{suffix}", LEVELS, codec=codec))
    assert clip.frames.shape == (5, 16, 32, 3)
    assert [round(float(f.float().mean())) for f in clip.frames] == pytest.approx(LEVELS, abs=3)
    assert clip.frame_ms[:4] == (40,) * 4


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_video_durations_follow_pts(tmp_path: Path, suffix: str) -> None:
    codec = "libx264" if suffix == ".mp4" else "libvpx"
    clip = read_clip(save_video(tmp_path / f"v{suffix}", LEVELS, pts_ms=[0, 40, 140, 170, 300], codec=codec))
    assert clip.frame_ms[:4] == (40, 100, 30, 130)
    assert clip.frame_ms[4] > 0


def test_video_window_is_exact_and_reads_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save_video(tmp_path / "v.mp4", list(range(0, 250, 5)))
    decoded = []
    plain = video_frames._decode
    monkeypatch.setattr(video_frames, "_decode", lambda *a: (decoded.append(1) or frame for frame in plain(*a)))
    clip = read_clip(file, start=3, frames=4)
    assert [round(float(f.float().mean())) for f in clip.frames] == pytest.approx([15, 20, 25, 30], abs=2)
    assert len(decoded) == 7


def test_webm_alpha_is_composited_not_dropped(tmp_path: Path) -> None:
    file = save_video(tmp_path / "v.webm", [0, 0, 0], codec="libvpx-vp9", pix_fmt="yuva420p", alpha=0)
    clip = read_clip(file)
    assert clip.frames.float().mean() > 250
    assert clip.notes == ("alpha composited over white",)


def test_truncated_video_is_refused(tmp_path: Path) -> None:
    frames = noise(30, 16, 32, 3)
    file = tmp_path / "v.mp4"
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"  # type: ignore[attr-defined]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    with pytest.raises(ClipError, match="cut short"):
        read_clip(file)
    assert len(read_clip(file, frames=3).frames) == 3


def test_rotation_in_the_file_is_applied(tmp_path: Path) -> None:
    file = save_video(tmp_path / "v.mp4", LEVELS)
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 16 << 16, 0, 1 << 30)
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    head, tkhd, tail = file.read_bytes().partition(b"tkhd")
    file.write_bytes(head + tkhd + tail.replace(plain, matrix, 1))
    clip = read_clip(file)
    assert clip.frames.shape == (5, 32, 16, 3)
    assert clip.notes == ("turned by -90 degrees as the file asks",)


# ---- Windows, crops, refusals ----------------------------------------------------------------------------------------


@pytest.fixture
def gif(tmp_path: Path) -> Path:
    file = tmp_path / "ten.gif"
    file.write_bytes(gif_bytes(5, 4, [GifFrame([[i % 3] * 5] * 4, delay=i + 2) for i in range(10)]))
    return file


def test_window_and_crop_cut_frames_and_durations(gif: Path) -> None:
    clip = read_clip(gif, start=2, frames=3, crop=(1, 2, 2, 3))
    assert clip.frames.shape == (3, 2, 3, 3)
    assert clip.frame_ms == (40, 50, 60)
    assert [rows(clip, t, 0)[0] for t in range(3)] == [BLUE, RED, GREEN]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": -1}, "start is -1, expected 0 or more"),
        ({"frames": 1}, "frames is 1: a clip needs at least 2 frames"),
        ({"start": 9}, "has 10 frames, numbered from 0: a window of frames 9 to the end"),
        ({"start": 8, "frames": 3}, "a window of frames 8 to 10"),
        ({"crop": (0, 0, 5, 5)}, r"crop \(0, 0, 5, 5\) .* leaves the frames of .*, 4 rows of 5 columns"),
        ({"crop": (-1, 0, 2, 2)}, "leaves the frames"),
        ({"crop": (0, 0, 0, 2)}, "leaves the frames"),
        ({"background": "no colour"}, "background 'no colour' is no colour"),
    ],
)
def test_impossible_request_is_refused(gif: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ClipError, match=sentence):
        read_clip(gif, **options)  # type: ignore[arg-type]


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"none\.gif does not exist"):
        read_clip(tmp_path / "none.gif")


@pytest.mark.parametrize("content", [b"GIF89a", b"hello world, this is text", b"\x89PNG\r\n\x1a\n", bytes(99)])
def test_what_is_no_clip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gif").write_bytes(content)
    with pytest.raises(ClipError, match=r"x\.gif cannot be read"):
        read_clip(tmp_path / "x.gif")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it finds, before it raises
def test_damaged_animation_is_read_or_refused_as_no_clip(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["GIF", "PNG", "WEBP"]))
    content = bytearray(save_animation(tmp_path / "x", noise(3, 8, 9, 3), kind, duration=50).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "x").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(ClipError):
        assert len(read_clip(tmp_path / "x").frames) >= 2


def test_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gif")
    with pytest.raises(ClipError, match="is a pipe, socket or device"):
        read_clip(tmp_path / "pipe.gif")


def test_playlist_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    target = save_video(tmp_path / "secret.mp4", LEVELS)
    (tmp_path / "x.mp4").write_text(f"ffconcat version 1.0\nfile {target.name}\n")
    with pytest.raises(ClipError, match="cannot be read"):
        read_clip(tmp_path / "x.mp4")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "JPEG"])
def test_one_frame_is_no_clip(tmp_path: Path, kind: str) -> None:
    grey(7).save(tmp_path / "still", kind)
    with pytest.raises(ClipError, match="has only one frame"):
        read_clip(tmp_path / "still")


def test_huge_canvas_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "bomb.gif").write_bytes(gif_bytes(8000, 8000, [GifFrame([[0]])] * 2))
    with pytest.raises(ClipError, match=r"8000x8000, over the limit of 16777216 pixels: .* raise --max-pixels"):
        read_clip(tmp_path / "bomb.gif")


def test_too_many_frames_are_refused_before_decoding(tmp_path: Path) -> None:
    file = tmp_path / "long.gif"
    file.write_bytes(gif_bytes(4000, 4000, [GifFrame([[0]])] * 50))
    with pytest.raises(ClipError, match="50 or more frames of 4000x4000, 2288 MiB or more, over the limit of 1024 MiB"):
        read_clip(file)


def test_video_stops_at_the_byte_limit(tmp_path: Path) -> None:
    file, limits = save_video(tmp_path / "v.mp4", LEVELS), ReadLimits(clip_bytes=3 * 16 * 32 * 3)
    with pytest.raises(ClipError, match="4 or more frames of 32x16, 0 MiB or more, over the limit"):
        read_clip(file, limits=limits)
    assert len(read_clip(file, frames=3, limits=limits).frames) == 3


# ---- Tensors ---------------------------------------------------------------------------------------------------------


def test_to_tensor_and_back_is_exact() -> None:
    frames = torch.arange(256, dtype=torch.uint8).repeat(6).reshape(2, 16, 16, 3)
    video = Clip(frames=frames, frame_ms=(40, 40), source="made").to_tensor()
    assert video.shape == (1, 3, 2, 16, 16)
    assert video.dtype == torch.float32
    assert video.is_contiguous()
    assert (video.min(), video.max()) == (-1, 1)
    assert torch.equal(frames_from_tensor(video), frames)
    assert torch.equal(frames_from_tensor(video[0]), frames)


def test_frames_from_tensor_clamps_and_rounds() -> None:
    video = torch.tensor([-7.0, -0.002, 0.003, 7.0]).expand(3, 1, 1, 4)
    assert frames_from_tensor(video)[0, 0, :, 0].tolist() == [0, 127, 128, 255]


@pytest.mark.parametrize(
    ("video", "sentence"),
    [
        (torch.zeros(2, 3, 2, 4, 4), "expected one float video"),
        (torch.zeros(1, 2, 4, 4), "expected one float video"),
        (torch.zeros(3, 2, 4, 4, dtype=torch.uint8), "expected one float video"),
        (torch.full((3, 2, 4, 4), torch.nan), "holds NaN"),
    ],
)
def test_frames_from_tensor_refuses_what_is_no_video(video: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ClipError, match=sentence):
        frames_from_tensor(video)


def test_digest_sees_pixels_durations_and_shape_but_not_the_source() -> None:
    frames = torch.from_numpy(noise(2, 4, 6, 3))
    base = Clip(frames=frames, frame_ms=(40, 50), source="a")
    assert base.digest() == Clip(frames=frames.clone(), frame_ms=(40, 50), source="b", notes=("n",)).digest()
    assert base.digest() != Clip(frames=frames, frame_ms=(50, 40), source="a").digest()
    assert base.digest() != Clip(frames=frames.reshape(2, 6, 4, 3), frame_ms=(40, 50), source="a").digest()
    assert base.digest() != Clip(frames=frames ^ 1, frame_ms=(40, 50), source="a").digest()


def test_reading_leaves_no_file_open(gif: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    read_clip(gif)
    assert not before or len(os.listdir("/proc/self/fd")) == before
