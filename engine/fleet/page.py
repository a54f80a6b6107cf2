"""The page of a fleet: all runs and what they have come to, one file without scripts that asks no network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..clip import ClipError
from ..pages.moving import moving_image
from ..pages.render import render
from ..report.clips import MAX_PREVIEW_SIDE_PX, preview, shown_size
from ..report.make import NAME as REPORT
from ..run_folder import package_version
from ..runs import Run, load_run
from ..storage import RunError, write_bytes
from ..wording import seconds_text, size_text
from .news import Ended
from .plan import Job, Plan, Refused

MAX_PIXELS = 24_000_000
"""Of all pictures; the clouds take 0.2 bytes for each, which are 6 MB of page in base64."""


class FleetPage:
    """The page at `path`, written anew whenever a run has ended."""

    def __init__(self, path: Path, plan: Plan, command: str) -> None:
        self.path, self.plan, self.command = path, plan, command
        self.pictures: dict[tuple[str, int], dict[str, Any] | None] = {}

    def write(self, ended: Mapping[str, Ended]) -> None:
        """Show the runs as they stand, whole or not at all; `ended` has what is over by the runs' names."""
        rows = [self._refused(clip) if isinstance(clip, Refused) else self._row(clip, ended.get(clip.name))
                for clip in self.plan]
        write_bytes(self.path, render("engine/fleet/page.html", rows=rows, command=self.command,
                                      summary=summary(ended, len(self.plan)), version=package_version("sgif")))

    def _refused(self, clip: Refused) -> dict[str, Any]:
        return {"name": Path(clip.source).name or clip.source, "state": "failed", "sentence": clip.sentence,
                "clip": "", "facts": [], "picture": None, "report": None}

    def _row(self, job: Job, ended: Ended | None) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": job.name, "state": ended.state if ended else "not yet", "facts": [], "picture": None,
            "sentence": ended.sentence if ended else "", "report": None,
            "clip": f"{Path(job.source).name}, {job.frames} frames of {size_text(job.sizes[-1])}"}
        try:
            run = load_run(job.run_dir)
            records = run.scale_info()
            row["picture"] = self._picture(job.name, run)
        except (RunError, OSError):  # none yet, or what is there is not one
            return row
        row["facts"] = [("scales", f"{len(records)} of {len(run.plans)}"),
                        ("training", seconds_text(sum(record["seconds"] for record in records))),
                        *([("reconstruction", f"{records[-1]['rec_psnr_db']:.1f} dB")] if records else [])]
        # The address of a file beside the page: a name of a run needs no quoting.
        row["report"] = f"{job.name}/{REPORT}" if (run.path / REPORT).is_file() else None
        return row

    def _picture(self, name: str, run: Run) -> dict[str, Any] | None:
        """The clip, its reconstruction and two samples side by side, moving as far as there is room for."""
        done = run.scales_done
        if done and (name, done) not in self.pictures:
            pixels = 4 * math.prod(shown_size(run.sizes[done - 1], MAX_PREVIEW_SIDE_PX)) * run.config.slow_motion
            frames = min(run.num_frames, MAX_PIXELS // len(self.plan) // pixels)
            try:
                shown = preview(run, done - 1, max(2, frames))  # a clip has two
                kept = len(shown.frames) if frames > 1 else 1
                self.pictures[name, done] = moving_image(shown.frames[:kept], shown.frame_ms[:kept])
            except ClipError:
                self.pictures[name, done] = None
        return self.pictures.get((name, done))


def summary(ended: Mapping[str, Ended], clips: int) -> str:
    """`3 of 5 clips are trained, 1 failed, 1 is not yet.`"""
    counts = Counter(news.state for news in ended.values())
    parts = [f"{counts['done']} of {clips} clips trained"]
    parts += [f"{counts[state]} {state}" for state in ("failed", "stopped") if counts[state]]
    left = clips - sum(counts.values())
    return ", ".join([*parts, *([f"{left} not yet"] if left else [])])
