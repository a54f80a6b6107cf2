"""The options of `sgif train` that are settings: one for every field of TrainConfig, made from its metadata."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Callable, Collection
from typing import Any

from ..engine.config import CHOICES, PRESETS, VARIANTS, ConfigError, Preset, TrainConfig, preset_config
from ..engine.wording import FIELDS, as_typed, option_name
from . import values

VARIANT = "variant"  # no setting: it stands for some, and those are what a run keeps
BY_PRESET = {name for changes in PRESETS.values() for name in changes}
PARSERS: dict[str, Callable[[str], Any]] = {
    "num_3d_scales": values.scale_count, "frames_per_step": values.frame_range,
    "iterations": values.count_or_range,
}
PARSERS_BY_TYPE: dict[type, Callable[[str], Any]] = {int: values.whole, float: values.number, str: str}


def add_setting_options(parser: argparse.ArgumentParser, only: Collection[str] = (*FIELDS, VARIANT)) -> None:
    """Add an option for every setting of `only`, in groups. Only those that are given appear in the namespace."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in FIELDS.items():
        if name not in only:
            continue
        title = field.metadata["group"]
        group = groups[title] = groups.get(title) or parser.add_argument_group(title)
        choices = typing.get_args(CHOICES.get(name))
        words = field.metadata["doc"] + (f"; {', '.join(choices)}" if choices else "")
        common: dict[str, Any] = {
            "dest": name, "default": argparse.SUPPRESS, "help": f"{words} [{_default_text(name)}]".replace("%", "%%"),
        }
        if isinstance(field.default, bool):
            group.add_argument(option_name(name), action=argparse.BooleanOptionalAction, **common)
        else:
            common["type"] = PARSERS.get(name) or PARSERS_BY_TYPE[type(field.default)]
            common["metavar"] = field.metadata["metavar"] or name.rpartition("_")[2].upper()
            group.add_argument(option_name(name), choices=choices or None, **common)
        if name == "preset" and VARIANT in only:
            group.add_argument(option_name(VARIANT), choices=tuple(VARIANTS), metavar="NAME", default=argparse.SUPPRESS,
                               help=f"another model under the same preset; {', '.join(VARIANTS)} [none]")


def config_from(args: argparse.Namespace, default_preset: Preset) -> TrainConfig:
    """The preset with the variant and then the given settings applied. Raises ConfigError in terms of the options."""
    given = {name: value for name, value in vars(args).items() if name in FIELDS}
    given = {**VARIANTS.get(getattr(args, VARIANT, ""), {}), **given}
    try:
        return preset_config(given.pop("preset", default_preset), **given)
    except ConfigError as error:
        words = re.sub(r"\w+_\w+|^\w+", lambda word: option_name(word[0]) if word[0] in FIELDS else word[0], str(error))
        raise ConfigError(words) from None


def presets_table() -> str:
    """What each preset sets, for the end of the help."""
    configs = [preset_config(preset) for preset in PRESETS]
    rows = [("presets:", *PRESETS)]
    rows += [("  " + option_name(name), *(as_typed(name, getattr(config, name)) for config in configs))
             for name in FIELDS if name in BY_PRESET]
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(1, len(rows[0]))]
    return "\n".join(f"{option:<22}" + "".join(f"{value:>{width}}" for value, width in zip(cells, widths, strict=True))
                     for option, *cells in rows)


def _default_text(name: str) -> str:
    if name == "preset":
        return "fast with a GPU, draft on a CPU"
    return "by preset" if name in BY_PRESET else as_typed(name, FIELDS[name].default)
