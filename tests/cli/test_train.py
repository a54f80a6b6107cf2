import json
import os
import signal
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from sgif import engine
from sgif.cli.main import main
from sgif.cli.progress import Quiet
from sgif.cli.train import StopRequest, default_preset, default_run_dir
from sgif.engine import ReadLimits, TrainingStopped
from sgif.engine.config import preset_config


def test_the_options_arrive_as_the_config(trains):
    assert main(["train", "a.gif", "--preset", "draft", "--iterations", "5", "--no-fuse", "--quiet"]) == 0
    assert trains == [preset_config("draft", iterations=5, fuse=False)]


def test_the_clip_s_options_arrive_at_the_reader(trains, monkeypatch):
    asked, clip = [], engine.read_clip("a.gif")
    monkeypatch.setattr(engine, "read_clip", lambda path, **window: asked.append((path, window)) or clip)
    window = ["--start-frame", "3", "--frames", "8", "--crop", "0,40,9x16", "--background", "red",
              "--max-pixels", "999", "--max-frames", "77", "--max-mib", "5"]
    main(["train", "a.gif", *window, "--quiet"])
    assert asked == [("a.gif", {"start": 3, "frames": 8, "crop": (0, 40, 9, 16), "background": "red",
                                 "limits": ReadLimits(frame_pixels=999, frames=77, clip_bytes=5 << 20)})]


def test_a_preset_that_was_not_asked_for_says_how_to_change_it(trains, capsys):
    main(["train", "a.gif", "--device", "cpu"])
    assert "preset     draft: change it with --preset" in capsys.readouterr().out.splitlines()
    main(["train", "a.gif", "--preset", "draft"])
    assert "preset     draft" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("device", "gpu", "preset"), [
    ("auto", True, "fast"), ("auto", False, "draft"), ("cpu", True, "draft"), ("cuda:1", False, "fast"),
])
def test_the_default_preset_follows_the_device(device, gpu, preset, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert default_preset(device) == preset


@pytest.mark.parametrize(("clip", "run"), [
    ("a.gif", "a"), ("films/b.c.mp4", "b.c"), ("frames/", "frames"), ("x/..", None), ("/", "clip"),
])
def test_the_run_is_named_after_the_clip(clip, run):
    assert default_run_dir(clip) == Path("runs", run or Path.cwd().name)


def test_json_mode_prints_nothing_but_json(trains, capsys):
    assert main(["train", "a.gif", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [json.loads(line)["event"] for line in printed.out.splitlines()][::16] == ["RunStarted", "RunFinished"]


def test_tensorboard_listens_too_and_the_command_that_shows_it_is_said(trains, monkeypatch, capsys, run_events):
    class Log(Quiet):
        heard: ClassVar = []

        def __call__(self, event):
            self.heard.append(event)

    monkeypatch.setattr(engine, "TensorBoardLog", Log)
    assert main(["train", "a.gif", "-o", "my run", "--tensorboard"]) == 0
    assert "watching   tensorboard --logdir 'my run/tensorboard'" in capsys.readouterr().out.splitlines()
    assert list(map(type, Log.heard)) == list(map(type, run_events))
    assert main(["train", "a.gif", "-o", "my run", "--quiet"]) == 0
    assert len(Log.heard) == len(run_events)


def test_without_tensorboard_the_extra_is_named_and_nothing_is_trained(trains, monkeypatch, capsys):
    monkeypatch.setattr("sgif.engine.tensorboard_log.find_spec", lambda name: None)
    assert main(["train", "a.gif", "--tensorboard"]) == 2
    assert capsys.readouterr().err.endswith("which is not installed: pip install 'sgif[tensorboard]'\n")
    assert trains == []


def test_training_ends_with_the_command_that_samples(trains, capsys):
    main(["train", "a.gif", "-o", "here"])
    assert capsys.readouterr().out.splitlines()[-1] == "now        sgif sample here -n 8"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_so_and_sets_the_exit_code(number, code, fake_train, capsys):
    def train(*_, should_stop, **__):
        assert not should_stop()
        os.kill(os.getpid(), number)
        assert should_stop()
        raise TrainingStopped(2, 310)

    before = signal.getsignal(number)
    fake_train(train)
    assert main(["train", "a.gif", "--quiet"]) == code
    assert capsys.readouterr().err == "Stopped in scale 2 at iteration 310; run the same command again to go on.\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(number, code, fake_train, capsys):
    def train(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), number)
        pytest.fail("still running")

    fake_train(train)
    with pytest.raises(SystemExit, match=str(code)):
        main(["train", "a.gif", "--quiet"])
    assert capsys.readouterr().err == ""


def test_a_signal_in_the_last_iteration_leaves_a_finished_run(fake_train):
    fake_train(lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert main(["train", "a.gif", "--quiet"]) == 0


def test_a_stop_nobody_signalled_counts_as_an_interrupt():
    assert StopRequest().exit_code == 130
