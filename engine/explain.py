"""An error as one sentence for whoever ran into it."""

from __future__ import annotations

import errno

from .config import ConfigError
from .decoded import ClipError
from .storage import RunError


def explain(error: Exception) -> tuple[str, bool]:
    """The sentence, and whether the error is a bug of sgif; else there is something to change."""
    # Plain ValueErrors too: the engine's public functions check what they are given and say what they expected.
    if isinstance(error, ClipError | ConfigError | RunError) or type(error) is ValueError:
        return str(error), False
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" \
            or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):  # of torch on a CPU
        return "out of memory: try --checkpointing, fewer --frames-per-step or a smaller --max-size or --size", False
    if isinstance(error, OSError) and error.errno is not None:
        where = f": {error.filename}" if error.filename is not None else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"no space left on the disk{where}; make room and run the same command again", False
        return f"{(error.strerror or 'the system refused').lower()}{where}", False
    return f"this is a bug: {type(error).__name__}: {error} (--debug shows where)", True
