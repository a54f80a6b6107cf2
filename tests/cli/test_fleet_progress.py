"""What `sgif fleet` shows while it trains."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from sgif.cli import fleet_progress
from sgif.cli.fleet_progress import FleetJson, FleetLines, FleetTable, make_fleet_progress
from sgif.engine.events import Event
from sgif.engine.fleet.news import Ended, News, Progressed, Retried, Started


def terminal(height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=height, color_system=None)


def shown(table: FleetTable) -> str:
    with table.console.capture() as captured:
        table.console.print(table)
    return captured.get()


@pytest.fixture
def told(run_events: list[Event]) -> list[News]:
    """Begun, three scales, killed, begun again, done."""
    progress = [Progressed(name="sky", event=event) for event in run_events]
    return [Started(name="sky", where="vm, process 7"), *progress,
            Retried(name="sky", retry=1, retries=3, why="its process died"), Started(name="sky", where="vm, process 8"),
            Ended(name="sky", state="done")]


def test_lines_say_what_begins_ends_and_is_tried_again(told: list[News], capsys: pytest.CaptureFixture[str]) -> None:
    lines = FleetLines(["sky", "sea"])
    for news in told:
        lines.hear(news)
    assert capsys.readouterr().out.splitlines() == [
        "sky: training on vm, process 7",
        *(f"sky: scale {scale} of 0-2 done in 1:12, reconstruction 27.3 dB" for scale in range(3)),
        "sky: its process died; it goes on, retry 1 of 3",
        "sky: training on vm, process 8",
        "sky: done; 1 of 2 done, 1 waiting",
    ]


def test_the_table_shows_what_is_trained_and_counts_the_rest(told: list[News]) -> None:
    table = FleetTable(["sky", "sea", "[b]x\x1b"], terminal(), stopping=lambda: False)
    assert shown(table).split() == ["0", "of", "3", "done,", "3", "waiting"]
    table.hear(Started(name="[b]x\x1b", where="vm"))
    for news in told[:6]:
        table.hear(news)
    lines = [line.split() for line in shown(table).splitlines() if line.strip()]
    assert lines[0] == ["clip", "scale", "iteration", "speed", "left", "PSNR,", "dB"]
    sky, other = (next(line for line in lines if line[0] == name) for name in ("sky", "[b]x\\x1b"))
    assert sky[1:8] == ["0", "of", "0-2", "2/2", "4.0", "it/s", "1:06:40"]
    assert other == ["[b]x\\x1b", "running"]
    assert lines[-1] == ["0", "of", "3", "done,", "2", "running,", "1", "waiting"]
    for news in told[6:]:
        table.hear(news)
    assert not any(line.startswith(" sky") for line in shown(table).splitlines())


def test_the_table_says_that_it_stops(told: list[News]) -> None:
    table = FleetTable(["sky"], terminal(), stopping=lambda: True)
    assert "runs finish their step and save; Ctrl-C again ends at once" in shown(table)


def test_a_table_of_more_clips_than_the_terminal_has_lines_is_cut() -> None:
    names = [f"clip{n}" for n in range(50)]
    table = FleetTable(names, terminal(height=12), stopping=lambda: False)
    for name in names:
        table.hear(Started(name=name, where="vm"))
    text = shown(table)
    assert len(text.splitlines()) <= 12
    assert "0 of 50 done, 50 running" in text


def test_json_has_the_name_beside_what_training_tells(told: list[News], capsys: pytest.CaptureFixture[str]) -> None:
    for news in told:
        FleetJson().hear(news)
    rows = [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines()]
    assert {row["name"] for row in rows} == {"sky"}
    assert [row["event"] for row in rows][:3] == ["Started", "RunStarted", "ScaleStarted"]
    assert rows[-1] == {"event": "Ended", "name": "sky", "state": "done", "sentence": "", "bug": False, "traceback": ""}


@pytest.mark.parametrize(("options", "kind"), [
    ({"quiet": False, "json": True}, "FleetJson"), ({"quiet": True, "json": False}, "FleetQuiet"),
    ({"quiet": False, "json": False}, "FleetLines")])
def test_what_is_shown_is_by_the_options_and_the_terminal(options: dict[str, Any], kind: str) -> None:
    assert type(make_fleet_progress(["a"], stopping=lambda: False, **options)).__name__ == kind


def test_on_a_terminal_it_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_progress, "Console", terminal)
    assert isinstance(make_fleet_progress(["a"], quiet=False, json=False, stopping=lambda: False), FleetTable)
