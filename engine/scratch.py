"""Names for what is being written: beside its place, hidden, and told from what a dead process left behind."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

HOST = f"{zlib.crc32(socket.gethostname().encode(errors='replace')):08x}"
"""This machine or container: process ids say nothing of another one's, with which the folder may be shared."""
TOKEN = secrets.token_hex(3)
"""Of this process: in a container that starts anew the next one may have the same id."""
MAX_NAME_BYTES = 200  # of the 255 that file systems allow; longer names go by their checksum

_NAME = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]{1,9})-([0-9a-f]{6})-[0-9]+\.(?:tmp|partial)", re.DOTALL)
_numbers = count()


@contextmanager
def scratch(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A hidden name in the folder of `path`, unused, for a file or folder that is then to be renamed to `path`; what
    still has it at the end, as after an error, is removed. First removed is what dead processes left in the folder."""
    remove_leftovers(path.parent)
    name = path.name
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = f"{zlib.crc32(os.fsencode(name)):08x}"
    place = path.with_name(f".{name}.{HOST}-{os.getpid()}-{TOKEN}-{next(_numbers)}{suffix}")
    try:
        yield place
    finally:
        _remove(place)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine that are dead were writing in `folder`."""
    for name in os.listdir(folder):
        if _NAME.fullmatch(name) and not in_use(name):
            with suppress(OSError):  # another user's
                _remove(folder / name)


def in_use(name: str) -> bool:
    """Whether the file or folder of this name is being written, by a process that lives, or on another machine."""
    parts = _NAME.fullmatch(name)
    return parts is not None and (parts[1] != HOST or _alive(int(parts[2]), parts[3]))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError inside names `path`, if it named nothing, as that of a full disk does, or a name that is to be hidden
    from people."""
    try:
        yield
    except OSError as error:
        named = Path(os.fsdecode(error.filename)).parts if isinstance(error.filename, str | bytes) else ()
        if error.errno is None or not (error.filename is None or any(map(_NAME.fullmatch, named))):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # PyAV's lets nothing be set


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of the folder `target`, where there is one, which is removed. At any moment the
    old one or the new one is there: a folder cannot be renamed over a full one, but Linux exchanges two names."""
    if not target.exists():
        os.replace(new, target)
    elif _exchange(new, target):
        shutil.rmtree(new, ignore_errors=True)
    else:  # another system: for a moment neither is there
        with scratch(target, ".partial") as old:
            os.replace(target, old)
            try:
                os.replace(new, target)
            except BaseException:
                os.replace(old, target)
                raise


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names at once, where the system and the file system can."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), exchange) == 0)


def _alive(pid: int, token: str) -> bool:
    if os.name != "posix":  # where signal 0 is Ctrl-C
        return True
    if pid == os.getpid():
        return token == TOKEN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
