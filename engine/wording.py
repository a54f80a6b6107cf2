"""How settings, sizes and times are worded: on a command line, in a terminal, on a page."""

from __future__ import annotations

import dataclasses
import math
import shlex
from typing import TYPE_CHECKING, Any

from .config import ALL_SCALES, TrainConfig, preset_config

if TYPE_CHECKING:
    from .runs import Run

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}


def option_name(field: str) -> str:
    """`max_size_px` -> `--max-size`: the unit is in the option's metavar."""
    return "--" + field.removesuffix("_px").replace("_", "-")


def as_typed(name: str, value: Any) -> str:
    """A setting's value as a person types or reads it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == "iterations" and value[0] == value[1]:
        return str(value[0])
    if isinstance(value, tuple | list):
        return ":".join(map(str, value))
    if name == "num_3d_scales" and value == ALL_SCALES:
        return "all"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def changed_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that differ from the config's preset, with the preset's values."""
    base = preset_config(config.preset)
    return {name: getattr(base, name) for name in FIELDS if getattr(config, name) != getattr(base, name)}


def changed_options(config: TrainConfig) -> list[str]:
    """The same as the options that make the difference."""
    options = []
    for name in changed_settings(config):
        value, option = getattr(config, name), option_name(name)
        if isinstance(value, bool):
            options.append(option if value else option.replace("--", "--no-", 1))
        else:
            exact = repr(value) if isinstance(value, float) else as_typed(name, value)
            options.append(f"{option} {shlex.quote(exact)}")
    return options


def train_command(run: Run) -> str:
    """The command that makes this run, or goes on with it."""
    source, path = shlex.quote(run.source), shlex.quote(str(run.path))
    options = [f"--preset {run.config.preset}", *changed_options(run.config)]
    return " ".join(["sgif train", source, "-o", path, *clip_options(run.record["clip"].get("window")), *options])


def clip_options(window: Any) -> list[str]:
    """The options that ask for `Clip.window`, as config.json has it; none for what is no such thing."""
    match window:
        case {"start": int(start), "frames": int() | None as frames, "background": str(background),
              "crop": [int(), int(), int(), int()] | None as crop}:
            return [*([f"--start-frame {start}"] if start else []),
                    *([f"--frames {frames}"] if frames is not None else []),
                    *([f"--crop {crop[0]},{crop[1]},{crop[2]}x{crop[3]}"] if crop else []),
                    *([f"--background {shlex.quote(background)}"] if background != "white" else [])]
    return []


def size_text(size: tuple[int, int]) -> str:
    """Height and width: `90x160`."""
    return f"{size[0]}x{size[1]}"


def seconds_text(seconds: float) -> str:
    """`4.2 s`, `3:10`, `1:02:33`, or `?` where nobody knows."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 59.95:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
