"""The run folder: begun whole, refused with a reason, its log kept in step with the weights."""

import dataclasses
import json
import os
import re
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sgif.engine.clip import Clip
from sgif.engine.config import CHOICES, ConfigError, TrainConfig
from sgif.engine.run_folder import (
    FREE_SETTINGS,
    LOCK,
    MAX_ROWS,
    append_row,
    keep_rows_before,
    locked_run,
    open_or_create_run,
    row_interval,
)
from sgif.engine.run_records import SCHEMA
from sgif.engine.runs import Run, load_run
from sgif.engine.storage import RunError, read_json, read_tensors, write_json, write_tensors
from sgif.engine.trainer import train

from .strangers import rehash

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def begun(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> Run:
    """A run of which nothing is trained yet."""
    return open_or_create_run(tmp_path / "run", clip, tiny_config())


@pytest.fixture
def run_copy(tiny_run: Any, tmp_path: Path) -> Path:
    """The folder of the finished tiny run, to be changed."""
    return shutil.copytree(tiny_run.run.path, tmp_path / "copy")


# ---- beginning -------------------------------------------------------------------------------------------------------


def test_a_begun_run_has_clip_noise_and_settings(begun: Run, clip: Clip, tiny_config: MakeConfig) -> None:
    assert {file.name for file in begun.path.iterdir()} == {"clip.safetensors", "z_fixed.safetensors", "config.json"}
    assert begun.config == tiny_config()
    assert begun.frame_ms == clip.frame_ms
    assert begun.source == clip.source
    assert torch.equal(begun.clip, clip.to_tensor())
    assert begun.z_fixed.shape == (1, 3, 6, 8, 11)
    assert begun.scales_done == 0
    assert [real.shape[3:] for real in begun.real] == [(8, 11), (10, 13), (12, 16)]


def test_the_clip_is_kept_at_the_finest_size(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    run = open_or_create_run(tmp_path / "run", clip, tiny_config(max_size_px=12))
    assert run.sizes[-1] == (9, 12)
    assert run.clip.shape == (1, 3, 6, 9, 12)


def test_a_begun_run_opens_again_as_it_was(begun: Run, clip: Clip, tiny_config: MakeConfig) -> None:
    files = {file: file.read_bytes() for file in begun.path.iterdir()}
    again = open_or_create_run(begun.path, clip, tiny_config())
    assert again.config == begun.config
    assert {file: file.read_bytes() for file in begun.path.iterdir()} == files


def test_an_empty_folder_is_taken_and_missing_ones_are_made(clip: Clip, tiny_config: MakeConfig,
                                                            tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert open_or_create_run(path, clip, tiny_config()).path == path


def test_a_clip_too_small_leaves_no_folder(tiny_config: MakeConfig, tmp_path: Path) -> None:
    small = Clip(frames=torch.zeros(3, 5, 9, 3, dtype=torch.uint8), frame_ms=(80,) * 3, source="small")
    with pytest.raises(ConfigError, match="too small"):
        open_or_create_run(tmp_path / "run", small, tiny_config())
    assert not (tmp_path / "run").exists()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_run_killed_while_it_is_begun_begins_again(clip: Clip, tiny_config: MakeConfig, tmp_path: Path, moment: int,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    replace, count = os.replace, 0

    def kill(*args: Any) -> None:
        nonlocal count
        count += 1
        if count == moment:
            raise Killed
        replace(*args)

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(Killed):
            open_or_create_run(path, clip, tiny_config())
    (path / ".clip.safetensors.123.tmp").write_bytes(b"cut")  # a real kill leaves the file it was writing
    assert open_or_create_run(path, clip, tiny_config()).num_frames == 6


@pytest.mark.parametrize("name", ["notes.txt", "state.safetensors", "scale_00", ".hidden"])
def test_a_folder_of_other_things_is_refused_and_left_alone(clip: Clip, tiny_config: MakeConfig, tmp_path: Path,
                                                            name: str) -> None:
    (tmp_path / name).mkdir() if name == "scale_00" else (tmp_path / name).write_text("mine")
    with pytest.raises(RunError) as refused:
        open_or_create_run(tmp_path, clip, tiny_config())
    assert str(refused.value) == (f"{tmp_path} exists and is not a run folder; expected a new or empty folder, "
                                  "give the run another")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_file_in_the_place_of_the_folder_is_refused(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="exists and is not a run folder"):
        open_or_create_run(tmp_path / "run", clip, tiny_config())


# ---- another clip, other settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["pixel", "durations", "length"])
def test_another_clip_is_refused(begun: Run, clip: Clip, tiny_config: MakeConfig, change: str) -> None:
    frames = clip.frames.clone()
    frames[2, 3, 4, 1] ^= 1
    other = {"pixel": dataclasses.replace(clip, frames=frames),
             "durations": dataclasses.replace(clip, frame_ms=(80,) * 5 + (90,)),
             "length": dataclasses.replace(clip, frames=clip.frames[:5], frame_ms=clip.frame_ms[:5])}[change]
    with pytest.raises(RunError, match=r"/run learns another clip \(waves\); give another folder for the run$"):
        open_or_create_run(begun.path, other, tiny_config())


def test_the_same_clip_from_another_file_is_accepted(begun: Run, clip: Clip, tiny_config: MakeConfig) -> None:
    open_or_create_run(begun.path, dataclasses.replace(clip, source="copy.gif", notes=("note",)), tiny_config())


def other_value(name: str, value: Any) -> Any:
    if name in CHOICES:
        return next(choice for choice in typing.get_args(CHOICES[name]) if choice != value)
    if isinstance(value, tuple):
        return (5, 2)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return 0.875 * value or 0.25
    return value + 1 if isinstance(value, int) else "auto"


FIELDS = [field.name for field in dataclasses.fields(TrainConfig)]


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in FREE_SETTINGS])
def test_another_setting_is_refused_by_name(begun: Run, clip: Clip, tiny_config: MakeConfig, name: str) -> None:
    old = getattr(tiny_config(), name)
    new = other_value(name, old)
    shown = [list(value) if isinstance(value, tuple) else value for value in (old, new)]
    with pytest.raises(RunError) as refused:
        open_or_create_run(begun.path, clip, tiny_config(**{name: new}))
    assert str(refused.value) == (f"{begun.path} was begun with other settings ({name} {shown[0]} there, {shown[1]} "
                                  "now); give those again, or another folder for the run")


def test_all_differing_settings_are_named(begun: Run, clip: Clip, tiny_config: MakeConfig) -> None:
    with pytest.raises(RunError, match=r"\(seed 0 there, 1 now; width 4 there, 8 now\)"):
        open_or_create_run(begun.path, clip, tiny_config(seed=1, width=8, threads=2))


@pytest.mark.parametrize("name", sorted(FREE_SETTINGS))
def test_a_free_setting_may_change(begun: Run, clip: Clip, tiny_config: MakeConfig, name: str) -> None:
    config = tiny_config(**{name: other_value(name, getattr(tiny_config(), name))})
    assert open_or_create_run(begun.path, clip, config).config == config


def test_nothing_that_decides_what_is_learned_is_free() -> None:
    groups = {field.name: field.metadata["group"] for field in dataclasses.fields(TrainConfig)}
    assert {groups[name] for name in FREE_SETTINGS} == {"run", "output"}
    assert not FREE_SETTINGS & {"seed", "amp"}


# ---- damage ----------------------------------------------------------------------------------------------------------


USES: dict[str, Callable[[Path], Any]] = {
    "config.json": load_run,
    "clip.safetensors": lambda path: load_run(path).sample(1, start_scale=1),
    "z_fixed.safetensors": lambda path: load_run(path).reconstruct(),
    "scale_00/generator.safetensors": lambda path: load_run(path).sample(),
    "scale_02/scale.json": lambda path: load_run(path).sample(),
    "scale_01/scale.json": lambda path: load_run(path).describe(),
}


def test_the_tiny_run_itself_is_fine(run_copy: Path) -> None:
    for use in USES.values():
        use(run_copy)


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "missing"])
def test_a_damaged_file_is_named(run_copy: Path, name: str, damage: str) -> None:
    file = run_copy / name
    data = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes({"empty": b"", "cut": data[:len(data) // 2], "garbage": bytes(range(256))}[damage])
    expected = f"^{re.escape(str(run_copy))} is not a run folder" if (name, damage) == ("config.json", "missing") \
        else f"^{re.escape(str(file))} "
    with pytest.raises(RunError, match=expected):
        USES[name](run_copy)


@pytest.mark.parametrize("name", ["config.json", "scale_02/scale.json"])
@pytest.mark.parametrize("value", [None, [], 3, "text", {}, {"noise_amp": "big", "schema": "1"}], ids=str)
def test_other_json_is_named(run_copy: Path, name: str, value: Any) -> None:
    write_json(run_copy / name, value)
    with pytest.raises(RunError, match=f"^{re.escape(str(run_copy / name))}:? "):
        USES[name](run_copy)


@pytest.mark.parametrize(
    ("name", "tensors"),
    [("clip.safetensors", {"frames": torch.zeros(6, 12, 15, 3, dtype=torch.uint8)}),
     ("clip.safetensors", {"frames": torch.zeros(6, 12, 16, 3)}), ("clip.safetensors", {"other": torch.zeros(1)}),
     ("z_fixed.safetensors", {"z_fixed": torch.zeros(1, 3, 5, 8, 11)}), ("z_fixed.safetensors", {}),
     ("scale_00/generator.safetensors", {"tail_bias": torch.zeros(3)})],
    ids=["clip size", "clip dtype", "no clip", "noise length", "no noise", "weights"])
def test_other_tensors_are_named(run_copy: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    write_tensors(run_copy / name, tensors)
    rehash(run_copy, name)
    with pytest.raises(RunError, match=f"^{re.escape(str(run_copy / name))}(: tensor | is not a valid)"):
        USES[name](run_copy)


def changed_config(run: Path, *keys: str, value: Any) -> None:
    record = read_json(run / "config.json")
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_json(run / "config.json", record)


@pytest.mark.parametrize(
    ("keys", "value"),
    [(("clip", "frame_ms"), [80]), (("clip", "frame_ms"), 80), (("clip", "frame_ms"), [80, 90.5]),
     (("clip", "source"), None), (("clip", "height"), 12.0), (("clip", "width"), True), (("clip",), []),
     (("config",), None), (("config", "iterations"), "many"), (("config", "later_setting"), 1),
     (("config", "padding"), "later"), (("clip", "height"), 2)], ids=str)
def test_a_record_that_makes_no_sense_is_refused_by_file(run_copy: Path, keys: tuple[str, ...], value: Any) -> None:
    changed_config(run_copy, *keys, value=value)
    with pytest.raises(RunError, match=f"^{re.escape(str(run_copy / 'config.json'))}"):
        load_run(run_copy)


def test_a_run_of_a_later_version_is_refused(run_copy: Path) -> None:
    changed_config(run_copy, "schema", value=SCHEMA + 1)
    with pytest.raises(RunError, match=rf"has schema {SCHEMA + 1}, this sgif reads 1 to {SCHEMA}: install a newer"):
        load_run(run_copy)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match=r"is not a run folder \(no config\.json\)"):
            load_run(path)


def test_a_description_is_plain_json(tiny_run: Any) -> None:
    described = json.loads(json.dumps(tiny_run.run.describe()))
    assert described["scales_done"] == 3
    assert [scale["kind"] for scale in described["scales"]] == ["3D", "3D", "2D"]
    assert [scale["scale"] for scale in described["finished"]] == [0, 1, 2]
    assert TrainConfig.from_json(described["config"]) == tiny_run.run.config


# ---- a damaged state -------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> Path:
    """A run stopped after its first iteration."""
    with pytest.raises(RuntimeError, match=r"^stopped in scale 0 at iteration 1"):
        train(clip, tmp_path / "stopped", tiny_config(), should_stop=lambda: True)
    return tmp_path / "stopped"


@pytest.mark.parametrize("damage", ["cut", "no place", "missing tensor", "missing slot", "wrong slot", "wrong tensor"])
def test_a_damaged_state_is_named(stopped: Path, clip: Clip, tiny_config: MakeConfig, damage: str) -> None:
    path = stopped / "state.safetensors"
    tensors, place = read_tensors(path)
    if damage == "missing tensor":
        del tensors["generator.tail_bias"]
    elif damage == "missing slot":
        del tensors["adam.critics.3.exp_avg"]
    elif damage == "wrong slot":
        tensors["adam.critics.3.exp_avg"] = torch.zeros(1, 1, 1)
    elif damage == "wrong tensor":
        tensors["image_critic.tail.weight"] = torch.zeros(2)
    elif damage == "no place":
        place = {}
    write_tensors(path, tensors, **place)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=f"^{re.escape(str(path))}"):
        train(clip, stopped, tiny_config())


# ---- the log ---------------------------------------------------------------------------------------------------------

ROWS = [{"scale": scale, "iteration": iteration} for scale in (0, 1) for iteration in (2, 4, 6)]


@pytest.mark.parametrize(("scale", "iteration", "kept"), [(0, 0, 0), (0, 3, 1), (0, 4, 2), (1, 0, 3), (1, 2, 4),
                                                          (2, 0, 6)])
def test_rows_that_will_be_written_again_are_dropped(tmp_path: Path, scale: int, iteration: int, kept: int) -> None:
    path = tmp_path / "stats.jsonl"
    for row in ROWS:
        append_row(path, row)
    keep_rows_before(path, scale, iteration)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS[:kept]


@pytest.mark.parametrize("cut", [1, 2, 10, 20])
def test_a_last_line_cut_short_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "stats.jsonl"
    for row in ROWS[:2]:
        append_row(path, row)
    path.write_bytes(path.read_bytes()[:-cut])
    keep_rows_before(path, 0, 6)
    append_row(path, ROWS[2])
    expected = [ROWS[0], *([ROWS[1]] if cut == 1 else []), ROWS[2]]  # the newline alone: the row is whole
    assert [json.loads(line) for line in path.read_text().splitlines()] == expected


def test_a_missing_log_is_begun(tmp_path: Path) -> None:
    keep_rows_before(tmp_path / "stats.jsonl", 0, 0)
    assert (tmp_path / "stats.jsonl").read_text() == ""


@pytest.mark.parametrize(("iterations", "log_every", "rows"), [
    (6, 2, 3), (8000, 20, 400), (40_000, 20, 2000), (40_001, 20, 1001), (10_000_000, 1, 2000), (10_000_000, 7, 1999),
    (5, 1_000_000, 1)])
def test_a_scale_has_a_bounded_number_of_rows(iterations: int, log_every: int, rows: int, begun: Run,
                                              tiny_config: MakeConfig) -> None:
    plan = dataclasses.replace(begun.plans[0], iterations=iterations)
    interval = row_interval(plan, tiny_config(log_every=log_every))
    assert interval % log_every == 0
    assert -(-iterations // interval) == rows <= MAX_ROWS


# ---- one process at a time -------------------------------------------------------------------------------------------


def test_a_run_that_is_trained_is_refused_to_others_until_it_is_let_go(clip: Clip, tiny_config: MakeConfig,
                                                                       tmp_path: Path) -> None:
    path = tmp_path / "run"
    with locked_run(path, clip, tiny_config()):
        with pytest.raises(RunError) as refused, locked_run(path, clip, tiny_config()):
            pass
        assert str(refused.value) == (f"another process is training {path}; wait until it is done or stop it, or give "
                                      "this run another folder")
        assert load_run(path).scales_done == 0  # to read, it needs no lock
    with locked_run(path, clip, tiny_config()) as run:
        assert run.path == path


def test_a_folder_locked_before_it_is_a_run_is_one_that_may_become_one(clip: Clip, tiny_config: MakeConfig,
                                                                       tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()  # a kill between the lock and the clip leaves it
    with locked_run(tmp_path, clip, tiny_config()) as run:
        assert run.scales_done == 0


def test_a_finished_run_is_not_locked_and_loses_what_a_kill_left(run_copy: Path, clip: Clip,
                                                                 tiny_config: MakeConfig) -> None:
    before = {file.name for file in run_copy.iterdir()}
    for name in (LOCK, "state.safetensors", ".report.html.123.tmp"):
        (run_copy / name).write_bytes(b"left")
    with locked_run(run_copy, clip, tiny_config()) as run, locked_run(run_copy, clip, tiny_config()):
        assert run.finished
    assert {file.name for file in run_copy.iterdir()} == before


@pytest.mark.parametrize("folder", ["foreign", "small"])
def test_what_is_refused_is_not_locked(folder: str, clip: Clip, tiny_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / folder
    if folder == "foreign":
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    else:
        clip = Clip(frames=torch.zeros(3, 5, 9, 3, dtype=torch.uint8), frame_ms=(80,) * 3, source="small")
    with pytest.raises((RunError, ConfigError)), locked_run(path, clip, tiny_config()):
        pass
    assert not (path / LOCK).exists()
    assert path.exists() == (folder == "foreign")
