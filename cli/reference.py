"""The commands as data, read off their parsers, and the topics of `sgif help`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .command import COMMON_CODES, Command, CommandGroup, Parser

TOPICS = Path(__file__).parent / "topics"
COMMENT = re.compile(r"^<!--.*-->\n", re.MULTILINE)  # marks of what docs/make_shell.py fills in


def topics() -> dict[str, str]:
    """What each topic is, by its name; topics are plain Markdown in cli/topics, its only copy."""
    return {path.stem: topic_text(path.stem).splitlines()[0].partition(": ")[2] for path in sorted(TOPICS.glob("*.md"))}


def topic_text(name: str) -> str:
    """A topic as a terminal shows it."""
    return COMMENT.sub("", (TOPICS / f"{name}.md").read_text(encoding="utf-8")).removeprefix("# ")


def commands(table: tuple[Command | CommandGroup, ...], before: str = "sgif") -> Iterator[dict[str, Any]]:
    """Every command: name, summary, usage, exit codes, and its options as the parser has them."""
    for command in table:
        name = f"{before} {command.name}"
        if isinstance(command, CommandGroup):
            yield from commands(command.commands, name)
            continue
        parser = command.configure(Parser(prog=name))
        options = [option(action) for action in parser._actions]
        yield {"name": name.removeprefix("sgif "), "summary": command.summary, "usage": f"{name} {command.usage}",
               "json": any("--json" in one["names"] for one in options),
               "exit_codes": sorted((*COMMON_CODES, *command.codes)), "options": options}


def below(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command that these words name, from that of all."""
    for word in words:
        (chosen,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = chosen.choices[word]
    return parser


def option(action: argparse.Action) -> dict[str, Any]:
    """An option or, where it has no names, an argument. Defaults are said in the help."""
    return {"names": list(action.option_strings), "value": action.metavar if action.nargs != 0 else None,
            "choices": None if action.choices is None else list(action.choices), "required": action.required,
            "help": (action.help or "").replace("%%", "%")}
