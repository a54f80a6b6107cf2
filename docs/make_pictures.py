"""Make the README's moving pictures from a trained run:

    python docs/make_pictures.py runs/demo -o docs/images
    python docs/make_pictures.py runs/demo -o docs/images --still examples/other_clouds.png --superres runs/clouds-x2

demo.gif      the training clip and three samples in a square
sizes.gif     three samples of other shapes, twice as long as the clip: two wide ones, one tall one
animate.gif   with --still: the still, and two clips of it that move as the clip does
superres.gif  with --superres, a run of `sgif superres CLIP --factor 2`: its clip enlarged, bicubic and by the run

The samples are the first ones of the seed, not chosen ones. Pictures are enlarged as far as the file's size allows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sgif.engine import Run, animate, frames_from_tensor, load_run, read_still, superres, write_clip
from sgif.engine.clip import tensor_from_frames
from sgif.kernels import resize, upsample

MAX_BYTES = 1_400_000  # what a README may load without a reader noticing
MAX_WIDTH_PX = 640
MAX_ZOOM = 3.0
GAP_PX = 4
WIDE, TALL = 1.6, 0.8  # widths, as multiples of the clip's

Picture = Callable[[float], Tensor]
"""Frames uint8 [T, H, W, 3] at a zoom."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the samples [0]")
    parser.add_argument("--still", type=Path, help="picture to animate")
    parser.add_argument("--superres", type=Path, metavar="RUN", help="run to enlarge its clip with")
    args = parser.parse_args(argv)
    run = load_run(args.run)
    args.output.mkdir(parents=True, exist_ok=True)
    pictures = {"demo.gif": demo(run, args.seed), "sizes.gif": sizes(run, args.seed)}
    if args.still:
        pictures["animate.gif"] = animated(run, read_still(args.still), args.seed)
    if args.superres:
        pictures["superres.gif"] = enlargements(load_run(args.superres))
    for name, picture in pictures.items():
        path = args.output / name
        zoom = write_small(path, picture, run.frame_ms)
        print(f"{path}: {path.stat().st_size:,} bytes, enlarged {zoom:.2f} times")


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


def animated(run: Run, still: Tensor, seed: int) -> Picture:
    """The still, and two clips of it that keep its colours."""
    start = min(3, run.scales_done - 1)  # of the still, more than a dozen pixels
    clips = [animate(run, still, start_scale=start, keep_colours=True, seed=seed + index) for index in range(2)]
    held = resize(tensor_from_frames(still[None]), (clips[0].shape[3], clips[0].shape[4]))
    cells = [(held.expand_as(clips[0]), "still"), *((clip, "animated") for clip in clips)]

    def at(zoom: float) -> Tensor:
        return stack([labelled(enlarged(clip, zoom), text) for clip, text in cells], 2)
    return at


def enlargements(run: Run, factor: int = 2) -> Picture:
    """The run's clip `factor` times as large: bicubic, and by the run."""
    height, width = run.sizes[-1]
    cells = [(resize(run.clip, (factor * height, factor * width)).clamp(-1, 1), "bicubic"),
             (superres(run, factor), "sgif superres")]

    def at(zoom: float) -> Tensor:
        return stack([labelled(enlarged(clip, zoom), text) for clip, text in cells], 2)
    return at


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
