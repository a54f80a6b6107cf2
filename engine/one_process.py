"""One process at a time, by a lock on a file: the system lets go of it when its holder ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .storage import RunError


@contextmanager
def one_process(file: Path, refusal: str) -> Iterator[None]:
    """Hold the lock on `file`, which is there for as long.

    Raises:
        RunError: another process holds it; the message is `refusal`.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(refusal) from None
    try:
        yield
    finally:
        if os.name == "posix":  # Windows lets no open file be removed; there filelock does so as it closes it
            with suppress(OSError):
                file.unlink()
        lock.release()
