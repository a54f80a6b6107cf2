"""Where a command's clip goes: the options for it, and writing it as it is made."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.config import ConfigError
from .text import json_text

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("gif", "mp4", "webp", "png")
SUFFIXES = ("gif", "mp4", "webp", "apng", "png")  # of files; a .png is an APNG, --format png a folder


def add_format_option(parser: argparse.ArgumentParser, default: str = "gif") -> None:
    """`--format`; None where it is not given and `default` is not one of FORMATS but words for the help."""
    parser.add_argument("--format", choices=FORMATS, default=default if default in FORMATS else None, metavar="FORMAT",
                        help=f"{', '.join(FORMATS[:-1])}, or {FORMATS[-1]} for folders of frames [{default}]")


def add_file_options(parser: argparse.ArgumentParser, default: str, form: str = "gif") -> None:
    """`-o FILE` and `--format` of a command that makes one clip; `default` and `form` are words for the help."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help=f"file to write, with --format png a folder [{default}]")
    add_format_option(parser, f"by the file's suffix, else {form}")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """`--json` of a command that writes clips by `write`."""
    parser.add_argument("--json", action="store_true", help="print a line of JSON for every file instead of its path")


def clip_path(args: argparse.Namespace, default: Path, form: str = "gif") -> tuple[Path, str | None]:
    """The path that `add_file_options` asks for and its format, None for the suffix's; without -o it is `default` with
    the suffix of --format or else `form`. Raises ConfigError where neither names one."""
    if args.output is None:
        return named(default.parent, default.name, args.format or form)
    if args.format is None and args.output.suffix.lower().removeprefix(".") not in SUFFIXES:
        raise ConfigError(f"{args.output} has no suffix that names a format, expected one of .{', .'.join(SUFFIXES)}; "
                          f"or give --format")
    return args.output, args.format


def named(folder: Path, stem: str, form: str) -> tuple[Path, str]:
    """The path of a clip in `folder`, and its format, one of FORMATS."""
    return folder / (stem if form == "png" else f"{stem}.{form}"), form


def write(parts: Iterator[Tensor], frames: int, path: Path, form: str | None, frame_ms: Sequence[int], *,
          json: bool) -> None:
    """Write a clip of `frames` frames as its parts, uint8 [t, H, W, 3], are made, with the durations repeated to its
    length, and print the path, or what the file is as a line of JSON. `form` is one of FORMATS, None for what the
    suffix says."""
    from ..engine import write_clip
    from .progress import counted

    height = width = 0

    def measured() -> Iterator[Tensor]:
        nonlocal height, width
        for part in parts:
            _, height, width, _ = part.shape
            yield part

    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, counted(measured(), frames, path.name), islice(cycle(frame_ms), frames),
               format="frames" if form == "png" else form)
    print(json_text({"path": path, "frames": frames, "height": height, "width": width,
                     "seconds": sum(islice(cycle(frame_ms), frames)) / 1000}) if json else path, flush=True)
