"""The picture of a finished scale: reconstruction and two samples side by side, moving."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..kernels import upsample
from .clip import frames_from_tensor
from .clip_writer import write_clip
from .noise import noise_seed, sample_noise
from .pyramid import ScalePlan
from .runs import Run
from .sampling import ScaleNoise, TrainedScale, run_scales

MIN_HEIGHT_PX = 96  # coarse scales are enlarged to this, to be seen


def write_preview(path: Path, stages: list[TrainedScale], reconstruction: Tensor, run: Run,
                  device: torch.device) -> None:
    """Write [reconstruction | sample | sample] of the last of `stages` as a GIF."""
    def sample(index: int) -> Tensor:
        seed = noise_seed(run.config.seed, "preview", index, device=device)

        def noise(plan: ScalePlan, size: tuple[int, int]) -> ScaleNoise:
            return sample_noise(plan, run.config, seed, run.num_frames, size, first=run.plans[0])
        clip = run_scales(stages, None, noise, run.num_frames, (1.0, 1.0), device)
        assert clip is not None
        return clip

    row = torch.cat((reconstruction, sample(0), sample(1)), 4).clamp(-1, 1)
    factor = max(1.0, MIN_HEIGHT_PX / row.shape[3])
    row = upsample(row, (round(row.shape[3] * factor), round(row.shape[4] * factor)))
    write_clip(path, frames_from_tensor(row), run.frame_ms)
