"""`sgif superres`: a clip several times larger, from a run that learned the clip itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.config import ConfigError, TrainConfig
from ..engine.wording import FIELDS, option_name, size_text
from . import values
from .command import DONE, Command
from .options import VARIANT, add_setting_options, config_from
from .output import FORMATS, add_file_options, clip_path, write
from .train import add_clip_options, add_tensorboard_option, default_preset, default_run_dir, learn, read_asked

if TYPE_CHECKING:
    from ..engine import Clip

OF_USE = {"device", "threads", "seed"}  # settings that mean something without training

EXAMPLES = """examples:
  sgif superres clip.gif --factor 2
  sgif superres film.mp4 --start-frame 120 --frames 24 -o film-x3.mp4
  sgif superres runs/clip-x2 --factor 2 --clip other.gif

The same command again goes on where training was stopped.
GIF has 256 colours: --format webp or png keeps all."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP|RUN", help="clip to train on and to enlarge; or the folder of a finished "
                        "run: no training, its clip is enlarged, or another one by --clip")
    parser.add_argument("--factor", type=values.number, default=3.0, metavar="X",
                        help="how many times as high and as wide [3]")
    parser.add_argument("--steps", type=values.positive, metavar="K",
                        help="in so many steps, each by the K-th root of the factor [the factor, rounded; of a RUN "
                             "what makes steps as it learned]")
    parser.add_argument("--clip", dest="other", metavar="CLIP", help="with RUN: another clip to enlarge")
    parser.add_argument("--add-noise", action="store_true",
                        help="add the finest scale's noise at every step")
    parser.add_argument("--run", dest="run_dir", type=Path, metavar="RUN",
                        help="folder of the run to train [runs/<name of CLIP>-x<factor>]")
    add_file_options(parser, "RUN/samples/superres_x<factor>", "as CLIP, else gif")
    add_tensorboard_option(parser)
    parser.add_argument("--quiet", action="store_true", help="print errors and the path only")
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object per event of training, then one for the file")
    add_clip_options(parser)
    add_setting_options(parser)


def run(args: argparse.Namespace) -> int:
    from ..engine.applications.superres import paper_steps

    is_run = (Path(args.clip) / "config.json").is_file()
    refuse_what_is_no_use(args, is_run)
    if is_run:
        return enlarge(args, Path(args.clip), read_asked(args, args.other) if args.other else None)
    clip, run_dir = read_asked(args, args.clip), args.run_dir or run_dir_for(args)
    output(args, run_dir, args.clip)  # refused now rather than after training
    args.steps = args.steps or paper_steps(args.factor)
    return learn(args, clip, run_dir, training_config(args, clip), None) or enlarge(args, run_dir, clip)


def refuse_what_is_no_use(args: argparse.Namespace, is_run: bool) -> None:
    """Raise ConfigError for an option that would do nothing."""
    given = {name for name in vars(args) if name in FIELDS or name == VARIANT}
    if is_run and (useless := sorted(given - OF_USE)):
        raise ConfigError(f"{args.clip} is a run and is not trained further, so {option_name(useless[0])} would do "
                          "nothing; give the clip to train on it")
    if is_run and not args.other and (args.start_frame or args.frames or args.crop):
        raise ConfigError(f"{args.clip} is a run whose whole clip is enlarged; frames and a crop are of another clip, "
                          "given by --clip")
    if not is_run and args.other:
        raise ConfigError(f"--clip is for a run's folder, which {args.clip} is not (no config.json); train first")
    if "scale_factor" in given:
        raise ConfigError("--scale-factor follows from --factor and --steps here; give these")


def training_config(args: argparse.Namespace, clip: Clip) -> TrainConfig:
    """The settings as given, with the paper's weight, the clip's own size, and the scales that the factor needs."""
    from ..engine import superres_config
    from ..engine.applications.superres import REC_WEIGHT

    _, height, width, _ = clip.frames.shape
    args.rec_weight = getattr(args, "rec_weight", REC_WEIGHT)
    args.max_size_px = getattr(args, "max_size_px", max(height, width))
    config = config_from(args, default_preset(getattr(args, "device", "auto")))
    return superres_config(config, height, width, factor=args.factor, steps=args.steps)


def run_dir_for(args: argparse.Namespace) -> Path:
    """Named by what decides the scales, so that another factor does not meet a run of other settings."""
    plain = default_run_dir(args.clip)
    return plain.with_name(f"{plain.name}-x{args.factor:g}" + (f"-in-{args.steps}" if args.steps else ""))


def output(args: argparse.Namespace, run_dir: Path, source: str) -> tuple[Path, str | None]:
    """Path and format of the result: the format of what is enlarged, where it is one that is written."""
    form = Path(source).suffix.lower().removeprefix(".")
    other = f"_{Path(args.other).stem}" if args.other else ""
    return clip_path(args, run_dir / "samples" / f"superres_x{args.factor:g}{other}",
                     form if form in FORMATS[:-1] else "gif")


def enlarge(args: argparse.Namespace, run_dir: Path, clip: Clip | None) -> int:
    """Write the run's clip, or `clip`, enlarged."""
    from ..engine import load_run, superres_frames
    from ..engine.applications.superres import superres_plan
    from ..engine.device import set_threads

    trained = load_run(run_dir)
    frame_ms, source = (trained.frame_ms, trained.source) if clip is None else (clip.frame_ms, clip.source)
    size = None if clip is None else (clip.frames.shape[1], clip.frames.shape[2])
    plan = superres_plan(trained, args.factor, size=size, steps=args.steps)
    path, form = output(args, run_dir, source)
    if "threads" in args:
        set_threads(args.threads)
    parts = superres_frames(trained, args.factor, clip=clip, steps=args.steps, noise=args.add_noise,
                            seed=getattr(args, "seed", 0), device=getattr(args, "device", None))
    if not args.quiet:
        print(f"{' to '.join(map(size_text, plan.sizes))}: steps of {plan.ratio:.4g}, learned were "
              f"{plan.learned_ratio:.4g}", file=sys.stderr)
    write(parts, len(frame_ms), path, form, frame_ms, json=args.json)
    return DONE


SUPERRES = Command(name="superres", summary="make a clip several times larger", usage="CLIP|RUN [--factor X] [options]",
                   add_options=add_options, run=run, epilog=EXAMPLES)
