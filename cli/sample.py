"""`sgif sample`: new clips from a run."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from ..engine.launch import place, share
from . import values
from .command import DONE, Command
from .output import add_format_option, add_json_option, named, write

EXAMPLES = """examples:
  sgif sample runs/clip -n 8
  torchrun --nproc-per-node 4 -m sgif.cli.sample runs/clip -n 8   two each"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("-n", "--number", type=values.positive, default=1, metavar="N", help="how many samples [1]")
    parser.add_argument("--seed", type=values.non_negative, default=0, metavar="N",
                        help="sample i of a seed is always the same clip [0]")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", type=values.size, metavar="HxW", help="height and width in pixels [the clip's]")
    size.add_argument("--scale", type=values.factors, metavar="FACTORS",
                      help="the same in multiples of the clip's: 2, or 1x1.5 for half as wide again")
    parser.add_argument("--frames", type=values.frame_count, metavar="N",
                        help="number of frames; memory does not grow with it [the clip's]")
    parser.add_argument("--start-scale", type=values.non_negative, default=0, metavar="K",
                        help="keep the clip's content up to this scale: the higher, the closer to the clip [0]")
    parser.add_argument("--loop", action="store_true",
                        help="make the last frame flow into the first; with --start-scale the clip's end is faded into "
                             "its beginning")
    parser.add_argument("--speed", type=values.number, metavar="X",
                        help="of the clip's, for a run trained with --slow-motion N: 1/N to 1, real numbers too [1]")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 ... [the run's]")
    parser.add_argument("--reconstruct", action="store_true", help="also write the reconstruction of the clip")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder to write to [RUN/samples]")
    add_format_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    from ..engine import load_run
    from ..engine.applications.loop import loop_length
    from ..engine.applications.slow_motion import frame_durations
    from ..engine.sampling import scaled_size

    here, trained = place(), load_run(args.run_dir)
    done, planned = trained.scales_done, len(trained.sizes)
    height, width = trained.sizes[max(done, 1) - 1]
    if 0 < done < planned and here.rank == 0:
        print(f"{done} of {planned} scales are trained: samples are {height}x{width}", file=sys.stderr)
    size = scaled_size((height, width), args.scale) if args.scale else args.size

    slow_motion = trained.config.slow_motion
    made = trained.num_frames * slow_motion
    whole = loop_length(trained.num_frames, args.start_scale) if args.loop else made
    folder, frames = args.output or trained.path / "samples", args.frames or whole
    frame_ms = frame_durations(trained.frame_ms, frames, slow_motion, args.speed)
    indices, together = share(args.number)
    for index in indices:
        parts = trained.sample_frames(index, size=size, frames=frames, start_scale=args.start_scale, loop=args.loop,
                                      seed=args.seed, device=args.device, together=together)
        if together and here.rank > 0:
            deque(parts, maxlen=0)
        else:
            write(parts, frames, *named(folder, f"sample_seed{args.seed}_{index:03d}", args.format), frame_ms,
                  json=args.json)
    if args.reconstruct and args.number % here.ranks == here.rank:
        parts = trained.reconstruct_frames(device=args.device)
        frame_ms = frame_durations(trained.frame_ms, made, slow_motion, args.speed)
        write(parts, made, *named(folder, "reconstruction", args.format), frame_ms, json=args.json)
    return DONE


SAMPLE = Command(name="sample", summary="make new clips from a run", usage="RUN [-n N] [options]",
                 add_options=add_options, run=run, ranks=True, epilog=EXAMPLES)


def main(argv: Sequence[str] | None = None) -> int:
    return SAMPLE.main(argv)


if __name__ == "__main__":
    sys.exit(main())
