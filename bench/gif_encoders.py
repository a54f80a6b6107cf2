"""Which palette and dither a GIF should have: Pillow's and ffmpeg's ways beside ours, on the same true-colour frames.

    python -m sgif.bench.gif_encoders [clip ...]

prints the table of docs/gif-encoding.md for two synthetic clips and any clips given. Those are first shrunk to three
quarters, because a clip that comes from a GIF has at most 256 colours per frame and would flatter per-frame palettes.
"""

import argparse
import io
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import PIL
import torch
from PIL import Image

from ..engine.clip import Pixels, read_clip
from ..engine.clip_writer import write_clip

Floats = npt.NDArray[np.float64]
MAX_FRAMES = 16
REPEATS = 3

# ---- Clips -----------------------------------------------------------------------------------------------------------


def clouds(t: int = 12, h: int = 120, w: int = 160) -> Pixels:
    """Everything moves: clouds of 1/f noise before a graded sky, grass below, sensor noise of one level."""
    rng = np.random.default_rng(0)

    def natural_noise() -> Floats:
        axes = np.fft.fftfreq(t) * t, np.fft.fftfreq(h) * h, np.fft.rfftfreq(w) * w
        radius = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij")))
        radius[0, 0, 0] = np.inf
        field = np.fft.irfftn(np.fft.rfftn(rng.standard_normal((t, h, w))) / radius**1.8, (t, h, w), axes=(0, 1, 2))
        return np.asarray((field - field.min()) / np.ptp(field))[..., None]

    y, x = np.linspace(0, 1, h)[None, :, None, None], np.arange(w)[None, None, :, None]
    cover = np.clip((natural_noise() - 0.45) * 3, 0, 1)
    sky = (np.array([90, 140, 220]) * (1 - y) + np.array([250, 200, 150]) * y) * (1 - cover) + 245 * cover
    grass = np.array([40, 90, 50]) + natural_noise() * np.array([120, 100, 40])
    scene = np.where(y > 0.62 + 0.05 * np.sin(x / 15), grass, sky) + rng.normal(0, 1, (t, h, w, 3))
    return np.clip(scene, 0, 255).round().astype(np.uint8)


def ball(t: int = 12, h: int = 120, w: int = 160) -> Pixels:
    """Almost nothing moves: a shaded ball crosses a smooth gradient without noise, where banding and flicker show."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    wall = np.stack([60 + 120 * y / h + 30 * x / w, 90 + 90 * y / h, 200 - 60 * y / h + 20 * x / w], axis=-1)
    shade = np.stack([220 - 0.3 * x, 80 + 0.5 * y, np.full_like(x, 60)], axis=-1)
    frames = []
    for step in range(t):
        inside = np.clip(20 - np.hypot(x - 30 - 8 * step, y - 70 - 10 * np.sin(step / 2)), 0, 1)[..., None]
        frames.append(wall * (1 - inside) + shade * inside)
    return np.stack(frames).round().astype(np.uint8)


def shrunk(path: str) -> Pixels:
    frames = read_clip(path).frames[:MAX_FRAMES].numpy()
    height, width = frames.shape[1] * 3 // 4, frames.shape[2] * 3 // 4
    small = (Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in frames)
    return np.stack([np.asarray(frame) for frame in small])


# ---- Candidates: uint8 [T, H, W, 3] -> GIF bytes, 100 ms per frame ---------------------------------------------------


def pillow(frames: Pixels, method: Image.Quantize, kmeans: int, *, per_frame: bool, dither: bool) -> bytes:
    """Pillow's `quantize`; one palette comes from all frames stacked. Dither is Floyd-Steinberg, all it has."""
    images = [Image.fromarray(frame) for frame in frames]
    stacked = Image.fromarray(frames.reshape(-1, frames.shape[2], 3))
    palettes = [image.quantize(256, method, kmeans) for image in (images if per_frame else [stacked])]
    if per_frame and not dither:
        return save_by_pillow(palettes)
    how = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
    palettes = palettes if per_frame else palettes * len(images)
    pairs = zip(images, palettes, strict=True)
    return save_by_pillow([image.quantize(palette=palette, dither=how) for image, palette in pairs])


def save_by_pillow(images: Sequence[Image.Image]) -> bytes:
    out = io.BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=100, loop=0)
    return out.getvalue()


