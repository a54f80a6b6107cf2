"""The picture of a finished scale: reconstruction and two samples side by side, moving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..kernels import upsample
from .applications.slow_motion import frame_durations
from .clip import frames_from_tensor
from .clip_writer import write_clip
from .noise import clip_path, noise_seed, sample_noise
from .pyramid import ScalePlan
from .runs import Run
from .sampling import ScaleNoise, TrainedScale, device_of, run_scales

MIN_HEIGHT_PX = 96  # coarse scales are enlarged to this, to be seen


def write_preview(path: Path, stages: list[TrainedScale], reconstruction: Tensor, run: Run) -> None:
    """Write [reconstruction | sample | sample] of the last of `stages` as a GIF, as its frames are made."""
    device = device_of(stages)

    def sample(index: int) -> Iterator[Tensor]:
        seed = noise_seed(run.config.seed, "preview", index, device=device)

        def noise(plan: ScalePlan, size: tuple[int, int], first: int, frames: int) -> ScaleNoise:
            return sample_noise(plan, run.config, seed, frames, size, first=run.plans[0], first_frame=first,
                                path=clip_path(run.config, first, frames, run.frames_made, device))
        return run_scales(stages, None, noise, run.frames_made)

    def rows() -> Iterator[Tensor]:
        first = 0
        for samples in zip(sample(0), sample(1), strict=True):
            end = first + samples[0].shape[2]
            row = torch.cat((reconstruction[:, :, first:end].to(device), *samples), 4).clamp(-1, 1)
            first = end
            factor = max(1.0, MIN_HEIGHT_PX / row.shape[3])
            size = (round(row.shape[3] * factor), round(row.shape[4] * factor))
            yield frames_from_tensor(upsample(row, size))

    write_clip(path, rows(), frame_durations(run.frame_ms, run.frames_made, run.config.slow_motion))
