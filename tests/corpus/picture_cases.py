"""PNG, APNG, WebP and JPEG: clips, stills and masks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from .blocks import PNG_HEAD, chunk, chunks, cut, plain_png, put, riff, riff_parts, with_chunk
from .case import Case
from .gif_cases import DAMAGED

RED, GREEN, BLUE, WHITE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)
SHOWN = (RED, GREEN, BLUE)
TIMES = (50, 60, 70)
HUGE = 2**31 - 1


def encoded(form: str, images: list[Image.Image], **options: Any) -> bytes:
    out = BytesIO()
    images[0].save(out, form, **({"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}), **options)
    return out.getvalue()


def flat(colour: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.new(mode, size, colour)


FRAMES = [flat(colour) for colour in SHOWN]
APNG = encoded("PNG", FRAMES, duration=list(TIMES))
PNG = encoded("PNG", [FRAMES[0]])
WEBP = encoded("WEBP", FRAMES, duration=list(TIMES), lossless=True)
JPEG = encoded("JPEG", [flat(RED, size=(32, 24))], quality=95)


def apngs() -> Iterator[Case]:
    read = {"file": "x.png", "frames": 3, "size": (6, 8), "ms": TIMES, "colours": SHOWN}
    yield Case(name="apng, whole", content=APNG, **read)
    for name, marker, offset in (("the signature", b"PNG", 5), ("IHDR", b"IHDR", 9), ("acTL", b"acTL", 6),
                                 ("fcTL", b"fcTL", 12), ("IDAT", b"IDAT", 6), ("fdAT", b"fdAT", 8)):
        yield Case(name=f"apng cut in {name}", content=cut(APNG, marker, offset), file="x.png",
                   refused=DAMAGED + "|has (no|only one) frame")
    yield Case(name="apng without IEND", content=cut(APNG, b"IEND", -4), **read,
               notes=("does not end with IEND",))
    yield Case(name="apng of no frames", content=with_chunk(APNG, b"acTL", 0, bytes(4)), file="x.png",
               refused="has only one frame")
    yield Case(name="apng of 2^31 frames", content=with_chunk(APNG, b"acTL", 0, b"\x7f\xff\xff\xff"), file="x.png",
               refused="2147483647 frames are announced, 3 are there")
    yield Case(name="apng that lacks frames", content=with_chunk(APNG, b"acTL", 0, struct.pack(">I", 9)), file="x.png",
               refused=DAMAGED)
    yield Case(name="apng whose frame leaves it", file="x.png", refused=DAMAGED,
               content=with_chunk(APNG, b"fcTL", 12, struct.pack(">II", 7, 7), number=1))
    yield Case(name="apng whose frame is empty", file="x.png", refused=DAMAGED,
               content=with_chunk(APNG, b"fcTL", 4, bytes(8), number=1))
    yield Case(name="apng in disorder", content=with_chunk(APNG, b"fdAT", 0, b"\0\0\0\x63"), file="x.png",
               refused=DAMAGED)
    yield Case(name="apng with a wrong checksum in fcTL", content=put(APNG, b"fcTL", 30, b"\0\0\0\0"), file="x.png",
               refused=DAMAGED)
    yield Case(name="apng with broken data in fdAT", content=with_chunk(APNG, b"fdAT", 4, b"\xff" * 8), file="x.png",
               refused=DAMAGED)
    timeless = APNG
    for number in range(3):
        timeless = with_chunk(timeless, b"fcTL", 20, struct.pack(">HH", 0, 0), number)
    yield Case(name="apng without durations", content=timeless, **{**read, "ms": (100,) * 3})
    slow = with_chunk(APNG, b"fcTL", 20, struct.pack(">HH", 65535, 1))
    yield Case(name="apng with a frame of 18 hours", content=slow, **{**read, "ms": (3_600_000, 60, 70)},
               notes=("1 of 3 frames were to stay for more than an hour",))
    part = [flat((*RED, 255), "RGBA"), flat((*GREEN, 128), "RGBA")]
    yield Case(name="apng blended over", content=encoded("PNG", part, duration=50, blend=1), file="x.png", frames=2,
               colours=(RED, (127, 128, 0)), tolerance=1)
    clear = encoded("PNG", [flat((*RED, 0), "RGBA"), flat((*BLUE, 0), "RGBA")], duration=50, blend=0)
    yield Case(name="apng, all of it transparent", content=clear, file="x.png", frames=2, colours=(WHITE, WHITE),
               notes=("alpha composited over white",))
    yield Case(name="apng bomb", content=apng_bomb(4000, 100), file="x.png", refused="raise --max-mib")
    yield Case(name="png, not animated", content=PNG, file="x.png", refused="has only one frame")


def apng_bomb(side: int, count: int) -> bytes:
    """One bit a pixel, all of them 0: 2 kB a frame."""
    data = zlib.compress(bytes((side // 8 + 1) * side), 9)
    out, number = [PNG_HEAD, chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)),
                   chunk(b"acTL", struct.pack(">II", count, 0))], 0
    for index in range(count):
        out.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 10, 0, 0)))
        out.append(chunk(b"fdAT", struct.pack(">I", number + 1) + data) if index else chunk(b"IDAT", data))
        number += 1 + bool(index)
    return b"".join((*out, chunk(b"IEND", b"")))


def webps() -> Iterator[Case]:
    read = {"file": "x.webp", "frames": 3, "size": (6, 8), "ms": TIMES, "colours": SHOWN}
    yield Case(name="webp, whole", content=WEBP, **read)
    for name, marker, offset in (("RIFF", b"RIFF", 6), ("VP8X", b"VP8X", 12), ("ANIM", b"ANIM", 9),
                                 ("the first ANMF", b"ANMF", 20)):
        yield Case(name=f"webp cut in {name}", content=cut(WEBP, marker, offset), file="x.webp",
                   refused=DAMAGED + "|has (no|only one) frame")
    yield Case(name="webp cut in the last ANMF", content=WEBP[:-9], file="x.webp", refused=DAMAGED + "|only one frame")
    parts = riff_parts(WEBP)
    canvas = parts[0][1]
    yield Case(name="webp canvas of 16384x16384", file="x.webp", refused="16384x16384, over the limit",
               content=riff((b"VP8X", canvas[:4] + b"\xff\x3f\0\xff\x3f\0"), *parts[1:]))
    yield Case(name="webp canvas of 16777216x16777216", file="x.webp", refused="over the limit",
               content=riff((b"VP8X", canvas[:4] + b"\xff" * 6), *parts[1:]))
    yield Case(name="webp without ANIM", content=riff(*(p for p in parts if p[0] != b"ANIM")), file="x.webp",
               refused=DAMAGED + "|only one frame")
    moved = (b"ANMF", b"\xff\xff\0" + parts[3][1][3:])
    yield Case(name="webp whose frame leaves it", content=riff(*parts[:3], moved, *parts[4:]), file="x.webp",
               refused=DAMAGED)
    yield Case(name="webp of size 0", content=riff(*parts, size=0), file="x.webp", refused=DAMAGED)
    yield Case(name="webp of size 2^32 - 10", content=riff(*parts, size=2**32 - 10), file="x.webp", refused=DAMAGED)
    still = encoded("WEBP", [flat(RED)], lossless=True)
    yield Case(name="webp, not animated", content=still, file="x.webp", refused="has only one frame")
    yield Case(name="webp without durations", file="x.webp", frames=3, ms=(100,) * 3, colours=SHOWN,
               content=riff(*((k, v[:12] + b"\0\0\0" + v[15:] if k == b"ANMF" else v) for k, v in parts)))
    alpha = encoded("WEBP", [flat((*RED, 0), "RGBA"), flat((*BLUE, 255), "RGBA")], duration=50, lossless=True)
    yield Case(name="webp with alpha", content=alpha, file="x.webp", frames=2, colours=(WHITE, BLUE),
               notes=("alpha composited over white",))
    lossless = riff_parts(still)[0][1]
    yield Case(name="webp still of 16384x16384", reader="still", file="x.webp", refused="16384x16384, over the limit",
               content=riff((b"VP8L", lossless[:1] + b"\xff\xff\xff\x0f" + lossless[5:])))


def jpegs() -> Iterator[Case]:
    yield Case(name="jpeg for a clip", content=JPEG, file="x.jpg", refused="is a JPEG and has only one frame")
    yield Case(name="jpeg still", reader="still", content=JPEG, file="x.jpg", frames=1, size=(24, 32), colours=(RED,),
               tolerance=4)
    for name, at in (("signature", 2), ("tables", 100), ("frame", JPEG.index(b"\xff\xc0") + 6),
                     ("scan", JPEG.index(b"\xff\xda") + 14)):
        yield Case(name=f"jpeg cut in its {name}", reader="still", content=JPEG[:at], file="x.jpg", refused=DAMAGED)
    yield Case(name="jpeg of 65500x65500", reader="still", file="x.jpg", refused="65500x65500, over the limit",
               content=put(JPEG, b"\xff\xc0", 5, struct.pack(">HH", 65500, 65500)))
    yield Case(name="jpeg of no pixels", reader="still", file="x.jpg", refused=DAMAGED + "|expected pixels",
               content=put(JPEG, b"\xff\xc0", 5, bytes(4)))
    progressive = encoded("JPEG", [flat(RED, size=(4000, 4000))], progressive=True)
    last = progressive.rindex(b"\xff\xda")
    bomb = progressive[:-2] + progressive[last:-2] * 300 + b"\xff\xd9"
    yield Case(name="jpeg bomb of scans", reader="still", content=bomb, file="x.jpg", refused="scans, over the limit")
    cmyk = encoded("JPEG", [flat((0, 255, 255, 0), "CMYK", (16, 16))], quality=100)
    yield Case(name="jpeg in CMYK", reader="still", content=cmyk, file="x.jpg", frames=1, colours=(RED,), tolerance=12)
    grey = encoded("JPEG", [flat((128,), "L")])
    yield Case(name="jpeg in grey", reader="still", content=grey, file="x.jpg", frames=1, colours=(GREY,), tolerance=2)
    exif = b"\xff\xe1\0\x10Exif\0\0MM\0\x2a\xff\xff\xff\xff"
    yield Case(name="jpeg with broken EXIF", reader="still", content=JPEG[:2] + exif + JPEG[2:], file="x.jpg", frames=1,
               colours=(RED,), tolerance=4)


def png_stills() -> Iterator[Case]:
    def still(name: str, content: bytes, **expected: Any) -> Case:
        return Case(name=f"png {name}", reader="still", file="x.png", content=content, **expected)

    wide = encoded("PNG", [Image.fromarray(np.full((6, 8), 0x8080, np.uint16))])
    yield still("of 16 bit grey", wide, frames=1, size=(6, 8), colours=(GREY,))
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8080, 0x0000) * 2
    yield still("of 16 bit colours", plain_png(2, 1, depth=16, colour=2, rows=row), frames=1, colours=((255, 128, 0),))
    yield still("of one bit", plain_png(8, 1, depth=1, rows=b"\0\x80"), frames=1, size=(1, 8), colours=(WHITE,))
    see_through = flat((0,), "P")
    see_through.putpalette([*RED, *GREEN])
    yield still("with a transparent palette", encoded("PNG", [see_through], transparency=0), frames=1, colours=(WHITE,))
    yield still("of no width", plain_png(0, 5), refused=DAMAGED)
    yield still("of 2^31 - 1 each way", plain_png(HUGE, HUGE), refused="over the limit of 16777216")
    yield still("bomb", plain_png(30_000, 30_000, depth=1, rows=bytes(3751 * 30_000)), refused="raise --max-pixels")
    packed = zlib.compress(bytes(64 << 20), 9)
    yield still("with 64 MiB of text", plain_png(1, 1, rows=b"\0\0", before=chunk(b"zTXt", b"a\0\0" + packed)),
                refused=DAMAGED)
    yield still("with a colour profile of 64 MiB", refused=DAMAGED,
                content=plain_png(1, 1, rows=b"\0\0", before=chunk(b"iCCP", b"a\0\0" + packed)))
    yield still("with more rows than it has", plain_png(1, 1, rows=bytes(64 << 20)), frames=1, colours=((0, 0, 0),))
    # Read as Pillow does it: what is missing is black. The data ends as it should, only too early.
    yield still("with too few rows", plain_png(8, 8, rows=b"\0" + b"\xff" * 8), frames=1, size=(8, 8), colours=(WHITE,))
    yield still("of an unknown colour type", plain_png(8, 8, colour=5, rows=bytes(99)), refused=DAMAGED)
    yield still("that moves", APNG, refused="has 3 frames, expected a still")
    yield still("without its data", PNG_HEAD + b"".join(chunk(*c) for c in chunks(PNG) if c[0] != b"IDAT"),
                refused=DAMAGED)


def masks() -> Iterator[Case]:
    yield Case(name="mask as an APNG", reader="mask", content=APNG, file="x.png", frames=3, size=(6, 8))
    yield Case(name="mask that is a bomb", reader="mask", file="x.png", refused="raise --max-pixels",
               content=plain_png(30_000, 30_000, depth=1, rows=b""))
    yield Case(name="mask cut short", reader="mask", file="x.png", refused=DAMAGED + "|has (no|only one) frame",
               content=cut(PNG, b"IDAT", 6))


def picture_cases() -> Iterator[Case]:
    for make in (apngs, webps, jpegs, png_stills, masks):
        yield from make()
