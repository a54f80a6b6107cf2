"""Measure what the figures of `sgif eval` say to changes that everybody knows: what does 0.4 mean?

    python docs/measure_sensitivity.py --document

Changes the example clip in one way at a time, compares each with the clip, and prints a table; with --document it goes
between the markers in docs/evaluation.md. The frames before they had a palette, and another landscape, come from
examples/make_clouds.py, which takes about a minute. Give --features or --weights for other features.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from sgif.bench.documents import fill_between
from sgif.bench.environment import conditions, machine_and_versions
from sgif.engine import load_features, read_clip, write_clip
from sgif.engine.metrics.evaluate import Figures, RealClip, yardstick
from sgif.engine.metrics.features import Features
from sgif.engine.metrics.sources import file_source

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "evaluation.md"
BEGIN, END = "<!-- sensitivity:begin -->", "<!-- sensitivity:end -->"
OTHER_SEED = 3


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip", type=Path, default=ROOT / "examples" / "clouds.gif", help="[examples/clouds.gif]")
    parser.add_argument("--features", help="inception or efficientnet-lite0 [as sgif eval]")
    parser.add_argument("--weights", help="a file [as sgif eval]")
    parser.add_argument("--document", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    args = parser.parse_args(argv)
    before = conditions(torch.device("cpu"))
    features, clip = load_features(args.features, args.weights), read_clip(args.clip).frames
    rows = dict(measured(clip, features, landscapes()))
    weights = features.describe()["weights"]
    count, height, width, _ = clip.shape
    text = (f"{table(rows)}\n\n`python docs/measure_sensitivity.py`; {args.clip.name}, {count} frames of "
            f"{height}x{width}, {file_source(args.clip, clip).kind}; features {features.name}, weights "
            f"{weights['origin']}, SHA-256 {weights['sha256'][:16]}. "
            f"{machine_and_versions(before.device, before.versions, before.commit)}")
    print(text)
    if args.document:
        DOCUMENT.write_text(fill_between(DOCUMENT.read_text(encoding="utf-8"), BEGIN, END, text), encoding="utf-8")


def landscapes() -> tuple[Tensor, Tensor]:
    """The example clip before it had a palette, and another landscape in the same weather of colours."""
    made = script(ROOT / "examples" / "make_clouds.py")

    def frames(seed: int) -> Tensor:
        scene = made.Scene(seed)
        return torch.from_numpy(np.stack([scene.frame(t) for t in range(made.FRAMES)]))
    return frames(made.SEED), as_file(frames(OTHER_SEED), "gif")


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(clip: Tensor, features: Features, drawn: tuple[Tensor, Tensor]) -> Iterator[tuple[str, Figures]]:
    """Rows: what was done, and the figures."""
    raw, other = drawn
    real = RealClip(clip, features)
    yield "nothing", real.figures(clip)
    yield "its last half against its first", yardstick(clip, features)
    for name, changed in changes(clip).items():
        yield name, real.figures(changed)
    yield "another landscape of the same script", real.figures(other)
    yield "a palette: the clip against its frames before it had one", RealClip(raw, features).figures(clip)


def changes(clip: Tensor) -> dict[str, Tensor]:
    """uint8 [T, H, W, 3] -> the same, changed, by the words for the change."""
    count, _, width, _ = clip.shape
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    found = {f"JPEG, quality {quality}": as_jpeg(clip, quality) for quality in (95, 75, 25)}
    found["MP4, as sgif writes it"] = as_file(clip, "mp4")
    found |= {f"blur of {radius:g} px": each(clip, lambda image, radius=radius: image.filter(
        ImageFilter.GaussianBlur(radius))) for radius in (0.5, 1, 2)}
    found |= {f"noise of {level} levels": noisy(clip, level) for level in (2, 4, 8)}
    found |= {f"{level} levels brighter": (clip.int() + level).clamp(0, 255).to(torch.uint8) for level in (5, 20)}
    found |= {
        f"rolled by {width // 4} px": clip.roll(width // 4, 2),
        "mirrored": clip.flip(2),
        "upside down": clip.flip(1),
        "played backwards": clip.flip(0),
        "frames shuffled": clip[order],
        "at half speed, each frame twice": clip[: (count + 1) // 2].repeat_interleave(2, 0)[:count],
        "at double speed": clip[::2],
        "frozen at its first frame": clip[:1].expand(clip.shape),
    }
    return found


def each(clip: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(change(Image.fromarray(frame))) for frame in clip.numpy()]))


def as_jpeg(clip: Tensor, quality: int) -> Tensor:
    def change(image: Image.Image) -> Image.Image:
        written = io.BytesIO()
        image.save(written, "JPEG", quality=quality)
        return Image.open(written).convert("RGB")
    return each(clip, change)


def as_file(clip: Tensor, suffix: str) -> Tensor:
    """The clip written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"clip.{suffix}")
        write_clip(path, clip, (100,) * len(clip))
        return read_clip(path).frames


def noisy(clip: Tensor, level: float) -> Tensor:
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0)) * level
    return (clip + noise).round().clamp(0, 255).to(torch.uint8)


def table(rows: dict[str, Figures]) -> str:
    """A Markdown table with a row for each change."""
    names = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(names)} |", "|:--|" + "--:|" * len(names)]
    for title, figures in rows.items():
        cells = ("" if (value := figures[name]) is None else f"{value:.3f}" for name in names)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
