"""`sgif train` and `sgif-train`: learn from one clip."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Self

from ..engine.config import Preset, TrainConfig
from ..engine.events import tell_all
from ..engine.launch import place
from ..engine.limits import ReadLimits
from ..engine.wording import seconds_text, size_text
from . import values
from .command import DONE, Command, raise_waiting
from .options import add_setting_options, config_from, presets_table
from .plan import plan_lines, plan_table
from .progress import Quiet, make_progress
from .text import json_text, plain_console, printable

if TYPE_CHECKING:
    from ..engine import Clip

LIMITS = ReadLimits()

EXAMPLES = """examples:
  sgif train clip.gif
  sgif train clip.gif -o runs/sky --preset paper --amp --checkpointing
  sgif train film.mp4 --start-frame 120 --frames 24 --crop 0,40,90x160
  torchrun --nproc-per-node 4 -m sgif.cli.train clip.gif   on four GPUs

The same command again goes on where a run was stopped."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="GIF, APNG, WebP, MP4, WebM, or a folder of frames")
    parser.add_argument("-o", "--output", type=Path, metavar="RUN", help="folder of the run [runs/<name of CLIP>]")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print one JSON object per event")
    add_tensorboard_option(parser)
    parser.add_argument("--dry-run", action="store_true",
                        help="say what would be trained and what memory that takes, and write nothing")
    add_clip_options(parser)
    add_setting_options(parser)


def add_tensorboard_option(parser: argparse.ArgumentParser) -> None:
    """`--tensorboard` of a command that trains by `learn`."""
    parser.add_argument("--tensorboard", action="store_true",
                        help="also write losses, pictures and clips for TensorBoard, to RUN/tensorboard")


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Which frames of the clip, and which part of them."""
    clip = parser.add_argument_group("clip")
    clip.add_argument("--start-frame", type=values.non_negative, default=0, metavar="N", help="first frame to use [0]")
    clip.add_argument("--frames", type=values.frame_count, metavar="N", help="number of frames to use [all]")
    clip.add_argument("--crop", type=values.crop, metavar="T,L,HxW",
                      help="part of the picture to use: top, left, height, width in pixels [all]")
    clip.add_argument("--background", default="white", metavar="COLOUR", help="what lies behind transparency [white]")
    add_read_limits(clip)


def add_read_limits(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What a clip may be at most."""
    add_pixel_limit(parser)
    parser.add_argument("--max-frames", type=values.positive, default=LIMITS.frames, metavar="N",
                        help=f"refuse a clip of more frames than this [{LIMITS.frames}]")
    parser.add_argument("--max-mib", type=values.positive, default=LIMITS.clip_bytes >> 20, metavar="MIB",
                        help="refuse a clip that takes more memory, 3 bytes a pixel of all its frames "
                             f"[{LIMITS.clip_bytes >> 20}]")


def add_pixel_limit(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """`--max-pixels`, which stands for all of `ReadLimits` where one picture is read."""
    parser.add_argument("--max-pixels", type=values.positive, default=LIMITS.frame_pixels, metavar="N",
                        help=f"refuse larger pictures, before they are decoded [{LIMITS.frame_pixels}, or 4096x4096]")


def run(args: argparse.Namespace) -> int:
    config = config_from(args, default_preset(getattr(args, "device", "auto")))
    run_dir = args.output or default_run_dir(args.clip)
    if args.dry_run:
        return show_plan(args, read_asked(args, args.clip), run_dir, config)
    return learn(args, read_asked(args, args.clip), run_dir, config,
                 f"now        sgif sample {shlex.quote(str(run_dir))} -n 8")


def show_plan(args: argparse.Namespace, clip: Clip, run_dir: Path, config: TrainConfig) -> int:
    """Print what training would do; of several ranks the first does."""
    from ..engine import plan_training

    if place().rank:
        return DONE
    plan = plan_training(clip, run_dir, config)
    if args.json:
        print(json_text(plan.to_json(), indent=2))
        return DONE
    console = plain_console()
    for line in plan_lines(plan):
        console.print(printable(line))
    console.print(plan_table(plan))
    return DONE


def limits_asked(args: argparse.Namespace) -> ReadLimits:
    """What `add_read_limits` or `add_pixel_limit` allow to be read."""
    if "max_frames" not in args:
        return ReadLimits(frame_pixels=args.max_pixels, clip_bytes=max(LIMITS.clip_bytes, 3 * args.max_pixels))
    return ReadLimits(frame_pixels=args.max_pixels, frames=args.max_frames, clip_bytes=args.max_mib << 20)


def read_asked(args: argparse.Namespace, path: str) -> Clip:
    """The clip at `path`, as much of it as the options of `add_clip_options` ask for."""
    from ..engine import read_clip

    return read_clip(path, start=args.start_frame, frames=args.frames, crop=args.crop, background=args.background,
                     limits=limits_asked(args))


def learn(args: argparse.Namespace, clip: Clip, run_dir: Path, config: TrainConfig, last_line: str | None) -> int:
    """Train with progress as `args.quiet` and `args.json` have it, until done or asked to stop; `last_line` is said
    when it is done. Returns the exit code."""
    from ..engine import TensorBoardLog, TrainingStopped, train

    stop, log, leads = StopRequest(), TensorBoardLog() if args.tensorboard else Quiet(), place().rank == 0
    shown = make_progress(quiet=args.quiet or not leads, json=args.json and leads, stopping=stop)
    with stop, log, shown as progress:
        frames, height, width, _ = clip.frames.shape
        progress.say(f"clip       {args.clip}: {frames} frames of {size_text((height, width))}, "
                     f"{seconds_text(sum(clip.frame_ms) / 1000)}")
        progress.say(f"preset     {config.preset}" + ("" if "preset" in args else ": change it with --preset"))
        if args.tensorboard:
            progress.say(f"watching   tensorboard --logdir {shlex.quote(str(run_dir / 'tensorboard'))}")
        try:
            train(clip, run_dir, config, on_event=tell_all(progress, log), should_stop=stop)
        except TrainingStopped as stopped:
            where = f"Stopped in scale {stopped.scale} at iteration {stopped.iteration}"
        else:
            if last_line:
                progress.say(last_line)
            return DONE
    if leads:
        print(f"{where}; run the same command again to go on.", file=sys.stderr)
    return stop.exit_code


def default_preset(device: str) -> Preset:
    """`fast` where training will run on a GPU, else `draft`."""
    import torch

    on_gpu = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    return "fast" if on_gpu else "draft"


def default_run_dir(clip: str) -> Path:
    return Path("runs", Path(os.path.abspath(clip)).stem or "clip")


class StopRequest:
    """While entered, the first Ctrl-C or SIGTERM is a request that training asks for; the second ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or signal.SIGINT)

    def __enter__(self) -> Self:
        raise_waiting()
        in_main = threading.current_thread() is threading.main_thread()  # elsewhere Python allows no handlers
        self.handlers = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM) if in_main}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise SystemExit(128 + number)
        self.signal = number


TRAIN = Command(
    name="train", summary="learn from one clip", usage="CLIP [-o RUN] [--preset PRESET] [options]",
    add_options=add_options, run=run, ranks=True, epilog=f"{presets_table()}\n\n{EXAMPLES}",
)


def main(argv: Sequence[str] | None = None) -> int:
    return TRAIN.main(argv)


if __name__ == "__main__":
    sys.exit(main())
