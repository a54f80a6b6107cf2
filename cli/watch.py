"""`sgif watch`: how far a run is that trains elsewhere, until it is finished."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..engine.wording import seconds_text, size_text
from . import values
from .command import DONE, Command
from .progress import bar_line, is_live, one_line, scale_lines
from .text import json_text, left_text, losses_text, plain_console, printable, rate_text, sparkline

if TYPE_CHECKING:
    from ..engine import RunProgress

TREND_LOSSES = ("D/image", "D/video", "G/rec", "G/stat")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--once", action="store_true", help="say how far it is now, and end")
    parser.add_argument("--every", type=values.positive_number, default=2.0, metavar="S",
                        help="seconds between looks [2]")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for every change")


def run(args: argparse.Namespace) -> int:
    from ..engine import watch_run

    moments = watch_run(args.run_dir, every_seconds=args.every)
    if args.once:
        moments = iter([next(moments)])
    console = plain_console()
    if is_live(console) and not args.once and not args.json:
        show_live(moments, console)
        return DONE
    for moment in changed(moments):
        print(json_text(moment.to_json()) if args.json else "\n".join(lines(moment)), flush=True)
    return DONE


def changed(moments: Iterator[RunProgress]) -> Iterator[RunProgress]:
    """Those that tell something new."""
    before = None
    for moment in moments:
        iteration = moment.logged and moment.logged.iteration
        if (news := (moment.scale, iteration, moment.state, moment.report)) != before:
            before = news
            yield moment


def show_live(moments: Iterator[RunProgress], console: Console) -> None:
    """Redraw at every look; the last one stays."""
    with Live(console=console, auto_refresh=False) as live:
        for moment in moments:
            live.update(picture(moment, unicode=console.encoding.startswith("utf")), refresh=True)


def lines(moment: RunProgress) -> Iterator[str]:
    """A moment in words: the scale in a line, then what there is to look at or to do."""
    if moment.state == "finished":
        seconds = sum(scale.seconds or 0.0 for scale in moment.scales)
        yield f"finished   {printable(str(moment.run_dir))}: {len(moment.scales)} scales in {seconds_text(seconds)}"
    else:
        current = moment.scales[moment.scale]
        parts = [title(moment), f"{current.iteration}/{current.iterations}", f"{moment.share:.0%} of the run"]
        if logged := moment.logged:
            parts += [rate_text(logged.iterations_per_second), left_text(logged), losses_text(logged.losses)]
        yield "  ".join(parts)
    yield from last_lines(moment)


def title(moment: RunProgress) -> str:
    current = moment.scales[moment.scale]
    return (f"scale {current.scale} of 0-{len(moment.scales) - 1}  {size_text((current.height, current.width))} "
            f"{current.kind}")


def last_lines(moment: RunProgress) -> Iterator[str]:
    """Preview, report, and what to do about a run that is quiet."""
    if moment.preview:
        yield f"preview    {printable(str(moment.preview))}"
    if moment.report and moment.state == "finished":
        yield f"report     {printable(str(moment.report))}"
    if moment.state == "quiet":
        yield (f"quiet      nothing was written for {seconds_text(moment.quiet_seconds)}; if it was stopped, "
               f"'sgif info {printable(str(moment.run_dir))}' gives the command that goes on")


def picture(moment: RunProgress, *, unicode: bool = True) -> RenderableType:
    """A moment as a terminal shows it: run, scale, losses over the scale, finished scales."""
    head = f"{moment.run_dir}  {moment.source}, preset {moment.preset}"
    if moment.state == "finished":
        return Group(one_line(printable(head), "bold"), scales_table(moment), *map(one_line, lines(moment)))
    current = moment.scales[moment.scale]
    since = moment.quiet_seconds if moment.state == "training" else 0.0
    shown: list[RenderableType] = [
        one_line(printable(head), "bold"),
        bar_line(Text("whole run"), moment.share, 1.0, f"{moment.share:.0%}"),
        *scale_lines(title(moment), current.iteration, current.iterations, moment.logged, since)]
    if unicode:
        shown += [one_line(f"{name:<8} {sparkline(moment.trend[name])}", "dim")
                  for name in TREND_LOSSES if len(moment.trend.get(name, ())) > 1]
    if moment.scale:
        shown.append(scales_table(moment))
    return Group(*shown, *(one_line(line, "yellow" if line.startswith("quiet") else "") for line in last_lines(moment)))


def scales_table(moment: RunProgress) -> Table:
    """One row per finished scale."""
    table = Table(box=SIMPLE, pad_edge=False)
    for column in ("scale", "size", "kind", "iterations", "PSNR dB", "time"):
        table.add_column(column, justify="right")
    for scale in moment.scales[:moment.scale]:
        table.add_row(str(scale.scale), size_text((scale.height, scale.width)), scale.kind, str(scale.iterations),
                      f"{scale.rec_psnr_db:.1f}", seconds_text(scale.seconds or 0.0))
    return table


WATCH = Command(name="watch", summary="follow a run that trains elsewhere", usage="RUN [--once] [--json]",
                add_options=add_options, run=run, stopped="the run itself goes on")
