"""Shapes that benchmarks run at: those of real pyramids of the preset `paper`, from 25x44 to 512x512."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..engine import TrainConfig, preset_config
from ..engine.pyramid import ScalePlan, plan_scales
from .result import CaseSet

Shape = tuple[int, ...]
Clip = tuple[int, int, int]
"""Height, width, frames."""


@dataclass(frozen=True, kw_only=True)
class ScaleCase:
    """What the networks of one scale of one run work on, and where it comes from; a test holds one to the other."""

    clips: int
    """Clips in a batch: two where the generator makes a random clip and the reconstruction, or a critic sees real and
    fake; one in the gradient penalty."""
    channels: int
    frames: int
    height: int
    width: int
    clip: Clip
    """That is learned."""
    scale: int
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings other than those of `paper`."""

    @property
    def shape(self) -> Shape:
        """[N, C, T, H, W]"""
        return self.clips, self.channels, self.frames, self.height, self.width

    def plan(self) -> ScalePlan:
        """The scale, planned anew."""
        return plans_of(self.clip, **self.options)[self.scale]


def plans_of(clip: Clip, **options: Any) -> list[ScalePlan]:
    """The scales of preset `paper` up to the clip's own size."""
    return plan_scales(*clip, paper_config(clip, **options))


def paper_config(clip: Clip, **options: Any) -> TrainConfig:
    """Preset `paper` with `options`, for scales up to the clip's own size."""
    return preset_config("paper", max_size_px=max(clip[:2]), min_size_px=min(25, *clip[:2]), **options)


def coarsest_plan(channels: int, frames: int, height: int, width: int) -> ScalePlan:
    """A 3D scale without coarser ones."""
    return ScalePlan(index=0, height=height, width=width, kind="3D", channels=channels, frames_per_step=frames,
                     iterations=1000)


WIDE = (168, 298, 16)  # eight scales, the first of 25x44
SQUARE = (512, 512, 32)  # twelve, the first of 25x25
LONG = {"frames_per_step": (32, 8)}

CASES: dict[CaseSet, tuple[ScaleCase, ...]] = {
    "small": (
        ScaleCase(clips=1, channels=32, frames=16, height=25, width=44, clip=WIDE, scale=0),
        ScaleCase(clips=2, channels=32, frames=16, height=25, width=44, clip=WIDE, scale=0),
        ScaleCase(clips=1, channels=32, frames=13, height=57, width=100, clip=WIDE, scale=3),
    ),
    "paper": (
        ScaleCase(clips=2, channels=32, frames=16, height=25, width=44, clip=WIDE, scale=0),
        ScaleCase(clips=1, channels=32, frames=32, height=25, width=25, clip=SQUARE, scale=0, options=LONG),
        ScaleCase(clips=2, channels=32, frames=13, height=57, width=100, clip=WIDE, scale=3),
        ScaleCase(clips=1, channels=64, frames=10, height=97, width=173, clip=WIDE, scale=5),
        ScaleCase(clips=1, channels=64, frames=8, height=168, width=298, clip=WIDE, scale=7),
    ),
    "large": (
        ScaleCase(clips=2, channels=32, frames=16, height=25, width=44, clip=WIDE, scale=0),
        ScaleCase(clips=2, channels=32, frames=25, height=57, width=57, clip=SQUARE, scale=3, options=LONG),
        ScaleCase(clips=2, channels=64, frames=8, height=168, width=298, clip=WIDE, scale=7),
        ScaleCase(clips=2, channels=64, frames=17, height=171, width=171, clip=SQUARE, scale=7, options=LONG),
        ScaleCase(clips=2, channels=128, frames=15, height=225, width=225, clip=SQUARE, scale=8, options=LONG),
        ScaleCase(clips=1, channels=128, frames=8, height=512, width=512, clip=SQUARE, scale=11, options=LONG),
    ),
}
"""`small`: one CPU thread, minutes. `paper`: its sizes, one CPU thread, half an hour. `large`: for a GPU."""
