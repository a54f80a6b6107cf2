"""Quality against time, drawn: a panel for each of some figures, a line for each clip."""

from __future__ import annotations

from ..pictures import COLOURS, MARKERS, QUIET, legend_below, save_svg, small_multiples
from .results import Result, row_of

LABELS = {"rec_psnr_db": "PSNR of the reconstruction, dB", "diversity": "diversity of samples"}


def quality_svg(result: Result) -> str:
    """Distances in space and time, PSNR and diversity by minutes of training, in CPU minutes where all are known.

    Dotted: the clip's own last half against its first.

    Raises:
        RunError: matplotlib is not installed.
    """
    spatial, temporal = (next(iter(result["features"][kind])) for kind in ("layers", "temporal"))
    names = (spatial, temporal, *LABELS)
    by_cpu = all(row_of(record)["cpu_seconds"] is not None
                 for clip in result["clips"] for record in clip["models"].values())

    def minutes(row: dict[str, float]) -> float:
        return row["cpu_seconds" if by_cpu else "seconds"] / 60

    with small_multiples([LABELS.get(name, name) for name in names], columns=2) as (figure, axes):
        for panel, name in zip(axes, names, strict=True):
            for clip, colour, marker in zip(result["clips"], COLOURS * 9, MARKERS * 9, strict=False):
                rows = sorted(map(row_of, clip["models"].values()), key=minutes)
                points = [(minutes(row), row[name]) for row in rows if row[name] is not None]
                panel.plot(*zip(*points, strict=True), color=colour, marker=marker, label=_label(clip["name"]))
                if own := clip["yardstick"].get(name):
                    panel.axhline(own, color=colour, linestyle=":", linewidth=1)
            panel.set_xscale("log", base=2)
            panel.xaxis.set_major_formatter("{x:g}")
            if name not in LABELS:
                panel.set_yscale("log")
                panel.yaxis.set_major_formatter("{x:g}")
                panel.yaxis.set_minor_formatter("")
        for panel in axes[-2:]:
            panel.set_xlabel(f"{'CPU minutes' if by_cpu else 'minutes'} of training", color=QUIET)
        legend_below(figure, axes)
        return save_svg(figure)


def _label(name: str) -> str:
    """A file's name as matplotlib shows it as it is: a dollar would begin a formula, an underscore hide the line."""
    return " " * name.startswith("_") + name.replace("$", r"\$")
