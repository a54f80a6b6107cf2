"""What `step_time` and `torch_forms` share; both give way to suites of `sgif bench`, and this with them."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..engine.run_folder import package_version
from ..engine.storage import write_bytes, write_json
from . import environment
from .documents import fill_between
from .environment import available_cores, commit, cpu_model
from .training_run import Result, quantiles, read_result

__all__ = ["Result", "fill_between", "machine_and_versions", "one_cpu_thread", "quantiles", "read_result",
           "report_command"]


def machine_and_versions(result: Result) -> str:
    """The end of a caption: processor, cores, threads, versions, commit."""
    return environment.machine_and_versions(result["device"], result["versions"], result["commit"])


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
