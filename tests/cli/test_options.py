import argparse
import dataclasses
import shlex
import typing

import pytest

from sgif.cli.options import add_setting_options, config_from, presets_table
from sgif.engine.config import BOUNDS, CHOICES, PRESETS, VARIANTS, ConfigError, TrainConfig, preset_config
from sgif.engine.wording import FIELDS, as_typed, changed_options, option_name

# Where a value is typed otherwise than it is meant, or its form is not plain from the default.
SPECIAL = {"device": ("cpu", "cpu"), "num_3d_scales": ("all", -1), "frames_per_step": ("5:4", (5, 4)),
           "iterations": ("30:20", (30, 20))}
LOWEST = {name: low for name, low, _ in BOUNDS}


def other_value(name):
    """A value that no preset gives this setting, as typed and as meant."""
    default = FIELDS[name].default
    if name in SPECIAL:
        return SPECIAL[name]
    if isinstance(default, bool):
        return None, not default
    if name in CHOICES:
        value = next(choice for choice in typing.get_args(CHOICES[name]) if choice != default)
    elif isinstance(default, int):
        value = default + 1
    else:
        value = (default + LOWEST[name]) / 2 if default > LOWEST[name] else default + 0.5
    return str(value), value


OTHER = {name: other_value(name) for name in FIELDS}


def parse(*words):
    parser = argparse.ArgumentParser()
    add_setting_options(parser)
    return parser.parse_args(words)


def words_for(name):
    typed, meant = OTHER[name]
    if typed is None:
        return [option_name(name) if meant else option_name(name).replace("--", "--no-")]
    return [option_name(name), typed]


def test_no_two_settings_share_an_option():
    assert len({option_name(field.name) for field in dataclasses.fields(TrainConfig)}) == len(OTHER)


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_has_an_option_that_sets_it_and_nothing_else(name):
    config = config_from(parse(*words_for(name)), "paper")
    value = OTHER[name][1]
    expected = preset_config(value) if name == "preset" else preset_config("paper", **{name: value})
    assert config == expected


def test_options_override_the_preset_wherever_they_stand():
    args = parse("--iterations", "11", "--preset", "draft")
    assert config_from(args, "paper") == preset_config("draft", iterations=11)


def test_without_options_the_default_preset_stands():
    assert config_from(parse(), "draft") == preset_config("draft")


def test_units_are_in_the_metavar_and_not_in_the_name():
    assert [option_name(name) for name in ("max_size_px", "num_3d_scales", "save_seconds")] == [
        "--max-size", "--num-3d-scales", "--save-seconds"]


def test_a_refused_setting_is_named_as_its_option():
    with pytest.raises(ConfigError, match=r"^--max-size is 30, expected at least --min-size, 40$"):
        config_from(parse("--max-size", "30", "--min-size", "40"), "paper")
    with pytest.raises(ConfigError, match=r"^--width is 0, expected 1 to 1024$"):
        config_from(parse("--width", "0"), "paper")


def test_the_options_of_a_config_give_that_config_again():
    everything = [word for name in OTHER for word in words_for(name)]
    config = config_from(parse(*everything), "paper")
    again = shlex.split(" ".join(changed_options(config)))
    assert config_from(parse(*again), config.preset) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_alone_changes_no_options(preset):
    assert changed_options(preset_config(preset)) == []


def test_the_table_of_presets_shows_what_each_one_changes():
    head, *rows = presets_table().splitlines()
    assert head.split()[1:] == list(PRESETS)
    for row in rows:
        option, *shown = row.split()
        name = next(name for name in FIELDS if option_name(name) == option)
        assert shown == [as_typed(name, getattr(preset_config(preset), name)) for preset in PRESETS]
    assert {row.split()[0] for row in rows} == {option_name(name) for changes in PRESETS.values() for name in changes}


@pytest.mark.parametrize("name", CHOICES)
def test_a_value_that_is_no_choice_is_a_usage_error(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(option_name(name), "other")
    assert "invalid choice: 'other'" in capsys.readouterr().err


def test_a_variant_changes_the_preset_and_given_settings_win():
    words = ("--preset", "draft", "--variant", "singan-all-frames", "--rec-weight", "7")
    config = config_from(parse(*words), "paper")
    assert config == preset_config("draft", **{**VARIANTS["singan-all-frames"], "rec_weight": 7.0})
    assert changed_options(config) == ["--num-3d-scales 0", "--no-neighbours", "--noise frames", "--noise-smooth 0.0",
                                       "--video-weight 0.0", "--rec-weight 7.0", "--stat-weight 0.0",
                                       "--frames-per-step 1:1"]


def test_an_unknown_variant_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse("--variant", "better")
    assert "argument --variant: invalid choice: 'better'" in capsys.readouterr().err
