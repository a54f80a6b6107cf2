"""`sgif help`: a topic or a command explained, in a pager where there is a terminal."""

from __future__ import annotations

import argparse
import os
import pydoc
import sys
from typing import Any

from ..engine.config import ConfigError
from .command import DONE, Command
from .reference import below, commands, topic_text, topics
from .text import json_text


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC", nargs="*", help="topic or command [a list of both]")
    parser.add_argument("--json", action="store_true",
                        help="print it as one JSON value; the list has every command's options and exit codes")


def run(args: argparse.Namespace) -> int:
    from .main import COMMANDS, make_parser  # whose table has this command in it

    words, known = args.topic, list(commands(COMMANDS))
    asked = [command for command in known if command["name"].split()[:len(words)] == words]
    found: Any
    if not words:
        found, text = {"topics": topics(), "commands": known}, list_text(known)
    elif len(words) == 1 and words[0] in topics():
        text = topic_text(words[0])
        found = {"topic": words[0], "text": text}
    elif asked:
        found, text = asked, below(make_parser(), words).format_help()
    else:
        raise ConfigError(f"there is no help on {' '.join(words)!r}, expected a command or one of "
                          f"{', '.join(topics())}")
    if args.json:
        print(json_text(found, indent=2))
    else:
        page(text)
    return DONE


def list_text(known: list[dict[str, Any]]) -> str:
    """All topics and commands, a line each."""
    names = {command["name"]: command["summary"] for command in known}
    width = 2 + max(map(len, [*topics(), *names]))

    def lines(rows: dict[str, str]) -> str:
        return "".join(f"  {name:<{width}}{text}\n" for name, text in rows.items())

    return f"topics, sgif help TOPIC:\n{lines(topics())}\ncommands, sgif help COMMAND:\n{lines(names)}"


def page(text: str) -> None:
    """Through a pager on a terminal, plainly elsewhere."""
    if sys.stdout.isatty():
        os.environ.setdefault("LESS", "FRX")  # as git does: what fits is printed and no more
        pydoc.pager(text)
    else:
        print(text, end="")


HELP = Command(name="help", summary="explain a topic or a command", usage="[TOPIC|COMMAND] [--json]",
               add_options=add_options, run=run)
