"""Make `clouds.gif`: cumulus drifting over a wooded ridge and a lake, computed from noise alone.

Nothing is filmed or drawn.  Each frame is a small ray-traced landscape, seen by a camera that looks at the horizon:

  sky     a blue-to-warm gradient, with a glow low on the side of the sun;
  clouds  a slab of air, dense wherever fractal noise exceeds a threshold, and marched along every ray; light is
          absorbed on its way from the sun, so tops are lit and flat undersides shaded.  The wind carries the slab
          along, near clouds crossing the frame faster than far ones, while the finer noise billows through it;
  ridges  three silhouettes of hills, the farther the hazier, with a treeline and light caught by the crowns;
  lake    a plane of running waves, each tilting the mirror image of all the above, and glinting towards the sun.

    python examples/make_clouds.py [-o examples/clouds.gif] [--seed 22]
    python examples/make_clouds.py --seed 3 --still -o examples/other_clouds.png
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

Array = np.ndarray

HEIGHT, WIDTH, FRAMES, DELAY = 96, 160, 12, 100  # pixels, pixels, frames, milliseconds a frame
SEED = 22
SCALE = 3  # supersampling, in both directions
HORIZON = 66  # the row at eye level
FOCAL = 140.0  # in pixels: a ray through pixel (row, column) climbs (HORIZON - row) / FOCAL per unit of distance
SLAB = 0.75  # the thickness of the layer that holds the clouds; its underside is 1 above the eye
WIND = 0.036  # how far it travels in a frame
SUN = np.array([0.82, 0.52, 0.20])  # where the light comes from: the right, above, and a little from beyond
SUN_COLUMN = 0.72 * WIDTH  # where its glow and its glitter are centred

SHADOWS = (0.06, 0.16, 0.32, 0.60)  # how far towards the sun a point looks for cloud that shades it
RIDGES = ((11, 3.5, 0.2, 0.60), (7.5, 4.5, 0.4, 0.32), (4, 2.5, 0.8, 0.06))  # height, relief, trees, haze

ZENITH, MIDDLE, LOW = np.array([[0.16, 0.33, 0.62], [0.43, 0.62, 0.82], [0.98, 0.80, 0.62]])
HAZE, DEEP = np.array([[0.62, 0.65, 0.71], [0.06, 0.13, 0.18]])
SUNLIGHT, SHADE = np.array([[1.14, 1.06, 0.94], [0.42, 0.47, 0.60]])


def smoothstep(low: float, high: float, x: Array) -> Array:
    x = np.clip((x - low) / (high - low), 0, 1)
    return x * x * (3 - 2 * x)


def mix(a: Array, b: Array, amount: Array) -> Array:
    return a + (b - a) * np.asarray(amount)[..., None]


def fractal(rng: np.random.Generator, shape: tuple[int, ...], slope: float, lowest: float = 1) -> Array:
    """Periodic Gaussian noise of unit variance whose amplitude falls as frequency ** -slope, from `lowest` on."""
    axes = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij")
    frequency = np.sqrt(sum(np.square(axis) for axis in axes))
    gain = np.where(frequency < lowest, 0, np.maximum(frequency, 1) ** -slope)
    noise = np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape)) * gain).real
    return (noise / noise.std()).astype(np.float32)


def sample(texture: Array, *position: Array) -> Array:
    """Linear interpolation in a periodic texture of side 1; one array of coordinates for each of its axes."""
    corners: list[tuple[Array | int, Array | float]] = [(0, 1.0)]
    for size, p in zip(texture.shape, position, strict=True):
        whole = np.floor(p * size)
        rest, cell = (p * size - whole).astype(np.float32), whole.astype(np.int32)
        corners = [
            (index * size + (cell + step) % size, weight * share)
            for index, weight in corners
            for step, share in ((0, 1 - rest), (1, rest))
        ]
    return sum(texture.ravel()[index] * weight for index, weight in corners)


class Scene:
    """The noise that the landscape is made of, and the landscape at a given time (in frames)."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.shapes = fractal(rng, (128, 64, 128), 2.2, lowest=2)
        self.billows = np.abs(fractal(rng, (128, 128, 128), 2.3, lowest=5))
        self.outlines = fractal(rng, (3, 1024), 1.6)
        self.trees = fractal(rng, (512, 512), 1.3, lowest=12)
        self.waves = fractal(rng, (256, 256, 32), 2.3, lowest=6)
        y, x = np.mgrid[: HEIGHT * SCALE, : WIDTH * SCALE].astype(np.float32)
        self.x, self.y = (x + 0.5) / SCALE, (y + 0.5) / SCALE
        self.jitter = rng.random(self.x.shape, dtype=np.float32)

    def sky(self) -> Array:
        up = np.clip((HORIZON - self.y) / HORIZON, 0, 1)
        glow = np.exp(-(((self.x - SUN_COLUMN) / 70) ** 2) - (up / 0.45) ** 2)
        colour = mix(mix(LOW, MIDDLE, smoothstep(0.05, 0.55, up)), ZENITH, smoothstep(0.35, 1.1, up))
        return mix(colour, np.array([1.0, 0.88, 0.70]), 0.55 * glow)

    def density(self, right: Array, up: Array, away: Array, time: float) -> Array:
        """How thick the cloud is at a point of the slab 0 <= up <= 1: flat below, heaped above."""
        right = right - WIND * time
        shape = sample(self.shapes, right / 9, up / 14 + 0.004 * time, away / 9)
        heap = shape - 0.55 - 1.3 * np.abs(up) ** 1.5 - 1.2 * (1 - smoothstep(0.0, 0.12, up))
        near = heap > -0.9
        billow = sample(self.billows, right[near] / 2.3, up[near] / 3.2 - 0.006 * time, away[near] / 2.3)
        heap[near] += (0.55 * billow - 0.35) * np.exp(-0.04 * away[near])
        return np.clip(heap * 2.5, 0, 2)

    def clouds(self, sky: Array, time: float, steps: int = 64) -> Array:
        """The slab in front of the sky: what each step along the rays adds, seen through what lies before it."""
        rows = np.s_[: (HORIZON - 6) * SCALE]
        side, climb = (self.x[rows] - WIDTH / 2) / FOCAL, (HORIZON - self.y[rows]) / FOCAL
        light, clear = np.zeros((*side.shape, 3), np.float32), np.ones_like(side)
        stride = np.minimum(SLAB / climb, 6) / steps
        for step in range(steps):
            away = 1 / climb + (step + self.jitter[rows]) * stride
            up = (away * climb - 1) / SLAB
            thick = self.density(side * away, up, away, time)
            inside = (thick > 0) & (clear > 0.02)
            r, u, a = (side * away)[inside], up[inside], away[inside]
            depth = sum(self.density(r + SUN[0] * d, u + SUN[1] * d / SLAB, a + SUN[2] * d, time) for d in SHADOWS)
            lit = 0.6 * np.exp(-0.8 * depth) + 0.4 * np.exp(-0.27 * depth)
            colour = mix(SHADE * (0.75 + 0.5 * u[:, None]), SUNLIGHT, lit)
            colour = mix(sky[rows][inside], colour, np.exp(-0.09 * a))
            opacity = 1 - np.exp(-9 * thick[inside] * stride[inside])
            light[inside] += colour * (opacity * clear[inside])[:, None]
            clear[inside] *= 1 - opacity
        return np.concatenate([light + sky[rows] * clear[..., None], sky[rows.stop :]])

    def ridges(self, image: Array) -> Array:
        for k, (base, relief, trees, haze) in enumerate(RIDGES):
            across, y = self.x / 128 + 0.31 * k, self.y / 128
            crest = base + relief * sample(self.outlines, np.full_like(y, k / 3), 0.4 * across)
            crest += trees * sample(self.trees, np.full_like(y, 0.1 * k), across)
            lit = sample(self.trees, y, across) - sample(self.trees, y - 0.006, across + 0.006)
            colour = np.array([0.085, 0.11, 0.085]) + np.array([0.06, 0.06, 0.03]) * lit[..., None]
            image = mix(image, mix(colour, HAZE, haze), smoothstep(0, 0.5, crest - (HORIZON - self.y)))
        return image

    def lake(self, image: Array, time: float) -> Array:
        rows = np.s_[HORIZON * SCALE :]
        x, y = self.x[rows], self.y[rows] - HORIZON
        away = 30 / (y + 5)
        side = (x - WIDTH / 2) * away / 30
        slope = sample(self.waves, away / 2.2 + 0.011 * time, side / 7 + 0.004 * time, np.full_like(x, time / 80))
        tilt = slope * (0.7 + 0.08 * y)
        row = np.clip((HORIZON - 0.5 - y * 1.5 - np.abs(tilt) * 1.5) * SCALE, 0, HORIZON * SCALE - 1).astype(int)
        col = np.clip((x + 0.3 * tilt) * SCALE, 0, WIDTH * SCALE - 1).astype(int)
        mirror = mix(image[row, col], DEEP, 0.18 + 0.3 * smoothstep(-0.5, 1.5, slope) * y / 30)
        ripple = sample(self.waves, away / 0.9 + 0.03 * time, side / 2 - 0.01 * time, np.full_like(x, time / 60))
        glint = smoothstep(0.9, 2.2, ripple - slope) * np.exp(-(((x - SUN_COLUMN) / (12 + 0.5 * y)) ** 2))
        image[rows] = mix(mirror, SUNLIGHT, 0.9 * glint)
        return image

    def frame(self, time: float) -> Array:
        image = self.lake(self.ridges(self.clouds(self.sky(), time)), time)
        image = image.reshape(HEIGHT, SCALE, WIDTH, SCALE, 3).mean(axis=(1, 3))
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def write_gif(frames: list[Array], path: Path) -> None:
    """One palette for the whole clip, built from all of its frames; each pixel takes the nearest colour, undithered."""
    everything = Image.fromarray(np.concatenate(frames))
    palette = everything.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2).getpalette() or []
    colours = np.array(palette, np.float32).reshape(-1, 3)
    images = []
    for frame in frames:
        distance = (colours**2).sum(axis=1) - 2 * frame.astype(np.float32) @ colours.T
        images.append(Image.fromarray(distance.argmin(axis=-1).astype(np.uint8)))
        images[-1].putpalette(palette)
    keep = {"palette": bytes(palette), "optimize": False, "interlace": False}  # as it is; no palette for each frame
    images[0].save(path, save_all=True, append_images=images[1:], duration=DELAY, loop=0, **keep)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("clouds.gif"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--still", action="store_true", help="write the first frame alone, all its colours, as a PNG")
    args = parser.parse_args()
    scene = Scene(args.seed)
    if args.still:
        Image.fromarray(scene.frame(0)).save(args.output, "PNG", optimize=True)
        return
    write_gif([scene.frame(t) for t in range(FRAMES)], args.output)
    print(f"{args.output}: {FRAMES} frames of {WIDTH}x{HEIGHT}, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
