"""Clips: what is read from a file, and how video tensors become pixels again.

A clip is a short RGB video held whole in memory with the duration of every frame. `read_clip` takes what people have
(GIF, APNG, animated WebP, MP4/WebM/MOV, a folder of PNG or JPEG frames), decides by content and not by suffix, decodes
no frame behind the window that was asked for, and says in `Clip.notes` whatever it had to change.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torch import Tensor, uint8

from .apng_frames import SIGNATURE, draw_apng, parse_apng
from .decoded import ClipError, Decoded, Pixels
from .gif_frames import draw_gif, parse_gif
from .limits import ReadLimits
from .pictures import open_picture, own_limits, pixels_of, with_alpha
from .video_frames import read_video

__all__ = ["FRAME_SUFFIXES", "Clip", "ClipError", "Pixels", "frames_from_tensor", "natural_order", "read_clip",
           "refusal", "tensor_from_frames"]

_STILLS = ("PNG", "JPEG")
FRAME_SUFFIXES = {".png", ".jpg", ".jpeg"}
_CLIPS = "a GIF, APNG, WebP, MP4, WebM or a folder of frames"


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
    return levels.to(uint8).permute(1, 2, 3, 0).contiguous()


def read_clip(
    path: str | os.PathLike[str],
    *,
    start: int = 0,
    frames: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
    background: str = "white",
    limits: ReadLimits | None = None,
) -> Clip:
    """Read frames `start` to `start + frames` (all, if None) of a clip, cut to `crop` = (top, left, height, width).

    Alpha is composited over `background` (any CSS colour). Durations are kept in ms; zero or missing ones become
    `DEFAULT_FRAME_MS`. Raises ClipError, one sentence, for whatever is not a clip of at least two such frames, or is
    beyond `limits`.
    """
    source, file = os.fspath(path), Path(path)
    decoded = Decoded(source, start, frames, crop, background, limits or ReadLimits())
    try:
        with own_limits():
            {"folder": _read_folder, "gif": _read_gif, "apng": _read_apng, "webp": _read_webp,
             "video": read_video}[_kind(file)](file, decoded)
    except Exception as error:  # hostile bytes make decoders raise nearly every type there is
        raise refusal(error, source, _CLIPS) from error
    kept, frame_ms, notes = decoded.finish()
    window = {"start": start, "frames": frames, "crop": crop, "background": background}
    return Clip(frames=kept, frame_ms=frame_ms, source=source, notes=notes, window=window)


def refusal(error: Exception, source: str, expected: str) -> ClipError:
    """What went wrong while `source` was read, as the one sentence for it."""
    if isinstance(error, ClipError):
        return error
    if isinstance(error, FileNotFoundError):
        return ClipError(f"{source} does not exist: give {expected}")
    if isinstance(error, MemoryError):
        return ClipError(f"{source} takes more memory than there is: read fewer frames or a crop, or scale it down")
    if isinstance(error, OSError) and error.errno in _NOT_TO_BE_OPENED:
        return ClipError(f"{source} cannot be opened ({os.strerror(error.errno or 0).lower()}): give {expected}, one "
                         "that may be read")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ClipError(f"{source} cannot be read, it is damaged, cut short or no clip at all ({reason}): give {expected}")


_NOT_TO_BE_OPENED = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}


def _kind(file: Path) -> str:
    """What reads `file`, by its first bytes. Raises ClipError for what nothing reads."""
    mode = file.stat().st_mode
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise ClipError(f"{file} is a pipe, socket or device: give a regular file or a folder of frames")
    with file.open("rb") as stream:
        head = stream.read(256)
    if not head:
        raise ClipError(f"{file} is empty: give {_CLIPS}")
    if head[:3] == b"\xff\xd8\xff":
        raise ClipError(f"{file} is a JPEG and has only one frame: give an animation, a video or a folder of frames")
    if head[:4] == b"GIF8":
        return "gif"
    if head[:8] == SIGNATURE:
        return "apng"
    if (head[:4], head[8:12]) == (b"RIFF", b"WEBP"):
        return "webp"
    if re.fullmatch(rb"[\t\n\r -~]+", head):  # a web page that says "not found" is what downloads often are
        raise ClipError(f"{file} cannot be read, it holds text ({head[:24].decode()!r}...), no pictures: give {_CLIPS}")
    return "video"


# ---- GIF, APNG, WebP -------------------------------------------------------------------------------------------------


def _read_gif(file: Path, into: Decoded) -> None:
    into.check_bytes(size := file.stat().st_size, f"is a file of {size} bytes")
    width, height, frames, complete = parse_gif(file.read_bytes(), into.most_frames)
    into.announce(height, width, len(frames))
    for frame in frames:
        into.announce(frame.height, frame.width)  # a frame may be larger than the canvas
    beyond = sum(max(0, frame.height * frame.width - height * width) for frame in frames)
    into.check_bytes(3 * beyond, "has frames beyond its canvas")
    if not complete:
        into.note("the GIF does not end with its trailer: it may be cut short")
    for pixels, frame in islice(zip(draw_gif(width, height, frames), frames, strict=True), into.start, None):
        into.keep(pixels, frame.ms)


def _read_apng(file: Path, into: Decoded) -> None:
    into.check_bytes(size := file.stat().st_size, f"is a file of {size} bytes")
    apng = parse_apng(file.read_bytes(), into.most_frames)
    into.announce(apng.height, apng.width, len(apng.frames))
    if not apng.complete:
        into.note("the PNG does not end with IEND: it may be cut short")
    drawn = draw_apng(apng, lambda image: with_alpha(pixels_of(image, into)))
    for pixels, frame in islice(zip(drawn, apng.frames, strict=True), into.start, None):
        into.keep(pixels, frame.ms)


def _read_webp(file: Path, into: Decoded) -> None:
    with open_picture(file, ("WEBP",), into) as image:
        count = getattr(image, "n_frames", 1)
        into.announce(image.height, image.width, count)
        for index in range(into.start, min(count, into.stop or count)):
            image.seek(index)
            image.load()
            into.keep(pixels_of(image, into), image.info.get("duration"))


# ---- Folders of frames -----------------------------------------------------------------------------------------------


def _read_folder(folder: Path, into: Decoded) -> None:
    names = [entry.name for entry in folder.iterdir() if entry.suffix.lower() in FRAME_SUFFIXES and entry.is_file()]
    names.sort(key=natural_order)
    if not names:
        raise ClipError(f"{folder} holds no PNG or JPEG frames: give a folder with files like frame_0000.png")
    for text in _gaps(names):
        into.note(text)
    into.check_window(len(names))
    for name in names[into.start : into.stop]:
        with open_picture(folder / name, _STILLS, into) as image:
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
        first, last = int(old[2]) + 1, int(new[2])
        total += max(0, last - first)  # not len(range): the numbers may have hundreds of digits
        named = range(first, min(last, first + 8 - len(missing)))
        missing += [f"{old[1]}{number:0{len(old[2])}d}{old[3]}" for number in named]
    yield from (f"gap: {name} missing" for name in missing)
    if total > len(missing):
        yield f"gap: {total - len(missing)} more files missing"
