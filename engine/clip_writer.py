"""Clips to files: GIF, APNG, WebP, MP4, or a folder of PNG frames, whole or not at all.

Every frame is kept, also one that repeats the frame before it. The libraries' own animation writers merge such frames
(Pillow#7613 for GIF, the same in its APNG and in libwebp), so their single-frame encoders are used here and the frames
are put into the container by hand where that is what it takes. docs/gif-encoding.md measures the GIF palette.
"""

import io
import os
import re
import secrets
import shutil
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import GifImagePlugin, Image, PngImagePlugin
from torch import Tensor

from .clip import ClipError, Pixels

_FRAME_NAME = re.compile(r"frame_[0-9]{4,}\.png")
_COUNTED_PIXELS = 1 << 24
"""Pixels whose colours are counted, 16 bytes each while that lasts: all of a clip of 256x256 and 256 frames."""
_PALETTE_SAMPLE = 1 << 19
"""Colours that choose the palette; more cost time and move it little."""


def write_clip(
    path: str | os.PathLike[str],
    frames: Tensor,
    frame_ms: int | Sequence[int],
    *,
    format: str | None = None,
) -> None:
    """Write frames, uint8 [T, H, W, 3], each shown for `frame_ms` (one number, or T of them).

    The format comes from the suffix: .gif, .mp4, .webp, .apng or .png (both APNG); `format` ("gif", "mp4", "webp",
    "apng", "frames") overrides it, and "frames" makes `path` a folder of frame_0000.png, ... with durations inside.

    GIF     256 colours, one palette, no dither; durations rounded to 10 ms without drift, at least 20 ms; loops.
    APNG, WebP  lossless; loop.
    MP4     H.264 4:2:0, crf 12; an odd height or width gains one repeated edge row or column, for 4:2:0 wants even.

    A file appears under `path` only once it is complete; a failure leaves what was there before. Raises ClipError.
    """
    target = Path(path)
    kind = format or _SUFFIXES.get(target.suffix.lower())
    if kind not in (*_ENCODERS, "frames"):
        raise ClipError(f"cannot write {os.fspath(path)} as {kind}: use {', '.join(_SUFFIXES)} or format='frames'")
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.numel():
        raise ClipError(f"expected frames uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    durations = [frame_ms] * len(frames) if isinstance(frame_ms, int) else list(frame_ms)
    if len(durations) != len(frames) or min(durations) < 1:
        raise ClipError(f"expected {len(frames)} durations of at least 1 ms, got {durations}")
    if not target.parent.is_dir():
        raise ClipError(f"the folder {target.parent} does not exist: create it first")
    pixels = frames.cpu().contiguous().numpy()
    if kind == "frames":
        _write_folder(target, pixels, durations)
    else:
        _write_whole(target, _ENCODERS[kind](pixels, durations))


# ---- GIF -------------------------------------------------------------------------------------------------------------


def encode_gif(frames: Pixels, frame_ms: Sequence[int]) -> bytes:
    """GIF bytes with every frame in it, cut to what changed, one palette for all."""
    _, height, width, _ = frames.shape
    if max(height, width) > 0xFFFF:
        raise ClipError(f"GIF frames are at most 65535 pixels wide and high, got {width}x{height}: write MP4")
    palette = choose_palette(frames)
    parts = [
        b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\0\0",  # a global table of 256 colours follows
        palette.tobytes().ljust(768, b"\0"),
        b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0",  # loop for ever
    ]
    before = None
    for indices, delay in zip(map_to_palette(frames, palette), gif_delays(frame_ms), strict=True):
        parts.append(_gif_frame(indices, before, delay, len(palette)))
        before = indices
    return b"".join([*parts, b";"])


def _gif_frame(indices: Pixels, before: Pixels | None, delay: int, unused: int) -> bytes:
    """The part of the frame that changed; where it is smaller so, with index `unused` < 256 for the unchanged in it."""
    if before is None:
        return _gif_image(indices, (0, 0), delay)
    changed = indices != before
    top, left, bottom, right = _changed_box(changed)
    box, changed = indices[top:bottom, left:right], changed[top:bottom, left:right]
    plain = _gif_image(box, (left, top), delay)
    if unused > 255:
        return plain
    seen_through = np.where(changed, box, unused).astype(np.uint8)
    return min(plain, _gif_image(seen_through, (left, top), delay, transparency=unused), key=len)


def _gif_image(indices: Pixels, offset: tuple[int, int], delay: int, **options: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(indices))
    blocks = GifImagePlugin.getdata(image, offset, duration=10 * delay, disposal=1, interlace=0, **options)
    return b"".join(blocks)


def choose_palette(frames: Pixels) -> Pixels:
    """One palette [n <= 256, 3] for the clip: its own colours where they are few, else 255 by mediancut and k-means.

    A colour counts by the root of its pixels: by all of them a wide sky takes the colours of what moves before it.
    """
    colours = frames.reshape(-1, 3)
    colours = colours[:: len(colours) // _COUNTED_PIXELS | 1]  # odd, so that it does not follow the columns
    packed = colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    distinct, pixels = np.unique(packed, return_counts=True)
    if len(distinct) > 256:
        distinct = np.repeat(distinct, np.rint(np.sqrt(pixels)).astype(np.int64))
        distinct = distinct[:: len(distinct) // _PALETTE_SAMPLE + 1]
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1).astype(np.uint8)
    if len(colours) <= 256:
        return colours
    quantized = Image.fromarray(colours[None]).quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=1)
    return np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)


