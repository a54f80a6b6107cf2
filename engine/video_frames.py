"""Frames of a video file, by ffmpeg's libraries through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .decoded import ClipError, Decoded, Pixels

_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"  # no playlists: those open other files and addresses


def read_video(file: Path, into: Decoded) -> None:
    """Decode the window of `into` and no further. Raises ClipError, and whatever PyAV raises."""
    try:
        import av
    except ImportError:
        raise ClipError(f"{file} is no GIF, PNG or WebP, and video needs PyAV: pip install av") from None
    # A file object, not a path: then ffmpeg opens nothing but these bytes.
    # Probing decodes frames too, so that the limit of pixels is the decoder's own.
    options = {"format_whitelist": _DEMUXERS, "max_pixels": str(into.limits.frame_pixels)}
    with file.open("rb") as bytes_in, av.open(bytes_in, options=options) as container:
        if not container.streams.video:
            raise ClipError(f"{file} has no video stream: give a clip with pictures")
        stream = container.streams.video[0]
        if stream.height or stream.width:  # else only the frames will tell
            into.announce(stream.height, stream.width)
        times: list[tuple[float | None, float]] = []  # shown at, shown for, in ms
        count = 0
        for frame in _decode(container, stream, into):
            count += 1
            if frame.is_corrupt:
                raise ClipError(f"{file} is damaged at frame {count - 1}: read fewer frames, or get the file again")
            if count <= into.start:
                continue
            into.announce(frame.height, frame.width)
            into.keep(_video_pixels(frame, into), None)
            times.append((None if frame.time is None else frame.time * 1000, _own_ms(frame)))
            if into.full:
                break
        if not into.full:
            into.check_window(count)
            _note_missing_end(container, stream, times, into)
        into.frame_ms = [*_durations(times)]


def _note_missing_end(container: Any, stream: Any, times: list[tuple[float | None, float]], into: Decoded) -> None:
    """Say where the file should go on behind its last frame, by half a frame or more: a WebM cut short just ends."""
    if stream.duration and stream.time_base:
        promised_ms = float(stream.duration * stream.time_base * 1000)
    elif container.duration and len(container.streams) == 1:  # else it may be the sound that is longer
        promised_ms = container.duration / 1000
    else:
        return
    shown_at, own = times[-1]
    shown_ms = (shown_at or 0) + own - float(stream.start_time or 0) * float(stream.time_base or 0) * 1000
    if own and promised_ms - shown_ms >= own / 2:
        into.note(f"the video is to last {promised_ms:.0f} ms and ends after {shown_ms:.0f}: it may be cut short")


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
