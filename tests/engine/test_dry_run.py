"""A plan is what training does, refuses what training refuses, and leaves the disk as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sgif.engine import dry_run
from sgif.engine.clip import Clip
from sgif.engine.config import ConfigError, TrainConfig
from sgif.engine.dry_run import TrainingPlan, plan_training
from sgif.engine.events import RunStarted, ScaleStarted
from sgif.engine.profiling import memory
from sgif.engine.profiling.forecast import forecast_largest, forecast_scale
from sgif.engine.runs import Run
from sgif.engine.scale_session import TrainingStopped
from sgif.engine.storage import RunError
from sgif.engine.trainer import train

from .conftest import CPU

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def new(clip: Clip, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    """The plan of a new run; it left nothing behind."""
    folder = tmp_path_factory.mktemp("new")
    plan = plan_training(clip, folder / "run", tiny_config())
    assert listing(folder) == {}
    return plan


@pytest.fixture
def quickly(new: TrainingPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forecasts of 1000 bytes: a real one takes a second."""
    forecast = forecast_largest(12, 16, 6, new.config, CPU)
    monkeypatch.setattr(dry_run, "forecast_scale", lambda plans, scale, *_, **__: replace(
        forecast, plan=plans[scale], peak_bytes=1000))


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_plan_of_a_new_run_is_what_training_then_tells(new: TrainingPlan, tiny_run: Any) -> None:
    started = next(event for event in tiny_run.events if isinstance(event, RunStarted))
    scales = [event for event in tiny_run.events if isinstance(event, ScaleStarted)]
    assert (new.device, new.frames, new.config) == (started.device, started.frames, started.config)
    assert [(s.plan.index, *s.plan.size, s.plan.kind, s.plan.frames_per_step, s.plan.iterations) for s in new.scales] \
        == [(e.scale, e.height, e.width, e.kind, e.frames_per_step, e.iterations) for e in scales]
    assert (new.resumed_at, new.seconds_left, new.iterations) == (None, None, 18)


def test_memory_is_the_forecast_of_every_scale(new: TrainingPlan) -> None:
    needed = [scale.peak_bytes for scale in new.scales]
    forecast = forecast_scale([scale.plan for scale in new.scales], 1, 6, new.config, CPU)
    assert (needed[1], new.scales[1].parameters) == (forecast.peak_bytes, sum(forecast.parameters.values()))
    assert len(set(needed)) == 3
    assert new.peak_bytes == max(needed)


@pytest.mark.usefixtures("quickly")
def test_a_stopped_run_is_planned_from_where_it_goes_on(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    asked: list[bool] = []
    with pytest.raises(TrainingStopped):
        train(clip, tmp_path / "run", tiny_config(), should_stop=lambda: asked.append(True) or len(asked) == 10)
    before = listing(tmp_path)
    plan = plan_training(clip, tmp_path / "run", tiny_config())
    assert plan.resumed_at == (1, 4)
    assert plan.seconds_left is not None
    assert 0 < plan.seconds_left < 60
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(("scales", "resumed_at"), [(3, (3, 0)), (2, (2, 0)), (0, (0, 0))])
def test_between_scales_the_last_one_gives_the_speed(scales: int, resumed_at: tuple[int, int], clip: Clip,
                                                     run_copy: Run) -> None:
    for scale in range(scales, 3):
        shutil.rmtree(run_copy.scale_dir(scale))
    log = run_copy.path / "stats.jsonl"
    rows = [line for line in log.read_text().splitlines() if json.loads(line)["scale"] < scales]
    log.write_text("".join(f"{row}\n" for row in rows))
    plan = plan_training(clip, run_copy.path, run_copy.config)
    assert plan.resumed_at == resumed_at
    if scales == 2:
        done, (mid, last) = run_copy.scale_record(1), (plan.scales[n].plan for n in (1, 2))
        cost = [(4000 + p.height * p.width * p.frames_made) * p.channels for p in (mid, last)]
        assert plan.seconds_left == pytest.approx(done["seconds"] * cost[1] / cost[0])
    else:
        assert plan.seconds_left == (0.0 if scales else None)


def test_what_training_refuses_is_refused(clip: Clip, tiny_config: MakeConfig, run_copy: Run, tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="was begun with other settings"):
        plan_training(clip, run_copy.path, tiny_config(lr=1e-3))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").touch()
    with pytest.raises(RunError, match="is not a run folder"):
        plan_training(clip, tmp_path / "full", tiny_config())
    with pytest.raises(ConfigError, match="cuda:99"):
        plan_training(clip, tmp_path / "new", tiny_config(device="cuda:99"))
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    with pytest.raises(ConfigError, match="of memory and cpu has 0 MiB free"):
        plan_training(clip, tmp_path / "new", tiny_config(checkpointing=True, amp=True))


def test_checkpointing_that_training_would_put_on_is_in_the_plan(clip: Clip, new: TrainingPlan, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    saving = replace(new.config, checkpointing=True)
    monkeypatch.setattr(dry_run, "fitted_config", lambda *asked: (saving, "checkpointing is on, for a reason"))
    plan = plan_training(clip, tmp_path / "run", new.config)
    assert plan.config == saving
    assert plan.notes == ("checkpointing is on, for a reason",)
    assert plan.peak_bytes < new.peak_bytes


def test_as_json_it_is_plain(new: TrainingPlan) -> None:
    values = new.to_json()
    assert values["scales"][2].items() >= {"scale": 2, "height": 12, "width": 16, "kind": "2D"}.items()
    assert json.loads(json.dumps(values, default=str))["config"]["iterations"] == [6, 6]
