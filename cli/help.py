"""`sgif help`: a topic or a command explained, in a pager where there is a terminal."""

from __future__ import annotations

import argparse
import os
import pydoc
import sys

from ..engine.config import ConfigError
from .command import DONE, Command
from .reference import commands, topic_text, topics
from .text import json_text


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC", nargs="*", help="topic or command [a list of both]")
    parser.add_argument("--json", action="store_true",
                        help="print it as one JSON value; the list has every command's options and exit codes")


def run(args: argparse.Namespace) -> int:
    from .main import COMMANDS, make_parser  # whose table has this command in it

    words = args.topic
    known = list(commands(COMMANDS))
    if not words:
        show_list(known, json=args.json)
    elif len(words) == 1 and words[0] in topics():
        text = topic_text(words[0])
        if args.json:
            print(json_text({"topic": words[0], "text": text}, indent=2))
        else:
            page(text)
    elif any(command["name"].split()[:len(words)] == words for command in known):
        if args.json:
            print(json_text([command for command in known if command["name"].split()[:len(words)] == words], indent=2))
        else:
            make_parser().parse_args([*words, "--help"])
    else:
        raise ConfigError(f"there is no help on {' '.join(words)!r}, expected a command or one of "
                          f"{', '.join(topics())}")
    return DONE


def show_list(known: list[dict[str, object]], *, json: bool) -> None:
    """All topics and commands, a line each."""
    if json:
        print(json_text({"topics": topics(), "commands": known}, indent=2))
        return
    width = 2 + max(map(len, [*topics(), *(str(command["name"]) for command in known)]))
    rows = {"topics": topics(), "commands": {str(command["name"]): str(command["summary"]) for command in known}}
    page("\n\n".join(f"{title}, sgif help {what}:\n" + "\n".join(
        f"  {name:<{width}}{text}" for name, text in rows[title].items())
        for title, what in (("topics", "TOPIC"), ("commands", "COMMAND"))) + "\n")


def page(text: str) -> None:
    """Through a pager on a terminal, plainly elsewhere."""
    if sys.stdout.isatty():
        os.environ.setdefault("LESS", "FRX")  # as git does: what fits is printed and no more
        pydoc.pager(text)
    else:
        print(text, end="")


HELP = Command(name="help", summary="explain a topic or a command", usage="[TOPIC|COMMAND] [--json]",
               add_options=add_options, run=run)
