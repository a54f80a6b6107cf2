"""`sgif completion`: what makes a shell complete the commands, their options and values."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from ..engine.config import ConfigError
from .command import DONE, Command

SHELLS = ("bash", "zsh", "fish")
FOLDERS = {"RUN", "DIR"}  # by the words that stand for values in the help
FILES = {"CLIP", "CLIP|RUN", "REAL|RUN", "GENERATED", "STILL", "MASK", "FILE", "KEY", "ANSWERS"}

EXAMPLES = """once, in the shell's own file:
  bash   eval "$(sgif completion bash)"   # in ~/.bashrc
  zsh    eval "$(sgif completion zsh)"    # in ~/.zshrc, after compinit
  fish   sgif completion fish | source    # in config.fish

Faster, since sgif need not start with every shell: write it into a file once
and source that, as in sgif completion bash > ~/.sgif-completion.bash"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    from .main import make_parser  # whose table has this command in it

    if find_spec("shtab") is None:
        raise ConfigError("completion needs the package shtab, which is not installed: pip install 'sgif[shell]'")
    import shtab

    parser = make_parser()
    for action in actions(parser):
        if kind := {**dict.fromkeys(FOLDERS, shtab.DIRECTORY), **dict.fromkeys(FILES, shtab.FILE)}.get(
                str(action.metavar)):
            action.complete = kind  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return DONE


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options and arguments of a parser and of those below it."""
    for action in parser._actions:
        yield action
        choices: Any = action.choices if isinstance(action, argparse._SubParsersAction) else {}
        for below in choices.values():
            yield from actions(below)


COMPLETION = Command(name="completion", summary="print what makes a shell complete sgif's commands",
                     usage="bash|zsh|fish", add_options=add_options, run=run, epilog=EXAMPLES)
