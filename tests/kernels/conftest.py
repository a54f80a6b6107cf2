"""Triton's interpreter computes bfloat16 as a GPU does, in every test of a kernel; on request it wastes less time."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1" and bool(find_spec("triton"))

if INTERPRETING:
    from ..tools.interpreter import install_bfloat16_semantics, language_patched_once

    install_bfloat16_semantics()


@pytest.fixture(name="language_patched_once")
def _language_patched_once() -> Iterator[None]:
    """Where kernels are interpreted; for those that are made of helpers it saves half of the time."""
    if INTERPRETING:
        with language_patched_once():
            yield
    else:
        yield
