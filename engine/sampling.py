"""From noise to clips through the trained scales, as a stream: a few frames at a time, whatever the clip's length.

Every scale is an iterator over parts of its clip, [1, 3, t, H, W] in order on the device, and draws the parts of the
coarser scale as it needs them. It keeps the frames that its generator still has to see, and no others.

A loop is a clip whose frames are numbered modulo its length T: frame -1 is frame T - 1. A scale that sees `reach`
frames each way asks the coarser one for as many before the first and after the last, so a coarser scale goes round a
little further than a finer one. There is no end then, so nothing is padded in time.

Generators whose windows went around in training (`pad_time="circular"`) know no ends. What they make from noise is a
part of a loop of ENDLESS frames; a clip that is given is held at its first and its last frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import PhiloxNoise, scaled_noise, upsample_tanh_residual
from .generator import Generator, generator_input
from .pyramid import ScalePlan
from .ranks import ALONE, Ranks
from .windows import MAX_VALUES, windowed_residual

MAX_FRAMES = 64  # made at once: with 5 seen on either side, a 3D scale's work is 1.16 times that of a whole clip
MIN_FRAMES_3D = 8  # 2.25 times; with 4 it would be 3.5 times
NOISE_FRAMES = 4  # drawn noise begins at multiples of it
ENDLESS = 1 << 30
MAX_SIDE_PX = 1 << 16

ScaleNoise = Tensor | PhiloxNoise | None
"""Noise of a scale: [1, 3, T, H, W], or drawn where it is used, or none."""
NoiseSource = Callable[[ScalePlan, tuple[int, int], int, int], ScaleNoise]
"""(scale, (height, width), first frame, number of frames) -> the scale's noise for these frames, at that size."""


@dataclass(frozen=True, kw_only=True)
class TrainedScale:
    """A frozen generator and the amplitude of its noise."""

    plan: ScalePlan
    generator: Generator
    noise_amp: float


class FrameStream:
    """Parts [1, 3, t, H, W] of a clip as they come, from the frame `first` on, to be read by ranges of frames."""

    def __init__(self, parts: Iterable[Tensor], first: int = 0) -> None:
        self._parts = iter(parts)
        self._kept: deque[tuple[int, Tensor]] = deque()  # with the frame that each begins at
        self._end = first

    def pieces(self, low: int, high: int) -> list[Tensor]:
        """Frames `low` to `high` in pieces, without a copy."""
        while self._end < high:
            part = next(self._parts)
            self._kept.append((self._end, part))
            self._end += part.shape[2]
        return [part[:, :, max(0, low - first):high - first] for first, part in self._kept
                if first < high and low < first + part.shape[2]]

    def clip(self, low: int, high: int) -> Tensor:
        """The same as one tensor."""
        pieces = self.pieces(low, high)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 2)

    def forget(self, before: int) -> None:
        """Let go of the parts that end there or earlier: no one asks for them again."""
        while self._kept and self._kept[0][0] + self._kept[0][1].shape[2] <= before:
            self._kept.popleft()


