"""Noise maps: their shapes, the fixed map z*, and the amplitude of each scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..kernels import PhiloxNoise, scaled_noise, upsample
from .config import TrainConfig
from .pyramid import ScalePlan
from .seeding import hashed


def noise_seed(seed: int, *place: str | int, device: torch.device | str = "cpu") -> Tensor:
    """The int64 on `device` that all noise of one place derives from, e.g. `noise_seed(0, "sample", 3)`."""
    return torch.full((), hashed(seed, "noise", *place), dtype=torch.int64, device=device)


def scale_noise(plan: ScalePlan, config: TrainConfig, seed: Tensor, frames: int, size: tuple[int, int], *,
                first_frame: int = 0, path: Tensor | None = None) -> Tensor | PhiloxNoise:
    """Standard normal noise of a scale for a clip of three channels: at scale 0 the clip [1, 3, frames, *size] that the
    model starts from, at finer scales noise that is drawn where it is used. Of a longer clip it is the part from
    `first_frame` on, a multiple of 4 unless all frames share the noise.

    "volume": new in every frame at 3D scales, one map for all frames at 2D ones (section 3.3.2); at scale 0 the three
    colours share it. "split": at scale 0 one channel is a map for all frames and two are new in every frame, so that
    what stays and what moves need not be told apart; finer scales have maps. "frames": as "volume", and new in every
    frame at 2D scales too, so that nothing ties frames together.

    With slow motion, where frames have a `path`, what is new in every frame at scale 0 goes along it instead
    (`path_noise`), and finer scales have maps.
    """
    if plan.index > 0:
        if is_map(plan, config):
            return PhiloxNoise(seed=seed, maps=3, stream=plan.index)
        return PhiloxNoise(seed=seed, stream=plan.index, first_frame=first_frame)
    split = config.noise == "split"
    noise = PhiloxNoise(seed=seed, maps=int(split), gray=not split, first_frame=0 if path is not None else first_frame)
    if path is not None:
        return path_noise(noise, path, size, config.noise_smooth_px)
    return smooth_noise(noise, frames, size, config.noise_smooth_px)


def is_map(plan: ScalePlan, config: TrainConfig) -> bool:
    """Whether all frames share the noise of a scale, not the coarsest."""
    return config.noise == "split" or config.slow_motion > 1 or (plan.kind == "2D" and config.noise == "volume")


def path_noise(noise: PhiloxNoise, path: Tensor, size: tuple[int, int], deviation_px: float) -> Tensor:
    """A path in latent space [1, 3, T, *size] (section 5.2): p z1 + (1 - p) z2 at the frame whose place on it is p, z1
    ~ N(-1, I) and z2 ~ N(+1, I) drawn once each. Channels of `noise` that are maps stay. What changes tells the
    generator the time, and frames near in time are near on the path, however many there are.

    Args:
        path: [T], from 0 where the clip begins to 1 where it ends (`path_places`).
    """
    ends = smooth_noise(noise, 2, size, deviation_px)
    shift = (torch.arange(3, device=path.device) >= noise.maps).float().view(-1, 1, 1, 1)
    return torch.lerp(ends[:, :, :1] + shift, ends[:, :, 1:] - shift, path.view(-1, 1, 1))


def path_places(first: int, frames: int, total: int, device: torch.device | str = "cpu") -> Tensor:
    """[frames]: where `frames` frames from `first` on, of a clip of `total`, are on the path."""
    return torch.arange(first, first + frames, device=device) / total


def sample_noise(plan: ScalePlan, config: TrainConfig, seed: Tensor, frames: int, size: tuple[int, int], *,
                 first: ScalePlan, first_frame: int = 0, path: Tensor | None = None) -> Tensor | PhiloxNoise | None:
    """The noise that a sample, which begins at the scale `first`, takes at a scale: `scale_noise`, but none at the 2D
    scales of "split" behind 3D ones or the coarsest. Training needs it there; shown, it is a halftone
    (docs/decisions.md)."""
    layout_is_there = plan.index > first.index and (first.kind == "3D" or first.index == 0)
    if config.noise == "split" and plan.kind == "2D" and layout_is_there:
        return None
    return scale_noise(plan, config, seed, frames, size, first_frame=first_frame, path=path)


def clip_path(config: TrainConfig, first: int, frames: int, total: int,
              device: torch.device | str = "cpu") -> Tensor | None:
    """`path_places` with slow motion, None without."""
    return path_places(first, frames, total, device) if config.slow_motion > 1 else None


def smooth_noise(noise: PhiloxNoise, frames: int, size: tuple[int, int], deviation_px: float) -> Tensor:
    """`noise` as a clip [1, 3, frames, *size]; what changes from frame to frame is blurred within its frames by a
    Gaussian, and keeps a variance of 1, at the border too. Without the blur clouds come out as streaks
    (docs/decisions.md)."""
    reach = math.ceil(3 * deviation_px)
    z = scaled_noise((1, 3, frames, size[0] + 2 * reach, size[1] + 2 * reach), noise, 1.0)
    offsets = torch.arange(-reach, reach + 1, device=z.device)
    taps = torch.exp(-0.5 * (offsets / max(deviation_px, 1e-6)) ** 2)
    taps /= taps.square().sum().sqrt()
    changing = z[:, noise.maps:]
    with torch.autocast(z.device.type, enabled=False):  # which would round it
        for axis in (3, 4):
            changing = changing.unfold(axis, len(taps), 1) @ taps
    return torch.cat((z[:, :noise.maps, :, reach:reach + size[0], reach:reach + size[1]], changing), 1)


def fixed_noise(plan: ScalePlan, num_frames: int, config: TrainConfig) -> Tensor:
    """z* [1, 3, T, h, w] for the whole clip at scale 0, drawn once per run; the finer scales' z_opt is zero. With slow
    motion T is that many times the clip's `num_frames`."""
    frames = num_frames * config.slow_motion
    z = scale_noise(plan, config, noise_seed(config.seed, "z_fixed"), frames, plan.size,
                    path=clip_path(config, 0, frames, frames))
    assert isinstance(z, Tensor)
    return z


def noise_amplitude(coarser_reconstruction: Tensor, real: Tensor, gain: float) -> float:
    """sigma_n: `gain` times the mean over frames of each frame's RMSE between the upsampled reconstruction
    [1, 3, T, h, w] of scale n-1 and the real clip [1, 3, T, H, W] of scale n (section 3.4.2)."""
    size = (real.shape[3], real.shape[4])
    errors = [(upsample(coarser_reconstruction[:, :, t:t + 1], size) - real[:, :, t:t + 1]).square().mean().sqrt()
              for t in range(real.shape[2])]
    return gain * float(torch.stack(errors).mean())
