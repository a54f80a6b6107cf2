"""Make the README's moving pictures from a trained run:

    python docs/make_pictures.py runs/demo -o docs/images

demo.gif    the training clip and three samples in a square
sizes.gif   three samples of other shapes, twice as long as the clip: two wide ones, one tall one
loop.gif    a sample and a loop, the clip and a loop of it
slow.gif    of a run trained with --slow-motion, and nothing else of it: the clip, its reconstruction and two samples

It also prints the table of docs/applications.md that says how much moves in short and in long samples.

The samples are the first ones of the seed, not chosen ones. Pictures are enlarged as far as the file's size allows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sgif.engine import Run, frames_from_tensor, load_run, write_clip
from sgif.kernels import upsample

MAX_BYTES = 1_400_000  # what a README may load without a reader noticing
MAX_WIDTH_PX = 640
MAX_ZOOM = 3.0
GAP_PX = 4
WIDE, TALL = 1.6, 0.8  # widths, as multiples of the clip's
BLOCK, BLOCKS = 12, 8  # frames of a short sample, and how many times as long the long one is

Picture = Callable[[float], Tensor]
"""Frames uint8 [T, H, W, 3] at a zoom."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the samples [0]")
    args = parser.parse_args(argv)
    run = load_run(args.run)
    args.output.mkdir(parents=True, exist_ok=True)
    per_frame = run.config.slow_motion
    pictures = {"demo.gif": demo, "sizes.gif": sizes, "loop.gif": loops} if per_frame == 1 else {"slow.gif": slow}
    for name, make in pictures.items():
        path = args.output / name
        zoom = write_small(path, make(run, args.seed), [ms for ms in run.frame_ms for _ in range(per_frame)])
        print(f"{path}: {path.stat().st_size:,} bytes, enlarged {zoom:.2f} times")
    if per_frame == 1:
        print(motion_table(run, args.seed))


def demo(run: Run, seed: int) -> Picture:
    """The clip as the finest scale sees it, and samples 0 to 2."""
    clips = [run.clip, *run.sample(3, seed=seed).split(1)]
    labels = ["training clip", "sample", "sample", "sample"]

    def at(zoom: float) -> Tensor:
        cells = [labelled(enlarged(clip, zoom), text) for clip, text in zip(clips, labels, strict=True)]
        return stack([stack(cells[:2], 2), stack(cells[2:], 2)], 1)
    return at


def sizes(run: Run, seed: int) -> Picture:
    """Samples 0 and 1, wide, above each other, and sample 2, as tall as both, beside them."""
    height, width = run.sizes[-1]
    frames = 2 * run.num_frames
    wide = run.sample(2, size=(height, round(WIDE * width)), frames=frames, seed=seed).split(1)
    tall = run.sample(1, size=(2 * height, round(TALL * width)), frames=frames, seed=seed, first=2)

    def at(zoom: float) -> Tensor:
        left = stack([enlarged(clip, zoom) for clip in wide], 1)
        return stack([left, enlarged(tall, zoom, height_px=left.shape[1])], 2)
    return at


