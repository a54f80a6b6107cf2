"""What frames must pass on their way from a file into a clip: limits, one size, the window and the crop, opacity."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from PIL import ImageColor
from torch import Tensor

from .limits import ReadLimits

DEFAULT_FRAME_MS = 100
"""Duration of a frame whose file gives none, or zero: what browsers do."""
MAX_FRAME_MS = 3_600_000
"""Longest duration that is kept: an hour. Damaged time stamps give years."""

Pixels = npt.NDArray[np.uint8]  # [H, W, 3] or, with alpha, [H, W, 4]


class ClipError(ValueError):
    """A file or array that is not a usable clip: what came, what was expected, what to do."""


@dataclass
class Decoded:
    """The frames kept so far, and the rules that every frame must pass on its way in."""

    source: str
    start: int
    frames: int | None
    crop: tuple[int, int, int, int] | None
    background: str
    limits: ReadLimits
    count: int = 0  # of the frames kept
    frame_ms: list[float | None] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # ordered, each note once
    size: tuple[int, int] | None = None  # height, width before the crop
    buffer: Pixels = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))  # [more than count, H, W, 3]

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ClipError(f"start is {self.start}, expected 0 or more")
        if self.frames is not None and self.frames < 2:
            raise ClipError(f"frames is {self.frames}: a clip needs at least 2 frames, ask for more")
        try:
            colour = ImageColor.getrgb(self.background)[:3]
        except ValueError:
            raise ClipError(f"background {self.background!r} is no colour: try 'white' or '#336699'") from None
        self.background_rgb = np.array(colour, np.float32)

    @property
    def stop(self) -> int | None:
        return None if self.frames is None else self.start + self.frames

    @property
    def full(self) -> bool:
        return self.count == self.frames

    @property
    def most_frames(self) -> int:
        """How many frames of the file tell whether the window fits, and is within the limit."""
        return self.start + self.limits.frames + 1 if self.stop is None else self.stop

    def note(self, text: str) -> None:
        self.notes[text] = None

    def announce(self, height: int, width: int, count: int | None = None) -> None:
        """Check the limits before a frame is decoded; with `count` (frames in the file) those of the whole window."""
        if not height * width > 0:
            raise ClipError(f"{self.source} has frames of {width}x{height}, expected pixels: get the file again")
        if height * width > self.limits.frame_pixels:
            raise ClipError(
                f"{self.source} has frames of {width}x{height}, over the limit of {self.limits.frame_pixels} pixels:"
                " scale it down first, or raise --max-pixels (ReadLimits.frame_pixels)"
            )
        if count is not None:
            self.check_window(count)
        kept = self.count + 1 if count is None else min(count, self.stop or count) - self.start
        if kept > self.limits.frames:
            raise ClipError(
                f"{self.source} asks for {kept} or more frames, over the limit of {self.limits.frames}: read fewer"
                " with --frames, or raise --max-frames (ReadLimits.frames)"
            )
        self.check_bytes(kept * 3 * (self.crop[2] * self.crop[3] if self.crop else height * width),
                         f"asks for {kept} or more frames of {width}x{height}")

    def check_bytes(self, count: int, what: str) -> None:
        if count > self.limits.clip_bytes:
            raise ClipError(
                f"{self.source} {what}, {count >> 20} MiB or more, over the limit of {self.limits.clip_bytes >> 20}"
                " MiB: read fewer frames or a crop, or raise --max-mib (ReadLimits.clip_bytes)"
            )

    def check_window(self, count: int) -> None:
        if count < 2:
            raise ClipError(f"{self.source} has {'only one' if count == 1 else 'no'} frame: a clip needs at least 2")
        if count - self.start < (self.frames or 2):
            wanted = f"{self.start} to {'the end' if self.stop is None else self.stop - 1}"
            raise ClipError(
                f"{self.source} has {count} frames, numbered from 0: a window of frames {wanted} with at least 2 frames"
                " does not fit, move or shorten it"
            )

    def keep(self, pixels: Pixels, ms: float | None) -> None:
        """Take a frame in, [H, W, 3] or [H, W, 4]; it is copied."""
        height, width = pixels.shape[:2]
        self.announce(height, width)
        if self.size is not None and self.size != (height, width):
            raise ClipError(
                f"{self.source} mixes frame sizes, {self.size[1]}x{self.size[0]} and {width}x{height}:"
                " make them all the same"
            )
        self.size = (height, width)
        if self.crop is not None:
            top, left, rows, columns = self.crop
            if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
                raise ClipError(
                    f"crop {self.crop} (top, left, height, width) leaves the frames of {self.source}, {height} rows of"
                    f" {width} columns: choose one inside"
                )
            pixels = pixels[top : top + rows, left : left + columns]
        self._make_room(pixels.shape[0], pixels.shape[1])
        if pixels.shape[2] == 4:
            self.composite(pixels, self.buffer[self.count])
        else:
            self.buffer[self.count] = pixels
        self.count += 1
        self.frame_ms.append(ms)

    def _make_room(self, height: int, width: int) -> None:
        """For one more frame. The buffer grows in place: a list of frames would be there twice when it is stacked."""
        room = len(self.buffer)
        if not room:
            self.buffer = np.empty((1, height, width, 3), np.uint8)
        elif self.count == room:
            self.buffer.resize((room + room // 8 + 1, height, width, 3), refcheck=False)

    def composite(self, pixels: Pixels, into: Pixels) -> None:
        """Straight alpha over the background; a frame that is opaque throughout is no news."""
        if pixels[..., 3].min() == 255:
            for channel in range(3):  # all at once numpy takes six times as long
                into[..., channel] = pixels[..., channel]
            return
        self.note(f"alpha composited over {self.background}")
        rows = max(1, (1 << 18) // pixels.shape[1])  # at a time, or a large frame takes 60 bytes a pixel in between
        for top in range(0, len(pixels), rows):
            rgb, alpha = pixels[top : top + rows, :, :3], pixels[top : top + rows, :, 3:]
            weight = alpha.astype(np.float32) / 255
            into[top : top + rows] = np.rint(rgb * weight + self.background_rgb * (1 - weight))

    def finish(self) -> tuple[Tensor, tuple[int, ...], tuple[str, ...]]:
        """The frames uint8 [T, H, W, 3], their durations in ms and the notes."""
        rounded = [round(ms) if ms is not None else 0 for ms in self.frame_ms]
        if missing := sum(ms <= 0 for ms in rounded):
            self.note(f"{missing} of {self.count} frames had no duration: {DEFAULT_FRAME_MS} ms")
        if longer := sum(ms > MAX_FRAME_MS for ms in rounded):
            self.note(f"{longer} of {self.count} frames were to stay for more than an hour: {MAX_FRAME_MS} ms")
        frame_ms = tuple(min(ms, MAX_FRAME_MS) if ms > 0 else DEFAULT_FRAME_MS for ms in rounded)
        frames, self.buffer = self.buffer, self.buffer[:0]
        frames.resize((self.count, *frames.shape[1:]), refcheck=False)
        return torch.from_numpy(frames), frame_ms, tuple(self.notes)
