"""How much memory there is, and training that asks before it starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sgif.engine import scale_session
from sgif.engine.clip import Clip
from sgif.engine.config import ConfigError, TrainConfig
from sgif.engine.events import Event
from sgif.engine.profiling import memory
from sgif.engine.profiling.forecast import forecast_largest
from sgif.engine.profiling.memory import available_bytes, fitted_to_memory, frames_that_fit, gib_text
from sgif.engine.trainer import train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
CLIP = 24, 32, 8  # height, width, frames
SMALL: dict[str, Any] = {"width": 8, "max_width": 8, "min_size_px": 20, "frames_per_step": (8, 8)}


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Let a device have so many bytes."""
    return lambda size: monkeypatch.setattr(memory, "available_bytes", lambda device: size)


@pytest.fixture
def all_need_a_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of rehearsals."""
    def forecast(height: int, width: int, num_frames: int, config: TrainConfig, device: torch.device) -> Any:
        return SimpleNamespace(plan=memory.plan_scales(height, width, num_frames, config)[-1], peak_bytes=1 << 30)
    monkeypatch.setattr(memory, "forecast_largest", forecast)


@pytest.fixture
def not_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        pytest.fail("a step was rehearsed")
    monkeypatch.setattr(memory, "forecast_largest", fails)


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_what_cannot_fit_is_refused_with_settings_that_fit(has: Any, tiny_config: MakeConfig) -> None:
    config = tiny_config(**SMALL, checkpointing=True)
    needed = forecast_largest(*CLIP, config, CPU).peak_bytes
    has(needed * 4 // 5)
    with pytest.raises(ConfigError) as refused:
        fitted_to_memory(*CLIP, config, CPU)
    sentence = str(refused.value)
    assert sentence.startswith(f"scale 1 (24x32, 8 frames a step) needs {gib_text(needed)} of memory and cpu has "
                               f"{gib_text(needed * 4 // 5)} free; these would fit: ")
    assert sentence.endswith("; --no-memory-check trains all the same")
    offered = re.findall(r"(--[^()]+) \((\d+) MiB\)", sentence)
    assert offered
    smaller = {"--frames-per-step": "frames_per_step", "--max-size": "max_size_px"}
    for options, said in offered:
        changes: dict[str, Any] = {"checkpointing": True, "amp": "--amp" in options}
        for option, value in re.findall(r"(--[a-z-]+) (\d[\d:]*)", options):
            changes[smaller[option]] = tuple(map(int, value.split(":"))) if ":" in value else int(value)
        again = forecast_largest(*CLIP, tiny_config(**{**SMALL, **changes}), CPU).peak_bytes
        assert gib_text(again) == f"{said} MiB"
        assert again < 0.9 * needed * 4 / 5


@pytest.mark.usefixtures("all_need_a_gib")
def test_nothing_is_offered_where_nothing_fits(has: Any, tiny_config: MakeConfig) -> None:
    has(1000)
    with pytest.raises(ConfigError, match="free; no setting that was tried fits; --fit takes as many frames a step as "
                       "fit; --no-memory-check"):
        fitted_to_memory(*CLIP, tiny_config(**SMALL), CPU)


@pytest.mark.usefixtures("all_need_a_gib")
def test_with_fit_nothing_is_refused_and_checkpointing_is_on(has: Any, tiny_config: MakeConfig) -> None:
    has(1000)
    config, note = fitted_to_memory(*CLIP, tiny_config(**SMALL, fit=True), CPU)
    assert config == tiny_config(**SMALL, fit=True, checkpointing=True)
    assert note is not None
    assert note.endswith("free; with checkpointing and --fit scales take what fits")


@pytest.mark.parametrize(("bytes_per_frame", "video_weight", "frames"), [(0, 5.0, 8), (100, 5.0, 4), (200, 5.0, 2),
                                                                        (10_000, 5.0, 2), (10_000, 0.0, 1)])
def test_frames_are_halved_until_they_fit(bytes_per_frame: int, video_weight: float, frames: int, has: Any,
                                          tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def forecast(plans: Any, scale: int, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(peak_bytes=bytes_per_frame * plans[scale].frames_per_step)

    monkeypatch.setattr(memory, "forecast_scale", forecast)
    has(500)
    config = tiny_config(**SMALL, video_weight=video_weight)
    plans = memory.plan_scales(*CLIP, config)
    assert frames_that_fit(plans, 1, CLIP[2], config, CPU) == frames
    has(None)  # the system does not say
    assert frames_that_fit(plans, 1, CLIP[2], config, CPU) == 8


def test_a_forecast_s_own_error_refuses_nothing(has: Any, tiny_config: MakeConfig) -> None:
    config = tiny_config(**SMALL, checkpointing=True)
    has(round(forecast_largest(*CLIP, config, CPU).peak_bytes / 1.09))
    assert fitted_to_memory(*CLIP, config, CPU) == (config, None)


def test_checkpointing_is_put_on_where_that_makes_it_fit(has: Any, tiny_config: MakeConfig) -> None:
    config, saving = (tiny_config(**SMALL, checkpointing=on) for on in (False, True))
    needed, less = (forecast_largest(*CLIP, c, CPU).peak_bytes for c in (config, saving))
    has(needed)
    assert less < 0.9 * needed
    found, note = fitted_to_memory(*CLIP, config, CPU)
    assert found == saving
    assert note == (f"checkpointing is on, for scale 1 (24x32, 8 frames a step) needs {gib_text(needed)} of memory and "
                    f"cpu has {gib_text(needed)} free; --no-memory-check leaves it off")
    has(round(needed / 0.89))
    assert fitted_to_memory(*CLIP, config, CPU) == (config, None)


@pytest.mark.usefixtures("not_rehearsed")
def test_what_fits_easily_is_not_rehearsed(has: Any, tiny_config: MakeConfig) -> None:
    has(1 << 30)
    assert fitted_to_memory(*CLIP, tiny_config(**SMALL), CPU)[1] is None


@pytest.mark.usefixtures("not_rehearsed")
def test_nothing_is_refused_where_the_system_says_nothing(has: Any, tiny_config: MakeConfig) -> None:
    has(None)
    fitted_to_memory(4000, 4000, 100, tiny_config(**SMALL), CPU)


@pytest.mark.parametrize("changes", [{}, {"separable": "dense", "num_3d_scales": -1}, {"width": 1, "max_width": 1},
                                     {"d_steps": 2, "noise_smooth_px": 1.0}], ids=str)
def test_the_easy_bound_is_above_the_forecast(changes: dict[str, Any], tiny_config: MakeConfig) -> None:
    config = tiny_config(**{**SMALL, **changes})
    plans = memory.plan_scales(*CLIP, config)
    assert memory._at_most_bytes(plans, 8) > 1.5 * forecast_largest(*CLIP, config, CPU).peak_bytes


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("all_need_a_gib")
def test_training_that_cannot_fit_leaves_no_folder(clip: Clip, has: Any, tiny_config: MakeConfig,
                                                   tmp_path: Path) -> None:
    has(1000)
    with pytest.raises(ConfigError, match=r"^scale 2 \(12x16, 3 frames a step\) needs 1\.0 GiB"):
        train(clip, tmp_path / "run", tiny_config())
    assert not (tmp_path / "run").exists()


def test_training_can_be_insisted_on(clip: Clip, has: Any, tiny_config: MakeConfig, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())
    has(1000)
    assert train(clip, tmp_path / "run", tiny_config(iterations=1, memory_check=False)).scales_done == 3


def test_a_finished_run_is_not_asked(tiny_run: Any, clip: Clip, has: Any, tiny_config: MakeConfig) -> None:
    has(1000)
    assert train(clip, tiny_run.run.path, tiny_config()).scales_done == 3


def test_a_failing_forecast_is_a_note(clip: Clip, has: Any, tiny_config: MakeConfig, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise NotImplementedError("no fake for this")
    monkeypatch.setattr(memory, "forecast_largest", fails)
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())
    has(1000)
    events: list[Event] = []
    train(clip, tmp_path / "run", tiny_config(iterations=1), on_event=events.append)
    assert "memory was not checked (NotImplementedError: no fake for this)" in events[0].notes  # type: ignore[union-attr]


# ---- what there is ---------------------------------------------------------------------------------------------------


def test_this_machine_says_how_much_is_free() -> None:
    free = available_bytes(CPU)
    assert free is None or 1 << 24 < free < 1 << 50


def test_swap_counts(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    5 kB\nSwapFree:   2 kB\nHugePages_Total:  0\n")
    assert memory._system_bytes(tmp_path / "meminfo") == 7 * 1024
    assert memory._system_bytes(tmp_path / "nothing") is None


@pytest.mark.parametrize("version", [1, 2])
def test_the_least_limit_above_a_process_counts(version: int, tmp_path: Path) -> None:
    """The cache that files take is given back on demand."""
    limit, usage, cached = ("memory.max", "memory.current", "inactive_file") if version == 2 else \
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    base = tmp_path / "cgroup" if version == 2 else tmp_path / "cgroup" / "memory"
    for folder, ceiling, used in (("a", "5000", 3000), ("a/b", "max" if version == 2 else str(2**63 - 4096), 1000)):
        (base / folder).mkdir(parents=True)
        (base / folder / limit).write_text(f"{ceiling}\n")
        (base / folder / usage).write_text(f"{used}\n")
        (base / folder / "memory.stat").write_text(f"anon 7\n{cached} 400\n")
    (tmp_path / "own").write_text("0::/a/b\n" if version == 2 else "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n")
    assert memory._container_bytes(tmp_path / "cgroup", tmp_path / "own") == 5000 - 3000 + 400


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory._container_bytes(tmp_path, tmp_path / "nothing") is None
