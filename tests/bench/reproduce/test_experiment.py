"""The work: everything is trained, sampled and measured once, and what was ended goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sgif.bench.reproduce import experiment as module
from sgif.bench.reproduce.experiment import Experiment, Stopped, folder_names, reproduce
from sgif.engine import ConfigError, RunError, evaluate_run, load_run, read_clip
from sgif.engine.metrics.features import Features
from sgif.engine.step import ScaleTrainer
from sgif.engine.storage import write_tensors

from .conftest import HARM, SETTINGS, Finished, make_clip

MakeExperiment = Callable[..., Experiment]


def contents(folder: Path) -> dict[str, bytes]:
    """What training and sampling left, byte by byte; of records only that they are there: they hold seconds."""
    return {str(file.relative_to(folder)): file.read_bytes() if file.suffix in (".safetensors", ".webp") else b""
            for file in folder.rglob("*") if file.is_file()}


def figures(folder: Path) -> dict[str, Any]:
    return {str(file.relative_to(folder)): json.loads(file.read_text())["evaluation"]
            for file in folder.glob("*/*/evaluation.json")}


def test_every_model_learns_every_clip_in_a_run_of_its_own(finished: Finished) -> None:
    runs = [load_run(path.parent) for path in sorted(finished.folder.glob("*/*/config.json"))]
    assert len(runs) == 4
    assert {run.path.name for run in runs} == {"singan-gif", "singan-all-frames"}
    assert all(run.scales_done == len(run.plans) for run in runs)
    assert [line.split("     ")[0] for line in finished.told] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]


def test_figures_are_those_of_the_run_s_samples_raw_against_its_clip(finished: Finished, features: Features) -> None:
    for clip in finished.result["clips"]:
        for key, record in clip["models"].items():
            run = load_run(finished.folder / clip["folder"] / key)
            assert record["evaluation"] == json.loads(json.dumps(evaluate_run(run, features, n=2).to_json()))


def test_samples_are_kept_as_they_were_measured(finished: Finished) -> None:
    clip = finished.result["clips"][0]
    run = load_run(finished.folder / clip["folder"] / "singan-gif")
    files = clip["models"]["singan-gif"]["files"]
    assert files == ["samples/sample_seed0_000.webp", "samples/sample_seed0_001.webp"]
    for i, file in enumerate(files):
        assert torch.equal(read_clip(run.path / file).frames, torch.cat(list(run.sample_frames(i))))


def test_a_finished_experiment_is_read_and_not_done_again(finished: Finished, make_experiment: MakeExperiment,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: pytest.fail("measured again"))
    before = contents(finished.folder)
    clips = [make_clip("waves.gif", 0), make_clip(HARM, 1)]
    again = reproduce(make_experiment(finished.folder, clips=clips))
    assert contents(finished.folder) == before
    assert again["clips"] == finished.result["clips"]
    assert json.loads((finished.folder / "table1.json").read_text()) == json.loads(json.dumps(again))


def test_other_samples_and_damaged_records_are_measured_anew_and_nothing_is_trained(
        finished: Finished, make_experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = finished.result["clips"][0]["folder"]
    shutil.copytree(finished.folder / clip, tmp_path / clip)
    before = figures(tmp_path)
    (tmp_path / clip / "singan-gif" / "evaluation.json").write_text('{"schema": 1}')
    monkeypatch.setattr(ScaleTrainer, "train_step", lambda *_: pytest.fail("trained again"))
    reproduce(make_experiment(tmp_path))
    assert figures(tmp_path) == before
    result = reproduce(make_experiment(tmp_path, samples=3))
    assert {len(record["evaluation"]["clips"]) for record in result["clips"][0]["models"].values()} == {3}


def test_other_settings_in_the_same_folder_are_refused(finished: Finished, make_experiment: MakeExperiment) -> None:
    other = make_experiment(finished.folder, settings={**SETTINGS, "iterations": (3, 3)})
    with pytest.raises(RunError, match=r"singan-gif was begun with other settings \(iterations"):
        reproduce(other)


def test_a_clip_given_twice_is_refused(make_experiment: MakeExperiment, tmp_path: Path) -> None:
    clips = [make_clip("a.gif", 0), make_clip("b.gif", 1), make_clip("a.gif", 0)]
    with pytest.raises(ConfigError, match=r"^clips/a.gif is given twice"):
        reproduce(make_experiment(tmp_path / "new", clips=clips))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("size", "said"), [(18, "is learned at 14x18, too small for inception, which needs 19 pixels"),
                                            (8, "too small, expected at least 8 on the shorter side")])
def test_what_is_too_small_is_refused_before_anything_is_trained(size: int, said: str, tmp_path: Path,
                                                                 make_experiment: MakeExperiment) -> None:
    settings = {**SETTINGS, "max_size_px": size, "min_size_px": 8}
    with pytest.raises(ConfigError, match=said):
        reproduce(make_experiment(tmp_path / "new", settings=settings))
    assert not (tmp_path / "new").exists()


def test_folders_have_plain_names_that_tell_clips_apart() -> None:
    names = folder_names([make_clip(HARM, 0), make_clip("..", 0), make_clip("a.gif", 0), make_clip("a.gif", 1)])
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for name in names)
    assert len(set(names)) == 4


def test_stopped_in_training_and_in_sampling_it_ends_the_same(make_experiment: MakeExperiment, finished: Finished,
                                                       tmp_path: Path) -> None:
    stops = list[str]()
    while True:
        asked = iter(range(100))
        try:
            reproduce(make_experiment(tmp_path), should_stop=lambda asked=asked: next(asked) == 2)  # type: ignore[misc]
            break
        except Stopped as stopped:
            stops.append(str(stopped))
    assert stops == ["waves.gif, SinGAN-GIF"] * 2 + ["waves.gif, SinGAN (All Frames)"]
    assert_same(tmp_path, finished)


def assert_same(folder: Path, finished: Finished) -> None:
    """The folder of a one-clip experiment has what the unbroken one has of that clip."""
    clip = finished.result["clips"][0]["folder"]
    whole = {name: data for name, data in contents(finished.folder).items() if name.startswith(clip)}
    found = contents(folder)
    tables = {"table1.json", "table1.md", "index.html"}
    assert found.keys() - tables == whole.keys()
    assert {name: data for name, data in found.items() if name not in tables} == whole
    assert figures(folder) == {name: value for name, value in figures(finished.folder).items()
                               if name.startswith(clip)}


# Imports once, then does the experiment in children that are killed after so many seconds; 0 lets one end by itself.
SESSIONS = """
import json, os, signal, sys, time
import torch
from sgif.bench.reproduce.experiment import Experiment, reproduce
from sgif.engine import load_features, read_clip
from sgif.engine.clip import Clip
from sgif.engine.storage import read_tensors
from pathlib import Path

torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports torch._dynamo, which takes seconds
asked = json.loads(sys.argv[1])
frames = read_tensors(Path(asked["frames"]))[0]["frames"]
settings = {name: tuple(v) if isinstance(v, list) else v for name, v in asked["settings"].items()}
experiment = Experiment(what="table1", clips=[Clip(frames=frames, frame_ms=(80,) * 4, source="clips/waves.gif")],
                        folder=Path(asked["folder"]), command="-", preset="draft", settings=settings, samples=2,
                        features=load_features("inception", Path(asked["weights"])))
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            reproduce(experiment)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    if float(line):
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KILLED = -9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="sessions are forked")
def test_killed_at_random_moments_it_ends_the_same(finished: Finished, weights: Path, tmp_path: Path) -> None:
    write_tensors(tmp_path / "frames", {"frames": make_clip("waves.gif", 0).frames})
    asked = {"frames": str(tmp_path / "frames"), "weights": str(weights), "folder": str(tmp_path / "table"),
             "settings": {**SETTINGS, "save_seconds": 0.0}}
    moments, codes = random.Random(0), list[int]()
    with subprocess.Popen([sys.executable, "-c", SESSIONS, json.dumps(asked)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while KILLED not in codes or codes[-1] != 0:
            seconds = moments.uniform(0.05, 0.6) if len(codes) < 7 else 0.0
            print(seconds, file=process.stdin, flush=True)
            codes.append(int(process.stdout.readline()))
            assert codes[-1] in (0, KILLED)
            assert len(codes) < 10
        process.stdin.close()
    assert codes.count(KILLED) > 2
    assert_same(tmp_path / "table", finished)
