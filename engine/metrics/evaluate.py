"""`evaluate`: how near generated clips come to the real one, clip by clip, and how near that comes to itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..clip import frames_from_tensor, tensor_from_frames
from ..runs import Run
from .features import Features
from .frechet import Moments
from .pixels import colour_distance, diversity, has_palette, nearest_real

Figures = dict[str, float | None]
"""By name; None for what cannot be had of that clip."""

ROWS_PER_CHANNEL = 10
"""Below, a warning: two times N independent rows of one Gaussian of C channels are C / 2N of its variance apart
(measured: 0.055 and 0.051 at this, for 64 and 192 channels)."""
_BATCH_PIXELS = 1 << 18  # four frames of 256x256 at once: 16 MB of Inception's 64 channels


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of generated clips. All but diversity are distances: lower is nearer, 0 is the same."""

    features: dict[str, Any]
    """What the Frechet distances are of: `Features.describe()`."""
    clips: tuple[Figures, ...]
    """Of each generated clip."""
    mean: Figures
    """Over the clips, and of all of them `diversity`."""
    spread: Figures
    """Standard deviation over the clips (n - 1); None for one clip."""
    yardstick: Figures
    """The same of the real clip's last half against its first."""
    reconstruction: Figures | None = None
    """Of a clip that was given as such; it is in neither mean nor spread."""
    warnings: tuple[str, ...] = ()
    """What makes figures unsound or leaves them out, one clause each."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class RealClip:
    """What clips are compared with; its features are computed once."""

    def __init__(self, frames: Tensor, features: Features) -> None:
        self.frames, self.features = frames, features
        self.moments = moments(frames, features)

    def figures(self, clip: Tensor) -> Figures:
        """The figures of one clip, uint8 [T', H', W', 3]."""
        names = (*self.features.layers, self.features.temporal)
        found: Figures = {
            name: real.distance(other) if min(real.count, other.count) > 1 else None
            for name, real, other in zip(names, self.moments, moments(clip, self.features), strict=True)}
        same_size = clip.shape[1:] == self.frames.shape[1:]
        found["nearest_real"] = nearest_real(self.frames, clip) if same_size else None
        found["colour"] = colour_distance(self.frames, clip)
        return found


def evaluate(real: Tensor, generated: Sequence[Tensor], features: Features, *,
             reconstruction: Tensor | None = None) -> Evaluation:
    """Compare generated clips with the real one.

    Figures of a clip: those of `features` (Frechet distances of all rows of its layers, one row per location and frame,
    and of the temporal differences), `nearest_real` (RMSE to the nearest real frame in levels of 255) and `colour`
    (eq. 6). Memory grows with the clips' pixels, not with their features.

    Args:
        real: uint8 [T, H, W, 3].
        generated: clips uint8 [T', H', W', 3]; of another size than `real`, `nearest_real` is None.
        features: what `load_features` gives.
        reconstruction: a clip with a row of its own.

    Raises:
        ValueError: no clip, or one that is no such tensor, has no frames or is too small for the features.
    """
    named = [("the real clip", real), *((f"generated clip {i}", clip) for i, clip in enumerate(generated))]
    named += [] if reconstruction is None else [("the reconstruction", reconstruction)]
    if not generated:
        raise ValueError("there are no generated clips: give one or more")
    for name, clip in named:
        check_clip(name, clip, features)
    against = RealClip(real, features)
    figures = tuple(against.figures(clip) for clip in generated)
    return Evaluation(
        features=features.describe(), clips=figures,
        mean={**over_clips(figures, statistics.fmean), "diversity": diversity(real, generated)},
        spread=over_clips(figures, lambda found: statistics.stdev(found) if len(found) > 1 else None),
        yardstick=yardstick(real, features),
        reconstruction=None if reconstruction is None else against.figures(reconstruction),
        warnings=tuple(dict.fromkeys(warnings_of(real, generated, features))))


def evaluate_run(run: Run, features: Features, *, n: int = 10, seed: int = 0, device: str | None = None) -> Evaluation:
    """The first `n` samples of `seed`, and the reconstruction, against the clip at the size that is trained: raw frames
    with raw frames.

    Raises:
        RunError, ValueError: as `Run.sample_frames` and `evaluate` do.
    """
    samples = [torch.cat(list(run.sample_frames(index, seed=seed, device=device))) for index in range(n)]
    reconstruction = torch.cat(list(run.reconstruct_frames(device=device)))
    return evaluate(run_frames(run), samples, features, reconstruction=reconstruction)


def run_frames(run: Run) -> Tensor:
    """What a run's samples are compared with: its clip at the finest scale that is done, uint8 [T, H, W, 3]."""
    return run.frames if run.finished else frames_from_tensor(run.real[run.scales_done - 1])


def check_clip(name: str, clip: Tensor, features: Features) -> None:
    """Raises ValueError for what `features` cannot take."""
    if clip.dtype != torch.uint8 or clip.dim() != 4 or clip.shape[3] != 3 or not len(clip):
        raise ValueError(f"{name} is {clip.dtype} {list(clip.shape)}, expected uint8 [T, H, W, 3] with frames in it")
    if min(clip.shape[1:3]) < features.min_side_px:
        raise ValueError(f"{name} is {clip.shape[1]}x{clip.shape[2]}, too small for {features.name}, which needs "
                         f"{features.min_side_px} pixels each way")


def moments(clip: Tensor, features: Features) -> tuple[Moments, ...]:
    """Of the rows of each layer, and last of the differences of consecutive frames in the first layer."""
    found = tuple(Moments() for _ in (*features.layers, features.temporal))
    last = None
    for batch in clip.split(max(1, _BATCH_PIXELS // (clip.shape[1] * clip.shape[2]))):
        maps = features(tensor_from_frames(batch)[0].transpose(0, 1))
        for of, layer in zip(found[:-1], maps, strict=True):
            of.add(rows(layer))
        steps = (maps[0] if last is None else torch.cat((last, maps[0]))).diff(dim=0)
        if len(steps):
            found[-1].add(rows(steps))
        last = maps[0][-1:]
    return found


def rows(layer: Tensor) -> Tensor:
    """[N, C, h, w] -> [N h w, C]."""
    return layer.movedim(1, 3).flatten(0, 2)


def yardstick(real: Tensor, features: Features) -> Figures:
    """The real clip's last half against its first; a clip of one frame has none."""
    half = len(real) // 2
    if half:
        return RealClip(real[:half], features).figures(real[-half:])
    return dict.fromkeys((*features.layers, features.temporal, "nearest_real", "colour"))


def over_clips(figures: Iterable[Figures], reduce: Callable[[list[float]], float | None]) -> Figures:
    """`reduce` of each figure's values, without those that are None."""
    columns: dict[str, list[float]] = {}
    for clip in figures:
        for name, value in clip.items():
            columns.setdefault(name, []).extend([] if value is None else [value])
    return {name: reduce(values) if values else None for name, values in columns.items()}


def warnings_of(real: Tensor, generated: Sequence[Tensor], features: Features) -> Iterator[str]:
    if len(generated) < 2:
        yield "one clip has neither spread nor diversity: give several"
    elif len({clip.shape for clip in generated}) > 1:
        yield "the clips are of several shapes: no diversity"
    if any(clip.shape[1:] != real.shape[1:] for clip in generated):
        yield f"clips of another size than the real one's {real.shape[1]}x{real.shape[2]} have no nearest_real"
    if any(len(clip) < 2 for clip in (real, *generated)):
        yield f"a clip of one frame has no {features.temporal}"
    palettes = has_palette(real), [has_palette(clip) for clip in generated]
    if any(palette != palettes[0] for palette in palettes[1]):
        yield "a palette of 256 colours is compared with frames that have none, which alone can be as far apart as a " \
              "clip's own halves; compare GIF with GIF or raw frames with raw frames"
    yield from few_rows(min((real[: max(1, len(real) // 2)], *generated), key=torch.Tensor.numel), features)


def few_rows(clip: Tensor, features: Features) -> Iterator[str]:
    """Warnings for layers of too few rows, of the smallest clip that is compared."""
    with torch.no_grad():
        maps = features(tensor_from_frames(clip[:1])[0].transpose(0, 1))
    for figure, layer in zip(features.layers, maps, strict=True):
        count, channels = len(clip) * layer.shape[2] * layer.shape[3], layer.shape[1]
        if count < ROWS_PER_CHANNEL * channels:
            yield (f"{figure} is of as few as {count} rows for {channels} channels: below {ROWS_PER_CHANNEL} for each "
                   "it is too high for lack of data; compare it only with clips as small")
