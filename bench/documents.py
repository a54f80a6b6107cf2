"""Tables and pictures of committed results, where documents show them."""

from __future__ import annotations


def fill_between(text: str, begin: str, end: str, table: str) -> str:
    """`text` with `table` between its markers. Raises ValueError when it does not have one pair of them."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected one {begin} and, after it, one {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
