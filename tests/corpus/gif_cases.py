"""GIFs: cut and changed at every structure, of absurd sizes, and odd ones that browsers show."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .case import Case
from .gif_bytes import BLACK, BLUE, GREEN, RED, GifFrame, gif_bytes

WHITE = (255, 255, 255)
DAMAGED = "cannot be read, it is damaged, cut short"
LOCAL = [(9, 8, 7), WHITE, RED, BLUE]
WHOLE = gif_bytes(4, 3, [GifFrame([[i] * 4] * 3, delay=5 + i, palette=LOCAL if i == 1 else None) for i in range(3)])
HEAD, TABLE, CONTROL, DESCRIPTOR = 6, 13, 25, 33  # where they begin in WHOLE
SECOND = WHOLE.index(b"\x21\xf9", CONTROL + 1)
THIRD = WHOLE.index(b"\x21\xf9", SECOND + 1)
PIXEL = b"\x02\x02\x44\x01\0"  # codes of a single pixel of index 0


def tiny_frames(count: int, width: int, height: int) -> bytes:
    """A canvas and `count` frames of its first pixel, 20 bytes each."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0) + bytes([*RED, *GREEN, *BLUE, *BLACK])
    return head + (b"\x2c\0\0\0\0\1\0\1\0\0" + PIXEL) * count + b";"