@torch.no_grad()
def run_scale(stage: TrainedScale, coarser: Iterable[Tensor] | None, noise: NoiseSource, frames: int,
              size: tuple[int, int], *, lead: int | None = None, max_values: int = MAX_VALUES,
              ranks: Ranks = ALONE) -> Iterator[Tensor]:
    """One scale over a clip of any length and size, within rounding the result of `generate_scale`.

    Args:
        coarser: x_{n-1} in parts [1, 3, t, h, w], None at scale 0.
        noise: asked for z_n a few frames at a time.
        frames, size: T, and (height, width) of this scale.
        lead: None for a clip that begins and ends. For a part of a loop, how many frames before the first and after the
            last are made too; `coarser` then has `reach_frames` more than that on either side, and `noise` is asked for
            frames below 0 and from T on.
        max_values: numbers in an activation, and in the generator's input; what is held is a small multiple.
        ranks: who share the windows of large frames.

    Yields:
        x_n in parts [1, 3, t, *size].
    """
    generator, reach = stage.generator, stage.generator.reach_frames
    count = frames_at_once(generator, size, max_values)
    first, last = (0, frames) if lead is None else (-lead, frames + lead)
    lowest, highest = (first, last) if lead is None else (first - reach, last + reach)
    below = None if coarser is None else FrameStream(coarser, lowest)
    drawn = NOISE_FRAMES
    if coarser is not None and count < NOISE_FRAMES and _is_shared(noise(stage.plan, size, 0, NOISE_FRAMES)):
        drawn = count
    inputs = FrameStream(_inputs(stage, below, noise, (lowest, highest), size, drawn), lowest)

    def part(start: int, end: int) -> Tensor:
        low, high = max(lowest, start - reach), min(highest, end + reach)
        inputs.forget(low)
        pieces, context = inputs.pieces(low, high), (start - low, high - end)
        if generator.circular:
            pieces, context = held(pieces, (reach - context[0], reach - context[1])), (reach, reach)
        residual = windowed_residual(generator, pieces, context, max_values=max_values, ranks=ranks)
        if below is None:
            return upsample_tanh_residual(None, size, residual)
        below.forget(start)  # the inputs are ahead of it
        return upsample_tanh_residual(below.clip(start, end), size, residual)

    for start in range(first, last, count):
        yield part(start, min(start + count, last))


def held(pieces: list[Tensor], frames: tuple[int, int]) -> list[Tensor]:
    """Pieces [1, C, t, H, W] with so many copies of the first frame before them and of the last one after them."""
    before = pieces[0][:, :, :1].expand(-1, -1, frames[0], -1, -1)
    after = pieces[-1][:, :, -1:].expand(-1, -1, frames[1], -1, -1)
    return [piece for piece in (before, *pieces, after) if piece.shape[2]]


def _inputs(stage: TrainedScale, coarser: FrameStream | None, noise: NoiseSource, span: tuple[int, int],
            size: tuple[int, int], count: int) -> Iterator[Tensor]:
    """The generator's input from the first to before the last frame of `span`, `count` frames at a time: to draw noise,
    torch takes some ten times its memory."""
    for first in range(*span, count):
        shape = (min(count, span[1] - first), *size)
        below = coarser.clip(first, first + shape[0]) if coarser else None
        yield generator_input(below, noise(stage.plan, size, first, shape[0]), stage.noise_amp, shape)


def frames_at_once(generator: Generator, size: tuple[int, int], max_values: int = MAX_VALUES) -> int:
    """How many frames of a scale are made at once. A 3D one computes the neighbours that it reaches again: as many as
    leave its input at `max_values` numbers, and MIN_FRAMES_3D at least. For a 2D one an eighth is enough."""
    values = max_values if generator.is_3d else max_values // 8
    fit = values // (3 * size[0] * size[1]) - 2 * generator.reach_frames
    whole = min(fit, MAX_FRAMES) // NOISE_FRAMES * NOISE_FRAMES
    return max(whole, MIN_FRAMES_3D if generator.is_3d else 1)


def run_scales(stages: Sequence[TrainedScale], coarser: Iterable[Tensor] | None, noise: NoiseSource, frames: int,
               scale: tuple[float, float] = (1.0, 1.0), *, loop: int | None = None, max_values: int = MAX_VALUES,
               ranks: Ranks = ALONE) -> Iterator[Tensor]:
    """All of `stages` (at least one) in turn, coarsest first. `scale` multiplies the trained height and width; the rest
    is as for `run_scale`. With `loop` the clip is the first `frames` frames of one of so many whose last frame flows
    into the first, and a coarser clip begins `lead_frames` frames before its first and ends as many after its last one.
    Circular generators that start from noise make a part of a loop of ENDLESS frames without being asked.

    Yields:
        The last scale's clip in parts [1, 3, t, H, W] on the device.
    """
    if loop is None and coarser is None and stages[0].generator.circular:
        loop = ENDLESS
    lead = None if loop is None else lead_frames(stages)
    if loop is not None:
        noise = looped(noise, loop)
    for stage in stages:
        if lead is not None:
            lead -= stage.generator.reach_frames
        size = scaled_size(stage.plan.size, scale)
        coarser = run_scale(stage, coarser, noise, frames, size, lead=lead, max_values=max_values, ranks=ranks)
    assert coarser is not None
    return iter(coarser)