def loops(run: Run, seed: int) -> Picture:
    """Sample 0 and the loop of the same noise above the clip and a loop of it, each repeated until all end together."""
    clips = [run.sample(seed=seed), run.sample(seed=seed, loop=True), run.clip,
             run.sample(seed=seed, start_scale=1, loop=True)]
    labels = ["sample", "loop", "training clip", "loop of the clip"]
    frames = math.lcm(*(clip.shape[2] for clip in clips))
    clips = [clip.repeat(1, 1, frames // clip.shape[2], 1, 1) for clip in clips]

    def at(zoom: float) -> Tensor:
        cells = [labelled(enlarged(clip, zoom), text) for clip, text in zip(clips, labels, strict=True)]
        return stack([stack(cells[:2], 2), stack(cells[2:], 2)], 1)
    return at


def slow(run: Run, seed: int) -> Picture:
    """As slow as the run can: the clip, each frame held, its reconstruction, and samples 0 and 1."""
    held = run.clip.repeat_interleave(run.config.slow_motion, 2)
    clips = [held, run.reconstruct(), *run.sample(2, seed=seed).split(1)]
    labels = ["training clip", "slow motion", "sample", "sample"]

    def at(zoom: float) -> Tensor:
        cells = [labelled(enlarged(clip, zoom), text) for clip, text in zip(clips, labels, strict=True)]
        return stack([stack(cells[:2], 2), stack(cells[2:], 2)], 1)
    return at


def motion_table(run: Run, seed: int, samples: int = 8) -> str:
    """Mean motion of the clip, of short samples and of long ones, these in blocks of as many frames, as Markdown."""
    short, long = (motion_energy(run.sample(samples, frames=frames, seed=seed))
                   for frames in (BLOCK, BLOCK * BLOCKS))
    rows = [("clip", motion_energy(run.clip)), (f"samples of {BLOCK} frames", short),
            *((f"of {BLOCK * BLOCKS}: {BLOCK * k} to {BLOCK * (k + 1) - 1}", long[:, BLOCK * k:BLOCK * (k + 1)])
              for k in range(BLOCKS))]
    return "\n".join(("| frames | motion |", "|:--|--:|",
                      *(f"| {name} | {motion.mean():.4f} |" for name, motion in rows)))


def motion_energy(clips: Tensor) -> Tensor:
    """Mean absolute difference of each frame and the next: [N, T - 1] of clips [N, 3, T, H, W] in [-1, 1]."""
    return (clips[:, :, 1:] - clips[:, :, :-1]).abs().mean((1, 3, 4))


def enlarged(clip: Tensor, zoom: float, *, height_px: int | None = None) -> Tensor:
    """A clip [1, 3, T, H, W] as frames, `zoom` times as large; `height_px`, where given, is its height."""
    size = (height_px or round(zoom * clip.shape[3]), round(zoom * clip.shape[4]))
    return frames_from_tensor(clip if size == clip.shape[3:] else upsample(clip, size))


def labelled(frames: Tensor, text: str) -> Tensor:
    """The same frames with a line of text in the lower left corner, on a darkened ground."""
    font = ImageFont.load_default(max(9, frames.shape[2] // 18))
    box = font.getbbox(text)
    pad = max(2, frames.shape[2] // 80)
    right, top = round(box[2] + 2 * pad), frames.shape[1] - round(box[3] + 2 * pad)
    done = []
    for frame in frames.numpy().copy():
        frame[top:, :right] = frame[top:, :right] // 3
        image = Image.fromarray(frame)
        ImageDraw.Draw(image).text((pad, top + pad), text, fill=(255, 255, 255), font=font)
        done.append(torch.from_numpy(np.array(image)))
    return torch.stack(done)


def stack(pictures: Sequence[Tensor], dim: int) -> Tensor:
    """Pictures [T, H, W, 3] above each other (dim 1) or side by side (dim 2), with a white gap."""
    shape = list(pictures[0].shape)
    shape[dim] = GAP_PX
    gap = torch.full(shape, 255, dtype=torch.uint8)
    return torch.cat([part for picture in pictures for part in (gap, picture)][1:], dim)


def write_small(path: Path, picture: Picture, frame_ms: Sequence[int]) -> float:
    """Write the picture at a zoom from 1 to MAX_ZOOM, as large as MAX_WIDTH_PX and MAX_BYTES allow; return it."""
    zoom = min(MAX_ZOOM, max(1.0, MAX_WIDTH_PX / picture(1.0).shape[2]))
    while True:
        frames = picture(zoom)
        write_clip(path, frames, list(islice(cycle(frame_ms), len(frames))))
        if path.stat().st_size <= MAX_BYTES or zoom == 1:
            return zoom
        zoom = max(1.0, zoom * min(0.95, (MAX_BYTES / path.stat().st_size) ** 0.5))


if __name__ == "__main__":
    main()
