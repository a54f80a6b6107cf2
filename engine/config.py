"""Settings of a training run: frozen data, the presets as one table, and the rules that every value must obey.

Nothing here imports torch, so that a command line can be parsed and refused at once.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Preset = Literal["paper", "fast", "draft", "singan-all-frames"]
Separable = Literal["depthwise", "r2plus1d", "dense"]
Padding = Literal["zeros", "replicate", "reflect", "once"]
PadTime = Literal["replicate", "circular"]
PenaltyNorm = Literal["voxel", "sample"]
Noise = Literal["volume", "split", "frames"]
ALL_SCALES = -1


class ConfigError(ValueError):
    """A setting that cannot be used; the message says what came and what was expected."""


def setting(default: Any, doc: str, *, group: str, metavar: str | None = None) -> Any:
    """A dataclass field whose documentation the command line shows."""
    return dataclasses.field(default=default, metadata={"doc": doc, "group": group, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a run learns. Defaults are the paper's (`--preset paper`)."""

    preset: Preset = setting("paper", "table of defaults that the other settings start from", group="run")
    seed: int = setting(0, "every random number of the run derives from it", group="run", metavar="N")
    device: str = setting("auto", "auto, cpu, cuda, cuda:1 ...", group="run", metavar="NAME")
    threads: int = setting(0, "CPU threads, 0 for as many as there are cores", group="run", metavar="N")
    amp: bool = setting(False, "compute in bfloat16 under autocast, keep weights in float32", group="run")
    checkpointing: bool = setting(False, "recompute activations in backward: less memory, more time", group="run")
    fuse: bool = setting(True, "fuse norms with torch.compile where a compiler is present", group="run")
    graphs: bool = setting(True, "run a training step as one CUDA graph on a GPU", group="run")
    memory_check: bool = setting(True, "by a forecast, put checkpointing on where memory needs it, and refuse at once "
                                 "what cannot fit", group="run")
    fit: bool = setting(False, "where memory ends all the same, take fewer frames a step at that scale; its scale.json "
                        "says how many", group="run")

    max_size_px: int = setting(256, "longest side of the finest scale", group="pyramid", metavar="PX")
    min_size_px: int = setting(25, "shortest side of the coarsest scale", group="pyramid", metavar="PX")
    scale_factor: float = setting(4 / 3, "ratio of neighbouring scales, re-solved so that both ends are hit",
                                  group="pyramid", metavar="R")

    num_3d_scales: int = setting(4, "coarsest scales with 3D generators, the finer ones are 2D; or 'all'",
                                 group="model", metavar="N|all")
    separable: Separable = setting("depthwise", "form of the 3D generators' convolutions", group="model")
    width: int = setting(32, "channels of the coarsest scales, doubled every four scales", group="model", metavar="C")
    max_width: int = setting(128, "most channels of any scale", group="model", metavar="C")
    padding: Padding = setting("reflect", "the generators' padding in space: at every layer, or zeros once at the "
                               "input", group="model")
    pad_time: PadTime = setting("replicate", "the generators' padding in time: copies of a window's ends, or its other "
                                "end, and samples are parts of longer ones", group="model")
    neighbours: bool = setting(True, "let 2D generators see the frames before and after each", group="model")
    noise: Noise = setting("volume", "noise as in the paper: new in every frame at 3D scales; or split into a map that "
                           "all frames share and, at the coarsest scale, two channels that change; or new in all "
                           "frames at every scale", group="model")
    noise_smooth_px: float = setting(0.0, "blur of what changes from frame to frame in the coarsest scale's noise: "
                                     "standard deviation of a Gaussian",
                                     group="model", metavar="PX")
    slow_motion: int = setting(1, "frames made for each frame of the clip, to play it that many times slower",
                               group="model", metavar="N")
    noise_gain: float = setting(0.1, "noise amplitude per reconstruction error of the coarser scale", group="model",
                                metavar="X")

    image_weight: float = setting(1.0, "weight of the image critic's adversarial loss; 0: no such critic",
                                  group="losses", metavar="X")
    video_weight: float = setting(5.0, "alpha, weight of the video critic's adversarial loss; 0: no such critic",
                                  group="losses", metavar="X")
    rec_weight: float = setting(50.0, "beta, weight of the reconstruction loss (125 for super-resolution)",
                                group="losses", metavar="X")
    stat_weight: float = setting(2.0, "gamma, weight of the colour statistics loss", group="losses", metavar="X")
    gp_weight: float = setting(0.1, "lambda, weight of the gradient penalty", group="losses", metavar="X")
    gp_norm: PenaltyNorm = setting("voxel", "the penalty's norm: over channels at every voxel, or over a whole sample",
                                   group="losses")

    iterations: tuple[int, int] = setting((8000, 8000), "iterations at the coarsest and at the finest scale, by equal "
                                          "factors between them; one number for all", group="schedule",
                                          metavar="N|A:B")
    d_steps: int = setting(1, "critic steps per iteration", group="schedule", metavar="N")
    g_steps: int = setting(1, "generator steps per iteration", group="schedule", metavar="N")
    frames_per_step: tuple[int, int] = setting((16, 8), "frames of a step at the coarsest and at the finest scale",
                                               group="schedule", metavar="A:B")
    lr: float = setting(5e-4, "Adam's learning rate", group="schedule", metavar="X")
    beta1: float = setting(0.5, "Adam's first beta (the second is 0.999)", group="schedule", metavar="X")
    lr_drop_at: float = setting(0.8, "part of the iterations after which the learning rate drops", group="schedule",
                                metavar="X")
    lr_drop_factor: float = setting(0.1, "factor of that drop", group="schedule", metavar="X")

    log_every: int = setting(20, "iterations between rows of stats.jsonl, of which a scale has at most 2000",
                             group="output", metavar="N")
    save_seconds: float = setting(60.0, "seconds between savings of the state that a killed run goes on from",
                                  group="output", metavar="S")

    def __post_init__(self) -> None:
        if isinstance(self.iterations, int):
            object.__setattr__(self, "iterations", (self.iterations, self.iterations))
        for field in dataclasses.fields(self):
            choices = typing.get_args(CHOICES.get(field.name))
            value = getattr(self, field.name)
            if choices and value not in choices:
                raise ConfigError(f"{field.name} is {value!r}, expected one of {', '.join(map(str, choices))}")
        for name, low, high in BOUNDS:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}, expected {low} to {high}")
        if self.max_size_px < self.min_size_px:
            raise ConfigError(f"max_size_px is {self.max_size_px}, expected at least min_size_px, {self.min_size_px}")
        if self.num_3d_scales < 0 and self.num_3d_scales != ALL_SCALES:
            raise ConfigError(f"num_3d_scales is {self.num_3d_scales}, expected 0 or more, or 'all'")
        if not all(1 <= count <= 10_000_000 for count in self.iterations):
            raise ConfigError(f"iterations is {':'.join(map(str, self.iterations))}, expected 1 to 10000000 each")
        if not self.image_weight and not self.video_weight:
            raise ConfigError("image_weight and video_weight are both 0, expected at least one critic")
        first, last = self.frames_per_step
        least = self.least_frames_per_step
        if not least <= last <= first <= 10_000:
            why = "; 1 is for models without a video critic, video_weight 0" if 0 < last < least else ""
            raise ConfigError(f"frames_per_step is {first}:{last}, expected A:B with A >= B >= {least}{why}")

    @property
    def least_frames_per_step(self) -> int:
        """A video critic judges how frames follow each other."""
        return 2 if self.video_weight else 1

    @property
    def circular(self) -> bool:
        """Whether windows go around in time. A path of slow motion does not: it has two ends."""
        return self.pad_time == "circular" and self.slow_motion == 1

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The inverse of `to_json`. Raises ConfigError for an unknown name or a value of another type."""
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in defaults:
                raise ConfigError(f"unknown setting {name!r}")
            expected = list if isinstance(defaults[name], tuple) else type(defaults[name])
            number = expected is float and type(value) is int
            if type(value) is not expected and not number:
                raise ConfigError(f"{name} is {value!r}, expected a value like {defaults[name]!r}")
            if expected is list and (len(value) != 2 or any(type(n) is not int for n in value)):
                raise ConfigError(f"{name} is {value!r}, expected two whole numbers")
        return _build({name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


CHOICES: Mapping[str, Any] = {"preset": Preset, "separable": Separable, "padding": Padding, "pad_time": PadTime,
                               "gp_norm": PenaltyNorm, "noise": Noise}

BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("seed", 0, 2**63 - 1), ("threads", 0, 1024), ("max_size_px", 8, 8192), ("min_size_px", 8, 1024),
    ("scale_factor", 1.05, 4.0), ("width", 1, 1024), ("max_width", 1, 1024), ("noise_gain", 0.0, 100.0),
    ("image_weight", 0.0, 1e6), ("video_weight", 0.0, 1e6), ("rec_weight", 0.0, 1e6), ("stat_weight", 0.0, 1e6),
    ("gp_weight", 0.0, 1e6), ("d_steps", 1, 100), ("g_steps", 1, 100), ("lr", 0.0, 1.0),
    ("beta1", 0.0, 0.9999), ("lr_drop_at", 0.0, 1.0), ("lr_drop_factor", 0.0, 1.0), ("log_every", 1, 1_000_000),
    ("save_seconds", 0.0, 1e6), ("noise_smooth_px", 0.0, 16.0), ("slow_motion", 1, 8),
)

# Other models than the paper's, by what they change, for any preset: the baseline of its Table 1, and what is left when
# a part is taken away or replaced. SinGAN (All Frames): a 2D net that sees one frame, an image critic, one random frame
# a step, SinGAN's own weight of the reconstruction, and noise new in every frame (docs/decisions.md).
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "singan-all-frames": {"num_3d_scales": 0, "neighbours": False, "noise": "frames", "noise_smooth_px": 0.0,
                          "video_weight": 0.0, "stat_weight": 0.0, "rec_weight": 10.0, "frames_per_step": (1, 1)},
    "no-colour-loss": {"stat_weight": 0.0},
    "no-image-critic": {"image_weight": 0.0},
    "no-video-critic": {"video_weight": 0.0},
    "depthwise": {"separable": "depthwise"},
    "r2plus1d": {"separable": "r2plus1d"},
    "dense": {"separable": "dense"},
    "all-3d": {"num_3d_scales": ALL_SCALES},
    "all-2d": {"num_3d_scales": 0},
}

FIXED_BY_VARIANTS = frozenset(name for changes in VARIANTS.values() for name in changes)
"""Settings that tell models apart; the others are their budget."""

# What each preset changes of the paper's values; docs/decisions.md has the measurements behind it. `fast`: meant for a
# GPU and minutes, not yet measured on one. `draft`: a watchable result on a 2-core CPU in minutes; its 3D generators
# are dense, which learn faster.
_QUICK: Mapping[str, Any] = {"min_size_px": 12, "pad_time": "circular", "noise": "split",
                             "noise_smooth_px": 1.0, "lr": 2e-3, "rec_weight": 10.0}
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "paper": {},
    "fast": {**_QUICK, "iterations": (2000, 2000)},
    "draft": {**_QUICK, "iterations": (900, 150), "max_size_px": 112, "width": 16, "max_width": 16,
              "separable": "dense", "frames_per_step": (8, 4)},
    "singan-all-frames": VARIANTS["singan-all-frames"],
}


def preset_config(preset: Preset, **changes: Any) -> TrainConfig:
    """The preset's settings with `changes` applied; `iterations` may be one number for all. Raises ConfigError."""
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}, expected one of {', '.join(PRESETS)}")
    return _build({"preset": preset, **PRESETS[preset], **changes})


def _build(values: Mapping[str, Any]) -> TrainConfig:
    return TrainConfig(**values)
