"""`sgif study`: a page that asks people which clips are real, and what their answers say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from . import values
from .command import DONE, Command, CommandGroup
from .text import json_text, plain_console
from .train import add_read_limits, limits_asked

if TYPE_CHECKING:
    from ..engine.study.score import Group, Score

EXAMPLE = """example:
  sgif study make --real clips/ --generated runs/a/samples runs/b/samples
  (people open study.html and send back what it saves)
  sgif study score study.key.json answers/"""


def add_make_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--real", metavar="CLIP", nargs="+", required=True, help="real clips, or folders of them")
    parser.add_argument("--generated", metavar="CLIP", nargs="+", required=True,
                        help="generated clips, or folders of them")
    parser.add_argument("-o", "--output", type=Path, default=Path("study.html"), metavar="FILE",
                        help="page to write; the key is written beside it [study.html]")
    parser.add_argument("--title", metavar="TEXT", help="what the page is called [Real or fake?]")
    parser.add_argument("--seconds", type=values.number, metavar="S", help="how long a clip is shown [5]")
    parser.add_argument("--plays", type=values.positive, metavar="N", help="how often it may be seen [2]")
    parser.add_argument("--size", type=values.size, metavar="HxW",
                        help="height and width of all clips [their own, or the smallest where sizes would tell]")
    parser.add_argument("--seed", type=values.non_negative, metavar="N",
                        help="of the clips' names and places in the page, to make it again [the system's randomness]")
    parser.add_argument("--json", action="store_true", help="print both paths and the notes as one JSON object")
    add_read_limits(parser)


def make(args: argparse.Namespace) -> int:
    from ..engine import make_study
    from .progress import counter

    asked = {name: value for name in ("title", "seconds", "plays", "size", "seed")
             if (value := getattr(args, name)) is not None}
    with counter(args.output.name, "clips") as count:
        study = make_study(args.output, args.real, args.generated, limits=limits_asked(args), on_clip=count, **asked)
    if args.json:
        print(json_text(asdict(study)))
        return DONE
    for note in study.notes:
        print(f"note: {note}", file=sys.stderr)
    print(study.page)
    print(study.key)
    return DONE


def add_score_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", type=Path, help="the key that was written beside the page")
    parser.add_argument("answers", metavar="ANSWERS", nargs="+", type=Path,
                        help="files that visitors saved, or folders of them")
    parser.add_argument("--json", action="store_true", help="print everything, each clip too, as one JSON object")


def score(args: argparse.Namespace) -> int:
    from ..engine import score_study

    result = score_study(args.key, args.answers)
    if args.json:
        print(json_text(result.to_json(), indent=2))
        return DONE
    console = plain_console()
    for line in summary(result):
        console.print(line)
    console.print(participants_table(result))
    return DONE


def summary(result: Score) -> Iterator[str]:
    """The study's figures, a line each."""
    fewest, mean, most = result.answers_per_clip
    per_clip = fewest if fewest == most else f"{fewest} to {most}, on average {mean:.3g},"
    visitors = len(result.participants)
    yield f"answers    {result.answers} by {visitors} participant{'s' * (visitors != 1)}, {per_clip} per clip"
    yield f"generated  {group_text(result.generated)}"
    yield f"real       {group_text(result.real)}"
    kappa = "not defined" if result.kappa is None else f"{result.kappa:.2f}"
    yield f"agreement  Fleiss' kappa {kappa} (1: all agree, 0: as by chance)"
    yield "           by majority of a clip's votes, a tie counts as fake; 95 % intervals after Wilson"


def group_text(group: Group) -> str:
    """`44 of 90 judged real, 48.9 % (38.8 to 59.1 %); 2 ties`."""
    if group.interval is None:
        return f"no answers to {group.unseen} clips"
    low, high = group.interval
    text = f"{group.judged_real} of {group.clips} judged real, {100 * group.judged_real / group.clips:.1f} % " \
           f"({100 * low:.1f} to {100 * high:.1f} %)"
    ties = f"; {group.ties} tie{'s' * (group.ties != 1)}" if group.ties else ""
    return text + ties + (f"; {group.unseen} without answers" if group.unseen else "")


def participants_table(result: Score) -> Table:
    """One row per visitor."""
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("participant")
    for title in ("real, right", "generated, right", "right %"):
        table.add_column(title, justify="right")
    for one in result.participants:
        table.add_row(one.participant, f"{one.real_right} of {one.real_seen}",
                      f"{one.generated_right} of {one.generated_seen}", f"{100 * one.accuracy:.0f}")
    return table


MAKE = Command(name="make", summary="write the page that people judge clips on, and its key",
               usage="--real CLIP ... --generated CLIP ... [options]", add_options=add_make_options,
               run=make)
SCORE = Command(name="score", summary="count the answers: majority votes, accuracy, agreement",
                usage="KEY ANSWERS ... [--json]", add_options=add_score_options, run=score)
STUDY = CommandGroup(name="study", summary="ask people which clips are real", commands=(MAKE, SCORE), epilog=EXAMPLE)
