"""The clips of a report: the real one, the reconstruction, samples, and the scales' previews, small enough for a page.

Frames are WebP: without loss while all of them are few, which is exact and takes 1.0 to 1.8 bytes a pixel, else with
quality 90, which takes 0.2 to 0.45 (measured on clips of 63x112). What is too long even so is shown up to a frame, what
is too large is shrunk.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ...kernels import resize
from ..applications.slow_motion import frame_durations
from ..clip import frames_from_tensor, read_clip, tensor_from_frames
from ..limits import ReadLimits
from ..pages.frames import packed
from ..preview import MIN_HEIGHT_PX
from ..runs import Run

Size = tuple[int, int]  # height, width

SEED = 0  # of the samples: they are those of `sgif sample RUN`
MAX_SIDE_PX, MAX_PREVIEW_SIDE_PX = 512, 128
LOSSLESS_PIXELS = 3_000_000
"""Of all clips of a page: up to 5.4 MB of lossless WebP, 7.2 MB in base64."""
MAX_PIXELS = 12_000_000
"""Of all clips of a page: up to 5.4 MB of lossy WebP, 7.2 MB in base64."""


@dataclass(frozen=True, kw_only=True)
class Moving:
    """A clip in the page."""

    label: str
    frames: Tensor
    """uint8 [T, H, W, 3]."""
    frame_ms: Sequence[int]
    cells: int = 1
    """Pictures of equal width beside each other in every frame."""

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.frames[..., 0].numel()

    def encoded(self, *, lossless: bool) -> str:
        """The frames as WebP with their durations, `packed`, in base64."""
        pictures = []
        for frame in self.frames.numpy():
            out = io.BytesIO()
            Image.fromarray(frame).save(out, "WEBP", lossless=lossless, quality=90, method=1)
            pictures.append(out.getvalue())
        return base64.b64encode(packed(pictures, self.frame_ms)).decode()


def frames_shown(run: Run, samples: int, previews: bool, max_pixels: int) -> int:
    """How many frames of the run's clip, from the first, can be shown with all that is made of them."""
    pixels, done = math.prod(shown_size(run.sizes[-1])), run.scales_done
    if done:
        pixels += (1 + samples) * run.config.slow_motion * math.prod(shown_size(run.sizes[done - 1]))
    for size in run.sizes[:done] if previews else ():
        pixels += 4 * run.config.slow_motion * math.prod(shown_size(size, MAX_PREVIEW_SIDE_PX))
    return min(run.num_frames, max(2, max_pixels // pixels))


def shown_size(size: Size, most: int = MAX_SIDE_PX) -> Size:
    """(height, width) of no more than `most` pixels a side."""
    factor = min(1.0, most / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def main_clips(run: Run, frames: int, samples: int, device: str | None) -> list[Moving]:
    """The real clip, and where a scale is done the reconstruction and samples, as far as `frames` of the clip go."""
    clips = [Moving(label="real", frames=_shrunk(run.frames[:frames]), frame_ms=run.frame_ms[:frames])]
    if run.scales_done:
        count, frame_ms = frames * run.config.slow_motion, _made_ms(run, frames)
        made = [("reconstruction", run.reconstruct_frames(device=device)),
                *((f"sample {n + 1}", run.sample_frames(n, seed=SEED, device=device)) for n in range(samples))]
        clips += [Moving(label=label, frames=_first(parts, count), frame_ms=frame_ms) for label, parts in made]
    return clips


def preview(run: Run, scale: int, frames: int) -> Moving:
    """The real clip at a finished scale's size, and what preview.gif has beside it: reconstruction and two samples.
    Raises ClipError where that is no clip of such frames."""
    height, width = run.sizes[scale]
    size, repeats = shown_size((height, width), MAX_PREVIEW_SIDE_PX), run.config.slow_motion
    factor = max(1.0, MIN_HEIGHT_PX / height)
    limits = ReadLimits(frame_pixels=round(factor * height) * round(3 * factor * width))
    real = resize(tensor_from_frames(run.frames[:frames]), size).repeat_interleave(repeats, 2)
    made = read_clip(run.scale_dir(scale) / "preview.gif", frames=frames * repeats, limits=limits).frames
    beside = resize(tensor_from_frames(made), (size[0], 3 * size[1]))
    return Moving(label=f"scale {scale}", frames=frames_from_tensor(torch.cat((real, beside), 4)), cells=4,
                  frame_ms=_made_ms(run, frames))


def _made_ms(run: Run, frames: int) -> list[int]:
    """Durations of what is made for the clip's first frames, which adds up to theirs."""
    return frame_durations(run.frame_ms, run.frames_made, run.config.slow_motion)[:frames * run.config.slow_motion]


def _first(parts: Iterable[Tensor], frames: int) -> Tensor:
    """The first frames of a clip that is made as it is taken: no more is made."""
    taken: list[Tensor] = []
    for part in parts:
        taken.append(_shrunk(part[:frames - sum(map(len, taken))]))
        if sum(map(len, taken)) == frames:
            break
    return torch.cat(taken)


def _shrunk(frames: Tensor) -> Tensor:
    size = shown_size((frames.shape[1], frames.shape[2]))
    return frames if size == frames.shape[1:3] else frames_from_tensor(resize(tensor_from_frames(frames), size))
