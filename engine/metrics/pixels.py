"""What is measured on pixels: the nearest real frame, the colours, and how much samples differ from each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...kernels import frame_color_statistics
from ..clip import tensor_from_frames

PALETTE = 256  # colours of a GIF's frame
_CHUNK = 1 << 21  # values that are held in float64 at a time: 16 MiB


def nearest_real(real: Tensor, clip: Tensor) -> float:
    """RMSE in levels (0 to 255) of each frame of `clip` to the real frame that is nearest to it, averaged; exact sums.

    Copies of real frames score 0, wherever in the clip they stand. Both are uint8 [T, H, W, 3] of one size.
    """
    a, b = real.flatten(1), clip.flatten(1)
    products = torch.zeros(len(b), len(a), dtype=torch.float64, device=clip.device)
    squares_a, squares_b = products.new_zeros(len(a)), products.new_zeros(len(b))
    step = max(1, _CHUNK // (len(a) + len(b)))
    for start in range(0, a.shape[1], step):
        part_a, part_b = a[:, start : start + step].double(), b[:, start : start + step].double()
        products += part_b @ part_a.T
        squares_a += part_a.square().sum(1)
        squares_b += part_b.square().sum(1)
    errors = squares_b[:, None] + squares_a - 2 * products  # whole numbers below 2^53: nothing is rounded
    return float((errors.amin(1) / a.shape[1]).sqrt().mean())


def colour_distance(real: Tensor, clip: Tensor) -> float:
    """Eq. 6 of the paper as a measure: |mean - mean'| + |cov - cov'| of the RGB values in [-1, 1] of each frame and of
    the real frame at the same part of the clip, averaged over frames. Sizes and numbers of frames may differ."""
    means, covariances = _colour_statistics(real)
    clip_means, clip_covariances = _colour_statistics(clip)
    at = torch.arange(len(clip)) * len(real) // len(clip)
    distances = (clip_means - means[at]).norm(dim=1) + (clip_covariances - covariances[at]).norm(dim=(1, 2))
    return float(distances.mean())


def _colour_statistics(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [T, 3] and covariance [T, 3, 3] of each frame, a frame at a time."""
    parts = [frame_color_statistics(tensor_from_frames(frame)) for frame in frames.split(1)]
    return torch.cat([mean[0] for mean, _ in parts]), torch.cat([cov[0] for _, cov in parts])


def diversity(real: Tensor, clips: Sequence[Tensor]) -> float | None:
    """Standard deviation over clips (n - 1), averaged over values, divided by that of all values of the real clip, as
    SinGAN has it. None below two clips, for clips of several shapes, and for a real clip of one colour."""
    if len(clips) < 2 or len({clip.shape for clip in clips}) > 1:
        return None
    spread = torch.stack([torch.stack(frames).float().std(0).mean() for frames in zip(*clips, strict=True)]).mean()
    pixels = float(real.double().std())
    return float(spread) / pixels if pixels > 0 else None


def has_palette(frames: Tensor) -> bool:
    """Whether no frame of uint8 [T, H, W, 3] has over 256 colours: they come from a GIF, or would lose nothing as one.
    """
    weights = torch.tensor([1 << 16, 1 << 8, 1], device=frames.device)
    return all(len((frame.flatten(0, 1) * weights).sum(1).unique()) <= PALETTE for frame in frames)