def ffmpeg(frames: Pixels, stats: str, dither: str) -> bytes:
    """ffmpeg's palettegen and paletteuse through PyAV; `single` statistics give each frame its palette."""
    height, width = frames.shape[1:3]
    graph = av.filter.Graph()
    format = av.VideoFormat("rgb24")
    source: Any = graph.add_buffer(width=width, height=height, format=format, time_base=Fraction(1, 10))
    split, sink = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", f"stats_mode={stats}:reserve_transparent=0")
    use = graph.add("paletteuse", f"dither={dither}:new={int(stats == 'single')}")
    links = (source, 0, split, 0), (split, 0, use, 0), (split, 1, palette, 0), (palette, 0, use, 1), (use, 0, sink, 0)
    for before, output, after, entry in links:
        before.link_to(after, output, entry)
    graph.configure()
    for index, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 10)
        source.push(frame)
    source.push(None)
    out = io.BytesIO()
    with av.open(out, "w", format="gif") as container:
        stream: Any = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        for _ in frames:
            container.mux(stream.encode(graph.pull()))
        container.mux(stream.encode(None))
    return out.getvalue()


def ours(frames: Pixels) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.gif")
        write_clip(file, torch.from_numpy(frames), 100)
        return file.read_bytes()


def candidates() -> dict[str, Callable[[Pixels], bytes]]:
    mediancut, maxcoverage, octree = Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE, Image.Quantize.FASTOCTREE
    table: dict[str, Callable[[Pixels], bytes]] = {
        "**ours: one palette, root-weighted, exact nearest**": ours,
        "Pillow's `save` of RGB frames": lambda true: save_by_pillow([Image.fromarray(frame) for frame in true]),
    }
    for name, method, kmeans in (
        ("mediancut", mediancut, 0),
        ("mediancut + k-means", mediancut, 1),
        ("maxcoverage + k-means", maxcoverage, 1),
        ("fastoctree", octree, 0),
    ):
        for per_frame in (True, False):
            for dither in (False, True):
                label = f"Pillow {name}, {'palette per frame' if per_frame else 'one palette'}{', dithered' * dither}"
                table[label] = partial(pillow, method=method, kmeans=kmeans, per_frame=per_frame, dither=dither)
    for stats in ("full", "diff", "single"):
        for how in ("none", "bayer:bayer_scale=2", "bayer:bayer_scale=5", "sierra2_4a"):
            table[f"ffmpeg {stats}, {how.replace(':bayer_scale=', ' ')}"] = partial(ffmpeg, stats=stats, dither=how)
    return table


# ---- Measurement -----------------------------------------------------------------------------------------------------


def decode(data: bytes) -> Floats:
    with av.open(io.BytesIO(data), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.float64)


def psnr(one: Floats, other: Floats) -> float:
    return float(10 * np.log10(255**2 / np.mean((one - other) ** 2)))


def blurred(frames: Floats) -> Floats:
    """Gaussian, sigma one pixel, over height and width: what the eye makes of a dither from a distance."""
    weights = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    for axis in (1, 2):
        padded = np.pad(frames, [(3, 3) if a == axis else (0, 0) for a in range(4)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 7, axis=axis)
        frames = windows @ (weights / weights.sum())
    return frames


def measure(true: Pixels, encode: Callable[[Pixels], bytes]) -> tuple[str, float, float]:
    """("PSNR / PSNR blurred / flicker / kB", colour shift in levels, CPU seconds)."""
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        data = encode(true)
        seconds.append(time.process_time() - began)
    decoded, frames = decode(data), true.astype(np.float64)
    assert len(decoded) == len(frames), f"kept {len(decoded)} of {len(frames)} frames"
    error = decoded - frames
    shift = float(np.abs(error.mean(axis=(0, 1, 2))).max())
    flicker = np.mean(np.diff(error, axis=0) ** 2)
    quality = f"{psnr(decoded, frames):.1f} / {psnr(blurred(decoded), blurred(frames)):.1f}"
    return f"{quality} / {flicker:.1f} / {len(data) / 1000:.0f}", shift, statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", help="clips to measure besides the two synthetic ones")
    torch.set_num_threads(1)
    clips = {"clouds": clouds(), "ball": ball()} | {path: shrunk(path) for path in parser.parse_args().clips}
    versions = f"Pillow {PIL.__version__}, PyAV {av.__version__}, torch {torch.__version__}"
    print(f"{versions}, {platform.machine()}, one thread, CPU seconds the median of {REPEATS}")
    titles = [f"{Path(name).stem} {'x'.join(map(str, frames.shape[:3]))}" for name, frames in clips.items()]
    print(f"\n| encoder | {' | '.join(titles)} | worst shift | CPU s, all |")
    print("|---" * (len(clips) + 3) + "|")
    for label, encode in candidates().items():
        cells, shifts, seconds = zip(*(measure(frames, encode) for frames in clips.values()), strict=True)
        print(f"| {label} | {' | '.join(cells)} | {max(shifts):.2f} | {sum(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
