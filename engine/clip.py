"""Clips: what is read from a file, and how video tensors become pixels again.

A clip is a short RGB video held whole in memory with the duration of every frame. `read_clip` takes what people have
(GIF, APNG, animated WebP, MP4/WebM/MOV, a folder of PNG or JPEG frames), decides by content and not by suffix, decodes
no frame behind the window that was asked for, and says in `Clip.notes` whatever it had to change.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageCms, ImageColor, ImageOps
from torch import Tensor

from .gif_frames import draw_gif, parse_gif

MAX_FRAME_PIXELS = 1 << 24
"""Largest frame that is decoded: 4096 x 4096."""
MAX_CLIP_BYTES = 1 << 31
"""Largest clip that is kept, counted after window and crop: 2 GiB, about 340 frames of 1080p."""
DEFAULT_FRAME_MS = 100
"""Duration of a frame whose file gives none, or zero: what browsers do."""

_ANIMATIONS = ("PNG", "WEBP")
_STILLS = ("PNG", "JPEG")
_VIDEO_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"  # no playlists: those open other files and addresses
_FRAME_SUFFIXES = {".png", ".jpg", ".jpeg"}

Pixels = npt.NDArray[np.uint8]  # [H, W, 3] or, with alpha, [H, W, 4]


class ClipError(ValueError):
    """A file or array that is not a usable clip: what came, what was expected, what to do."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A short RGB video."""

    frames: Tensor
    """uint8 [T, H, W, 3], contiguous, RGB."""
    frame_ms: tuple[int, ...]
    """Duration of each frame in milliseconds, length T."""
    source: str
    """The path as given."""
    notes: tuple[str, ...] = ()
    """What reading changed, one clause each."""
    window: Mapping[str, Any] | None = None
    """What `read_clip` was asked for besides the path, by its arguments' names."""

    def to_tensor(self) -> Tensor:
        """float32 [1, 3, T, H, W] in [-1, 1]."""
        return tensor_from_frames(self.frames)

    def digest(self) -> str:
        """sha256 (hex) over shape, pixels and durations: equal clips, whatever file they came from, agree."""
        sha = hashlib.sha256(repr((tuple(self.frames.shape), self.frame_ms)).encode())
        sha.update(self.frames.cpu().contiguous().numpy().data)
        return sha.hexdigest()


def tensor_from_frames(frames: Tensor) -> Tensor:
    """Frames uint8 [T, H, W, 3] -> video [1, 3, T, H, W], float32 in [-1, 1], same device."""
    return (frames.permute(3, 0, 1, 2).float() / 127.5 - 1).unsqueeze(0).contiguous()


def frames_from_tensor(video: Tensor) -> Tensor:
    """Video [1, 3, T, H, W] or [3, T, H, W], float in [-1, 1] (clamped, rounded) -> uint8 [T, H, W, 3], same device.

    The inverse of `Clip.to_tensor`: exact for tensors that came from it. Raises ClipError on other shapes and on NaN.
    """
    if video.ndim == 5 and video.shape[0] == 1:
        video = video[0]
    if video.ndim != 4 or video.shape[0] != 3 or not video.is_floating_point():
        raise ClipError(f"expected one float video [3, T, H, W], got {video.dtype} {list(video.shape)}: pass one")
    if video.isnan().any():
        raise ClipError("the video holds NaN, which is no colour: look for the step that made it")
    levels = video.detach().float().clamp(-1, 1).add_(1).mul_(127.5).round_()
    return levels.to(torch.uint8).permute(1, 2, 3, 0).contiguous()