def map_to_palette(frames: Pixels, palette: Pixels) -> list[Pixels]:
    """Index of the nearest colour for every pixel, [H, W] per frame.

    Exact: Pillow's own mapping to a given palette goes through a cache of 64^3 cells that shifts colours by 1.5 levels.
    """
    colours = torch.from_numpy(palette).float()
    norms = colours.square().sum(dim=1)

    def indices_of(frame: Pixels) -> Pixels:
        chunks = torch.split(torch.from_numpy(frame).reshape(-1, 3), 1 << 16)  # 64 MiB of distances at a time
        nearest = [torch.addmm(norms, chunk.float(), colours.T, alpha=-2).argmin(dim=1) for chunk in chunks]
        indices: Pixels = torch.cat(nearest).to(torch.uint8).reshape(frame.shape[:2]).numpy()
        return indices

    return [indices_of(frame) for frame in frames]


def gif_delays(frame_ms: Sequence[int]) -> list[int]:
    """Hundredths of a second per frame, at least 2 (viewers slow down below that), rounded without drift.

    The frames' ends are rounded, not the durations: 16, 17, 17 ms become 2, 2, 2 and 125 ms repeated 12, 13, 12, 13.
    """
    delays, shown = [], 0
    for end in accumulate(frame_ms):
        delay = min(max(2, (end + 5) // 10 - shown), 0xFFFF)
        delays.append(delay)
        shown += delay
    return delays


def _changed_box(changed: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) around the pixels that changed; one pixel if none did: a frame cannot be empty."""
    if not changed.any():
        return 0, 0, 1, 1
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


# ---- APNG, WebP ------------------------------------------------------------------------------------------------------


def _encode_apng(frames: Pixels, frame_ms: Sequence[int]) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    # Pillow merges equal neighbours unless their blend modes differ; without alpha the two modes paint the same.
    blend = [index % 2 for index in range(len(images))]
    out = io.BytesIO()
    images[0].save(
        out, "PNG", save_all=True, append_images=images[1:], duration=list(frame_ms), loop=0, blend=blend, disposal=0
    )
    return out.getvalue()


def _encode_webp(frames: Pixels, frame_ms: Sequence[int]) -> bytes:
    _, height, width, _ = frames.shape
    if max(height, width) > 1 << 14:
        raise ClipError(f"WebP frames are at most 16384 pixels wide and high, got {width}x{height}: write MP4")
    chunks = [
        _riff_chunk(b"VP8X", bytes([0b10, 0, 0, 0]) + _uint24(width - 1) + _uint24(height - 1)),  # 0b10: animated
        _riff_chunk(b"ANIM", bytes([255, 255, 255, 255, 0, 0])),  # white behind it, loop for ever
    ]
    before = None
    for frame, ms in zip(frames, frame_ms, strict=True):
        changed = np.ones((height, width), bool) if before is None else (frame != before).any(axis=2)
        top, left, bottom, right = _changed_box(changed)
        top, left = top & ~1, left & ~1  # offsets are stored in units of two pixels
        out = io.BytesIO()
        Image.fromarray(frame[top:bottom, left:right]).save(out, "WEBP", lossless=True, quality=50)
        box = b"".join(map(_uint24, (left // 2, top // 2, right - left - 1, bottom - top - 1, min(ms, 0xFFFFFF))))
        chunks.append(_riff_chunk(b"ANMF", box + b"\x02" + out.getvalue()[12:]))  # 2: paint over, leave in place
        before = frame
    return _riff_chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def _riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")


# ---- MP4 -------------------------------------------------------------------------------------------------------------


def _encode_mp4(frames: Pixels, frame_ms: Sequence[int]) -> bytes:
    try:
        import av
        from av.video.reformatter import ColorRange, Colorspace, Interpolation
    except ImportError:
        raise ClipError("writing MP4 needs PyAV: pip install av, or write a GIF") from None
    _, height, width, _ = frames.shape
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    starts = [0, *accumulate(frame_ms)]
    shown_for = dict(zip(starts, frame_ms, strict=False))
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", options={"crf": "12", "preset": "slow", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *even.shape[1:3], "yuv420p"
        stream.thread_count = 1  # the same bytes on every machine
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.color_primaries = stream.color_trc = stream.colorspace = 1  # BT.709, said in the file: no guessing
        stream.color_range = ColorRange.MPEG
        for pixels, start in zip(even, starts, strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=exact, threads=1
            )
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            _mux(container, stream.encode(frame), shown_for)
        _mux(container, stream.encode(None), shown_for)
    return out.getvalue()


def _mux(container: Any, packets: Any, shown_for: dict[int, int]) -> None:
    """With each frame's own duration, which the last frame of a file would else not have."""
    for packet in packets:
        packet.duration = shown_for[packet.pts]
        container.mux(packet)


# ---- To disk ---------------------------------------------------------------------------------------------------------


def _write_folder(target: Path, frames: Pixels, frame_ms: Sequence[int]) -> None:
    """A new folder, swapped for an old one only if that holds nothing but such frames."""
    if target.exists() and not (target.is_dir() and all(_FRAME_NAME.fullmatch(name) for name in os.listdir(target))):
        raise ClipError(f"{target} exists and is more than a folder of frame_0000.png, ...: choose a new folder")
    scratch = _beside(target)
    scratch.mkdir()
    try:
        for index, (frame, ms) in enumerate(zip(frames, frame_ms, strict=True)):
            info = PngImagePlugin.PngInfo()
            info.add_text("frame_ms", str(ms))
            out = io.BytesIO()
            Image.fromarray(frame).save(out, "PNG", pnginfo=info)
            _write_synced(scratch / f"frame_{index:04d}.png", out.getvalue())
        _swap(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _swap(scratch: Path, target: Path) -> None:
    """A folder cannot be renamed over a full one: step the old one aside, and back if the new one fails."""
    old = _beside(target)
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(scratch, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_whole(target: Path, data: bytes) -> None:
    if target.is_dir():
        raise ClipError(f"{target} is a folder: give a file name, or format='frames'")
    scratch = _beside(target)
    try:
        _write_synced(scratch, data)
        os.replace(scratch, target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _beside(target: Path) -> Path:
    """An unused name in the same folder, so that the final rename stays within one file system."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")


def _write_synced(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


_ENCODERS: dict[str, Callable[[Pixels, Sequence[int]], bytes]] = {
    "gif": encode_gif,
    "apng": _encode_apng,
    "webp": _encode_webp,
    "mp4": _encode_mp4,
}
_SUFFIXES = {".gif": "gif", ".mp4": "mp4", ".webp": "webp", ".apng": "apng", ".png": "apng"}
