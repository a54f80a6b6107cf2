"""Settings: every rule refuses with a sentence, and JSON gives back what it took."""

import dataclasses
import json
import math
import subprocess
import sys
import typing
from typing import Any

import pytest

from sgif.engine.config import (
    ALL_SCALES,
    BOUNDS,
    CHOICES,
    PRESETS,
    VARIANTS,
    ConfigError,
    TrainConfig,
    preset_config,
)

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
TYPES = typing.get_type_hints(TrainConfig)
ROOM = {"max_size_px": 8192, "min_size_px": 8}  # so that a bound of one size is not refused for the other


def beyond(value: float, direction: int) -> float:
    return value + direction if isinstance(value, int) else math.nextafter(value, direction * math.inf)


OUTSIDE = [(name, beyond(bound, direction), low, high)
           for name, low, high in BOUNDS for bound, direction in ((low, -1), (high, 1))]


@pytest.mark.parametrize(("name", "value", "low", "high"), OUTSIDE, ids=[f"{name}={v}" for name, v, *_ in OUTSIDE])
def test_value_outside_its_bounds_is_refused_by_name(name: str, value: float, low: float, high: float) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig(**{**ROOM, name: value})
    assert str(refused.value) == f"{name} is {value}, expected {low} to {high}"


@pytest.mark.parametrize(("name", "low", "high"), BOUNDS, ids=[name for name, *_ in BOUNDS])
def test_bounds_themselves_are_allowed(name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(TrainConfig(**{**ROOM, name: value}), name) == value


@pytest.mark.parametrize("name", [name for name, *_ in BOUNDS if TYPES[name] is float])
def test_nan_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is nan, expected "):
        TrainConfig(**{name: math.nan})


def test_every_number_is_bounded() -> None:
    numbers = {name for name, kind in TYPES.items() if kind in (int, float)}
    assert {name for name, *_ in BOUNDS} == numbers - {"num_3d_scales"}  # its rule has the exception "all"


def test_every_literal_is_a_choice() -> None:
    literals = {name: kind for name, kind in TYPES.items() if typing.get_origin(kind) is typing.Literal}
    assert literals == dict(CHOICES)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["other", 3, ["zeros"]], ids=str)
def test_unknown_choice_is_refused_with_the_choices(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig(**{name: value})
    assert str(refused.value) == f"{name} is {value!r}, expected one of {', '.join(typing.get_args(CHOICES[name]))}"


def test_finest_scale_smaller_than_the_coarsest_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^max_size_px is 24, expected at least min_size_px, 25$"):
        TrainConfig(max_size_px=24, min_size_px=25)


def test_negative_number_of_3d_scales_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^num_3d_scales is -2, expected 0 or more, or 'all'$"):
        TrainConfig(num_3d_scales=-2)
    assert TrainConfig(num_3d_scales=ALL_SCALES).num_3d_scales == ALL_SCALES


@pytest.mark.parametrize("pair", [(8, 16), (8, 1), (1, 1), (0, 0), (10_001, 8)], ids=str)
def test_frames_that_grow_or_are_too_few_or_many_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig(frames_per_step=pair)
    why = "; 1 is for models without a video critic, video_weight 0" if pair[1] == 1 else ""
    assert str(refused.value) == f"frames_per_step is {pair[0]}:{pair[1]}, expected A:B with A >= B >= 2{why}"


def test_one_frame_a_step_is_for_models_without_a_video_critic() -> None:
    assert TrainConfig(frames_per_step=(4, 1), video_weight=0.0).frames_per_step == (4, 1)
    with pytest.raises(ConfigError, match=r"^frames_per_step is 4:0, expected A:B with A >= B >= 1$"):
        TrainConfig(frames_per_step=(4, 0), video_weight=0.0)


def test_a_model_without_any_critic_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^image_weight and video_weight are both 0, expected at least one critic$"):
        TrainConfig(image_weight=0.0, video_weight=0.0)


# ---- variants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("preset", ["paper", "fast", "draft"])
def test_every_variant_goes_with_every_preset(preset: Any, variant: str) -> None:
    config = preset_config(preset, **VARIANTS[variant])
    assert {name: getattr(config, name) for name in VARIANTS[variant]} == dict(VARIANTS[variant])


def test_the_baseline_preset_is_the_papers_budget_with_the_baseline_model() -> None:
    paper = preset_config("paper", **VARIANTS["singan-all-frames"])
    assert preset_config("singan-all-frames") == dataclasses.replace(paper, preset="singan-all-frames")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1  # type: ignore[misc]


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in FIELDS.items() if not field.metadata["doc"] or not field.metadata["group"]] == []


