"""`sgif fleet`: many clips, a run each, beside each other on Ray."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.config import TrainConfig
from ..engine.fleet.news import RETRIES
from ..engine.wording import FIELDS, changed_options, clip_options, size_text
from . import values
from .command import BROKEN, DONE, USER_ERROR, Command
from .fleet_progress import make_fleet_progress
from .options import VARIANT, add_setting_options, config_from, presets_table
from .text import UNCUT, json_text, plain_console, printable
from .train import StopRequest, add_clip_options, default_preset, read_asked

if TYPE_CHECKING:
    from ..engine.fleet.news import Ended
    from ..engine.fleet.train import Fleet

FOLDER = "runs"

EXAMPLES = """examples:
  sgif fleet clips/*.gif --dry-run
  sgif fleet clips/*.gif -o runs --iterations 2000:500
  sgif fleet clips -o /nfs/runs --address ray://head:10001 --preset fast

Without --address a cluster of this machine's own is started, and ends with the
command. The same command again goes on where runs were stopped or failed."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", metavar="CLIP", nargs="+",
                        help="GIF, APNG, WebP, MP4, WebM, a folder of frames, or a folder of clips")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", default=Path(FOLDER),
                        help=f"folder for the runs and their page, index.html [{FOLDER}]")
    parser.add_argument("--address", metavar="ADDRESS", help="Ray cluster: auto, HOST:PORT, ray://HOST:PORT [none]")
    parser.add_argument("--no-ray", action="store_true", help="train one clip after another, in this process")
    parser.add_argument("--retries", type=values.non_negative, default=RETRIES, metavar="N",
                        help=f"how often a clip is tried again whose process was lost [{RETRIES}]")
    parser.add_argument("--dry-run", action="store_true",
                        help="print folders, sizes and forecasts, and train nothing")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object per event, with --dry-run one for each clip")
    add_clip_options(parser)
    add_setting_options(parser, {*FIELDS, VARIANT} - {"threads"})
    parser.add_argument("--threads", type=values.positive, default=argparse.SUPPRESS, metavar="N",
                        help="CPU threads of every run, and CPUs that it takes [1]")


def run(args: argparse.Namespace) -> int:
    from ..engine.clip_paths import clip_paths
    from ..engine.config import ConfigError
    from ..engine.fleet.train import Asked, Fleet

    if args.no_ray and args.address is not None:
        raise ConfigError(f"--no-ray and --address {args.address} exclude each other: expected one of them")
    config = config_from(args, default_preset(getattr(args, "device", "auto")))
    asked = Asked(sources=[str(path) for path in clip_paths(args.clips)], folder=args.output, config=config,
                  read=partial(read_asked, args), command=command_of(args, config), ray=not args.no_ray,
                  address=args.address, retries=args.retries)
    with Fleet(asked) as fleet:
        for note in fleet.notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        return show_plan(fleet, json=args.json) if args.dry_run else train(args, fleet)


def train(args: argparse.Namespace, fleet: Fleet) -> int:
    """Train with progress as the options have it; then a line per failure. Returns the exit code."""
    stop = StopRequest()
    names = [clip.name for clip in fleet.plan]
    with stop, make_fleet_progress(names, quiet=args.quiet, json=args.json, stopping=stop) as progress:
        progress.say(f"{len(names)} clip{'s' * (len(names) > 1)}, {manner(fleet)}")
        try:
            ended = fleet.train(progress.hear, stop)
        except SystemExit:  # the second Ctrl-C; while Ray waits for something, it makes code 1 of any
            raise SystemExit(stop.exit_code) from None
    if not (args.quiet or args.json):
        print(fleet.page)
    return report(ended, stop, debug=args.debug)


def report(ended: Sequence[Ended], stop: StopRequest, *, debug: bool) -> int:
    """Say what failed and what was stopped; the exit code."""
    failed = [end for end in ended if end.state == "failed"]
    for end in failed:
        if debug and end.traceback:
            print(end.traceback, file=sys.stderr)
        print(f"sgif: {printable(end.name)}: {printable(' '.join(end.sentence.split()))}", file=sys.stderr)
    if stopped := sum(end.state == "stopped" for end in ended):
        print(f"Stopped with {stopped} of {len(ended)} clips not finished; run the same command again to go on.",
              file=sys.stderr)
        return stop.exit_code
    return BROKEN if any(end.bug for end in failed) else USER_ERROR if failed else DONE


def show_plan(fleet: Fleet, *, json: bool) -> int:
    """Print what would be trained, and what it takes."""
    rows = fleet.forecast()
    refused = [row for row in rows if "refused" in row]
    if json:
        print("\n".join(map(json_text, rows)))
        return USER_ERROR if refused else DONE
    plain_console(UNCUT).print(plan_table([row for row in rows if "refused" not in row]))
    print(manner(fleet))
    for row in refused:
        print(f"sgif: {printable(row['clip'])}: {printable(row['refused'])}", file=sys.stderr)
    return USER_ERROR if refused else DONE


def manner(fleet: Fleet) -> str:
    """How clips are trained."""
    return "beside each other on Ray" if fleet.why_in_turn is None else f"one after another: {fleet.why_in_turn}"


def plan_table(rows: Sequence[dict[str, Any]]) -> Any:
    """A row per clip."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, header_style="none")
    for title in ("run", "clip", "frames", "finest", "scales", "forecast\nMiB", "CPUs", "GPUs", "memory\nMiB"):
        table.add_column(title, justify="left" if title in ("run", "clip") else "right")
    for row in rows:
        peak = "?" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:,.0f}"
        table.add_row(Text(row["run"]), Text(printable(row["clip"])), str(row["frames"]), size_text(row["sizes"][-1]),
                      "finished" if row["finished"] else str(len(row["sizes"])), peak, str(row["cpus"]),
                      f"{row['gpus']:g}", f"{row['memory_bytes'] / 2**20:,.0f}")
    return table


def command_of(args: argparse.Namespace, config: TrainConfig) -> str:
    """The command, with the first few clips alone."""
    clips = [shlex.quote(clip) for clip in args.clips[:3]] + ["..."] * (len(args.clips) > 3)
    window = {"start": args.start_frame, "frames": args.frames, "crop": args.crop and list(args.crop),
              "background": args.background}
    return " ".join(["sgif fleet", *clips, "-o", shlex.quote(str(args.output)), *clip_options(window),
                     f"--preset {config.preset}", *changed_options(config)])


FLEET = Command(
    name="fleet", summary="learn from many clips, a run each, beside each other on Ray",
    usage="CLIP ... [-o DIR] [--address ADDRESS] [options]", add_options=add_options, run=run,
    epilog=f"{presets_table()}\n\n{EXAMPLES}",
)
