"""`sgif profile`: what training takes of memory and time at every scale, forecast and measured."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import values
from .command import DONE, Command
from .options import add_setting_options, config_from
from .profile_tables import budget_table, phases_table, scales_table, shapes_table, summary
from .text import json_text, plain_console
from .train import add_clip_options, default_preset, read_asked

if TYPE_CHECKING:
    from ..engine import Clip

BUDGET_FRAMES = 32  # of the clip that is asked about where none is given
BUDGET_SIDE_PX = 256

EXAMPLES = """examples:
  sgif profile clip.gif
  sgif profile clip.gif --amp --checkpointing --trace
  sgif profile clip.gif --device cuda  # where there is no GPU: a forecast
  sgif profile --budget 8,12,24,80     # what trains in so many GiB of a GPU"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", nargs="?", help="GIF, APNG, WebP, MP4, WebM, or a folder of frames")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR",
                        help="folder for profile.json, profile.svg and trace.json [profiles/<name of CLIP>]")
    parser.add_argument("--steps", type=values.positive, default=3, metavar="N", help="steps to time per scale [3]")
    parser.add_argument("--scales", type=values.whole_numbers, metavar="K,K", help="scales to look at [all]")
    parser.add_argument("--trace", action="store_true",
                        help="also write a Chrome trace of a few steps of the finest of them")
    parser.add_argument("--budget", type=values.positive_numbers, metavar="GIB,GIB",
                        help="print what trains in so much memory, of a GPU by default, and profile nothing")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    add_clip_options(parser)
    add_setting_options(parser)


def run(args: argparse.Namespace) -> int:
    from ..engine import ClipError

    clip = None if args.clip is None else read_asked(args, args.clip)
    if args.budget:
        return run_budget(args, clip)
    if clip is None:
        raise ClipError("which clip? Give a file, or --budget to ask what fits into a memory")
    return run_profile(args, clip)


def run_profile(args: argparse.Namespace, clip: Clip) -> int:
    """Profile a clip, write the files, print the table."""
    from ..engine.profiling.profile import profile_clip, write_profile

    config = config_from(args, default_preset(getattr(args, "device", "auto")))
    folder = args.output or Path("profiles", Path(os.path.abspath(args.clip)).stem or "clip")
    trace = folder / "trace.json" if args.trace else None

    def tell(scale: int, count: int) -> None:
        if not args.json:
            print(f"scale {scale} of 0-{count - 1}", file=sys.stderr, flush=True)

    profile = profile_clip(clip, config, steps=args.steps, scales=args.scales, trace=trace, on_scale=tell)
    paths = write_profile(profile, folder)
    if args.json:
        print(json_text(profile.to_json(), indent=2))
        return DONE
    console = plain_console()
    for line in summary(profile):
        console.print(line)
    for table in (scales_table(profile), shapes_table(profile), phases_table(profile)):
        console.print(table)
    for path in [*paths, *([trace] if trace and profile.measured else [])]:
        print(path)
    return DONE


def run_budget(args: argparse.Namespace, clip: Clip | None) -> int:
    """Print the largest frames for each memory and set of options."""
    from ..engine.profiling.budget import largest_fits
    from ..engine.profiling.profile import forecast_device

    device = forecast_device(getattr(args, "device", "cuda"))
    config = config_from(args, "fast" if device.type == "cuda" else "draft")
    frames = args.frames or BUDGET_FRAMES if clip is None else len(clip.frame_ms)
    shape = (BUDGET_SIDE_PX, BUDGET_SIDE_PX) if clip is None else (clip.frames.shape[1], clip.frames.shape[2])
    budgets = [round(gib * 2**30) for gib in args.budget]
    fits = largest_fits(budgets, frames, shape, config, device,
                        on_options=lambda options: print(options, file=sys.stderr, flush=True))
    if args.json:
        print(json_text([fit.to_json() for fit in fits], indent=2))
        return DONE
    console = plain_console()
    console.print(f"The largest frames that train on {device.type} by forecast, for a clip of {frames} frames; preset "
                  f"{config.preset}. T: frames of a step at the finest scale; all {frames} stay on the host.")
    console.print(budget_table(fits, args.budget))
    return DONE


PROFILE = Command(
    name="profile", summary="forecast and measure what training takes at every scale",
    usage="CLIP [-o DIR] [--trace] [options]", add_options=add_options, run=run, epilog=EXAMPLES,
)
