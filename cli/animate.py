"""`sgif animate`: a still that moves as a run's clip does."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import values
from .command import DONE, Command
from .output import add_file_options, add_json_option, clip_path, write
from .train import add_pixel_limit, limits_asked


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("still", metavar="STILL", type=Path, help="PNG, JPEG or WebP picture that looks like the clip")
    parser.add_argument("--frames", type=values.frame_count, metavar="N", help="number of frames [the clip's]")
    parser.add_argument("--start-scale", type=values.positive, default=1, metavar="K",
                        help="scale that the still enters: the higher, the more of it stays and the less moves [1]")
    parser.add_argument("--size", type=values.size, metavar="HxW",
                        help="height and width in pixels [the still's shape, the shorter side as trained]")
    parser.add_argument("--motion", type=values.number, default=1.0, metavar="X",
                        help="strength of the coarser scales' motion, 0 for what noise alone moves [1]")
    parser.add_argument("--keep-colours", action="store_true", help="give the result the still's colours")
    parser.add_argument("--seed", type=values.non_negative, default=0, metavar="N",
                        help="another seed, other motion [0]")
    parser.add_argument("--background", default="white", metavar="COLOUR",
                        help="what lies behind the still's transparency [white]")
    add_pixel_limit(parser)
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 ... [the run's]")
    add_file_options(parser, "RUN/samples/animate_<name of STILL>_seed<N>")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    from ..engine import animate_frames, load_run, read_still

    trained = load_run(args.run_dir)
    still = read_still(args.still, background=args.background, limits=limits_asked(args))
    frames = args.frames or trained.num_frames
    path, form = clip_path(args, trained.path / "samples" / f"animate_{args.still.stem}_seed{args.seed}")
    parts = animate_frames(trained, still, frames=frames, start_scale=args.start_scale, size=args.size,
                           motion=args.motion, keep_colours=args.keep_colours, seed=args.seed, device=args.device)
    write(parts, frames, path, form, trained.frame_ms, json=args.json)
    return DONE


ANIMATE = Command(name="animate", summary="make a still move as a run's clip does", usage="RUN STILL [options]",
                  add_options=add_options, run=run)