def read_clip(
    path: str | os.PathLike[str],
    *,
    start: int = 0,
    frames: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
    background: str = "white",
) -> Clip:
    """Read frames `start` to `start + frames` (all, if None) of a clip, cut to `crop` = (top, left, height, width).

    Alpha is composited over `background` (any CSS colour). Durations are kept in ms; zero or missing ones become
    `DEFAULT_FRAME_MS`. Raises ClipError, one sentence, for whatever is not a clip of at least two such frames.
    """
    source, file = os.fspath(path), Path(path)
    decoded = Decoded(source, start, frames, crop, background)
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            _read_folder(file, decoded)
        elif not stat.S_ISREG(mode):
            raise ClipError(f"{source} is a pipe, socket or device: give a regular file or a folder of frames")
        else:
            {"gif": _read_gif, "picture": _read_animation, "video": _read_video}[_magic(file)](file, decoded)
    except (ClipError, MemoryError):
        raise
    except FileNotFoundError:
        raise ClipError(f"{source} does not exist: give a GIF, APNG, WebP, MP4, WebM or a folder of frames") from None
    except Exception as error:  # hostile bytes make decoders raise nearly every type there is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClipError(f"{source} cannot be read, it is damaged, cut short or no clip at all ({reason})") from error
    return decoded.finish()


@dataclass
class Decoded:
    """The frames kept so far, and the rules that every frame must pass on its way in."""

    source: str
    start: int
    frames: int | None
    crop: tuple[int, int, int, int] | None
    background: str
    kept: list[Pixels] = field(default_factory=list)
    frame_ms: list[int | None] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # ordered, each note once
    size: tuple[int, int] | None = None  # height, width before the crop

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ClipError(f"start is {self.start}, expected 0 or more")
        if self.frames is not None and self.frames < 2:
            raise ClipError(f"frames is {self.frames}: a clip needs at least 2 frames, ask for more")
        try:
            colour = ImageColor.getrgb(self.background)[:3]
        except ValueError:
            raise ClipError(f"background {self.background!r} is no colour: try 'white' or '#336699'") from None
        self.background_rgb = np.array(colour, np.float32)

    @property
    def stop(self) -> int | None:
        return None if self.frames is None else self.start + self.frames

    @property
    def full(self) -> bool:
        return len(self.kept) == self.frames

    def note(self, text: str) -> None:
        self.notes[text] = None

    def announce(self, height: int, width: int, count: int | None = None) -> None:
        """Check the limits before a frame is decoded; with `count` (frames in the file) those of the whole window."""
        if height * width > MAX_FRAME_PIXELS:
            raise ClipError(
                f"{self.source} has frames of {width}x{height}, over the limit of MAX_FRAME_PIXELS ="
                f" {MAX_FRAME_PIXELS}: scale it down first"
            )
        if count is not None:
            self.check_window(count)
        kept = len(self.kept) + 1 if count is None else min(count, self.stop or count) - self.start
        if kept * 3 * (self.crop[2] * self.crop[3] if self.crop else height * width) > MAX_CLIP_BYTES:
            raise ClipError(
                f"{self.source} asks for {kept} or more frames of {width}x{height}, over the limit of MAX_CLIP_BYTES ="
                f" {MAX_CLIP_BYTES}: read fewer frames or a crop"
            )

    def check_window(self, count: int) -> None:
        if count < 2:
            raise ClipError(f"{self.source} has only one frame: a clip needs at least 2")
        if count - self.start < (self.frames or 2):
            wanted = f"{self.start} to {'the end' if self.stop is None else self.stop - 1}"
            raise ClipError(
                f"{self.source} has {count} frames, numbered from 0: a window of frames {wanted} with at least 2 frames"
                " does not fit, move or shorten it"
            )

    def keep(self, pixels: Pixels, ms: float | None) -> None:
        height, width = pixels.shape[:2]
        self.announce(height, width)
        if self.size is not None and self.size != (height, width):
            raise ClipError(
                f"{self.source} mixes frame sizes, {self.size[1]}x{self.size[0]} and {width}x{height}:"
                " make them all the same"
            )
        self.size = (height, width)
        if self.crop is not None:
            top, left, rows, columns = self.crop
            if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
                raise ClipError(
                    f"crop {self.crop} (top, left, height, width) leaves the frames of {self.source}, {height} rows of"
                    f" {width} columns: choose one inside"
                )
            pixels = pixels[top : top + rows, left : left + columns]
        if pixels.shape[2] == 4:
            pixels = self.composite(pixels)
        self.kept.append(np.ascontiguousarray(pixels))
        self.frame_ms.append(None if ms is None else round(ms))

    def composite(self, pixels: Pixels) -> Pixels:
        """Straight alpha over the background; a frame that is opaque throughout is no news."""
        rgb, alpha = pixels[..., :3], pixels[..., 3:]
        if alpha.min() == 255:
            return rgb
        self.note(f"alpha composited over {self.background}")
        weight = alpha.astype(np.float32) / 255
        return np.rint(rgb * weight + self.background_rgb * (1 - weight)).astype(np.uint8)

    def finish(self) -> Clip:
        missing = sum(ms is None or ms <= 0 for ms in self.frame_ms)
        if missing:
            self.note(f"{missing} of {len(self.kept)} frames had no duration: {DEFAULT_FRAME_MS} ms")
        frame_ms = tuple(ms if ms and ms > 0 else DEFAULT_FRAME_MS for ms in self.frame_ms)
        frames = torch.from_numpy(np.stack(self.kept))
        window = {name: getattr(self, name) for name in ("start", "frames", "crop", "background")}
        return Clip(frames=frames, frame_ms=frame_ms, source=self.source, notes=tuple(self.notes), window=window)


