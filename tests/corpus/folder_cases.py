"""Paths that are no plain files, strange names, and folders of frames."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from .case import Case
from .gif_cases import RED, WHOLE
from .picture_cases import APNG, JPEG, PNG


def folder(**files: bytes | Image.Image | Callable[[Path], object]) -> Callable[[Path], None]:
    """Makes a folder; of the names `_` stands for a dot."""
    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            file = path / name.replace("_", ".")
            if isinstance(content, bytes):
                file.write_bytes(content)
            elif isinstance(content, Image.Image):
                content.save(file)
            else:
                content(file)
    return make


def grey(level: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.new("RGB", size, (level,) * 3)


def bound_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the whole path is too long for an address
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


def looped(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


def locked(path: Path) -> None:
    folder(f1_png=PNG, f2_png=PNG)(path)
    path.chmod(0)


def special_files() -> Iterator[Case]:
    pipe = "pipe, socket or device|is no file"
    kinds: dict[str, Callable[[Path], object]] = {
        "a pipe": lambda path: os.mkfifo(path), "a socket": bound_socket,
        "/dev/zero": lambda path: path.symlink_to("/dev/zero"), "/dev/null": lambda path: path.symlink_to("/dev/null")}
    for name, make in kinds.items():
        for reader in ("clip", "still", "mask"):
            yield Case(name=f"{name} for a {reader}", content=make, reader=reader, refused=pipe)  # type: ignore[arg-type]
    for reader in ("clip", "still", "mask"):
        yield Case(name=f"a link in a circle for a {reader}", content=looped, refused="symbolic links|does not exist",
                   reader=reader)  # type: ignore[arg-type]
    yield Case(name="a link to nothing", content=lambda path: path.symlink_to("nothing"), refused="does not exist")
    yield Case(name="a link to a clip", content=lambda path: (path.with_name("y").write_bytes(WHOLE),
                                                              path.symlink_to("y")), frames=3)
    yield Case(name="nothing there", content=lambda path: None, refused="does not exist")
    yield Case(name="a path through a file", content=lambda path: path.parent.rmdir() or path.parent.write_bytes(WHOLE),
               refused="not a directory")
    yield Case(name="a locked folder", content=locked, as_nobody=True, refused="permission denied")
    yield Case(name="a locked file", content=lambda path: (path.write_bytes(WHOLE), path.chmod(0)), as_nobody=True,
               refused="permission denied")


NAMES = {"of all scripts": "мой клип 電影 🎬 ñ.gif", "from right to left": "\u202egif.exe", "of blanks": "  .gif",
         "with ends of lines": "a\nb\rc.gif", "with escapes": "\x1b[31mred\x1b]0;title\a.gif", "of 255 bytes":
         "x" * 251 + ".gif", "that are no text": os.fsdecode(b"\xff\xfe.gif"), "with a dash in front": "-x.gif"}


def names() -> Iterator[Case]:
    for title, file in NAMES.items():
        yield Case(name=f"a name {title}", content=WHOLE, file=file, frames=3)
        yield Case(name=f"a name {title}, damaged", content=WHOLE[:30], file=file, refused="has no frame")
    yield Case(name="a name beyond what there is", content=lambda path: None, file="x" * 300 + ".gif",
               refused="name too long")


def folders() -> Iterator[Case]:
    def case(name: str, make: Callable[[Path], None], **expected: Any) -> Case:
        return Case(name=f"folder {name}", content=make, file="x", **expected)

    yield case("of nothing", folder(), refused="holds no PNG or JPEG frames")
    yield case("of other files", folder(a_txt=b"a", b_gif=WHOLE), refused="holds no PNG or JPEG frames")
    yield case("of one frame", folder(f1_png=PNG), refused="has only one frame")
    yield case("with gaps", folder(f1_png=grey(1), f2_png=grey(2), f10_png=grey(10)), frames=3, size=(6, 8),
               colours=((1,) * 3, (2,) * 3, (10,) * 3), ms=(100,) * 3, notes=(r"gap: f3\.png missing",))
    yield case("with gaps of billions", folder(f1_png=grey(1), f9999999999999_png=grey(2)), frames=2,
               notes=("more files missing",))
    yield case("of mixed sizes", folder(f1_png=grey(1), f2_png=grey(2, (9, 6))),
               refused="mixes frame sizes, 8x6 and 9x6")
    yield case("of PNG and JPEG", folder(f1_png=grey(254, (32, 24)), f2_jpg=JPEG), frames=2, size=(24, 32),
               colours=((254,) * 3, RED), tolerance=4)
    yield case("of JPEG called PNG", folder(f1_png=JPEG, f2_png=JPEG), frames=2, colours=(RED, RED), tolerance=4)
    yield case("with an APNG for a frame", folder(f1_png=APNG, f2_png=PNG), frames=2, colours=(RED, RED))
    yield case("with a GIF called PNG", folder(f1_png=PNG, f2_png=WHOLE), refused="cannot be read")
    yield case("with a frame cut short", folder(f1_png=PNG, f2_png=PNG[:50]), refused="cannot be read")
    yield case("with an empty frame", folder(f1_png=PNG, f2_png=b""), refused="cannot be read")
    yield case("with a pipe for a frame", folder(f1_png=PNG, f2_png=lambda path: os.mkfifo(path), f3_png=PNG),
               frames=2, notes=(r"gap: f2\.png missing",))
    yield case("with a link in a circle", frames=2,
               make=folder(f1_png=PNG, f2_png=lambda path: path.symlink_to(path.name), f3_png=PNG))
    yield case("of numbers alone", folder(**{f"{n}_png": grey(n) for n in (9, 10, 11)}), frames=3,
               colours=((9,) * 3, (10,) * 3, (11,) * 3))
    yield case("for a mask", folder(f1_png=grey(255), f2_png=grey(0)), reader="mask", frames=2)
    yield case("for a still", folder(f1_png=PNG), reader="still", refused="is no file")
    digits = "1" * 200
    yield case("with numbers of 200 digits", folder(**{f"{digits}_png": PNG, f"{digits}0_png": PNG}), frames=2)


def folder_cases() -> Iterator[Case]:
    yield from special_files()
    yield from names()
    yield from folders()
