"""Measure `sgif superres` where the truth is known: a clip is shrunk by the factor, learned, and enlarged again.

    python docs/measure_superres.py examples/clouds.gif --factor 2 -o runs/measure

Prints a table of the ways to enlarge it, and leaves frame.png (a frame of each, side by side) and the run in the
folder. Run again, it goes on with the training that is there.

PSNR    dB, over all values of all frames
SSIM    Wang et al. 2004: luma, Gaussian window of 1.5 pixels, mean over pixels and frames
edges   mean squared difference of neighbouring pixels (gradient energy), divided by the true clip's
Laplace variance of the Laplacian of luma, divided by the true clip's
steps   mean absolute difference of neighbouring frames, divided by the true clip's

The last three need no truth: 1 is as sharp, or as restless, as the true clip.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d

from sgif.cli import values
from sgif.engine import Clip, frames_from_tensor, preset_config, read_clip, superres, superres_config, train
from sgif.kernels import resize, upsample

LUMA = (0.299, 0.587, 0.114)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", help="GIF, APNG, WebP, MP4, WebM, or a folder of frames")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--factor", type=int, default=2, help="[2]")
    parser.add_argument("--steps", type=int, help="[the factor]")
    parser.add_argument("--frames", type=int, help="number of frames to use [all]")
    parser.add_argument("--crop", type=values.crop, metavar="T,L,HxW", help="part of the picture to use [all]")
    parser.add_argument("--iterations", type=values.count_or_range, default=(900, 150), help="[900:150]")
    parser.add_argument("--rec-weight", type=float, default=125.0, help="[125]")
    parser.add_argument("--threads", type=int, default=0, help="[as many as there are cores]")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    truth = whole_multiple(read_clip(args.clip, frames=args.frames, crop=args.crop).to_tensor(), args.factor)
    small = shrunk(truth, args.factor)
    height, width = small.frames.shape[1:3]
    config = superres_config(
        preset_config("draft", rec_weight=args.rec_weight, iterations=args.iterations, max_size_px=max(height, width),
                      threads=args.threads), height, width, factor=args.factor, steps=args.steps)
    run = train(small, args.output / "run", config)
    ways = {name: quantised(clip) for name, clip in plain_ways(small, truth.shape[3:]).items()}
    ways["sgif superres"] = quantised(superres(run, args.factor, steps=args.steps))
    ways["sgif superres --add-noise"] = quantised(superres(run, args.factor, steps=args.steps, noise=True))
    ways["the true clip"] = truth
    print(table(ways, truth))
    strip = torch.cat([frames_from_tensor(clip[:, :, :1]) for clip in ways.values()], 2)[0]
    Image.fromarray(strip.numpy()).save(args.output / "frame.png")


def whole_multiple(clip: Tensor, factor: int) -> Tensor:
    """The clip [1, 3, T, H, W] without the last rows and columns, so that both sides are multiples of the factor."""
    height, width = (side // factor * factor for side in clip.shape[3:])
    return clip[..., :height, :width]


def shrunk(truth: Tensor, factor: int) -> Clip:
    """The clip [1, 3, T, H, W] `factor` times smaller, bicubic and antialiased, in 8 bits."""
    frames = frames_from_tensor(resize(truth, (truth.shape[3] // factor, truth.shape[4] // factor)))
    return Clip(frames=frames, frame_ms=(100,) * len(frames), source="shrunk")


def plain_ways(small: Clip, size: tuple[int, ...]) -> dict[str, Tensor]:
    """The clip at `size` (height, width) by what needs no training, [1, 3, T, H, W] each."""
    height, width = size
    lanczos = [np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
               for frame in small.frames.numpy()]
    return {
        "bilinear": upsample(small.to_tensor(), (height, width)),
        "bicubic": resize(small.to_tensor(), (height, width)),
        "Lanczos": torch.from_numpy(np.stack(lanczos)).permute(3, 0, 1, 2)[None] / 127.5 - 1,
    }


def quantised(clip: Tensor) -> Tensor:
    """The clip as 8 bits show it."""
    return Clip(frames=frames_from_tensor(clip), frame_ms=(), source="").to_tensor()


def table(ways: dict[str, Tensor], truth: Tensor) -> str:
    """A Markdown table with a row for each of the clips."""
    rows = ["| | PSNR, dB | SSIM | edges | Laplace | steps |", "|:--|--:|--:|--:|--:|--:|"]
    for name, clip in ways.items():
        exact = clip is truth
        numbers = ("" if exact else f"{psnr(clip, truth):.2f}", "" if exact else f"{ssim(clip, truth):.3f}",
                   f"{gradient_energy(clip) / gradient_energy(truth):.2f}",
                   f"{laplacian_variance(clip) / laplacian_variance(truth):.2f}",
                   f"{frame_step(clip) / frame_step(truth):.2f}")
        rows.append(f"| {' | '.join((name, *numbers))} |")
    return "\n".join(rows)


def psnr(a: Tensor, b: Tensor) -> float:
    """In dB, of clips in [-1, 1]."""
    return float(10 * torch.log10(4 / (a - b).square().mean()))


def luma(clip: Tensor) -> Tensor:
    """Frames [T, 1, H, W] in [0, 1] of a clip [1, 3, T, H, W] in [-1, 1]."""
    weights = torch.tensor(LUMA, dtype=clip.dtype).view(3, 1, 1, 1)
    return ((clip[0] + 1) / 2 * weights).sum(0)[:, None]


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity, over the pixels whose window lies inside the frame."""
    offsets = torch.arange(-5, 6, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    window = torch.outer(taps, taps)[None, None] / taps.sum() ** 2
    x, y = luma(a.double()), luma(b.double())

    def mean(values: Tensor) -> Tensor:
        return conv2d(values, window)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean())


def gradient_energy(clip: Tensor) -> float:
    """Mean squared difference of neighbouring values in a column plus that in a row."""
    return float(clip.diff(dim=3).square().mean() + clip.diff(dim=4).square().mean())


def laplacian_variance(clip: Tensor) -> float:
    """Variance of the five-point Laplacian of luma."""
    filter_ = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    return float(conv2d(luma(clip), filter_).var())


def frame_step(clip: Tensor) -> float:
    """Mean absolute difference of neighbouring frames."""
    return float(clip.diff(dim=2).abs().mean())


if __name__ == "__main__":
    main()
