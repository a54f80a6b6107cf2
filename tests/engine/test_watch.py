"""A run seen from outside: what is read in its folder is what training told, at every moment."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from sgif.engine.events import ScaleFinished, StepLogged
from sgif.engine.runs import Run
from sgif.engine.storage import RunError
from sgif.engine.watch import QUIET_SECONDS, run_progress, watch_run


def cut_back(run: Run, scale: int, rows: int) -> None:
    """Make the run's folder what it was when `rows` rows of `scale` were logged."""
    for later in range(scale, len(run.plans)):
        shutil.rmtree(run.scale_dir(later))
    (run.path / "report.html").unlink()
    log = run.path / "stats.jsonl"
    lines = [line for line in log.read_text().splitlines() if json.loads(line)["scale"] <= scale]
    log.write_text("".join(f"{line}\n" for line in lines[:3 * scale + rows]))


def test_in_the_middle_it_says_what_training_told(run_copy: Run, tiny_run: Any) -> None:
    cut_back(run_copy, 1, rows=2)
    seen = run_progress(run_copy)
    told = [event for event in tiny_run.events if isinstance(event, StepLogged) and event.scale == 1][1]
    assert (seen.state, seen.scale, seen.report) == ("training", 1, None)
    assert seen.logged is not None
    for name in ("scale", "iteration", "losses", "iterations_per_second", "frames_per_second"):
        assert getattr(seen.logged, name) == getattr(told, name)
    for name in ("seconds_left_scale", "seconds_left_run"):  # of a speed that is rounded in the log
        assert getattr(seen.logged, name) == pytest.approx(getattr(told, name), rel=1e-2)
    assert [scale.iteration for scale in seen.scales] == [6, 4, 0]
    assert 0 < seen.share < 1


def test_finished_scales_have_what_training_told(run_copy: Run, tiny_run: Any) -> None:
    cut_back(run_copy, 2, rows=0)
    seen = run_progress(run_copy)
    told = [event for event in tiny_run.events if isinstance(event, ScaleFinished)][:2]
    assert [scale.seconds for scale in seen.scales[:2]] == pytest.approx([event.seconds for event in told], abs=1e-3)
    assert [scale.rec_psnr_db for scale in seen.scales[:2]] == pytest.approx([e.rec_psnr_db for e in told], abs=1e-3)
    assert (seen.scales[2].seconds, seen.logged) == (None, None)
    assert seen.preview == run_copy.path / "scale_01" / "preview.gif"


def test_a_run_that_has_just_begun_is_at_nothing(run_copy: Run) -> None:
    cut_back(run_copy, 0, rows=0)
    seen = run_progress(run_copy)
    assert (seen.state, seen.scale, seen.share, seen.preview, seen.trend) == ("training", 0, 0.0, None, {})


def test_a_finished_run_is_whole(run: Run) -> None:
    seen = run_progress(run)
    assert (seen.state, seen.scale, seen.share) == ("finished", 3, 1.0)
    assert seen.report == run.path / "report.html"


def test_without_news_it_is_quiet(run_copy: Run) -> None:
    cut_back(run_copy, 1, rows=2)
    assert run_progress(run_copy, time.time() + QUIET_SECONDS - 10).state == "training"
    assert run_progress(run_copy, time.time() + QUIET_SECONDS + 10).state == "quiet"


def test_a_slow_run_is_not_quiet_before_its_rows_are_late(run_copy: Run) -> None:
    cut_back(run_copy, 1, rows=2)
    log = run_copy.path / "stats.jsonl"
    log.write_text(log.read_text().replace('"iterations_per_second": ', '"iterations_per_second": 0.01, "was": '))
    assert run_progress(run_copy, time.time() + 5 * 200 - 10).state == "training", "two iterations a row, 100 s each"
    assert run_progress(run_copy, time.time() + 5 * 200 + 10).state == "quiet"


@pytest.mark.parametrize("line", ['{"scale": 1, "iteration": 5, "losses": {"G/rec": 1', '{"scale": 1, "iteration": 5}',
                                  '{"scale": 1, "iteration": 5, "iterations_per_second": "fast", "losses": [1]}'])
def test_a_row_that_is_cut_short_or_senseless_stops_nothing(line: str, run_copy: Run) -> None:
    cut_back(run_copy, 1, rows=2)
    with open(run_copy.path / "stats.jsonl", "a") as log:
        log.write(line)
    seen = run_progress(run_copy)
    assert seen.scales[1].iteration in (4, 5)
    assert seen.logged is None or math.isfinite(seen.logged.seconds_left_run)


def test_watching_ends_when_the_run_is_finished(run_copy: Run, run: Run) -> None:
    cut_back(run_copy, 1, rows=2)
    slept: list[float] = []

    def train_on(seconds: float) -> None:
        slept.append(seconds)
        shutil.rmtree(run_copy.path)
        shutil.copytree(run.path, run_copy.path)

    states = [seen.state for seen in watch_run(run_copy.path, every_seconds=0.5, sleep=train_on)]
    assert (states, slept) == (["training", "finished"], [0.5])


def test_watching_writes_nothing(run_copy: Run) -> None:
    cut_back(run_copy, 1, rows=2)
    before = {path: path.stat().st_mtime_ns for path in run_copy.path.rglob("*")}
    next(watch_run(run_copy.path))
    assert {path: path.stat().st_mtime_ns for path in run_copy.path.rglob("*")} == before


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        next(watch_run(tmp_path))


def test_as_json_the_row_stands_beside_the_run(run_copy: Run) -> None:
    cut_back(run_copy, 1, rows=2)
    os.utime(run_copy.path / "stats.jsonl")
    values = run_progress(run_copy).to_json()
    assert (values["scale"], values["iteration"], values["state"]) == (1, 4, "training")
    assert values["losses"].keys() >= {"D/image", "G/rec"}
    assert [scale["iteration"] for scale in values["scales"]] == [6, 4, 0]
