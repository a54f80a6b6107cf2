"""Clips to files: GIF, APNG, WebP, MP4, or a folder of PNG frames, as the frames come, whole or not at all.

Every frame is kept, also one that repeats the frame before it. The libraries' own animation writers merge such frames
(Pillow#7613 for GIF, the same in its APNG and in libwebp), so their single-frame encoders are used and the frames are
put into the container by hand where that is what it takes.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path

from PIL import Image, PngImagePlugin
from torch import Tensor, uint8

from .animation_writers import write_apng, write_webp
from .clip import ClipError, Pixels
from .gif_writer import write_gif
from .mp4_writer import write_mp4
from .scratch import naming, replace_folder, scratch

_FRAME_NAME = re.compile(r"frame_[0-9]{4,}\.png")


def write_clip(
    path: str | os.PathLike[str],
    frames: Tensor | Iterable[Tensor],
    frame_ms: int | Iterable[int],
    *,
    format: str | None = None,
) -> None:
    """Write frames, uint8 [T, H, W, 3], each shown for `frame_ms` (one number, or T of them).

    An iterable of such tensors is written as they come: one of them is in memory at a time, and a few frames that
    encoders look back or ahead at.

    The format comes from the suffix: .gif, .mp4, .webp, .apng or .png (both APNG); `format` ("gif", "mp4", "webp",
    "apng", "frames") overrides it, and "frames" makes `path` a folder of frame_0000.png, ... with durations inside.

    GIF     256 colours, one palette, no dither; durations rounded to 10 ms without drift, at least 20 ms; loops. Until
            the palette is chosen, frames lie uncompressed in an unnamed file in the same folder.
    APNG, WebP  lossless; loop.
    MP4     H.264 4:2:0, crf 12; an odd height or width gains one repeated edge row or column, for 4:2:0 wants even.

    A file appears under `path` only once it is complete; a failure leaves what was there before. Raises ClipError.
    """
    target = Path(path)
    kind = format or _SUFFIXES.get(target.suffix.lower())
    if kind not in _WRITERS:
        raise ClipError(f"cannot write {os.fspath(path)} as {kind}: use {', '.join(_SUFFIXES)} or format='frames'")
    if not target.parent.is_dir():
        raise ClipError(f"the folder {target.parent} does not exist: create it first")
    if kind == "frames":
        _refuse_other_folders(target)
    elif target.is_dir():
        raise ClipError(f"{target} is a folder: give a file name, or format='frames'")
    timed = _timed([frames] if isinstance(frames, Tensor) else frames, frame_ms)
    first = next(timed)
    with naming(target), scratch(target, ".partial") as partial:
        _WRITERS[kind](chain([first], timed), first[0].shape[:2], partial)
        if kind == "frames":
            replace_folder(partial, target)
        else:
            _sync(partial)
            os.replace(partial, target)


def _timed(parts: Iterable[Tensor], frame_ms: int | Iterable[int]) -> Iterator[tuple[Pixels, int]]:
    """Single frames [H, W, 3] with their durations, checked; at least one."""
    durations = repeat(frame_ms) if isinstance(frame_ms, int) else iter(frame_ms)
    count, size = 0, None
    for part in parts:
        size = size or part.shape[1:3]
        if part.dtype != uint8 or part.ndim != 4 or part.shape[1:] != (*size, 3) or not part.numel():
            raise ClipError(f"expected frames uint8 [T, H, W, 3] of one size, got {part.dtype} {list(part.shape)}")
        for frame in part.cpu().contiguous().numpy():
            ms = next(durations, None)
            if ms is None or ms < 1:
                raise ClipError(f"expected a duration of at least 1 ms for each frame, got {ms} for frame {count}")
            yield frame, ms
            count += 1
    if not count:
        raise ClipError("expected frames uint8 [T, H, W, 3], got none")
    if not isinstance(frame_ms, int) and next(durations, None) is not None:
        raise ClipError(f"expected a duration for each frame, got more than the {count} frames")


# ---- To disk ---------------------------------------------------------------------------------------------------------


def _write_folder(frames: Iterator[tuple[Pixels, int]], _size: tuple[int, int], folder: Path) -> None:
    folder.mkdir()
    for index, (frame, ms) in enumerate(frames):
        info = PngImagePlugin.PngInfo()
        info.add_text("frame_ms", str(ms))
        file = folder / f"frame_{index:04d}.png"
        Image.fromarray(frame).save(file, "PNG", pnginfo=info)
        _sync(file)


def _refuse_other_folders(target: Path) -> None:
    """A new folder may take the place of an old one only if that holds nothing but such frames."""
    if target.exists() and not (target.is_dir() and all(_FRAME_NAME.fullmatch(name) for name in os.listdir(target))):
        raise ClipError(f"{target} exists and is more than a folder of frame_0000.png, ...: choose a new folder")


def _sync(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


_WRITERS: dict[str, Callable[[Iterator[tuple[Pixels, int]], tuple[int, int], Path], None]] = {
    "gif": write_gif,
    "apng": write_apng,
    "webp": write_webp,
    "mp4": write_mp4,
    "frames": _write_folder,
}
"""By format: frames with their durations, (height, width), and the file or folder to make."""
_SUFFIXES = {".gif": "gif", ".mp4": "mp4", ".webp": "webp", ".apng": "apng", ".png": "apng"}
