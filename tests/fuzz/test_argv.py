"""Whatever is typed is parsed or refused in one line with exit code 2; nothing is run."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgif.cli.command import Parser
from sgif.cli.main import COMMANDS, make_parser
from sgif.cli.options import config_from
from sgif.engine.config import ConfigError

from .mutations import drawn

NAMES = [command.name for command in COMMANDS]
WITH_SETTINGS = {"train", "profile", "superres"}  # elsewhere --seed and --device are no settings, and may be None
OPTIONS = sorted({word for command in COMMANDS for action in command.configure(Parser())._actions
                  for word in action.option_strings})
HOSTILE = ("", "-", "--", "0", "-1", "1e999", "nan", "-inf", "9" * 30, "9" * 5000, "1:2", "2:1", "0x0", "9x9", "all",
           "1,2,3x4", "x" * 9999, "\x1b[31m", "\n", "\udcff", "é", "٣", "%s", "%(prog)s", "../..", "@file",
           "=", "--lr=nan")
WORDS = st.sampled_from(OPTIONS) | st.sampled_from(HOSTILE) | st.sampled_from(NAMES) | st.text(max_size=6)


@drawn(100)
@given(command=st.sampled_from(NAMES), words=st.lists(WORDS, max_size=6))
def test_any_words_are_parsed_or_refused_in_one_line(command: str, words: list[str],
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    try:
        args = make_parser().parse_args([command, *words])
    except SystemExit as end:
        code = end.code
    else:
        code = None
        if command in WITH_SETTINGS:
            with suppress(ConfigError):
                config_from(args, "draft")
    said = capsys.readouterr().err
    if code == 2:
        assert re.fullmatch(r"sgif[^\n]*\n", said)
        assert said[:-1].isprintable()
    else:
        assert code in (None, 0)
        assert said == ""
