"""What every command shares: its place in the table, the parser, and errors as one sentence and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from ..engine.config import ConfigError
from ..engine.launch import Place, place
from .text import printable

DONE, BROKEN, USER_ERROR, REGRESSION = 0, 1, 2, 3
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143  # 128 + the signal, as shells have it
EXIT_CODES = {
    DONE: "done",
    BROKEN: "a bug in sgif",
    USER_ERROR: "something you can change, said in one sentence",
    REGRESSION: "sgif bench compare found a regression",
    INTERRUPTED: "stopped by Ctrl-C; of training, what was learned is saved",
    PIPE_CLOSED: "who read the output left, as in sgif info RUN | head",
    TERMINATED: "stopped by SIGTERM, as by Ctrl-C",
}
COMMON_CODES = tuple(code for code in EXIT_CODES if code != REGRESSION)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One row of the table in `main.py`."""

    name: str
    summary: str
    usage: str                                       # what follows the name: "CLIP [-o RUN] [options]"
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]         # returns the exit code; imports the engine, and so torch
    epilog: str = ""
    codes: tuple[int, ...] = ()                      # exit codes besides COMMON_CODES
    stopped: str = "no file is left half written"    # what is said of a command that a signal ended
    ranks: bool = False                              # whether processes that torchrun started share its work

    def configure(self, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Give the parser this command's options and its `run`."""
        parser.usage = f"{parser.prog} {self.usage}"
        parser.description, parser.epilog = self.summary[0].upper() + self.summary[1:] + ".", self.epilog
        self.add_options(parser)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        parser.set_defaults(run=self.run, stopped=self.stopped, alone="" if self.ranks else parser.prog)
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
        if (ranks := place().ranks) > 1 and args.alone:
            raise ConfigError(f"torchrun started {ranks} processes, of which {args.alone} can use one: start it "
                              "without; train and sample share their work")
        with signals_raise():
            code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `sgif info run | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt as stop:
        name, code = ("SIGTERM", TERMINATED) if isinstance(stop, Terminated) else ("Ctrl-C", INTERRUPTED)
        print(speaker(), f"stopped by {name}; {args.stopped}", file=sys.stderr)
        return code
    except Exception as error:
        if args.debug:
            raise
        sentence, code = explain(error)
        print(speaker(), printable(" ".join(sentence.split())), file=sys.stderr)
        return code


class Terminated(KeyboardInterrupt):
    """SIGTERM came. As Ctrl-C does, it passes every `except Exception`, and whoever writes a file clears up."""


@contextmanager
def signals_raise() -> Iterator[None]:
    """While entered, SIGTERM raises Terminated (Python's own answer to it is to end at once, clearing up nothing), and
    it and Ctrl-C wait for the end of an import: torch's swallows what is raised in it and is broken afterwards."""
    def end(number: int, frame: FrameType | None) -> None:
        if _importing(frame):
            _waiting[number] = threading.Timer(0.1, _send, (number,))
            _waiting[number].start()
        else:
            raise _raised(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
        for one, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(one) is usual:  # else someone ignores it on purpose, as nohup does
                before[one] = signal.signal(one, end)
    try:
        yield
    finally:
        for number in list(_waiting):
            _waiting.pop(number).cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_waiting() -> None:
    """Raise for a signal that still waits for the end of an import; for who is about to answer signals otherwise."""
    for number in list(_waiting):
        _waiting.pop(number).cancel()
        raise _raised(number)


_waiting: dict[int, threading.Timer] = {}  # by the signal's number


def _send(number: int) -> None:
    """The signal again, from another thread to the main one, which it wakes where it waits for something."""
    if hasattr(signal, "pthread_kill") and (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, number)
    else:  # Windows
        signal.raise_signal(number)


def _raised(number: int) -> KeyboardInterrupt:
    _waiting.pop(number, None)
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being loaded at `frame`."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def speaker() -> str:
    """What a message on stderr begins with: `sgif:`, of several processes with this one's number."""
    try:
        here = place()
    except ConfigError:  # which is what the message says
        here = Place()
    return "sgif:" if here.ranks == 1 else f"sgif, rank {here.rank} of {here.ranks}:"


def explain(error: Exception) -> tuple[str, int]:
    """The sentence for the user and the exit code."""
    from ..engine.explain import explain as sentence_of

    sentence, bug = sentence_of(error)
    return sentence, BROKEN if bug else USER_ERROR
