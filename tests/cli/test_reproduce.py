"""`sgif reproduce`: options arrive as the experiment, and the command ends as the others do."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sgif import engine
from sgif.bench.reproduce import experiment, results
from sgif.bench.reproduce.experiment import Experiment, Stopped
from sgif.cli.main import main
from sgif.engine.config import FIXED_BY_VARIANTS, ConfigError

RESULT = {"what": "table1", "device": Path("cpu"), "ratio": float("nan")}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An experiment that is done at once; the list collects what was asked for."""
    calls: list[Any] = []
    clip = SimpleNamespace(source="a.gif")
    monkeypatch.setattr(engine, "read_clip", lambda path, **window: calls.append((path, window)) or clip)
    monkeypatch.setattr(engine, "load_features", lambda *given: calls.append(given) or "features")
    monkeypatch.setattr(experiment, "reproduce", lambda found, **_: calls.append(found) or RESULT)
    monkeypatch.setattr(results, "markdown", lambda result: "| a table |")
    return calls


def experiment_of(calls: list[Any]) -> Experiment:
    (found,) = [call for call in calls if isinstance(call, Experiment)]
    return found


def test_the_options_arrive_as_the_experiment(asked, tmp_path, capsys):
    words = ["--preset", "draft", "--size", "64", "--iterations", "40:20", "--samples", "4", "--no-fuse", "--seed", "2",
             "-o", str(tmp_path), "--features", "inception", "--weights", "w.pth", "--frames", "8"]
    assert main(["reproduce", "table1", "x/a.gif", "b c.gif", *words]) == 0
    found = experiment_of(asked)
    assert (found.what, found.preset, found.samples, found.folder) == ("table1", "draft", 4, tmp_path)
    assert found.settings == {"seed": 2, "fuse": False, "max_size_px": 64, "iterations": (40, 20)}
    assert ("inception", Path("w.pth"), "auto") in asked
    assert [call[0] for call in asked if isinstance(call, tuple) and len(call) == 2] == ["x/a.gif", "b c.gif"]
    assert found.command == ("sgif reproduce table1 a.gif 'b c.gif' --frames 8 --samples 4 --features inception "
                             "--preset draft --seed 2 --no-fuse --max-size 64 --iterations 40:20")
    assert capsys.readouterr().out == f"| a table |\n\n{tmp_path / 'index.html'}\n"


def test_without_options_it_is_the_paper_s_ten_samples_in_a_folder_of_the_table(asked):
    assert main(["reproduce", "ablations", "a.gif", "--device", "cpu", "--quiet"]) == 0
    found = experiment_of(asked)
    assert (found.what, found.samples, found.folder, found.preset) == ("ablations", 10, Path("runs/ablations"), "draft")
    assert found.command == "sgif reproduce ablations a.gif --preset draft --device cpu"


def test_json_prints_the_figures_and_nothing_else(asked, capsys):
    assert main(["reproduce", "table1", "a.gif", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"what": "table1", "device": "cpu", "ratio": None}


def test_the_command_of_a_crop_is_the_one_that_was_typed(asked):
    main(["reproduce", "table1", "a.gif", "--crop", "0,4,20x30", "--background", "red", "--preset", "draft", "--quiet"])
    assert experiment_of(asked).command == \
        "sgif reproduce table1 a.gif --crop 0,4,20x30 --background red --preset draft"


@pytest.mark.parametrize("name", sorted(FIXED_BY_VARIANTS))
def test_settings_that_tell_the_models_apart_are_no_options(name, asked, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["reproduce", "table1", "a.gif", "--" + name.removesuffix("_px").replace("_", "-"), "1"])
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [
    (["table2", "a.gif"], "argument TABLE: invalid choice: 'table2'"),
    (["table1"], "the following arguments are required: CLIP"),
])
def test_usage_errors_are_one_line(words, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["reproduce", *words])
    assert said in capsys.readouterr().err


def test_a_size_that_cannot_be_is_refused_in_terms_of_its_option(asked, capsys):
    assert main(["reproduce", "table1", "a.gif", "--size", "3"]) == 2
    assert capsys.readouterr().err == "sgif: --max-size is 3, expected 8 to 8192\n"


def test_what_the_experiment_refuses_is_one_sentence(asked, monkeypatch, capsys):
    def refuse(*_: Any, **__: Any) -> None:
        raise ConfigError("a.gif is given twice: expected every clip once")

    monkeypatch.setattr(experiment, "reproduce", refuse)
    assert main(["reproduce", "table1", "a.gif", "a.gif"]) == 2
    assert capsys.readouterr().err == "sgif: a.gif is given twice: expected every clip once\n"


def test_a_signal_saves_says_so_and_sets_the_exit_code(asked, monkeypatch, capsys):
    def stopped(*_: Any, should_stop: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()
        raise Stopped("a.gif, SinGAN-GIF")

    monkeypatch.setattr(experiment, "reproduce", stopped)
    assert main(["reproduce", "table1", "a.gif", "--quiet"]) == 130
    assert capsys.readouterr().err == "Stopped in a.gif, SinGAN-GIF; run the same command again to go on.\n"
