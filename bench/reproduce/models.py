"""What is compared: the paper's model beside its baseline, beside itself with a part taken away or replaced, or beside
itself after fewer and after more iterations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...engine.config import FIXED_BY_VARIANTS, PRESETS, VARIANTS, ConfigError, Preset, TrainConfig, preset_config

What = Literal["table1", "ablations", "quality"]
FULL, ALL_FRAMES = "singan-gif", "singan-all-frames"
TITLES: Mapping[What, Mapping[str, str]] = {
    "table1": {FULL: "SinGAN-GIF", ALL_FRAMES: "SinGAN (All Frames)"},
    "ablations": {
        FULL: "SinGAN-GIF", "no-colour-loss": "no colour loss", "no-image-critic": "no image critic",
        "no-video-critic": "no video critic", "depthwise": "depthwise 3D generators",
        "r2plus1d": "R(2+1)D generators", "dense": "dense 3D generators", "all-3d": "3D at all scales",
        "all-2d": "2D at all scales"},
    "quality": {FULL: "all iterations", "quarter": "a quarter of them", "half": "half of them", "double": "twice them"},
}
"""The models of each table by the name of their variant or part of the iterations, the whole one first."""
ITERATIONS: Mapping[str, float] = {"quarter": 0.25, "half": 0.5, "double": 2.0}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of a table."""

    key: str
    title: str
    config: TrainConfig


def models_of(what: What, preset: Preset, settings: Mapping[str, Any]) -> tuple[list[Model], list[str]]:
    """The models under one budget, for "quality" under parts and multiples of it, and a note for each that would be the
    whole one once more.

    Args:
        settings: changes of the preset; none that tells the models apart.

    Raises:
        ConfigError: the preset is one of the models, a setting tells them apart, or it cannot be used.
    """
    if preset in VARIANTS:
        raise ConfigError(f"preset is {preset}, which is one of the models here; expected a budget for all of them: "
                          f"{', '.join(name for name in PRESETS if name not in VARIANTS)}")
    if what != "quality" and (fixed := sorted(FIXED_BY_VARIANTS & settings.keys())):
        raise ConfigError(f"{fixed[0]} is given, which tells the models apart; expected settings of the budget alone")
    models: list[Model] = []
    notes = []
    for key, title in TITLES[what].items():
        config = preset_config(preset, **{**settings, **VARIANTS.get(key, {})})
        if part := ITERATIONS.get(key):
            first, last = (max(1, round(part * count)) for count in config.iterations)
            config = dataclasses.replace(config, iterations=(first, last))
        if models and config == models[0].config:
            notes.append(f"{title}: that is what {models[0].title} is under the preset {preset}")
        else:
            models.append(Model(key=key, title=title, config=config))
    return models, notes


def differences(model: Model, whole: Model) -> dict[str, Any]:
    """The settings in which a model differs from the whole one."""
    return {field.name: getattr(model.config, field.name) for field in dataclasses.fields(TrainConfig)
            if getattr(model.config, field.name) != getattr(whole.config, field.name)}