def large_frames(count: int, side: int) -> bytes:
    """A canvas of one pixel under `count` frames of side x side, whose codes are not there."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x81, 0, 0) + bytes([*RED, *GREEN, *BLUE, *BLACK])
    return head + (b"\x2c\0\0\0\0" + struct.pack("<HH", side, side) + b"\0" + PIXEL) * count + b";"


def cut_gifs() -> Iterator[Case]:
    for name, end in {"in the signature": 3, "behind the signature": HEAD, "in the screen's size": HEAD + 2,
                      "before the colour table": TABLE, "in the colour table": TABLE + 5,
                      "in the first frame's control block": CONTROL + 4, "in the first descriptor": DESCRIPTOR + 5,
                      "at the first code size": DESCRIPTOR + 10}.items():
        yield Case(name=f"gif cut {name}", content=WHOLE[:end], refused="has (no|only one) frame|holds text|" + DAMAGED)
    for name, end in {"in the second descriptor": SECOND + 12, "in a local colour table": SECOND + 22}.items():
        yield Case(name=f"gif cut {name}", content=WHOLE[:end], refused="has only one frame|" + DAMAGED)
    yield Case(name="gif cut in the last codes", content=WHOLE[:-5], refused=DAMAGED)
    yield Case(name="gif without its trailer", content=WHOLE[:-1], frames=3, size=(3, 4), ms=(50, 60, 70),
               colours=(RED, WHITE, BLUE), notes=("does not end with its trailer",))


def broken_gifs() -> Iterator[Case]:
    codes = DESCRIPTOR + 10
    broken = {"code size 0": (codes, b"\0"), "code size 255": (codes, b"\xff"),
              "codes all ones": (codes + 2, b"\xff" * 6),
              "width of a frame 0": (DESCRIPTOR + 5, b"\0\0"), "no codes": (codes + 1, b"\0")}
    for name, (at, new) in broken.items():
        yield Case(name=f"gif with {name}", content=WHOLE[:at] + new + WHOLE[at + len(new):],
                   refused=DAMAGED + "|expected pixels|has only one frame")
    for name, size in {"no height": (4, 0), "no pixels": (0, 0)}.items():
        yield Case(name=f"gif canvas of {name}", content=WHOLE[:6] + struct.pack("<HH", *size) + WHOLE[10:],
                   refused="expected pixels")
    yield Case(name="gif canvas of 65535x65535", content=WHOLE[:6] + b"\xff" * 4 + WHOLE[10:],
               refused="65535x65535, over the limit of 16777216 pixels: .* raise --max-pixels")
    yield Case(name="gif frame of 65535x65535", content=large_frames(2, 65535), refused="raise --max-pixels")
    yield Case(name="gif bomb of frames beyond the canvas", content=large_frames(200, 4000),
               refused="beyond its canvas, .* raise --max-mib")
    yield Case(name="gif bomb of a large canvas", content=tiny_frames(100, 4000, 4000), refused="raise --max-mib")
    yield Case(name="gif bomb of a million frames", content=tiny_frames(1_000_000, 1, 1),
               refused="10001 or more frames, over the limit of 10000: .* raise --max-frames")
    yield Case(name="gif of one frame", content=WHOLE[:SECOND] + b";", refused="has only one frame")
    yield Case(name="gif of none", content=WHOLE[:CONTROL] + b";", refused="has no frame")
    yield Case(name="gif far larger than its data", file="sparse.gif", refused="is a file of .* raise --max-mib",
               content=lambda path: (path.write_bytes(WHOLE), path.open("r+b").truncate(1 << 40)))


def odd_gifs() -> Iterator[Case]:
    yield Case(name="gif, whole", content=WHOLE, frames=3, size=(3, 4), ms=(50, 60, 70), colours=(RED, WHITE, BLUE))
    yield Case(name="gif87a", content=b"GIF87a" + WHOLE[6:], frames=3, ms=(50, 60, 70), colours=(RED, WHITE, BLUE))
    yield Case(name="gif called mp4", content=WHOLE, file="film.mp4", frames=3, colours=(RED, WHITE, BLUE))
    yield Case(name="gif with more behind the trailer", content=WHOLE + b"\xff" * 999, frames=3, ms=(50, 60, 70))
    yield Case(name="gif with a megabyte of comments", frames=3, colours=(RED, WHITE, BLUE),
               content=WHOLE[:CONTROL] + b"\x21\xfe" + (b"\xff" + b"c" * 255) * 4096 + b"\0" + WHOLE[CONTROL:])
    yield Case(name="gif with an extension cut short", content=WHOLE[:-1] + b"\x21\xff\x0bNETS", frames=3,
               notes=("does not end with its trailer",))
    yield Case(name="gif of 5000 frames", content=tiny_frames(5000, 2, 2), frames=5000, size=(2, 2), ms=(100,) * 5000,
               notes=("5000 of 5000 frames had no duration: 100 ms",))
    yield Case(name="gif of a million frames, of which five", content=tiny_frames(1_000_000, 1, 1),
               options={"start": 20_000, "frames": 5}, frames=5, colours=(RED,) * 5)
    yield Case(name="gif without durations", content=gif_bytes(1, 1, [GifFrame([[0]], delay=0)] * 2), frames=2,
               ms=(100, 100), notes=("2 of 2 frames had no duration",))
    yield Case(name="gif of the longest durations", content=gif_bytes(1, 1, [GifFrame([[0]], delay=65535)] * 2),
               frames=2, ms=(655350, 655350))
    clear = GifFrame([[3, 3]] * 2, transparent=3, disposal=2)
    yield Case(name="gif, all of it transparent", content=gif_bytes(2, 2, [clear] * 3), frames=3, colours=(WHITE,) * 3,
               notes=("alpha composited over white",))
    yield Case(name="gif of two colours", frames=2, colours=((9, 8, 7), (1, 2, 3)),
               content=gif_bytes(1, 1, [GifFrame([[i]], palette=[(9, 8, 7), (1, 2, 3), RED, RED]) for i in (0, 1)]))
    yield Case(name="gif without a palette", content=WHOLE[:10] + b"\0" + WHOLE[11:TABLE] + WHOLE[CONTROL:], frames=3)
    for disposal, third in ((0, (GREEN, BLUE)), (1, (GREEN, BLUE)), (2, (WHITE, BLUE)), (3, (RED, BLUE)),
                            (7, (GREEN, BLUE))):
        frames = [GifFrame([[0, 0]], disposal=1), GifFrame([[1]], disposal=disposal), GifFrame([[2]], left=1)]
        yield Case(name=f"gif disposing by {disposal}", content=gif_bytes(2, 1, frames), frames=3, size=(1, 2),
                   colours=(RED, GREEN, third[0]))
    outside = [GifFrame([[0]]), GifFrame([[1]], left=60000, top=60000), GifFrame([[2, 2]] * 9, left=0, top=0)]
    yield Case(name="gif with frames outside its canvas", content=gif_bytes(1, 1, outside), frames=3, size=(1, 1),
               colours=(RED, RED, BLUE))


def gif_cases() -> Iterator[Case]:
    yield from cut_gifs()
    yield from broken_gifs()
    yield from odd_gifs()
