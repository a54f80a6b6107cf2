"""`sgif watch`: moments of a run as lines, as JSON and as a picture."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sgif import engine
from sgif.cli import watch
from sgif.cli.main import main
from sgif.cli.text import sparkline
from sgif.engine.events import StepLogged
from sgif.engine.watch import RunProgress, ScaleProgress

RUN = Path("runs/clouds")


def moment(scale: int = 1, iteration: int = 20, **changes: Any) -> RunProgress:
    """Two scales, of which `scale` is at `iteration` of 40."""
    logged = StepLogged(scale=scale, iteration=iteration, losses={"D/image": float("nan"), "D/image_gp": 9.0,
                                                                  "G/rec": 0.25},
                        iterations_per_second=4.0, frames_per_second=16.0, seconds_left_scale=5.0,
                        seconds_left_run=90.0, peak_bytes=1 << 30)
    scales = tuple(ScaleProgress(scale=n, height=25 + 9 * n, width=42, kind="3D", iterations=40,
                                 iteration=40 if n < scale else iteration,
                                 seconds=72.0 if n < scale else None, rec_psnr_db=27.31 if n < scale else None)
                   for n in range(2))
    values: dict[str, Any] = {
        "run_dir": RUN, "source": "my clip.gif", "preset": "draft", "scale": scale, "scales": scales, "share": 0.25,
        "logged": logged if scale < 2 else None, "trend": {"G/rec": [3.0, 2.0, 1.0]}, "quiet_seconds": 3.0,
        "state": "finished" if scale == 2 else "training",
        "preview": RUN / f"scale_{scale - 1:02d}/preview.gif" if scale else None, "report": None}
    return RunProgress(**{**values, **changes})


@pytest.fixture
def shows(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Makes these moments those of every run; the list collects how `watch_run` is called."""
    def install(*moments: RunProgress | type[BaseException]) -> list[tuple[Any, ...]]:
        calls = []

        def watch_run(path: Path, *, every_seconds: float) -> Iterator[RunProgress]:
            calls.append((path, every_seconds))
            for one in moments:
                if isinstance(one, type):
                    raise one
                yield one

        monkeypatch.setattr(engine, "watch_run", watch_run)
        return calls
    return install


def test_a_line_for_every_change_and_the_end(shows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    calls = shows(moment(), moment(quiet_seconds=5.0), moment(iteration=40), moment(scale=2))
    assert main(["watch", str(RUN), "--every", "0.5"]) == 0
    assert calls == [(RUN, 0.5)]
    assert capsys.readouterr().out.splitlines() == [
        "scale 1 of 0-1  34x42 3D  20/40  25% of the run  4.0 it/s  left: scale 5.0 s, run 1:30  D/image nan  "
        "G/rec 0.25", "preview    runs/clouds/scale_00/preview.gif",
        "scale 1 of 0-1  34x42 3D  40/40  25% of the run  4.0 it/s  left: scale 5.0 s, run 1:30  D/image nan  "
        "G/rec 0.25", "preview    runs/clouds/scale_00/preview.gif",
        "finished   runs/clouds: 2 scales in 2:24", "preview    runs/clouds/scale_01/preview.gif"]


def test_once_looks_once(shows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shows(moment(), AssertionError)
    assert main(["watch", str(RUN), "--once"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_json_is_a_line_for_every_change(shows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shows(moment(), moment(), moment(scale=2))
    assert main(["watch", str(RUN), "--json"]) == 0
    first, last = (json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines())
    assert (first["state"], first["iteration"], first["share"]) == ("training", 20, 0.25)
    assert first["losses"] == {"D/image": None, "D/image_gp": 9.0, "G/rec": 0.25}
    assert first["preview"] == "runs/clouds/scale_00/preview.gif"
    assert (last["state"], last["iteration"], last["scale"]) == ("finished", None, 2)
    assert [scale["rec_psnr_db"] for scale in last["scales"]] == [27.31, 27.31]


def test_a_quiet_run_says_since_when_and_what_to_do(shows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shows(moment(state="quiet", quiet_seconds=312.0))
    main(["watch", str(RUN), "--once"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "quiet      nothing was written for 5:12; if it was stopped, 'sgif info runs/clouds' gives the command that "
        "goes on")


def test_ctrl_c_ends_the_watching_and_says_that_it_ends_nothing_else(shows: Any, capsys: pytest.CaptureFixture[str],
                                                                     ) -> None:
    shows(moment(), KeyboardInterrupt)
    assert main(["watch", str(RUN)]) == 130
    assert capsys.readouterr().err == "sgif: stopped by Ctrl-C; the run itself goes on\n"


def drawn(one: RunProgress, *, unicode: bool = True) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as shown:
        console.print(watch.picture(one, unicode=unicode))
    return [line.rstrip() for line in shown.get().splitlines()]


def test_a_terminal_has_both_bars_speed_losses_and_the_finished_scales() -> None:
    lines = drawn(moment())
    assert lines[0] == "runs/clouds  my clip.gif, preset draft"
    assert lines[1].startswith("whole run  ")
    assert lines[1].endswith(" 25%")
    assert lines[2].startswith("scale 1 of 0-1  34x42 3D  ")
    assert lines[2].endswith(" 20/40")
    assert lines[3] == "4.0 it/s, left: scale 2.0 s, run 1:27, 1.0 GiB used", "3 s after the row"
    assert lines[5] == "G/rec    █▅▁"
    assert ["0", "25x42", "3D", "40", "27.3", "1:12"] in [line.split() for line in lines]
    assert lines[-1] == "preview    runs/clouds/scale_00/preview.gif"


def test_a_terminal_without_unicode_has_no_trend() -> None:
    assert not [line for line in drawn(moment(), unicode=False) if line.startswith("G/rec ")]


def test_a_finished_run_has_all_scales_and_the_report() -> None:
    lines = drawn(moment(scale=2, report=RUN / "report.html"))
    assert lines[-3:] == ["finished   runs/clouds: 2 scales in 2:24", "preview    runs/clouds/scale_01/preview.gif",
                          "report     runs/clouds/report.html"]
    assert not [line for line in lines if line.startswith("whole run")]


def test_names_of_files_are_shown_and_not_obeyed() -> None:
    assert drawn(moment(source="a\x1b[31m.gif"))[0] == r"runs/clouds  a\x1b[31m.gif, preset draft"


def test_on_a_terminal_every_moment_is_drawn_and_the_last_stays(shows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(watch, "plain_console", lambda: console)
    shows(moment(), moment(scale=2))
    assert main(["watch", str(RUN)]) == 0
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "whole run" in shown
    assert shown.rstrip("\x1b[?25h").rstrip().endswith("preview    runs/clouds/scale_01/preview.gif")


@pytest.mark.parametrize("every", ["0", "-1", "nan", "soon", "1e9"])
def test_a_pause_that_is_none_is_a_usage_error(every: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["watch", "run", f"--every={every}"])
    assert "argument --every" in capsys.readouterr().err


@pytest.mark.parametrize(("values", "bars"), [
    ([0.0, 7.0], "▁█"), ([1.0, 1.0], "▁▁"), ([], ""), ([float("nan"), -1.0, 1.0, float("inf")], " ▁█ "),
])
def test_a_sparkline_goes_from_the_least_to_the_largest(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars
