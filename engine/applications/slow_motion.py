"""Slow motion (section 5.2): a run trained with `slow_motion` k makes k frames for each frame of its clip, so that it
can be played up to k times slower. How that is trained is in `step.py`, the path in latent space in `noise.py`; here is
how long each frame lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, cycle, islice


def frame_durations(frame_ms: Sequence[int], frames: int, slow_motion: int = 1,
                    speed: float | None = None) -> list[int]:
    """Milliseconds of each of `frames` frames that a run makes.

    Without slow motion the clip's own, repeated. With it the frames pass the clip once, at `speed`, 1 by default: frame
    n lasts from n/frames to (n+1)/frames of its frames, in whole milliseconds that add up.

    Args:
        frame_ms: of the clip's frames.
        slow_motion: k of the run.
        speed: 1/k to 1; 0.5 is half as fast as the clip.

    Raises:
        ValueError: a speed that the run was not trained for.
    """
    if slow_motion == 1:
        if speed not in (None, 1.0):
            raise ValueError(f"speed is {speed:g}, but this run makes no frames between the clip's: expected a run "
                             "trained with --slow-motion 2 or more")
        return list(islice(cycle(frame_ms), frames))
    speed = 1.0 if speed is None else speed
    if not 0.98 / slow_motion <= speed <= 1:  # 0.33 is meant for a third
        raise ValueError(f"speed is {speed:g}, expected {1 / slow_motion:.4g} to 1: the run was trained with "
                         f"--slow-motion {slow_motion}; for slower ones train with more")
    ends = list(accumulate(frame_ms, initial=0))

    def passed(n: int) -> int:
        """Milliseconds until frame n begins."""
        frame, rest = divmod(n * len(frame_ms), frames)
        within = frame_ms[frame] * rest / frames if rest else 0.0
        return round((ends[frame] + within) / speed)
    return [passed(n + 1) - passed(n) for n in range(frames)]
