"""`sgif report`: one page that plays what a run learned, or several beside each other."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from .command import DONE, Command
from .text import json_text, printable

EXAMPLES = """examples:
  sgif report runs/clouds
  sgif report runs/a runs/b -o compared.html"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs, finished or not")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="page to write [RUN/report.html; of several runs report.html]")
    parser.add_argument("--device", metavar="NAME", help="where samples are made: auto, cpu, cuda, ... [the run's]")
    parser.add_argument("--json", action="store_true", help="print the page's path and the notes as one JSON object")


def run(args: argparse.Namespace) -> int:
    from ..engine import make_report
    from .progress import counter

    with counter("report", "runs") as count:
        report = make_report(args.runs, args.output, device=args.device, on_run=count)
    if args.json:
        print(json_text(asdict(report)))
        return DONE
    for note in report.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    print(report.path)
    return DONE


REPORT = Command(name="report", summary="show a run, or several beside each other, on one page",
                 usage="RUN ... [-o FILE]", add_options=add_options, run=run, epilog=EXAMPLES)
