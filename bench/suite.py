"""The suites of `sgif bench`, one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .result import Result, Row, Settings


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One of the things that are measured."""

    name: str
    summary: str
    collect: Callable[[Settings], list[Row]]
    table: Callable[[Result], str]
    """The Markdown that documents show, with `environment.caption` under it."""
    draw: Callable[[Result], dict[str, str]] = lambda result: {}
    """Pictures of it: SVG by file name."""
    document: Path
    """Relative to the root: where `<!-- bench-NAME:begin -->` and `<!-- bench-NAME:end -->` hold the table."""