def lead_frames(stages: Sequence[TrainedScale]) -> int:
    """How many frames of what enters the first of `stages` a frame of the last one's clip depends on, each way."""
    return sum(stage.generator.reach_frames for stage in stages)


def looped(noise: NoiseSource, frames: int) -> NoiseSource:
    """The same noise for any frames, their numbers taken modulo `frames`."""
    def around(plan: ScalePlan, size: tuple[int, int], first: int, count: int) -> ScaleNoise:
        parts, end = [], first + count
        while first < end:
            start, left = first % frames, end - first
            before = start % NOISE_FRAMES  # drawn to be left out
            drawn = before + min(left, frames - start)
            part = noise(plan, size, start - before, drawn)
            if part is None or _is_shared(part):
                return part
            if isinstance(part, PhiloxNoise):
                part = scaled_noise((1, 3, drawn, *size), part, 1.0)
            parts.append(part[:, :, before:])
            first += drawn - before
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)
    return around


def check_shape(frames: int, height: int, width: int, *, least_frames: int = 1) -> None:
    """Refuse a clip that cannot be made, or that nobody can mean. Raises ValueError."""
    if frames < least_frames or min(height, width) < 2:
        least = ("one frame", "two frames")[least_frames - 1]
        raise ValueError(f"{frames} frames of {height}x{width}: expected at least {least} and 2x2 pixels")
    if max(height, width) > MAX_SIDE_PX:
        raise ValueError(f"{frames} frames of {height}x{width}: expected at most {MAX_SIDE_PX} pixels each way")


def _is_shared(noise: ScaleNoise) -> bool:
    """Whether it is the same in all frames."""
    return noise is None or (isinstance(noise, PhiloxNoise) and noise.maps_of(3) == 3)


def scaled_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """(height, width) times (height factor, width factor), rounded; at least two pixels, which a mirror needs."""
    return max(2, round(size[0] * scale[0])), max(2, round(size[1] * scale[1]))


def reconstruct(stages: Sequence[TrainedScale], z_fixed: Tensor) -> Iterator[Tensor]:
    """The clip from z_opt = (z*, 0, ..., 0), `z_fixed` [1, 3, T, h, w], through `stages` (at least one); a loop where
    windows of it were in training.

    Yields:
        Parts [1, 3, t, H, W] on the device of the stages.
    """
    device = device_of(stages)

    def noise(plan: ScalePlan, _size: tuple[int, int], first: int, frames: int) -> Tensor | None:
        return z_fixed[:, :, first:first + frames].to(device) if plan.index == 0 else None
    frames = z_fixed.shape[2]
    return run_scales(stages, None, noise, frames, loop=frames if stages[0].generator.circular else None)


def stream(clip: Tensor, frames: int, device: torch.device, *, lead: int = 0) -> Iterator[Tensor]:
    """A clip [1, 3, frames, H, W] on the host, a few frames at a time on `device`; a single frame stands for all. Of a
    loop, with `lead` frames more on either side."""
    whole, last = clip.expand(-1, -1, frames, -1, -1), frames + lead
    for first in range(-lead, last, NOISE_FRAMES):
        yield whole[:, :, torch.arange(first, min(first + NOISE_FRAMES, last)) % frames].to(device)


def gather(parts: Iterable[Tensor], frames: int) -> Tensor:
    """Parts with `frames` frames in all as one clip [1, 3, T, H, W] on the host."""
    whole, first = torch.empty(0), 0
    for part in parts:
        if first == 0:
            whole = torch.empty((1, 3, frames, *part.shape[3:]), dtype=part.dtype)
        whole[:, :, first:first + part.shape[2]] = part
        first += part.shape[2]
    return whole


def device_of(stages: Sequence[TrainedScale]) -> torch.device:
    """Where the generators of `stages` are."""
    return next(stages[0].generator.parameters()).device
