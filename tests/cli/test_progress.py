import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from sgif.cli import progress
from sgif.cli.progress import JsonLines, LiveDisplay, PlainLines, Quiet, counted, make_progress
from sgif.cli.text import rate_text
from sgif.engine.events import (
    RunFinished,
    RunStarted,
    ScaleFinished,
    ScaleGoesBack,
    ScaleStarted,
    StepDone,
    StepLogged,
)


def never():
    return False


def send(listener, events):
    with listener:
        for event in events:
            listener(event)


def terminal(width=80):
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def test_json_lines_are_one_object_per_event_with_all_its_values(run_events, capsys):
    send(JsonLines(), run_events)
    rows = [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines()]
    assert [row["event"] for row in rows] == [type(event).__name__ for event in run_events]
    for row, event in zip(rows, run_events, strict=True):
        assert set(row) == {"event", *vars(event)}
    assert rows[0]["config"] == run_events[0].config.to_json()
    assert rows[0]["sizes"] == [[25, 42], [34, 56], [51, 89]]


def test_json_has_null_where_a_loss_is_not_finite(run_events, capsys):
    send(JsonLines(), run_events)
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "StepLogged" in line]
    assert [row["losses"]["D/image"] for row in logged] == [None, 0.25, 0.5]


def test_plain_lines_say_the_device_first_then_two_lines_per_scale(run_events, capsys):
    send(PlainLines(), run_events)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "device     cpu, 1 thread; float32, norms not fused"
    assert "note       kept [bold]as is" in lines
    scales = [line for line in lines if line.startswith("scale ")]
    assert len(scales) == 6
    assert scales[4].startswith("scale 2 of 0-2  51x89 3D, 4 frames a step")
    assert scales[5].startswith("scale 2 of 0-2  51x89 3D, done in 1:12, reconstruction 27.3 dB: ")
    assert lines[-1].startswith("done ")
    assert "\x1b" not in "".join(lines)


def test_plain_lines_within_a_scale_come_every_ten_seconds(run_events, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    listener = PlainLines()
    started, logged = (next(e for e in run_events if isinstance(e, kind)) for kind in (ScaleStarted, StepLogged))
    listener(started)
    capsys.readouterr()
    for second in range(36):
        now[0] = float(second)
        listener(logged)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 35 // progress.PLAIN_SECONDS
    assert lines[0] == "  2/2  4.0 it/s  left: scale 1:30, run 1:06:40  D/image nan  G/rec 0.5"


def test_the_report_is_named_at_the_end_or_why_there_is_none(capsys):
    send(PlainLines(), [RunFinished(run_dir=Path("run"), seconds=1.0, report=Path("run/report.html"))])
    send(PlainLines(), [RunFinished(run_dir=Path("run"), seconds=1.0, notes=("no report was written (a reason)",))])
    assert capsys.readouterr().out.splitlines() == [
        "done       run in 1.0 s", "report     run/report.html",
        "done       run in 1.0 s", "note       no report was written (a reason)"]


def test_trouble_is_said_with_what_is_done_about_it(capsys):
    went_back = ScaleGoesBack(scale=1, iteration=40, back_to=30, why="D/image reached nan",
                              change="another seed and a learning rate of 0.0003")
    send(PlainLines(), [went_back])
    line = ("trouble    D/image reached nan in scale 1 at iteration 40: going back to 30 with another seed and a "
            "learning rate of 0.0003")
    assert capsys.readouterr().out == line + "\n"
    send(Quiet(), [went_back])
    assert capsys.readouterr().out == ""
    console = terminal(200)
    send(LiveDisplay(console, never), [went_back])
    assert line in console.file.getvalue()


def test_quiet_is_silent(run_events, capsys):
    send(Quiet(), run_events)
    assert capsys.readouterr() == ("", "")


def test_the_live_display_shows_bar_speed_time_left_and_losses_of_the_scale(run_events):
    console = terminal()
    listener = LiveDisplay(console, never)
    for event in run_events:
        listener(event)
        if isinstance(event, StepLogged) and event.scale == 1:
            break
    with console.capture() as shown:
        console.print(listener)
    bar, speed, losses = shown.get().splitlines()
    assert bar.startswith("scale 1 of 0-2  34x56 3D")
    assert bar.endswith("2/2")
    assert speed == "4.0 it/s, left: scale 1:30, run 1:06:40, 1.0 GiB used"
    assert losses == "D/image 0.25  G/rec 0.5"


def test_the_live_display_follows_every_step(run_events):
    console = terminal()
    listener = LiveDisplay(console, never)
    for event in run_events:
        listener(event)
        if isinstance(event, StepDone):
            break
    with console.capture() as shown:
        console.print(listener)
    assert shown.get().splitlines()[0].endswith("1/2")


def test_the_live_display_says_that_it_is_stopping(run_events):
    console = terminal()
    listener = LiveDisplay(console, lambda: True)
    listener(next(event for event in run_events if isinstance(event, ScaleStarted)))
    with console.capture() as shown:
        console.print(listener)
    assert "Ctrl-C again ends at once" in shown.get()


@pytest.mark.parametrize("width", [20, 80, 200])
def test_the_live_display_leaves_the_lines_that_stay(width, run_events):
    console = terminal(width)
    send(LiveDisplay(console, never), run_events)
    shown = console.file.getvalue()
    assert shown.count(", done in 1:12") == sum(isinstance(event, ScaleFinished) for event in run_events)
    assert "kept [bold]as is" in shown


def test_the_listener_follows_the_options_and_the_terminal(monkeypatch):
    monkeypatch.setattr(progress, "Console", terminal)
    assert type(make_progress(quiet=False, json=False, stopping=never)) is LiveDisplay
    assert type(make_progress(quiet=True, json=True, stopping=never)) is JsonLines
    assert type(make_progress(quiet=True, json=False, stopping=never)) is Quiet
    monkeypatch.setattr(progress, "Console", lambda: Console(file=io.StringIO()))
    assert type(make_progress(quiet=False, json=False, stopping=never)) is PlainLines


def test_a_run_that_goes_on_says_from_where(run_events, capsys):
    started = run_events[0]
    for place, said in (((2, 310), "going on   from scale 2, iteration 310"), ((3, 0), "finished   already")):
        PlainLines()(RunStarted(**{**vars(started), "resumed_at": place}))
        assert said in capsys.readouterr().out.splitlines()


def test_a_slow_iteration_is_told_in_seconds():
    assert [rate_text(rate) for rate in (12.34, 1.0, 0.25, 0.0)] == ["12.3 it/s", "1.0 it/s", "4.0 s/it", "0.0 it/s"]


def test_frames_are_counted_on_a_terminal(monkeypatch):
    console = terminal()
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    parts = counted(iter([[1, 2], [3, 4], [5]]), 5, "clip[bold].gif")
    assert list(parts) == [[1, 2], [3, 4], [5]]
    shown = console.file.getvalue()
    assert "clip[bold].gif" in shown
    assert "5/5" in shown


def test_frames_are_not_counted_elsewhere(capsys):
    assert list(counted(iter([[1, 2], [3]]), 3, "clip.gif")) == [[1, 2], [3]]
    assert capsys.readouterr() == ("", "")
