"""Make the moving pictures of the README and of docs/applications.md from a trained run:

    python docs/make_pictures.py runs/demo -o docs/images
    python docs/make_pictures.py runs/demo -o docs/images --still examples/other_clouds.png --superres runs/clouds-x2

demo.gif         the training clip and three samples in a square
sizes.gif        three samples of other shapes, twice as long as the clip: two wide ones, one tall one
loop.gif         a sample and a loop, the clip and a loop of it
variations.gif   the clip and a sample for each scale at which it can enter
composition.gif  the clip with its frames moved and the gap filled naively, and that edited, without a mask and with one
inpainting.gif   the clip with a hole, the hole filled, and the clip as it was
animate.gif      with --still: the still, and two clips of it that move as the clip does
superres.gif     with --superres, a run of `sgif superres CLIP --factor 2`: its clip enlarged, bicubic and by the run
quality.gif      with --quality, a clip's folder of `sgif reproduce quality`: the clip and sample 0 of each of its runs
slow.gif         of a run trained with --slow-motion, and nothing else of it: the clip, its reconstruction, two samples

It also prints the tables of docs/applications.md: what short and long samples are like, where samples and loops
jump, how much samples differ by start scale, and what is left of a seam.

The samples are the first ones of the seed, not chosen ones. Pictures are enlarged as far as the file's size allows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sgif.engine import (
    Clip,
    Run,
    animate,
    edit_frames,
    frames_from_tensor,
    inpaint_frames,
    load_features,
    load_run,
    read_still,
    superres,
    write_clip,
)
from sgif.engine.clip import tensor_from_frames
from sgif.engine.metrics.evaluate import RealClip
from sgif.kernels import resize, upsample

MAX_BYTES = 1_400_000  # what a README may load without a reader noticing
MAX_WIDTH_PX = 640
MAX_ZOOM = 3.0
GAP_PX = 4
WIDE, TALL = 1.6, 0.8  # widths, as multiples of the clip's
MOVED = 0.3  # of the width, by which the edited clip's frames are moved to the left
SEAM = 0.08  # of the width, on either side of a seam: what its mask selects
BLOCKS = 8  # times as long as the clip is a long sample

Picture = Callable[[float], Tensor]
"""Frames uint8 [T, H, W, 3] at a zoom."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the samples [0]")
    parser.add_argument("--still", type=Path, help="picture to animate")
    parser.add_argument("--superres", type=Path, metavar="RUN", help="run to enlarge its clip with")
    parser.add_argument("--quality", type=Path, metavar="FOLDER", help="runs of a clip, by their iterations")
    args = parser.parse_args(argv)
    run = load_run(args.run)
    args.output.mkdir(parents=True, exist_ok=True)
    per_frame = run.config.slow_motion
    for name, make in pictures_of(run, args).items():
        path = args.output / name
        zoom = write_small(path, make(run, args.seed), [ms for ms in run.frame_ms for _ in range(per_frame)])
        print(f"{path}: {path.stat().st_size:,} bytes, enlarged {zoom:.2f} times")
    if per_frame == 1:
        for table in (length_table, loop_table, diversity_table, seam_table):
            print(table(run, args.seed))


def pictures_of(run: Run, asked: argparse.Namespace) -> dict[str, Callable[[Run, int], Picture]]:
    """What makes each picture, by name."""
    if run.config.slow_motion > 1:
        return {"slow.gif": slow}
    found: dict[str, Callable[[Run, int], Picture]] = {
        "demo.gif": demo, "sizes.gif": sizes, "loop.gif": loops, "variations.gif": variations,
        "composition.gif": composition, "inpainting.gif": inpainting}
    if asked.still:
        found["animate.gif"] = lambda run, seed: animated(run, read_still(asked.still), seed)
    if asked.superres:
        found["superres.gif"] = lambda run, seed: enlargements(load_run(asked.superres))
    if asked.quality:
        found["quality.gif"] = lambda run, seed: by_iterations(asked.quality, seed)
    return found


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


def variations(run: Run, seed: int) -> Picture:
    """The clip and sample 0 of every start scale, in rows of four."""
    named = {"training clip": run.clip}
    named |= {f"start scale {n}": run.sample(seed=seed, start_scale=n) for n in range(run.scales_done)}
    return in_rows(named, 4)


def by_iterations(folder: Path, seed: int) -> Picture:
    """The clip, and sample 0 of its run after a quarter, half, all and twice the iterations, in rows of three."""
    runs = {title: load_run(folder / key) for key, title in (
        ("quarter", "a quarter"), ("half", "half"), ("singan-gif", "all iterations"), ("double", "twice"))}
    return in_rows({"training clip": runs["half"].clip,
                    **{title: run.sample(seed=seed) for title, run in runs.items()}}, 3)


def diversity_table(run: Run, seed: int, samples: int = 8) -> str:
    """By start scale, how much samples differ from each other and from the clip, as Markdown: their standard deviation
    at a value, averaged over values and divided by the clip's; and their mean absolute difference to it."""
    lines = ["| start scale | clip enters at | diversity | difference to the clip |", "|--:|--:|--:|--:|"]
    for start in range(run.scales_done):
        clips = run.sample(samples, seed=seed, start_scale=start)
        entry = "x".join(map(str, run.sizes[start - 1])) if start else "no scale"
        difference = (clips - run.clip).abs().mean() * 127.5
        lines.append(f"| {start} | {entry} | {clips.std(0).mean() / run.clip.std():.3f} | {difference:.1f} |")
    return "\n".join(lines)


