"""How much is drawn, and bytes changed a little: what hypothesis draws, and how it is applied."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = os.environ.get("SGIF_FUZZ_EXAMPLES")
"""Of each test, others every time; where it is not set, few and always the same ones."""


def drawn(examples: int) -> settings:
    """Draw so many examples, or as many as the environment asks for."""
    return settings(max_examples=int(EXAMPLES or examples), derandomize=not EXAMPLES, deadline=None, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


Change = tuple[str, float, int, bytes]  # what to do, where as a part of the whole, how many bytes, which

WORDS = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1",
         b"\1\0\0\0")
CHANGES: st.SearchStrategy[list[Change]] = st.lists(st.tuples(
    st.sampled_from(("put", "insert", "remove", "repeat", "cut")), st.floats(0, 1), st.integers(1, 64),
    st.sampled_from(WORDS) | st.binary(min_size=1, max_size=8)), min_size=1, max_size=5)


def changed(data: bytes, changes: list[Change]) -> bytes:
    for kind, part, count, new in changes:
        at = int(part * len(data))
        if kind == "put":
            data = data[:at] + new + data[at + len(new):]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        elif kind == "remove":
            data = data[:at] + data[at + count:]
        elif kind == "repeat":
            data = data[:at] + data[at:at + count] * 2 + data[at + count:]
        else:
            data = data[:at]
    return data
