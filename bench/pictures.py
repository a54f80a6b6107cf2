"""The look of every benchmark picture, and its SVG, whose bytes depend on nothing but what is drawn.

    with small_multiples(["forward", "backward"], columns=2) as (figure, axes):
        axes[0].plot(...)
        legend_below(figure, axes)
    return {"bench-ops.svg": save_svg(figure)}

matplotlib is of the extra sgif[bench]: it is imported when something is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..engine import RunError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people of every colour vision tell apart; the yellow, too pale on white, is left out.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TEXT, QUIET, RULE = "#1f2328", "#59636e", "#d8dee4"
PANEL_INCHES = (3.4, 2.5)
MARGIN_INCHES = 0.15  # of the card around what is drawn

STYLE: Any = {  # untyped: matplotlib has a type for its names, which would have to be imported
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",  # a card on dark pages
    # Laid out with the font that matplotlib brings; where a reader has none of that name, the SVG names the usual ones.
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "legend.fontsize": 9,
    "text.color": TEXT, "axes.titlecolor": TEXT, "axes.labelcolor": QUIET, "xtick.color": QUIET, "ytick.color": QUIET,
    "axes.edgecolor": RULE, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": RULE, "grid.linewidth": 0.6,
    "lines.linewidth": 1.6, "lines.markersize": 4, "legend.frameon": False,
    "svg.fonttype": "none", "svg.hashsalt": "sgif",  # text as text; ids that are the same every time
}
FONTS = "'DejaVu Sans', Verdana, Arial, Helvetica, sans-serif"


def has_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    return find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Raises RunError that says what to install when pictures cannot be drawn."""
    if not has_matplotlib():
        raise RunError("pictures need matplotlib, which is not installed: pip install 'sgif[bench]'")


@contextmanager
def small_multiples(titles: Sequence[str], *, columns: int = 3, title: str = "",
                    panel_inches: tuple[float, float] = PANEL_INCHES,
                    **shared: Any) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with one panel per title, row by row, in the style of all pictures, which holds while this is entered.

    Args:
        titles: of the panels.
        columns: panels of a row.
        title: of the whole picture.
        panel_inches: width and height of a panel.
        shared: for `Figure.subplots`, such as `sharey=True`.

    Raises:
        RunError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        figure = Figure(figsize=(columns * panel_inches[0], rows * panel_inches[1]), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
        for panel, words in zip(axes, titles, strict=False):
            panel.set_title(words, loc="left", fontweight="bold")
        for unused in axes[len(titles):]:
            unused.set_axis_off()
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        yield figure, axes[:len(titles)]


def legend_below(figure: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """One legend under all panels, each name once."""
    named: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    figure.legend(list(named.values()), list(named), loc="outside lower left", ncols=min(columns, len(named)))


def save_svg(figure: Figure) -> str:
    """The figure as SVG: text as text, no date, no version, the same for the same figures."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(out, format="svg", bbox_inches="tight", pad_inches=MARGIN_INCHES,
                       metadata={"Date": None, "Creator": None})
    svg = out.getvalue().replace("'DejaVu Sans'", FONTS)
    return re.sub(r"[ \t]+$", "", svg, flags=re.M)
