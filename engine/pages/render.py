"""A template filled in, as one file of UTF-8. Whatever comes from outside is escaped, unless it says that it is markup.

Templates of pages extend `page.html`, and may take in what lies here: `{% include "engine/pages/frames.js" %}`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).resolve().parents[2]


def render(template: str, **values: Any) -> bytes:
    """A template by its path with its layer, such as "engine/study/page.html", with `values` in it."""
    # A lone surrogate, as in the name of a file that is not UTF-8, is no character.
    return _pages().get_template(template).render(values).encode("utf-8", "replace")


@cache
def _pages() -> Environment:
    return Environment(loader=FileSystemLoader(ROOT), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True, keep_trailing_newline=True)
