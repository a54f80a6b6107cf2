"""Videos: MP4, WebM, AVI; boxes cut and changed, and what a film may do in time, size and sound."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np

from .blocks import cut, put
from .case import Case
from .gif_cases import DAMAGED

LEVELS = (10, 120, 230)
GREYS = tuple((level,) * 3 for level in LEVELS)
FORMATS = {"mp4": "libx264", "webm": "libvpx", "avi": "mpeg4", "matroska": "libvpx-vp9"}


def video(form: str = "mp4", levels: Sequence[int] = LEVELS, starts_ms: Sequence[int] | None = None,
          sizes: Sequence[tuple[int, int]] = ((16, 32),), **options: str) -> bytes:
    """Flat frames, each at its time; in each of `sizes` in turn, one encoder after the other in one stream."""
    starts = iter(starts_ms or [40 * i for i in range(len(levels) * len(sizes))])
    # Written by name, for faststart opens it again.
    with tempfile.NamedTemporaryFile() as out, av.open(out.name, "w", format=form, options=options) as container:
        stream: Any = container.add_stream(FORMATS[form], rate=25)
        encoders = [stream] + [av.CodecContext.create(FORMATS[form], "w") for _ in sizes[1:]]
        for encoder, (height, width) in zip(encoders, sizes, strict=True):
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            context = encoder.codec_context if encoder is stream else encoder
            context.options = {"deadline": "realtime", "cpu-used": "8"} if "vpx" in FORMATS[form] else {}
            context.time_base = Fraction(1, 1000 if form != "avi" else 25)
            for level in levels:
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), level, np.uint8), format="rgb24")
                frame.pts, frame.time_base = next(starts), Fraction(1, 1000)
                mux(container, stream, encoder.encode(frame.reformat(format="yuv420p")))
            mux(container, stream, encoder.encode(None))
        container.close()
        return Path(out.name).read_bytes()


def mux(container: Any, stream: Any, packets: Sequence[Any]) -> None:
    for packet in packets:
        packet.stream = stream
        container.mux(packet)


def sound() -> bytes:
    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def boxes() -> Iterator[Case]:
    mp4 = video(movflags="faststart")
    read = {"file": "x.mp4", "size": (16, 32), "tolerance": 3}
    yield Case(name="mp4, whole", content=mp4, frames=3, colours=GREYS, ms=(40, 40, 40), **read)
    yield Case(name="mp4 called gif", content=mp4, frames=3, colours=GREYS, **{**read, "file": "x.gif"})
    refused = DAMAGED + "|is cut short|is damaged|only one frame|no frame|no video stream|over the limit"
    for name, marker, offset in (("ftyp", b"ftyp", 3), ("moov", b"moov", 40), ("trak", b"trak", 100),
                                 ("stsd", b"stsd", 30), ("stbl", b"stsz", 10), ("mdat's head", b"mdat", -2),
                                 ("mdat", b"mdat", 30)):
        yield Case(name=f"mp4 cut in {name}", content=cut(mp4, marker, offset), file="x.mp4", refused=refused)
    for name, marker, offset, new in (
            ("moov of size 7", b"moov", -4, b"\0\0\0\7"),
            ("2^32 - 1 sample sizes", b"stsz", 12, b"\xff" * 4), ("chunks beyond its end", b"stco", 12, b"\x7f" * 4),
            ("a broken SPS", b"avcC", 14, b"\xff" * 6), ("broken pictures", b"mdat", 700, b"\xff" * 12)):
        yield Case(name=f"mp4 with {name}", content=put(mp4, marker, offset, new), file="x.mp4", refused=refused)
    yield Case(name="mp4 of 65535x65535 as its track has it", frames=3, colours=GREYS,
               content=put(mp4, b"avc1", 28, b"\xff" * 4), **read)
    for name, marker, offset, new in (("a movie's time scale of 0", b"mvhd", 16, bytes(4)),
                                      ("a moov to its end", b"moov", -4, bytes(4)),
                                      ("a trak of 4 GiB", b"trak", -4, b"\xff" * 4),
                                      ("a codec by another name", b"avc1", 0, b"xxxx")):
        yield Case(name=f"mp4 with {name}", content=put(mp4, marker, offset, new), frames=3, colours=GREYS, **read)
    yield Case(name="mp4 with a track's time scale of 0", content=put(mp4, b"mdhd", 16, bytes(4)), file="x.mp4",
               refused="has no frame")
    yield Case(name="mp4 whose frames stay for days", file="x.mp4", refused="has only one frame",
               content=put(mp4, b"stts", 12, struct.pack(">II", 3, 2**31 - 1)))
    yield Case(name="mp4 with a second moov", content=mp4 + mp4[mp4.index(b"moov") - 4:], frames=3, colours=GREYS,
               **read)


def times_and_sizes() -> Iterator[Case]:
    grey = {"frames": 3, "size": (16, 32), "colours": GREYS, "tolerance": 3}
    for form in ("mp4", "webm"):
        yield Case(name=f"{form} at a rate that varies", content=video(form, starts_ms=(0, 30, 500)), file=f"x.{form}",
                   ms=(30, 470, 40), **grey)
        yield Case(name=f"{form} that begins late", content=video(form, starts_ms=(10**9, 10**9 + 40, 10**9 + 90)),
                   file=f"x.{form}", ms=(40, 50, 40), **grey)
    yield Case(name="mp4 that is over before it begins", content=video(starts_ms=(-2000, -1960, -1900)), file="x.mp4",
               refused="has no frame")
    yield Case(name="webm with a frame of eleven days", content=video("webm", starts_ms=(0, 10**9, 10**9 + 40)),
               file="x.webm", ms=(3_600_000, 40, 40), notes=("more than an hour",), **grey)
    yield Case(name="webm that changes its size", content=video("webm", sizes=((16, 32), (24, 40))), file="x.webm",
               refused="mixes frame sizes, 32x16 and 40x24|is damaged|" + DAMAGED)
    yield Case(name="webm that grows beyond the limit", file="x.webm", refused="over the limit|" + DAMAGED,
               content=video("webm", levels=(10,), sizes=((16, 32), (4112, 4112))))
    yield Case(name="mp4 of one frame", content=video(levels=(9,)), file="x.mp4", refused="has only one frame")
    yield Case(name="mp4 with sound alone", content=sound(), file="x.mp4", refused="has no video stream")
    long = video(levels=[0, 255] * 600)
    yield Case(name="mp4 of 1200 frames", content=long, file="x.mp4", frames=1200, size=(16, 32))
    for form in ("webm", "avi", "matroska"):
        whole = video(form)
        yield Case(name=f"{form}, whole", content=whole, file=f"x.{form}", **{**grey, "tolerance": 9})
        for part, end in (("its head", 20), ("its tables", 150)):
            yield Case(name=f"{form} cut in {part}", content=whole[:end], file=f"x.{form}", refused=DAMAGED)
        if form != "avi":
            yield Case(name=f"{form} cut in its last frame", content=whole[:-30], file=f"x.{form}", frames=2,
                       notes=("to last 120 ms and ends after 80: it may be cut short",))


def strangers() -> Iterator[Case]:
    yield Case(name="a list for ffmpeg", content=b"ffconcat version 1.0\nfile ../mp4, whole/x.mp4\n", file="x.mp4",
               refused="holds text")
    yield Case(name="a list for HLS", content=b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", file="x.mp4", refused="holds text")
    yield Case(name="a text", content=b"hello, this is no picture\n", refused="holds text .'hello, this is no pictur")
    yield Case(name="a web page", content=b"<!DOCTYPE html>\n<title>404 Not Found</title>\n",
               refused="holds text .'<!DOCTYPE html>")
    yield Case(name="nothing", content=b"", refused="is empty")
    yield Case(name="a byte", content=b"\0", refused=DAMAGED)
    yield Case(name="a megabyte of chance", file="x.mp4", refused=DAMAGED,
               content=np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8).tobytes())
    yield Case(name="a megabyte of zeros", content=bytes(1 << 20), refused=DAMAGED)
    yield Case(name="a program", content=b"\x7fELF\2\1\1" + bytes(500), refused=DAMAGED)


def video_cases() -> Iterator[Case]:
    yield from boxes()
    yield from times_and_sizes()
    yield from strangers()
