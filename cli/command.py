"""What every command shares: its place in the table, the parser, and errors as one sentence and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from .text import printable

DONE, BROKEN, USER_ERROR, REGRESSION = 0, 1, 2, 3
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + the signal, as shells have it


@dataclass(frozen=True, kw_only=True)
class Command:
    """One row of the table in `main.py`."""

    name: str
    summary: str
    usage: str                                       # what follows the name: "CLIP [-o RUN] [options]"
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]         # returns the exit code; imports the engine, and so torch
    epilog: str = ""

    def configure(self, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Give the parser this command's options and its `run`."""
        parser.usage = f"{parser.prog} {self.usage}"
        parser.description, parser.epilog = self.summary[0].upper() + self.summary[1:] + ".", self.epilog
        self.add_options(parser)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        parser.set_defaults(run=self.run)
        return parser

    def main(self, argv: Sequence[str] | None = None) -> int:
        """The command as a program of its own, `sgif-<name>`."""
        return run_parsed(self.configure(Parser(prog=f"sgif-{self.name}")), argv)


@dataclass(frozen=True, kw_only=True)
class CommandGroup:
    """A row of the table whose first word chooses among commands of its own: `sgif study make`."""

    name: str
    summary: str
    commands: tuple[Command, ...]
    epilog: str = ""

    def configure(self, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Give the parser a subparser for each command."""
        parser.usage = f"{parser.prog} {'|'.join(command.name for command in self.commands)} [options]"
        parser.description, parser.epilog = self.summary[0].upper() + self.summary[1:] + ".", self.epilog
        add_commands(parser, self.commands)
        return parser


def add_commands(parser: argparse.ArgumentParser, commands: Sequence[Command | CommandGroup]) -> None:
    """A subparser for every command, of which one must be chosen."""
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for command in commands:
        # With a program name, argparse does not make one of the parser's usage.
        program = subparsers.add_parser(command.name, help=command.summary, prog=f"{parser.prog} {command.name}")
        command.configure(program)


class Parser(argparse.ArgumentParser):
    """Help in two columns, options in full only, usage errors in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, "allow_abbrev": False, **settings})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse unknown options here: argparse would let a command's own pass up to `sgif`, which knows no better."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {printable(message)} (help: {self.prog} --help)\n")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """`--[no-]amp` for switches, `-o, --output DIR` with its value once, and room for the words."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"max_help_position": 26, **settings})

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):  # whose lines are indented once more than argparse counts
            longest = max(map(len, action.choices))
            self._action_max_length = max(self._action_max_length, longest + 2 * self._indent_increment)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[0].replace("--", "--[no-]", 1)
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, action.dest.upper())}"


def run_parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run the command, and say what went wrong in one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files are bytes: those that are no text go out as they came
            stream.reconfigure(errors="surrogateescape")
    args = parser.parse_args(argv)
    # How long OpenMP's threads spin before they sleep (libgomp's own figure is 300,000): beside a busy process on two
    # cores a training step takes 0.19 s instead of 0.64 s, alone the same. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `sgif info run | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if args.debug:
            raise
        sentence, code = explain(error)
        print("sgif:", printable(" ".join(sentence.split())), file=sys.stderr)
        return code


def explain(error: Exception) -> tuple[str, int]:
    """The sentence for the user and the exit code."""
    from ..engine.explain import explain as sentence_of

    sentence, bug = sentence_of(error)
    return sentence, BROKEN if bug else USER_ERROR
