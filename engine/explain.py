"""An error as one sentence for whoever ran into it."""

from __future__ import annotations

import errno

from .config import ConfigError
from .decoded import ClipError
from .storage import RunError
from .trouble import is_out_of_memory


def explain(error: Exception) -> tuple[str, bool]:
    """The sentence, and whether the error is a bug of sgif; else there is something to change."""
    # Plain ValueErrors too: the engine's public functions check what they are given and say what they expected.
    if isinstance(error, ClipError | ConfigError | RunError) or type(error) is ValueError:
        return str(error), False
    if is_out_of_memory(error):
        return "out of memory: try --checkpointing, fewer --frames-per-step or a smaller --max-size or --size", False
    if isinstance(error, OSError) and error.errno is not None:
        where = f": {error.filename}" if error.filename is not None else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"no space left on the disk{where}; make room and run the same command again", False
        if error.errno == errno.EROFS:
            return f"read-only file system{where}; name a place that can be written to with --output", False
        return f"{(error.strerror or 'the system refused').lower()}{where}", False
    return f"this is a bug: {type(error).__name__}: {error} (--debug shows where)", True
