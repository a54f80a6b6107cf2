"""MP4: H.264 4:2:0, crf 12, with colours that say what they are and frames of any duration."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .clip import ClipError, Pixels


def write_mp4(frames: Iterator[tuple[Pixels, int]], size: tuple[int, int], file: Path) -> None:
    """An odd height or width gains one repeated edge row or column, for 4:2:0 wants even. The encoder holds up to 60
    frames that it looks ahead at, some 4 bytes a pixel each."""
    try:
        import av
        from av.video.reformatter import ColorRange, Colorspace, Interpolation
    except ImportError:
        raise ClipError("writing MP4 needs PyAV: pip install av, or write a GIF") from None
    height, width = size
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
    start, shown_for = 0, {}
    with av.open(str(file), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", options={"crf": "12", "preset": "slow", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        stream.thread_count = 1  # the same bytes on every machine
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.color_primaries = stream.color_trc = stream.colorspace = 1  # BT.709, said in the file: no guessing
        stream.color_range = ColorRange.MPEG
        for pixels, ms in frames:
            even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=exact, threads=1
            )
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            shown_for[start] = ms
            start += ms
            _mux(container, stream.encode(frame), shown_for)
        _mux(container, stream.encode(None), shown_for)


def _mux(container: Any, packets: Any, shown_for: dict[int, int]) -> None:
    """With each frame's own duration, which the last frame of a file would else not have."""
    for packet in packets:
        packet.duration = shown_for.pop(packet.pts)
        container.mux(packet)
