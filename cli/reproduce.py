"""`sgif reproduce`: the paper's Table 1, the ablations, and quality against time on one's own clips."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ..engine.config import FIXED_BY_VARIANTS, TrainConfig
from ..engine.wording import FIELDS, changed_options
from . import values
from .command import DONE, Command
from .options import add_setting_options, config_from
from .progress import make_progress
from .text import json_text
from .train import StopRequest, add_clip_options, default_preset, read_asked

WHAT = ("table1", "ablations", "quality")
SAMPLES = 10  # as in the paper
BUDGET = [name for name in FIELDS if name not in FIXED_BY_VARIANTS | {"max_size_px", "slow_motion"}]

EXAMPLES = """tables:
  table1     SinGAN-GIF beside SinGAN (All Frames), its baseline
  ablations  SinGAN-GIF beside itself without or with another part
  quality    SinGAN-GIF after a quarter, a half and twice the iterations

examples:
  sgif reproduce table1 a.gif b.gif --iterations 900:300
  sgif reproduce ablations a.gif --size 64 --samples 4 -o runs/parts

The same command again goes on where it was stopped. All models of a table have
the same scales and widths, and but for quality the same iterations;
docs/reproduce.md says what else."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="TABLE", choices=WHAT, help=" or ".join(WHAT))
    parser.add_argument("clips", metavar="CLIP", nargs="+", help="GIF, APNG, WebP, MP4, WebM, or a folder of frames")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR",
                        help="folder for runs, samples, figures and the page [runs/<TABLE>]")
    parser.add_argument("--samples", type=values.positive, default=SAMPLES, metavar="N",
                        help=f"of each model and clip [{SAMPLES}]")
    parser.add_argument("--features", metavar="NAME", help="as of sgif eval: inception or efficientnet-lite0")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the features, as of sgif eval")
    parser.add_argument("--quiet", action="store_true", help="print the tables and the page's path only")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object and nothing else")
    add_clip_options(parser)
    add_setting_options(parser, BUDGET)
    parser.add_argument("--size", "--max-size", dest="max_size_px", type=values.whole, metavar="PX",
                        default=argparse.SUPPRESS, help=f"{FIELDS['max_size_px'].metadata['doc']} [by preset]")


def run(args: argparse.Namespace) -> int:
    from ..bench.reproduce.experiment import Experiment, Stopped, reproduce
    from ..bench.reproduce.results import markdown
    from ..engine import load_features

    config = config_from(args, default_preset(getattr(args, "device", "auto")))
    settings = {name: getattr(args, name) for name in FIELDS if name in args and name != "preset"}
    folder = args.output or Path("runs", args.what)
    features = load_features(args.features, args.weights, getattr(args, "device", "auto"))
    experiment = Experiment(what=args.what, clips=[read_asked(args, path) for path in args.clips], folder=folder,
                            command=command_of(args, config), preset=config.preset, settings=settings,
                            samples=args.samples, features=features)
    stop = StopRequest()
    with stop, make_progress(quiet=args.quiet or args.json, json=False, stopping=stop) as progress:
        try:
            result = reproduce(experiment, tell=progress.say, on_event=progress, should_stop=stop)
        except Stopped as stopped:
            print(f"Stopped in {stopped}; run the same command again to go on.", file=sys.stderr)
            return stop.exit_code
    print(json_text(result, indent=2) if args.json else f"{markdown(result)}\n\n{folder / 'index.html'}")
    return DONE


def command_of(args: argparse.Namespace, config: TrainConfig) -> str:
    """The command that measures the same, with clips by their names alone."""
    crop = args.crop and "{},{},{}x{}".format(*args.crop)
    options = (("--start-frame", args.start_frame, 0), ("--frames", args.frames, None), ("--crop", crop, None),
               ("--background", args.background, "white"), ("--samples", args.samples, SAMPLES),
               ("--features", args.features, None), ("--preset", config.preset, None))
    given = [f"{option} {shlex.quote(str(value))}" for option, value, default in options if value != default]
    clips = [shlex.quote(Path(path).name) for path in args.clips]
    return " ".join(["sgif reproduce", args.what, *clips, *given, *changed_options(config)])


REPRODUCE = Command(
    name="reproduce", summary="train, sample and measure: Table 1, ablations, quality",
    usage="TABLE CLIP ... [--preset PRESET] [options]", add_options=add_options, run=run, epilog=EXAMPLES,
)
