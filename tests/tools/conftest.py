"""The tests of the tools interpret as the tests of the kernels do."""

import os
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["test_*.py"]  # nothing to test without triton

if os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton"):
    from .interpreter import install_bfloat16_semantics

    install_bfloat16_semantics()
