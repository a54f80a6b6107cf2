"""The profile of a clip's training: what every scale is expected to take, and took in a few steps, on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..clip import Clip
from ..config import ConfigError, TrainConfig
from ..device import describe_device, resolve_device, set_threads
from ..pyramid import plan_scales
from ..run_folder import package_version
from ..storage import write_bytes, write_json
from ..trainer import set_fusion
from .forecast import ScaleForecast, forecast_scale
from .measure import ScaleMeasurement, measure_scale
from .memory import available_bytes, gib_text
from .picture import draw_profile
from .rehearsal import ABSENT_GPU_ARCH

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class ScaleProfile:
    """One scale: forecast, and measured unless it could not be."""

    forecast: ScaleForecast
    measured: ScaleMeasurement | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"forecast": self.forecast.to_json(), "measured": self.measured and self.measured.to_json()}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What `profile_clip` found."""

    source: str
    frames: int
    size: tuple[int, int]
    config: TrainConfig
    device: str
    on_gpu: bool
    scales: tuple[ScaleProfile, ...]
    notes: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether any scale was."""
        return any(scale.measured for scale in self.scales)

    @property
    def training_seconds(self) -> float | None:
        """What all iterations of these scales take at the speed that was measured; None where one was not."""
        seconds = [scale.measured.seconds_per_step * scale.forecast.plan.iterations
                   for scale in self.scales if scale.measured]
        return sum(seconds) if len(seconds) == len(self.scales) else None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"schema": SCHEMA, "versions": {"sgif": package_version("sgif"), "torch": torch.__version__},
                "clip": {"source": self.source, "frames": self.frames, "height": self.size[0], "width": self.size[1]},
                "config": self.config.to_json(), "device": self.device, "notes": list(self.notes),
                "training_seconds": self.training_seconds,
                "scales": [scale.to_json() for scale in self.scales]}


def profile_clip(clip: Clip, config: TrainConfig, *, steps: int = 3, scales: Sequence[int] | None = None,
                 trace: Path | None = None,
                 on_scale: Callable[[int, int], None] = lambda scale, count: None) -> Profile:
    """Forecast every scale (or those in `scales`) of training on `clip`, and measure it in `steps` steps.

    A GPU that is not there is forecast only. So is, with a note, a scale that the device has no room for.

    Args:
        trace: where to write a Chrome trace of up to three steps of the finest of these scales.
        on_scale: called with a scale, and how many there are, before it is looked at.

    Raises:
        ConfigError: the settings, the clip's size or the device cannot be used, or a scale is not there.
    """
    height, width = clip.frames.shape[1:3]
    num_frames = len(clip.frame_ms)
    plans = plan_scales(height, width, num_frames, config)
    wanted = range(len(plans)) if scales is None else scales
    if any(not 0 <= scale < len(plans) for scale in wanted):
        raise ConfigError(f"scales {', '.join(map(str, wanted))}: this clip has scales 0 to {len(plans) - 1}")
    set_threads(config.threads)
    device, there = _device_or_forecast(config.device)
    notes = []
    if there:
        unfused = set_fusion(config, device)
        notes += [f"norms are not fused: {unfused}"] if unfused else []
    else:
        unfused = None
        notes.append(f"{device} is not there: nothing was measured, and launches are those for {ABSENT_GPU_ARCH}")
    found = []
    for scale in wanted:
        on_scale(scale, len(plans))
        forecast = forecast_scale(plans, scale, num_frames, config, device, fused=config.fuse and unfused is None)
        room = available_bytes(device) if there else 0
        fits = room is None or forecast.peak_bytes < room
        if there and not fits:
            notes.append(f"scale {scale} was not measured: it needs {gib_text(forecast.peak_bytes)}, "
                         f"{gib_text(room or 0)} are free")
        measured = measure_scale(plans, scale, num_frames, config, device, steps=steps,
                                 trace=trace if scale == wanted[-1] else None) if there and fits else None
        found.append(ScaleProfile(forecast=forecast, measured=measured))
    described = describe_device(device) if there else f"forecast for {device}"
    return Profile(source=clip.source, frames=num_frames, size=(height, width), config=config, device=described,
                   on_gpu=device.type == "cuda", scales=tuple(found), notes=tuple(notes))


def write_profile(profile: Profile, folder: Path) -> list[Path]:
    """Write profile.json and profile.svg into `folder`; each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    data, picture = folder / "profile.json", folder / "profile.svg"
    write_json(data, profile.to_json())
    write_bytes(picture, draw_profile(profile).encode())
    return [data, picture]


def forecast_device(name: str) -> torch.device:
    """The device that `name` asks for, for a forecast: a GPU need not be there. Raises ConfigError for another name."""
    return _device_or_forecast(name)[0]


def _device_or_forecast(name: str) -> tuple[torch.device, bool]:
    """The device that `name` asks for, and whether it is there: a GPU need not be."""
    try:
        return resolve_device(name), True
    except ConfigError:
        if not name.startswith("cuda"):
            raise
        return torch.device("cuda"), False