# ---- presets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_is_valid_and_keeps_its_name(preset: Any) -> None:
    config = preset_config(preset)
    assert config.preset == preset
    assert {name: getattr(config, name) for name in PRESETS[preset]} == dict(PRESETS[preset])


def test_every_preset_has_its_row() -> None:
    assert tuple(PRESETS) == typing.get_args(CHOICES["preset"])


def test_changes_win_over_the_preset() -> None:
    assert preset_config("draft", iterations=3, seed=9) == dataclasses.replace(
        preset_config("draft"), iterations=3, seed=9)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^preset is 'quick', expected one of paper, fast, draft"):
        preset_config("quick")  # type: ignore[arg-type]


def test_preset_refuses_a_bad_change() -> None:
    with pytest.raises(ConfigError, match=r"^iterations is 0:0, expected "):
        preset_config("fast", iterations=0)
    with pytest.raises(ConfigError, match=r"^iterations is 5:0, expected "):
        preset_config("fast", iterations=(5, 0))


def test_one_number_of_iterations_is_that_of_all_scales() -> None:
    assert preset_config("fast", iterations=7) == preset_config("fast", iterations=(7, 7))


# ---- JSON ------------------------------------------------------------------------------------------------------------


def other_value(name: str) -> Any:
    """A valid value of a setting that is not its default."""
    default = FIELDS[name].default
    if name in CHOICES:
        return next(choice for choice in typing.get_args(CHOICES[name]) if choice != default)
    if isinstance(default, tuple):
        return (12, 7)
    if isinstance(default, bool):
        return not default
    if isinstance(default, float):
        return 0.875 * default or 0.25
    return default + 1 if isinstance(default, int) else "cpu"


@pytest.mark.parametrize("preset", PRESETS)
def test_json_roundtrip_of_a_preset(preset: Any) -> None:
    config = preset_config(preset)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_json_roundtrip_of_every_setting() -> None:
    config = TrainConfig(**{name: other_value(name) for name in FIELDS})
    assert all(getattr(config, name) != field.default for name, field in FIELDS.items())
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_settings_missing_from_json_take_their_defaults() -> None:
    assert TrainConfig.from_json({"seed": 3}) == TrainConfig(seed=3)


def test_json_whole_number_is_a_float() -> None:
    assert TrainConfig.from_json({"rec_weight": 50}).rec_weight == 50.0


def test_json_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^unknown setting 'learning_rate'$"):
        TrainConfig.from_json({"seed": 1, "learning_rate": 0.1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", True), ("width", 1.0), ("width", "8"), ("width", None), ("iterations", 8), ("amp", 1), ("amp", "yes"),
     ("lr", "0.1"), ("lr", True), ("lr", None), ("padding", 3), ("device", None), ("frames_per_step", "8:6"),
     ("frames_per_step", 8), ("frames_per_step", {"first": 8})], ids=str)
def test_json_value_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig.from_json({name: value})
    assert str(refused.value) == f"{name} is {value!r}, expected a value like {FIELDS[name].default!r}"


@pytest.mark.parametrize("pair", [[8], [8, 6, 4], [8, 6.0], [True, 6], ["8", "6"], []], ids=str)
@pytest.mark.parametrize("name", ["frames_per_step", "iterations"])
def test_json_pair_that_is_none_of_two_numbers_is_refused(name: str, pair: list[Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        TrainConfig.from_json({name: pair})
    assert str(refused.value) == f"{name} is {pair!r}, expected two whole numbers"


def test_json_value_out_of_bounds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^width is 0, expected 1 to "):
        TrainConfig.from_json({"width": 0})


def test_settings_load_without_torch() -> None:
    code = "import sys, sgif.engine.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
