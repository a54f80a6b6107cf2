"""Reads files as `sgif` does, within the time and the memory that bad input may take, and says what came of each.

A program of its own: `python -m ... CASES`, a JSON file, in the folder of the corpus. A line of JSON per case.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from sgif.cli.main import main
from sgif.engine import ClipError, read_clip, read_mask, read_still

MEMORY_BYTES = 2 << 30
SECONDS = 20
NOBODY = 65534


def limit_memory() -> None:
    """From here on this process gets as much address space as keeps it below MEMORY_BYTES of memory."""
    pages = [int(pages) for pages in Path("/proc/self/statm").read_text().split()[:2]]
    mapped, resident = (count * os.sysconf("SC_PAGE_SIZE") for count in pages)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES - resident,) * 2)


@contextmanager
def standard_error() -> Iterator[Callable[[], str]]:
    """What the process writes to file descriptor 2, whoever does it; and nothing on standard output."""
    with tempfile.TemporaryFile() as caught:
        kept = [os.dup(1), os.dup(2)]
        os.dup2(caught.fileno(), 1)
        os.dup2(caught.fileno(), 2)
        try:
            yield lambda: (sys.stdout.flush(), sys.stderr.flush(), os.pread(caught.fileno(), 1 << 20, 0))[2].decode(
                errors="backslashreplace")
        finally:
            for number, copy in enumerate(kept, 1):
                os.dup2(copy, number)
                os.close(copy)


def read(reader: str, path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Frames, size, durations, first pixels and notes, or the refusal."""
    try:
        if reader == "clip":
            clip = read_clip(path, **options)
            return {**shape(clip.frames), "ms": clip.frame_ms, "notes": clip.notes}
        return shape(read_mask(path) if reader == "mask" else read_still(path)[None])
    except ClipError as error:
        return {"refused": str(error)}


def shape(pictures: Tensor) -> dict[str, Any]:
    return {"frames": len(pictures), "size": pictures.shape[1:3], "colours": pictures[:, 0, 0].tolist(), "notes": []}


def command(reader: str, path: str, options: dict[str, Any], run: str) -> list[str]:
    """The command that reads the path so; it is for those that are refused."""
    names = {"start": "--start-frame", "frames": "--frames"}
    window = [word for name, value in options.items() for word in (names[name], str(value))]
    return {"clip": ["train", "-o", "refused", "--iterations", "1", *window, "--", path],
            "still": ["animate", "--", run, path],
            "mask": ["inpaint", f"--mask={path}", "--", run, "mp4, whole/x.mp4"]}[reader]


def outcome(case: dict[str, Any], run: str) -> dict[str, Any]:
    began = time.perf_counter()
    signal.alarm(SECONDS)
    with standard_error() as said:
        try:
            result = read(case["reader"], case["path"], case["options"])
            if "refused" in result:
                words = command(case["reader"], case["path"], case["options"], run)
                result |= {"code": main(words)}
        except BaseException as error:
            result = {"crash": f"{type(error).__name__}: {error}"}
        signal.alarm(0)
        return {**result, "said": said(), "seconds": time.perf_counter() - began}


def too_long(*_: object) -> None:
    raise TimeoutError(f"over {SECONDS} s")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, too_long)
    read("clip", "mp4, whole/x.mp4", {})  # imports everything, while there is a right to
    run_folder = sys.argv[2]
    limit_memory()
    for case in json.loads(Path(sys.argv[1]).read_text()):
        if case["as_nobody"] and os.geteuid() == 0:
            os.seteuid(NOBODY)
        found = outcome(case, run_folder)
        if os.geteuid() == NOBODY:
            os.seteuid(0)
        print(json.dumps({"name": case["name"], **found}), flush=True)
    print(json.dumps({"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
