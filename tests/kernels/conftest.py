"""Triton's interpreter computes bfloat16 as a GPU does, in every test of a kernel."""

import os
from importlib.util import find_spec

if os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton"):
    from ..tools.interpreter import install_bfloat16_semantics

    install_bfloat16_semantics()
