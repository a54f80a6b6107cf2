"""The page of an experiment: clips side by side and the figures, one file without scripts that asks no network.

Clips are images that move by themselves, which browsers decode as they are seen. On canvases, as in the report, all
would be decoded at once: ablations of nine clips with 20 frames of 96x128 are 225 such pictures, 220 MB.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...engine import load_run, read_clip
from ...engine.clip import Clip
from ...engine.pages.moving import moving_image
from ...engine.pages.render import render
from ...engine.runs import Run
from ...engine.storage import write_bytes
from ..environment import counted
from .results import Result, caption, clip_rows, headings, mean_rows, verdict, warnings_of

SHOWN = 3  # samples of each model, the first ones
TITLES = {"table1": "SinGAN-GIF beside SinGAN (All Frames)", "ablations": "SinGAN-GIF and what its parts are for",
          "quality": "SinGAN-GIF after fewer and after more iterations"}


def write_page(path: Path, result: Result, curve: str | None = None) -> None:
    """Write the page beside the runs that it shows, with a picture of their figures where there is one."""
    write_bytes(path, page(result, path.parent, curve))


def page(result: Result, folder: Path, curve: str | None = None) -> bytes:
    """The whole page; samples are read from the runs in `folder`; `curve` is an SVG."""
    return render(
        "bench/reproduce/page.html", title=TITLES[result["what"]], verdict=verdict(result),
        warnings=warnings_of(result), columns=list(headings(result).values()),
        means_title=f"mean of {counted(result['clips_done'], 'clip')}",
        means=mean_rows(result) if result["clips_asked"] > 1 else [],
        curve=base64.b64encode(curve.encode()).decode() if curve else None,
        clips=[clip_view(result, clip, folder / clip["folder"]) for clip in result["clips"]],
        command=result["command"], caption=caption(result))


def clip_view(result: Result, clip: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the template shows of one clip: it, samples of each model beside it, and the figures."""
    records = clip["models"]
    return {
        "name": clip["name"], "size": f"{counted(clip['frames'], 'frame')} of {clip['height']}x{clip['width']}",
        "real": picture(load_run(folder / next(iter(records)))), "rows": clip_rows(result, clip),
        "models": [(model["title"], [picture(read_clip(folder / key / file)) for file in records[key]["files"][:SHOWN]])
                   for model in result["models"] if (key := model["key"]) in records],
    }


def picture(clip: Clip | Run) -> dict[str, Any]:
    """A clip as the template takes it; the samples beside the page are lossless."""
    return moving_image(clip.frames, clip.frame_ms)