# ---- GIF, APNG, WebP -------------------------------------------------------------------------------------------------


def _magic(file: Path) -> str:
    with file.open("rb") as stream:
        head = stream.read(12)
    if head[:3] == b"\xff\xd8\xff":
        raise ClipError(f"{file} is a JPEG and has only one frame: give an animation, a video or a folder of frames")
    if head[:4] == b"GIF8":
        return "gif"
    return "picture" if head[:8] == b"\x89PNG\r\n\x1a\n" or (head[:4], head[8:]) == (b"RIFF", b"WEBP") else "video"


def _read_gif(file: Path, into: Decoded) -> None:
    width, height, frames, complete = parse_gif(file.read_bytes())
    into.announce(height, width, len(frames))
    for frame in frames[: into.stop]:
        into.announce(frame.height, frame.width)  # a frame may be larger than the canvas
    if not complete:
        into.note("the GIF does not end with its trailer: it may be cut short")
    drawn = zip(draw_gif(width, height, frames[: into.stop]), frames, strict=False)
    for pixels, frame in islice(drawn, into.start, None):
        into.keep(pixels, frame.ms)


def _read_animation(file: Path, into: Decoded) -> None:
    with Image.open(file, formats=_ANIMATIONS) as image:
        # An APNG may show a still instead where animation is not supported; Pillow counts it as frame 0.
        first = int(bool(image.info.get("default_image")))
        count = getattr(image, "n_frames", 1) - first
        into.announce(image.height, image.width, count)
        for index in range(into.start, min(count, into.stop or count)):
            image.seek(first + index)
            image.load()
            into.keep(pixels_of(image, into), image.info.get("duration"))


def pixels_of(image: Image.Image, into: Decoded) -> Pixels:
    """Any Pillow mode as RGB, or RGBA where the picture has alpha."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        into.note("16-bit grey reduced to 8 bits")
        grey = np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "CMYK":
        into.note("CMYK converted to RGB")
        return np.asarray(_cmyk_to_rgb(image))
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is no reason to refuse the picture
    return image.convert("RGB")


# ---- Folders of frames -----------------------------------------------------------------------------------------------


def _read_folder(folder: Path, into: Decoded) -> None:
    names = [entry.name for entry in folder.iterdir() if entry.suffix.lower() in _FRAME_SUFFIXES and entry.is_file()]
    names.sort(key=natural_order)
    if not names:
        raise ClipError(f"{folder} holds no PNG or JPEG frames: give a folder with files like frame_0000.png")
    for text in _gaps(names):
        into.note(text)
    into.check_window(len(names))
    for name in names[into.start : into.stop]:
        with Image.open(folder / name, formats=_STILLS) as image:
            into.announce(image.height, image.width, len(names))
            upright = ImageOps.exif_transpose(image)
            into.keep(pixels_of(upright, into), _stored_ms(image))


def _stored_ms(image: Image.Image) -> int | None:
    """The duration that `write_clip` leaves in each numbered PNG."""
    text = image.info.get("frame_ms", "")
    return int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text) else None


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """frame_2 before frame_10: runs of digits compare as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part.lower()) for part in parts], name


