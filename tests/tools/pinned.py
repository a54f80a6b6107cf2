"""The triton that the tools here hold for: they read its IR as text and replace parts of it."""

from __future__ import annotations

import triton

PINNED = "3.7.1"


def require_pinned_triton(tool: str) -> None:
    """Raises RuntimeError under another version, whose text and inner names may differ."""
    if triton.__version__ != PINNED:
        raise RuntimeError(f"{tool} holds for triton {PINNED}, found {triton.__version__}: look over tests/tools, "
                           f"then change PINNED in tests/tools/pinned.py")
