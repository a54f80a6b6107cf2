"""What every result has beside its figures: the machine, the commit, quantiles, and its table in a document."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engine import RunError
from ..engine.storage import read_json

Result = dict[str, Any]


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, p20 and p80; the only value there is stands for all three."""
    cuts = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return {"median": round(cuts[4], 4), "p20": round(cuts[1], 4), "p80": round(cuts[7], 4)}


def available_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name where the system tells it."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of these sources, with "+changes" when tracked files differ from it; "unknown" outside git."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    if not (root / ".git").exists():  # installed: a repository around it would be another one
        return "unknown"
    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine_and_versions(result: Result) -> str:
    """The end of a caption: processor, cores, threads, versions, commit."""
    device, versions = result["device"], result["versions"]
    machine = f"{device['cpu']}, {counted(device['cores'], 'core')}, {counted(device['threads'], 'thread')}"
    machine = f"{device['gpu']}; {machine}" if "gpu" in device else machine
    commit, _, changes = result["commit"].partition("+")
    commit = commit[:10] + (f" with {changes}" if changes else "")
    return (f"{machine}; sgif {versions['sgif']}, torch {versions['torch']}, Python {versions['python']}; "
            f"commit {commit}.")


def counted(number: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def fill_between(text: str, begin: str, end: str, table: str) -> str:
    """`text` with `table` between its markers. Raises ValueError when it does not have one pair of them."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected one {begin} and, after it, one {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def read_result(path: Path, schema: int) -> Result:
    """A result that a measurement wrote. Raises RunError when it is none of `schema`."""
    result = read_json(path)
    if not isinstance(result, dict) or result.get("schema") != schema:
        raise RunError(f"{path} is no result of schema {schema}: measure again")
    return result