def composition(run: Run, seed: int) -> Picture:
    """The moved clip, and the same edited: all of it, and only around the seam, from noise on."""
    return in_rows({name: tensor_from_frames(frames) for name, frames in compositions(run, seed).items()}, 3)


def compositions(run: Run, seed: int) -> dict[str, Tensor]:
    """Frames uint8 [T, H, W, 3] of the clip moved to the left, its right end repeated in the gap, and what becomes of
    it."""
    frames = frames_from_tensor(run.clip)
    width, gap = frames.shape[2], round(MOVED * frames.shape[2])
    moved = Clip(frames=torch.cat((frames[:, :, gap:], frames[:, :, -gap:]), 2), frame_ms=run.frame_ms, source="moved")
    mask = torch.zeros(1, *frames.shape[1:3], dtype=torch.bool)
    mask[:, :, round(width - gap - SEAM * width):round(width - gap + SEAM * width)] = True
    return {"moved": moved.frames, "sgif edit": torch.cat(list(edit_frames(run, moved, seed=seed))),
            "mask, from noise": torch.cat(list(edit_frames(run, moved, mask=mask, start_scale=0, seed=seed)))}


def seam_table(run: Run, seed: int) -> str:
    """What is left of the seam of `compositions`, as Markdown; the clip itself at that column, where it has none."""
    frames = frames_from_tensor(run.clip)
    column = frames.shape[2] - round(MOVED * frames.shape[2]) - 1
    rows = {"the clip itself": frames, **compositions(run, seed)}
    return "\n".join(("| | step across the seam |", "|:--|--:|",
                      *(f"| {name} | {step_across(each, column):.2f} |" for name, each in rows.items())))


def step_across(frames: Tensor, column: int, reach: int = 2) -> float:
    """Mean absolute difference between neighbouring columns of frames [T, H, W, 3], the largest of those from `column`
    to the next one and of `reach` ones to either side, divided by the median over all columns. A seam stands out;
    without one it is little more than 1."""
    steps = frames.float().diff(dim=2).abs().mean((0, 1, 3))
    return float(steps[max(0, column - reach):column + reach + 1].max() / steps.median())


def inpainting(run: Run, seed: int) -> Picture:
    """The clip with a white hole in a quarter of its width, the hole filled, and the clip as it was."""
    frames = frames_from_tensor(run.clip)
    height, width = frames.shape[1:3]
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, 3 * height // 10:3 * height // 4, width // 10:width // 10 + width // 4] = True
    holed = frames.masked_fill(mask[..., None], 255)
    filled = torch.cat(list(inpaint_frames(run, Clip(frames=holed, frame_ms=run.frame_ms, source="hole"), mask,
                                           seed=seed)))
    return in_rows({"hole": tensor_from_frames(holed), "sgif inpaint": tensor_from_frames(filled),
                    "training clip": run.clip}, 3)


def in_rows(clips: Mapping[str, Tensor], columns: int) -> Picture:
    """Clips [1, 3, T, H, W] with their names in them, in rows of `columns`; white fills the last one."""
    def at(zoom: float) -> Tensor:
        cells = [labelled(enlarged(clip, zoom), name) for name, clip in clips.items()]
        cells += [torch.full_like(cells[0], 255)] * (-len(cells) % min(columns, len(cells)))
        return stack([stack(cells[first:first + columns], 2) for first in range(0, len(cells), columns)], 1)
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


def length_table(run: Run, seed: int, samples: int = 8) -> str:
    """Motion, and distance to the clip in frames and over time, of its reconstruction, of samples as long as it, and of
    samples BLOCKS times as long in blocks of its length: means, as Markdown."""
    features, frames = load_features("efficientnet-lite0"), run.num_frames
    real = RealClip(frames_from_tensor(run.clip), features)
    long = run.sample(samples, frames=BLOCKS * frames, seed=seed).split(frames, 2)
    rows = {"clip": run.clip, "reconstruction": run.reconstruct(),
            f"samples of {frames} frames": run.sample(samples, seed=seed),
            **{f"of {BLOCKS * frames}: {frames * k} to {frames * (k + 1) - 1}": block for k, block in enumerate(long)}}
    lines = [f"| frames | motion | {features.layers[0]} | {features.temporal} |", "|:--|--:|--:|--:|"]
    for name, clips in rows.items():
        found = [real.figures(frames_from_tensor(clip)) for clip in clips.split(1)]
        means = (mean(float(figures[figure] or 0) for figures in found)
                 for figure in (features.layers[0], features.temporal))
        lines.append(f"| {name} | {motion(clips):.4f} | " + " | ".join(f"{value:.2f}" for value in means) + " |")
    return "\n".join(lines)


def loop_table(run: Run, seed: int, samples: int = 4) -> str:
    """By length, the mean step within samples and loops and from their last frame to the first, as Markdown."""
    lines = ["| frames | plain: within | seam | loop: within | seam |", "|--:|--:|--:|--:|--:|"]
    for frames in (2, 3, 4, 6, 8, 12, 24, 48):
        clips = [run.sample(samples, frames=frames, seed=seed, loop=loop) for loop in (False, True)]
        steps = (value for clip in clips for value in (motion(clip), motion(clip[:, :, [-1, 0]])))
        lines.append(f"| {frames} | " + " | ".join(f"{step:.4f}" for step in steps) + " |")
    return "\n".join(lines)


def motion(clips: Tensor) -> float:
    """Mean absolute difference of each frame and the next, of clips [N, 3, T, H, W] in [-1, 1]."""
    return float(clips.diff(dim=2).abs().mean())


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
