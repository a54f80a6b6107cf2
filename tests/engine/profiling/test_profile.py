"""Profiles of tiny clips, their files, and what fits into a memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from sgif.engine.clip import Clip
from sgif.engine.config import ConfigError, TrainConfig
from sgif.engine.profiling import budget, profile
from sgif.engine.profiling.budget import CONTEXT_BYTES, MAX_SIDE_PX, largest_fits, option_sets
from sgif.engine.profiling.profile import Profile, profile_clip, write_profile

MakeConfig = Callable[..., TrainConfig]
PHASES = {"coarser", "G/forward", "D/image", "D/image_gp", "D/video", "D/video_gp", "D/adam", "G/losses",
          "G/backward", "G/adam"}
GIB = 1 << 30


@pytest.fixture(scope="module")
def made(clip: Clip, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Path]:
    """The profile of scales 0 and 2, and the folder with its trace."""
    folder = tmp_path_factory.mktemp("profile") / "new" / "waves"
    found = profile_clip(clip, tiny_config(), steps=2, scales=[0, 2], trace=folder / "trace.json")
    write_profile(found, folder)
    return found, folder


def test_every_scale_is_forecast_and_measured(made: tuple[Profile, Path]) -> None:
    found, _ = made
    assert [scale.forecast.plan.index for scale in found.scales] == [0, 2]
    assert (found.frames, found.size, found.device) == (6, (12, 16), "cpu, 1 thread")
    for scale in found.scales:
        assert scale.measured is not None
        assert scale.forecast.peak_bytes == pytest.approx(scale.measured.peak_bytes, rel=0.1)
        assert scale.measured.phase_seconds.keys() == PHASES == scale.forecast.step_phases.keys() - {"other"}
        assert 0.5 < sum(scale.measured.phase_seconds.values()) / scale.measured.seconds_per_step < 1.01
        assert scale.measured.steps == 2


def test_all_iterations_take_what_their_steps_took(made: tuple[Profile, Path]) -> None:
    found, _ = made
    assert found.training_seconds == pytest.approx(6 * sum(
        scale.measured.seconds_per_step for scale in found.scales if scale.measured))
    unmeasured = replace(found.scales[0], measured=None)
    assert replace(found, scales=(unmeasured, *found.scales[1:])).training_seconds is None


def test_the_files_are_whole(made: tuple[Profile, Path]) -> None:
    found, folder = made
    assert {file.name for file in folder.iterdir()} == {"profile.json", "profile.svg", "trace.json"}
    record = json.loads((folder / "profile.json").read_text())
    assert record == json.loads(json.dumps(found.to_json()))
    assert record["scales"][1]["forecast"]["shapes"]["generator"] == [6, 9, 12, 16]
    assert record["scales"][1]["forecast"]["phases"]["D/video"].keys() == {"launches", "bytes", "flops", "peak_bytes"}


def test_the_picture_names_scales_and_phases(made: tuple[Profile, Path]) -> None:
    picture = ElementTree.parse(made[1] / "profile.svg").getroot()
    words = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"forecast", "measured", "0", "2", "8x11", "12x16", *PHASES} <= words
    bars = [float(bar.get("height", "0")) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert max(bars[1:]) <= 250


def test_the_trace_has_the_names_of_the_phases(made: tuple[Profile, Path]) -> None:
    events = json.loads((made[1] / "trace.json").read_text())["traceEvents"]
    names = [event.get("name") for event in events if event.get("cat") == "user_annotation"]
    assert names.count("D/video_gp") == 2
    assert set(names) >= PHASES


def test_a_gpu_that_is_not_there_is_forecast(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("it is there")
    found = profile_clip(clip, tiny_config(device="cuda"), scales=[2])
    assert found.scales[0].measured is None
    assert found.device == "forecast for cuda"
    assert found.notes[0].startswith("cuda is not there: nothing was measured")
    assert "inputs and outputs" in write_profile(found, tmp_path)[1].read_text()


def test_a_scale_without_room_is_not_measured(clip: Clip, tiny_config: MakeConfig,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "available_bytes", lambda device: 1 << 10)
    found = profile_clip(clip, tiny_config(), scales=[2])
    assert found.scales[0].measured is None
    assert re.match(r"scale 2 was not measured: it needs \d+ MiB, 0 MiB are free", found.notes[0])


def test_a_scale_that_is_not_there_is_refused(clip: Clip, tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="scales 1, 3: this clip has scales 0 to 2"):
        profile_clip(clip, tiny_config(), scales=[1, 3])


# ---- what fits into a memory -----------------------------------------------------------------------------------------


def test_the_largest_frames_are_found(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a step that takes 1 KiB per pixel and frame, half of it with each option."""
    asked: list[int] = []

    def forecast(height: int, width: int, num_frames: int, config: TrainConfig, device: torch.device) -> Any:
        asked.append(height)
        each = 1024 >> config.amp >> config.checkpointing
        return SimpleNamespace(peak_bytes=height * width * config.frames_per_step[1] * each, host_bytes=num_frames)
    monkeypatch.setattr(budget, "forecast_largest", forecast)
    config = tiny_config(frames_per_step=(8, 4))
    fits = largest_fits([GIB, 2 * GIB], 32, (50, 100), config, torch.device("cpu"))
    assert [fit.options for fit in fits[::2]] == list(option_sets(config))
    for fit in fits:
        assert fit.size is not None
        height, width = fit.size
        assert width == 2 * height
        assert width % 8 == 0
        larger = (width + 8) * (height + 4) * fit.peak_bytes / (width * height)
        assert fit.peak_bytes <= 0.9 * fit.budget_bytes
        assert 0.9 * fit.budget_bytes < larger or width == MAX_SIDE_PX
        assert fit.host_bytes == 32
    assert len(asked) <= 8 * len(fits)


def test_a_gpu_keeps_some_for_its_context(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "forecast_largest", lambda *_: SimpleNamespace(peak_bytes=1, host_bytes=1))
    fits = largest_fits([CONTEXT_BYTES, GIB], 8, (64, 64), tiny_config(), torch.device("cuda"))
    assert fits[0].size is None
    assert fits[1].size == (2048, 2048)


def test_options_that_are_on_are_not_offered_again(tiny_config: MakeConfig) -> None:
    assert list(option_sets(tiny_config(amp=True))) == ["as set", "--checkpointing",
                                                        "--amp --checkpointing --frames-per-step 4:2"]
