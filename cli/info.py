"""`sgif info`: what a run is and how far it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from ..engine.wording import changed_options, seconds_text, size_text, train_command
from .command import DONE, Command
from .text import json_text, plain_console, printable

if TYPE_CHECKING:
    from ..engine import Run


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    from ..engine import load_run

    trained = load_run(args.run_dir)
    if args.json:
        print(json_text(trained.describe(), indent=2))
        return DONE
    console = plain_console()
    for line in summary(trained):
        console.print(printable(line))
    if trained.scales_done:
        console.print(scales_table(trained))
    if not trained.finished:
        console.print("partial    go on with the command that began it:")
        console.print(f"           {printable(train_command(trained))}")
    return DONE


def summary(trained: Run) -> Iterator[str]:
    """The clip, the settings and the progress, a line each."""
    done, planned = trained.scales_done, len(trained.sizes)
    yield f"run        {trained.path}"
    yield f"clip       {trained.source}, {trained.num_frames} frames, {seconds_text(sum(trained.frame_ms) / 1000)}"
    yield f"sizes      {' '.join(map(size_text, trained.sizes))}"
    yield f"preset     {' '.join([trained.config.preset, *changed_options(trained.config)])}"
    seconds = sum(scale["seconds"] for scale in trained.scale_info())
    yield f"trained    {done} of {planned} scales in {seconds_text(seconds)}"


def scales_table(trained: Run) -> Table:
    """One row per finished scale."""
    table = Table(box=SIMPLE, pad_edge=False)
    for title in ("scale", "size", "kind", "iterations", "noise", "PSNR dB", "minutes"):
        table.add_column(title, justify="right")
    for scale in trained.scale_info():
        table.add_row(str(scale["scale"]), size_text((scale["height"], scale["width"])), scale["kind"],
                      str(scale["iterations"]), f"{scale['noise_amp']:.3g}", f"{scale['rec_psnr_db']:.1f}",
                      f"{scale['seconds'] / 60:.1f}")
    return table


INFO = Command(name="info", summary="show what a run is and how far it is", usage="RUN [--json]",
               add_options=add_options, run=run)
