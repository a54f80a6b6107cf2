"""A small moving clip, tiny settings, and a run trained once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.events import Event
from sgif.engine.noise import fixed_noise, noise_amplitude
from sgif.engine.pyramid import ScalePlan
from sgif.engine.ranks import ALONE, Ranks
from sgif.engine.runs import Run, load_run
from sgif.engine.sampling import gather, reconstruct
from sgif.engine.step import ScaleData, ScaleTrainer
from sgif.engine.trainer import train

FRAMES, HEIGHT, WIDTH = 6, 12, 16
CPU = torch.device("cpu")

# Three scales, 8x11 and 10x13 in 3D and 12x16 in 2D. Nothing that decides what is learned is left to the defaults,
# which may change.
TINY: dict[str, Any] = {
    "device": "cpu", "threads": 1, "fuse": False, "amp": False, "checkpointing": False, "seed": 0,
    "max_size_px": 256, "min_size_px": 8, "scale_factor": 1.3,
    "num_3d_scales": 2, "separable": "depthwise", "width": 4, "max_width": 8, "padding": "zeros",
    "noise": "volume", "noise_smooth_px": 0.5, "noise_gain": 0.1,
    "image_weight": 1.0, "video_weight": 5.0, "rec_weight": 50.0, "stat_weight": 2.0, "gp_weight": 0.1,
    "gp_norm": "voxel",
    "iterations": 6, "d_steps": 1, "g_steps": 1, "frames_per_step": (4, 3), "lr": 5e-4, "beta1": 0.5,
    "lr_drop_at": 0.8, "lr_drop_factor": 0.1,
    "log_every": 2, "save_seconds": 1000.0,
}


def moving_frames(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """uint8 [T, H, W, 3]: waves that travel, one per colour, in directions of their own."""
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (frames, height, width)), indexing="ij")
    waves = (torch.sin(0.5 * x + t), torch.cos(0.4 * y - 0.7 * t), torch.sin(0.3 * (x + y) - 1.3 * t))
    return (127.5 + 100 * torch.stack(waves, -1)).round().to(torch.uint8)


def make_clip(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Clip:
    return Clip(frames=moving_frames(frames, height, width), frame_ms=(80,) * frames, source="waves")


@dataclass(frozen=True)
class TinyRun:
    """A finished run and what training told about it."""

    run: Run
    events: list[Event]


@pytest.fixture(scope="session")
def clip() -> Clip:
    return make_clip()


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., TrainConfig]:
    """The settings of `TINY` with changes."""
    return lambda **changes: TrainConfig(**{**TINY, **changes})


@pytest.fixture
def make_plan() -> Callable[..., ScalePlan]:
    """A scale's plan with changes."""
    default = {"index": 1, "height": 9, "width": 11, "kind": "3D", "channels": 4, "frames_per_step": 3,
               "iterations": 6}
    return lambda **changes: ScalePlan(**{**default, **changes})


@pytest.fixture(scope="session")
def tiny_run(clip: Clip, tiny_config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Trained without a break. Tests that change its files copy it first."""
    events: list[Event] = []
    return TinyRun(train(clip, tmp_path_factory.mktemp("tiny") / "run", tiny_config(), on_event=events.append), events)


@pytest.fixture
def run(tiny_run: TinyRun) -> Run:
    """The tiny run as it lies in its folder, opened anew."""
    return load_run(tiny_run.run.path)


@pytest.fixture
def run_copy(run: Run, tmp_path: Path) -> Run:
    """The tiny run in a folder that a test may change."""
    return load_run(shutil.copytree(run.path, tmp_path / "run"))


@pytest.fixture
def make_trainer(tiny_run: TinyRun, tiny_config: Callable[..., TrainConfig]) -> Callable[..., ScaleTrainer]:
    """A trainer of one scale of the tiny run, above its trained scales, with changed settings."""
    def make(scale: int, device: torch.device = CPU, *, frames: int | None = None, **changes: Any) -> ScaleTrainer:
        return trainer_above(tiny_run.run, scale, tiny_config(**changes), device, frames=frames)
    return make


def trainer_above(run: Run, scale: int, config: TrainConfig, device: torch.device = CPU, *, frames: int | None = None,
                  ranks: Ranks = ALONE) -> ScaleTrainer:
    """A trainer of one scale above the trained scales of `run`."""
    coarser = run.stages(device, scale)
    z_fixed = run.z_fixed if config.slow_motion == 1 else fixed_noise(run.plans[0], run.num_frames, config)
    real, reconstruction, noise_amp = run.real[scale], None, 1.0
    if coarser:
        reconstruction = gather(reconstruct(coarser, z_fixed), z_fixed.shape[2])
        noise_amp = noise_amplitude(reconstruction[:, :, ::config.slow_motion], real, 0.1)
    data = ScaleData(real=real, coarser_reconstruction=reconstruction, z_fixed=z_fixed, noise_amp=noise_amp)
    plan = replace(run.plans[scale], iterations=config.iterations[0], slow_motion=config.slow_motion,
                   frames_per_step=frames or run.plans[scale].frames_per_step)
    return ScaleTrainer(plan, config, coarser, data, device, ranks)
