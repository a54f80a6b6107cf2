"""The few benchmark figures that the README shows."""

from __future__ import annotations

from collections.abc import Mapping

from .result import Result


def table(results: Mapping[str, Result]) -> str:
    """Markdown of `results` by suite."""
    return "Not yet measured."
