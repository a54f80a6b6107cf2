"""`sgif report`: what is asked for arrives, what was written is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sgif import engine
from sgif.cli.main import main
from sgif.engine import RunError
from sgif.engine.report.make import Report


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `make_report` is called with; it writes nothing and has a note."""
    calls: list[tuple[Any, ...]] = []

    def make_report(runs: list[Path], path: Path | None, *, device: str | None, on_run: Any) -> Report:
        calls.append((runs, path, device))
        on_run(1, 1)
        return Report(path=path or Path("runs/a/report.html"), notes=("a note",))

    monkeypatch.setattr(engine, "make_report", make_report)
    return calls


def test_the_path_is_printed_and_notes_go_to_standard_error(asked: list[Any], capsys: pytest.CaptureFixture[str],
                                                           ) -> None:
    assert main(["report", "runs/a"]) == 0
    assert asked == [([Path("runs/a")], None, None)]
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("runs/a/report.html\n", "note: a note\n")


def test_json_has_the_path_and_the_notes(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "runs/a", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"path": "runs/a/report.html", "notes": ["a note"]}
    assert printed.err == ""


def test_runs_file_and_device_arrive(asked: list[Any]) -> None:
    assert main(["report", "a", "b", "-o", "both.html", "--device", "cuda:1"]) == 0
    assert asked == [([Path("a"), Path("b")], Path("both.html"), "cuda:1")]


def test_a_folder_that_is_no_run_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"sgif: {tmp_path} is not a run folder (no config.json); expected one that " \
        "'sgif train' wrote\n"


def test_a_damaged_run_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def make_report(*_: Any, **__: Any) -> Report:
        raise RunError("the run folder is damaged")

    monkeypatch.setattr(engine, "make_report", make_report)
    assert main(["report", "a"]) == 2
    assert capsys.readouterr().err == "sgif: the run folder is damaged\n"
