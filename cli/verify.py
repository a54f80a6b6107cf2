"""`sgif verify`: whether a run folder is whole."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from .command import DONE, USER_ERROR, Command
from .text import json_text, printable


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 ... [the run's]")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for everything looked at")


def run(args: argparse.Namespace) -> int:
    from ..engine import verify_run

    wrong = 0
    for check in verify_run(args.run_dir, device=args.device):
        print(json_text(asdict(check)) if args.json else
              f"{'ok ' if check.ok else 'BAD'}  {check.what:<32}  {printable(check.found)}", flush=True)
        wrong += not check.ok
    if wrong:
        print(f"sgif: {wrong} of the above {'is' if wrong == 1 else 'are'} wrong, see "
              f"{'false' if args.json else 'BAD'}: get the run again or train anew", file=sys.stderr)
    return USER_ERROR if wrong else DONE


VERIFY = Command(name="verify", summary="check a run's files, networks and reconstruction",
                 usage="RUN [--device NAME] [--json]", add_options=add_options, run=run)
