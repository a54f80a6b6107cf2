"""`sgif fleet`: options arrive as what is asked, and the command ends as the others do."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sgif.cli.main import main
from sgif.engine import ConfigError
from sgif.engine.fleet import train as door
from sgif.engine.fleet.news import Ended, News, Started
from sgif.engine.fleet.train import Asked

ROW = {"clip": "a.gif", "run": "runs/a", "frames": 6, "sizes": ((8, 11), (12, 16)), "finished": False,
       "peak_bytes": 3 << 20, "cpus": 1, "gpus": 0.12, "memory_bytes": 500 << 20}
REFUSED = {"clip": "b\x1b.gif", "refused": "b\x1b.gif does not exist"}


class FakeFleet:
    """Ends as `ends` says."""

    ends: tuple[Ended, ...] = (Ended(name="a", state="done"),)
    rows: tuple[dict[str, Any], ...] = (ROW,)
    notes: tuple[str, ...] = ()
    why_in_turn: str | None = None
    signal: int | None = None
    asked: Asked

    def __init__(self, asked: Asked) -> None:
        type(self).asked = asked
        self.plan = [SimpleNamespace(name=end.name) for end in self.ends]
        self.page = asked.folder / "index.html"

    def __enter__(self) -> FakeFleet:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def forecast(self) -> list[dict[str, Any]]:
        return list(self.rows)

    def train(self, tell: Callable[[News], None], should_stop: Callable[[], bool]) -> list[Ended]:
        tell(Started(name=self.ends[0].name, where="here, process 7"))
        if self.signal:
            os.kill(os.getpid(), self.signal)
            assert should_stop()
        for end in self.ends:
            tell(end)
        return list(self.ends)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeFleet]:
    """The fleet that is asked; a test says how it ends."""
    fake = type("Fake", (FakeFleet,), {})
    monkeypatch.setattr(door, "Fleet", fake)
    monkeypatch.chdir(tmp_path)
    return fake


def test_the_options_arrive_as_what_is_asked(fleet: type[FakeFleet], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-o", "out", "--address", "ray://head:10001", "--retries", "5", "--preset", "fast", "--iterations", "9",
             "--threads", "2", "--frames", "8", "--crop", "0,1,20x30"]
    assert main(["fleet", "a.gif", "b c.gif", *words]) == 0
    asked = fleet.asked
    assert (asked.sources, asked.folder) == (["a.gif", "b c.gif"], Path("out"))
    assert (asked.address, asked.retries, asked.ray) == ("ray://head:10001", 5, True)
    assert (asked.config.preset, asked.config.iterations, asked.config.threads) == ("fast", (9, 9), 2)
    assert asked.command == ("sgif fleet a.gif 'b c.gif' -o out --frames 8 --crop 0,1,20x30 --preset fast --threads 2 "
                             "--iterations 9")
    with pytest.raises(ValueError, match=r"b c\.gif does not exist"):
        asked.read("b c.gif")
    assert capsys.readouterr().out.splitlines() == [
        "1 clip, beside each other on Ray", "a: training on here, process 7", "a: done; 1 of 1 done", "out/index.html"]


def test_without_ray_it_says_why_in_one_line(fleet: type[FakeFleet], capsys: pytest.CaptureFixture[str]) -> None:
    fleet.why_in_turn = "as asked"
    assert main(["fleet", "a.gif", "--no-ray"]) == 0
    assert not fleet.asked.ray
    assert capsys.readouterr().out.startswith("1 clip, one after another: as asked\n")


def test_failures_are_a_line_each_at_the_end_and_exit_code_2(fleet: type[FakeFleet],
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    fleet.ends = (Ended(name="a", state="failed", sentence="a is\nno run"), Ended(name="b", state="done"),
                  Ended(name="c\x1b", state="failed", sentence="c\x1b does not exist"))
    assert main(["fleet", "a.gif", "b.gif", "c.gif", "--quiet"]) == 2
    assert capsys.readouterr() == ("", "sgif: a: a is no run\nsgif: c\\x1b: c\\x1b does not exist\n")


def test_a_bug_is_exit_code_1_and_debug_shows_where(fleet: type[FakeFleet],
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    fleet.ends = (Ended(name="a", state="failed", sentence="this is a bug", bug=True, traceback="Traceback: there"),)
    assert main(["fleet", "a.gif", "--quiet"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main(["fleet", "a.gif", "--quiet", "--debug"]) == 1
    assert "Traceback: there" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_so_and_sets_the_exit_code(number: int, code: int, fleet: type[FakeFleet],
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    fleet.signal, fleet.ends = number, (Ended(name="a", state="done"), Ended(name="b", state="stopped"))
    assert main(["fleet", "a.gif", "b.gif", "--quiet"]) == code
    assert capsys.readouterr().err == "Stopped with 1 of 2 clips not finished; run the same command again to go on.\n"


def test_the_second_ctrl_c_ends_at_once_with_its_code_whatever_ray_makes_of_it(fleet: type[FakeFleet],
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def train(self: Any, tell: Any, should_stop: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except SystemExit:
            raise SystemExit(1) from None

    monkeypatch.setattr(fleet, "train", train)
    with pytest.raises(SystemExit, match="130"):
        main(["fleet", "a.gif", "--quiet"])


def test_json_is_one_object_per_piece_of_news(fleet: type[FakeFleet], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "a.gif", "--json"]) == 0
    started, ended = map(json.loads, capsys.readouterr().out.splitlines())
    assert started == {"event": "Started", "name": "a", "where": "here, process 7"}
    assert (ended["event"], ended["name"], ended["state"]) == ("Ended", "a", "done")


def test_a_dry_run_prints_folders_and_forecasts_and_trains_nothing(fleet: type[FakeFleet], monkeypatch: Any,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(FakeFleet, "train", None)
    monkeypatch.setenv("COLUMNS", "120")
    fleet.rows = (ROW, {**ROW, "finished": True, "peak_bytes": None})
    assert main(["fleet", "a.gif", "--dry-run"]) == 0
    out = capsys.readouterr().out
    first, second = [line.split() for line in out.splitlines() if "runs/a" in line]
    assert first == ["runs/a", "a.gif", "6", "12x16", "2", "3", "1", "0.12", "500"]
    assert second == ["runs/a", "a.gif", "6", "12x16", "finished", "?", "1", "0.12", "500"]
    assert out.endswith("beside each other on Ray\n")


def test_a_dry_run_with_a_clip_that_is_none_says_so_with_exit_code_2(fleet: type[FakeFleet],
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    fleet.rows = (ROW, REFUSED)
    assert main(["fleet", "a.gif", "b.gif", "--dry-run"]) == 2
    assert capsys.readouterr().err == "sgif: b\\x1b.gif: b\\x1b.gif does not exist\n"
    assert main(["fleet", "a.gif", "b.gif", "--dry-run", "--json"]) == 2
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [{**ROW, "sizes": [[8, 11], [12, 16]]}, REFUSED]


def test_notes_of_a_cluster_are_said(fleet: type[FakeFleet], capsys: pytest.CaptureFixture[str]) -> None:
    fleet.notes = ("node has torch 1",)
    assert main(["fleet", "a.gif", "--quiet", "--address", "auto"]) == 0
    assert capsys.readouterr().err == "note: node has torch 1\n"


def test_what_excludes_each_other_is_refused(fleet: type[FakeFleet], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "a.gif", "--no-ray", "--address", "auto"]) == 2
    assert capsys.readouterr().err == "sgif: --no-ray and --address auto exclude each other: expected one of them\n"


@pytest.mark.parametrize("words", [["--retries", "-1"], ["--threads", "0"], ["--threads", "x"], []])
def test_values_that_cannot_be_are_usage_errors_of_one_line(words: list[str],
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fleet", *(["a.gif", *words] if words else [])])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_the_fleet_refuses_is_one_sentence(fleet: type[FakeFleet], monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(self: Any, asked: Asked) -> None:
        raise ConfigError("a.gif is given twice: expected every clip once")

    monkeypatch.setattr(fleet, "__init__", refuse)
    assert main(["fleet", "a.gif", "a.gif"]) == 2
    assert capsys.readouterr().err == "sgif: a.gif is given twice: expected every clip once\n"
