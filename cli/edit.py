"""`sgif edit` and `sgif inpaint`: a clip goes through a run's scales, and what was done to it no longer shows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import values
from .command import DONE, Command
from .output import add_file_options, add_json_option, clip_path, write
from .train import add_clip_options, limits_asked, read_asked

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine import Clip, Run

MASK = "white what may change, black what stays; a picture for all frames, or a clip of as many"


def add_edit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("clip", metavar="CLIP", help="the clip that it learned, edited: moved, pasted, painted over")
    parser.add_argument("--mask", metavar="MASK", help=f"{MASK} [all may change]")
    _add_shared_options(parser, start_scale="3, or the finest there is", stem="edited")


def add_inpaint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("clip", metavar="CLIP", help="a clip like the one that it learned, with a hole")
    parser.add_argument("--mask", metavar="MASK", required=True, help=MASK)
    _add_shared_options(parser, start_scale="0", stem="inpainted")


def _add_shared_options(parser: argparse.ArgumentParser, *, start_scale: str, stem: str) -> None:
    parser.add_argument("--start-scale", type=values.non_negative, metavar="K",
                        help="scale at which the clip enters: the lower, the more changes; with a mask, 0 starts from "
                             f"noise [{start_scale}]")
    parser.add_argument("--passes", type=values.positive, metavar="N",
                        help="how often it goes through the scales [1]")
    parser.add_argument("--border", type=values.non_negative, metavar="PX", dest="border_px",
                        help="width of the soft border around the mask [1/16 of the shorter side]")
    parser.add_argument("--size", type=values.size, metavar="HxW",
                        help="height and width in pixels [as trained; for other proportions, the shorter side]")
    parser.add_argument("--seed", type=values.non_negative, default=0, metavar="N", help="of the noise [0]")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 ... [the run's]")
    add_file_options(parser, f"RUN/samples/<name of CLIP>_{stem}")
    add_json_option(parser)
    add_clip_options(parser)


def edit(args: argparse.Namespace) -> int:
    from ..engine import edit_frames, load_run, read_mask

    run, clip = load_run(args.run_dir), _clip(args)
    mask = None if args.mask is None else read_mask(args.mask, limits=limits_asked(args))
    return _write(args, run, clip, edit_frames(run, clip, mask=mask, **_settings(args)), "edited")


def inpaint(args: argparse.Namespace) -> int:
    from ..engine import inpaint_frames, load_run, read_mask

    run, clip = load_run(args.run_dir), _clip(args)
    mask = read_mask(args.mask, limits=limits_asked(args))
    return _write(args, run, clip, inpaint_frames(run, clip, mask, **_settings(args)), "inpainted")


def _clip(args: argparse.Namespace) -> Clip:
    clip = read_asked(args, args.clip)
    for note in clip.notes:
        print(f"{args.clip}: {note}", file=sys.stderr)
    return clip


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Those that are given: the functions have the defaults."""
    names = ("start_scale", "passes", "border_px", "size", "seed", "device")
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _write(args: argparse.Namespace, run: Run, clip: Clip, parts: Iterator[Tensor], stem: str) -> int:
    path, form = clip_path(args, run.path / "samples" / f"{Path(args.clip).resolve().stem}_{stem}")
    write(parts, len(clip.frames), path, form, clip.frame_ms, json=args.json)
    return DONE


EDIT = Command(name="edit", summary="make an edited clip of what a run learned seamless",
               usage="RUN CLIP [--mask MASK] [options]", add_options=add_edit_options, run=edit)
INPAINT = Command(name="inpaint", summary="fill a hole in a clip with what a run learned",
                  usage="RUN CLIP --mask MASK [options]", add_options=add_inpaint_options, run=inpaint)
