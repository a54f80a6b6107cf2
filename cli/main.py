"""`sgif <command>`: the table of commands and the door to them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from .animate import ANIMATE
from .bench import BENCH
from .command import Command, CommandGroup, Parser, add_commands, run_parsed
from .completion import COMPLETION
from .edit import EDIT, INPAINT
from .eval import EVAL
from .fleet import FLEET
from .help import HELP
from .info import INFO
from .profile import PROFILE
from .report import REPORT
from .reproduce import REPRODUCE
from .sample import SAMPLE
from .study import STUDY
from .superres import SUPERRES
from .train import TRAIN
from .verify import VERIFY
from .watch import WATCH

COMMANDS: tuple[Command | CommandGroup, ...] = (
    TRAIN,
    FLEET,
    SAMPLE,
    EDIT,
    INPAINT,
    SUPERRES,
    ANIMATE,
    INFO,
    WATCH,
    VERIFY,
    REPORT,
    EVAL,
    STUDY,
    PROFILE,
    BENCH,
    REPRODUCE,
    HELP,
    COMPLETION,
)


def make_parser() -> Parser:
    """The parser of `sgif` with one subparser per command."""
    parser = Parser(
        prog="sgif",
        description="Give it one GIF, it learns to make new ones.",
        epilog="a first run:\n  sgif train clip.gif\n  sgif sample runs/clip -n 8\n\n"
               "topics, such as presets, memory, exit-codes:\n  sgif help",
    )
    parser.add_argument("--version", action="version", version=f"sgif {_version()}")
    add_commands(parser, COMMANDS)
    parser.usage = "sgif COMMAND [options]"
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    return run_parsed(make_parser(), argv)


def _version() -> str:
    try:
        return version("sgif")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
