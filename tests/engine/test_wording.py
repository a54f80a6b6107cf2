"""How settings, sizes and times are worded; options of settings are parsed again in tests/cli/test_options.py."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from sgif.cli.main import make_parser
from sgif.cli.options import config_from
from sgif.engine.clip import read_clip
from sgif.engine.clip_writer import write_clip
from sgif.engine.config import TrainConfig, preset_config
from sgif.engine.run_folder import open_or_create_run
from sgif.engine.wording import changed_settings, clip_options, seconds_text, train_command

from .conftest import moving_frames


@pytest.mark.parametrize(("seconds", "text"), [
    (0.0, "0.0 s"), (-3.0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00"), (190.2, "3:10"), (3599.6, "1:00:00"),
    (3753.0, "1:02:33"), (float("nan"), "?"), (float("inf"), "?"),
])
def test_times_read_as_clocks(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize("window", [
    {}, {"start": 1}, {"frames": 4}, {"crop": (1, 2, 9, 14)}, {"background": "rgb(9, 8, 7)"},
    {"start": 1, "frames": 5, "crop": (0, 1, 10, 12), "background": "#336699"},
], ids=str)
def test_the_command_of_a_run_asks_for_its_clip_and_settings_again(window: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "it's a clip.gif"
    write_clip(source, moving_frames(), 80)
    clip, config = read_clip(source, **window), preset_config("draft", min_size_px=8, iterations=(3, 2), lr=1 / 3)
    run = open_or_create_run(tmp_path / "a run", clip, config)
    program, *words = shlex.split(train_command(run))
    args = make_parser().parse_args(words)
    assert (program, args.clip, args.output) == ("sgif", str(source), tmp_path / "a run")
    assert config_from(args, "fast") == config
    asked = read_clip(args.clip, start=args.start_frame, frames=args.frames, crop=args.crop, background=args.background)
    assert asked.digest() == clip.digest()
    assert asked.window == clip.window


@pytest.mark.parametrize("window", [None, 3, {}, {"start": 1}, {"start": "1; ls", "frames": None, "crop": None,
                                                              "background": "white"}], ids=str)
def test_a_window_of_an_older_run_or_a_damaged_one_asks_for_nothing(window: Any) -> None:
    assert clip_options(window) == []


def test_changed_settings_are_those_that_the_preset_has_otherwise() -> None:
    assert changed_settings(preset_config("draft", lr=2e-3, amp=True)) == {"amp": False}
    assert changed_settings(TrainConfig()) == {}