def _gaps(names: list[str]) -> Iterator[str]:
    """Numbers that are missing between neighbours of one series, at most eight by name."""
    missing: list[str] = []
    total = 0
    for before, after in pairwise(names):
        old, new = (re.fullmatch(r"(.*?)([0-9]+)(\.[^.]*)", name) for name in (before, after))
        if old is None or new is None or (old[1], old[3].lower()) != (new[1], new[3].lower()):
            continue
        numbers = range(int(old[2]) + 1, int(new[2]))
        total += len(numbers)
        missing += [f"{old[1]}{number:0{len(old[2])}d}{old[3]}" for number in numbers[: 8 - len(missing)]]
    yield from (f"gap: {name} missing" for name in missing)
    if total > len(missing):
        yield f"gap: {total - len(missing)} more files missing"


# ---- Video -----------------------------------------------------------------------------------------------------------


def _read_video(file: Path, into: Decoded) -> None:
    try:
        import av
    except ImportError:
        raise ClipError(f"{file} is no GIF, PNG or WebP, and video needs PyAV: pip install av") from None
    # A file object, not a path: then ffmpeg opens nothing but these bytes.
    with file.open("rb") as bytes_in, av.open(bytes_in, options={"format_whitelist": _VIDEO_DEMUXERS}) as container:
        if not container.streams.video:
            raise ClipError(f"{file} has no video stream: give a clip with pictures")
        stream = container.streams.video[0]
        into.announce(stream.height, stream.width)
        times: list[tuple[float | None, float]] = []  # shown at, shown for, in ms
        count = 0
        for frame in _decode(container, stream, into):
            count += 1
            if count <= into.start:
                continue
            into.keep(_video_pixels(frame, into), None)
            times.append((None if frame.time is None else frame.time * 1000, _own_ms(frame)))
            if into.full:
                break
        if not into.full:
            into.check_window(count)
        into.frame_ms = list(_durations(times))


def _decode(container: Any, stream: Any, into: Decoded) -> Iterator[Any]:
    """Frames in order of presentation, one thread, no further than the caller looks."""
    import av

    stream.thread_type = "NONE"
    decoder: Any = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1":  # ffmpeg's own VP8 and VP9 decoders drop alpha, Google's keep it
        try:
            decoder = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[decoder.name], "r")
        except (KeyError, ValueError):
            into.note("alpha dropped: this PyAV has no libvpx to decode it")
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise ClipError(f"{into.source} is cut short or damaged: read fewer frames, or get the file again")
        yield from decoder.decode(packet)


def _own_ms(frame: Any) -> float:
    return float(frame.duration * frame.time_base * 1000) if frame.duration and frame.time_base else 0.0


def _durations(times: list[tuple[float | None, float]]) -> Iterator[int | None]:
    """From one frame's start to the next; the last frame keeps its own duration, or repeats the one before it.

    Starts are rounded, not differences, so that the clip keeps its length.
    """
    ms: int | None = None
    for (shown_at, own), (next_at, _) in pairwise(times):
        ms = round(own) if shown_at is None or next_at is None else round(next_at) - round(shown_at)
        yield ms
    shown_at, own = times[-1]
    yield (round((shown_at or 0) + own) - round(shown_at or 0)) or ms


def _video_pixels(frame: Any, into: Decoded) -> Pixels:
    from av.video.reformatter import Interpolation

    alpha = any(component.is_alpha for component in frame.format.components)
    # swscale's default darkens every channel by a level, measured on a clip written and read again
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    rgb = frame.reformat(format="rgba" if alpha else "rgb24", interpolation=exact, threads=1)
    pixels: Pixels = rgb.to_ndarray()
    if frame.rotation % 90 == 0 and frame.rotation % 360:
        into.note(f"turned by {frame.rotation} degrees as the file asks")
        pixels = np.rot90(pixels, frame.rotation // 90)
    return pixels
