"""What every result has beside its figures: the machine, the commit, quantiles, and its table in a document."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..engine import RunError
from ..engine.run_folder import package_version
from ..engine.storage import read_json, write_bytes, write_json

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


def one_cpu_thread(command: str, schema: int) -> Result:
    """The beginning of a result of one CPU thread, which it sets: how, where and from which sources it was measured."""
    torch.set_num_threads(1)
    return {
        "schema": schema,
        "command": command,
        "commit": commit(),
        "device": {"kind": "cpu", "cpu": cpu_model(), "cores": available_cores(), "threads": 1,
                   "capability": torch.backends.cpu.get_cpu_capability(),
                   "onednn_bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())},
        "versions": {"sgif": package_version("sgif"), "torch": torch.__version__, "python": platform.python_version()},
    }


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


def report_command(argv: Sequence[str] | None, module: str, doc: str, schema: int, collect: Callable[[str], Result],
                   table_of: Callable[[Result], str], markers: tuple[str, str]) -> None:
    """`python -m sgif.bench.<module>`: measure, or read a result; write it, and its table between the `markers` of a
    document; print the table."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("result", type=Path, nargs="?", help="a result that -o wrote: measure nothing, print its table")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the result here as JSON")
    parser.add_argument("--document", type=Path, metavar="FILE", help="put the table between this file's markers")
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    command = shlex.join(["python", "-m", f"sgif.bench.{module}", *words])
    result = read_result(args.result, schema) if args.result else collect(command)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output, result)
    table = table_of(result)
    if args.document:
        text = args.document.read_text(encoding="utf-8")
        write_bytes(args.document, fill_between(text, *markers, table).encode())
    print(table)
