"""`sgif help`: the list, topics, commands, each as text and as JSON."""

from __future__ import annotations

import json
import pydoc
import sys

import pytest

from sgif.cli.main import COMMANDS, main
from sgif.cli.reference import TOPICS, commands, topics


def test_the_list_names_every_topic_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name, said in [*topics().items(), *((one["name"], one["summary"]) for one in commands(COMMANDS))]:
        assert [*name.split(), *said.split()] in lines
    assert len(topics()) == len(list(TOPICS.iterdir())) >= 10


def test_a_topic_is_its_file_without_marks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "exit-codes"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Exit codes: how a command ended\n")
    assert "    130  stopped by Ctrl-C" in said
    assert "<!--" not in said


@pytest.mark.parametrize("words", [["train"], ["study"], ["study", "make"], ["help"]])
def test_a_command_has_its_own_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    expected = capsys.readouterr().out
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("words", [["nothing"], ["study", "nothing"], ["memory", "noise"], ["mem"]])
def test_what_there_is_no_help_on_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sgif: there is no help on '{' '.join(words)}', expected a command or one of applications,")


def test_json_has_every_command_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert everything["topics"] == topics()
    train, = (one for one in everything["commands"] if one["name"] == "train")
    assert train["exit_codes"] == [0, 1, 2, 130, 141, 143]
    preset, = (one for one in train["options"] if one["names"] == ["--preset"])
    assert preset["choices"] == ["paper", "fast", "draft", "singan-all-frames"]
    assert main(["help", "study", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["study make", "study score"]
    assert main(["help", "noise", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["topic"] == "noise"


def test_on_a_terminal_there_is_a_pager(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(pydoc, "pager", shown.append)
    assert main(["help", "memory"]) == 0
    assert shown[0].startswith("Memory: what fits")
