"""What each launch of each case uses, per GPU: the table of kernels.

    python -m tests.tools.kernel_table [--update] [CASE ...]        (make kernels ARGS=...)

The committed table, tests/kernels/kernel_table.json, holds a row per kernel that a case launches, dtype and GPU, and
one with the bytes that it moves. A row carries two hashes, of the kernels' sources and of the IR that the compiler was
given: while one stands, so does the row, triton and its ptxas being pinned; `make kernels` compiles everything all the
same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .ahead_of_time import Resources, compile_launch, ir_hash, resources, source_hash
from .compiled_on_cpu import compiled_on_cpu, why_not
from .launches import ARCHES, Launch, captured_launches
from .pinned import PINNED
from .traffic import Traffic, distinct_bytes

if TYPE_CHECKING:
    from ..kernels.launch_cases import LaunchCase

TABLE = Path(__file__).parents[1] / "kernels" / "kernel_table.json"
MOST_INSTRUCTIONS = 1.15  # times the committed figure
MOST_BYTES = 1.02
LARGE_SHARE, LARGE_BYTES = 1 / 100, 1 << 20  # of a launch's largest tensor, and at least: the rest are no activations
TRAFFIC = "bytes"  # stands for the GPU in the key of a row about bytes
TRAFFIC_ARCHES = ("sm_90", "sm_80")  # the first whose instructions are covered

Row = dict[str, Any]
Table = dict[str, Row]


def key_of(case: LaunchCase, dtype: torch.dtype, column: str, kernel: str) -> str:
    return " | ".join([case.name, str(dtype).removeprefix("torch."), column, kernel])


# --- measuring --------------------------------------------------------------------------------------------------------

def measure(case: LaunchCase, dtype: torch.dtype, arch: str, known: Mapping[str, Row]) -> Table:
    """Rows of the case's kernels. One of `known` is taken as it is if the compiler would be given the same."""
    assert case.large is not None, f"{case.name} is not in the table"
    with captured_launches(arch) as launches:
        case.calculation(*case.unfilled(case.large, dtype))
    rows: Table = {}
    for kernel, same in _named(launches):
        key, source = key_of(case, dtype, arch, kernel), source_hash(same[0])
        row = known.get(key, {})
        if row.get("source") != source:
            identity = ir_hash(same[0])
            row = (row if row.get("ir") == identity else _row(case, same[0])) | {"ir": identity, "source": source}
        rows[key] = row | {"launches": len(same)}
    return rows


def _named(launches: Iterable[Launch]) -> Iterator[tuple[str, list[Launch]]]:
    """Launches that compile to the same code, by kernel; a kernel's further specialisations are numbered."""
    groups: dict[tuple[str, ...], list[Launch]] = {}
    for launch in launches:
        identity = (launch.name, str(launch.signature), str(launch.constexprs), str(launch.attrs), str(launch.options))
        groups.setdefault(identity, []).append(launch)
    count: dict[str, int] = {}
    for (name, *_), same in groups.items():
        count[name] = count.get(name, 0) + 1
        yield name if count[name] == 1 else f"{name} ({count[name]})", same


def _row(case: LaunchCase, launch: Launch) -> Row:
    compiled = compile_launch(launch)
    used = resources(compiled)
    elements = elements_per_thread(launch, used, case.elements_per_turn.get(launch.name))
    return {
        "warps": launch.options.num_warps,
        "registers": used.registers,
        "spill_bytes": used.spill_bytes,
        "shared_bytes": used.shared_bytes,
        "occupancy": round(used.occupancy, 4),
        "bits": {argument: min(min(bits) for bits in used.access_bits[argument].values())
                 for argument in large_arguments(launch) if argument in used.access_bits},
        "instructions_per_element": round(len(used.code.loop) / elements, 1) if elements else None,
        "loop": len(used.code.loop) if used.code.has_loop else 0,
        "setup": used.code.setup,
    }


def elements_per_thread(launch: Launch, used: Resources,
                        per_turn: Callable[[Mapping[str, Any]], int] | None) -> float:
    """Elements that a thread handles in one turn of the kernel's loop: as the case says, or those that it stores.

    0 where neither is known.
    """
    if per_turn is not None:
        return per_turn(launch.arguments) / launch.num_threads
    stored = [name for name, accesses in used.access_bits.items() if "store" in accesses]
    large = large_arguments(launch)
    if large and not set(large) & set(stored):
        return 0  # a reduction: what it stores is not what it goes through
    largest = max((launch.arguments[name] for name in stored), key=Tensor.numel)
    return used.code.stored_bits / (8 * largest.element_size())


def large_arguments(launch: Launch) -> list[str]:
    tensors = {name: distinct_bytes(x) for name, x in launch.arguments.items() if isinstance(x, Tensor)}
    floor = max(LARGE_BYTES, LARGE_SHARE * max(tensors.values()))
    return [name for name, size in tensors.items() if size >= floor]


def measure_traffic(case: LaunchCase, dtype: torch.dtype, known: Mapping[str, Row]) -> Table:
    """Rows about the bytes of the case's launches, and one about all of them against the case's inputs and results."""
    if case.medium is None:
        return {}
    with captured_launches(TRAFFIC_ARCHES[0]) as launches:
        case.calculation(*case.unfilled(case.medium, dtype))
    prefix = key_of(case, dtype, TRAFFIC, "")
    before = {key: row for key, row in known.items() if key.startswith(prefix)}
    source = _of_all(launches, source_hash)
    if before and all(row.get("source") == source for row in before.values()):
        return before
    identities = {"ir": _of_all(launches, ir_hash), "source": source}
    if before and all(row["ir"] == identities["ir"] for row in before.values()):
        return {key: row | identities for key, row in before.items()}
    inputs = case.filled(case.medium, dtype)
    traffic, results = _run(case, inputs)
    rows: Table = {}
    count: dict[str, int] = {}
    for launch in traffic:
        count[launch.kernel] = count.get(launch.kernel, 0) + 1
        name = launch.kernel if count[launch.kernel] == 1 else f"{launch.kernel} ({count[launch.kernel]})"
        rows[prefix + name] = {"moved": round(launch.moved_over_fewest, 3),
                               "requested": round(launch.requested_over_fewest, 3), **identities}
    moved = sum(launch.moved_read + launch.moved_written for launch in traffic)
    fewest = sum(distinct_bytes(x) for x in (*inputs, *results.values()))
    rows[prefix + "all"] = {"moved": round(moved / fewest, 3), "launches": len(traffic), **identities}
    return rows


def _of_all(launches: Iterable[Launch], identity: Callable[[Launch], str]) -> str:
    """A hash of what is launched, how often, and on which shapes."""
    def described(launch: Launch) -> str:
        shapes = [(tuple(x.shape), x.stride()) for x in launch.arguments.values() if isinstance(x, Tensor)]
        return f"{identity(launch)} {launch.grid} {shapes}"
    return hashlib.sha256("".join(map(described, launches)).encode()).hexdigest()[:16]


def _run(case: LaunchCase, inputs: tuple[Tensor, ...]) -> tuple[list[Traffic], dict[str, Tensor]]:
    for arch in TRAFFIC_ARCHES:
        try:
            with compiled_on_cpu(arch) as traffic:
                return traffic, case.calculation(*inputs)
        except NotImplementedError:
            if arch == TRAFFIC_ARCHES[-1]:
                raise
    raise AssertionError


# --- judging ----------------------------------------------------------------------------------------------------------

def faults(key: str, row: Row, case: LaunchCase) -> list[str]:
    """What no row may have."""
    _, _, arch, kernel = key.split(" | ")
    kernel = kernel.split(" ")[0]  # without the number of a specialisation
    found = []
    if row.get("spill_bytes"):
        found.append(f"{row['spill_bytes']} bytes are spilled")
    found += [f"{argument} is accessed in {bits} bits, not 128" for argument, bits in row.get("bits", {}).items()
              if bits < 128 and not {argument, f"{arch} {argument}", f"{kernel} {argument}"} & case.narrow.keys()]
    if "instructions_per_element" in row and row["instructions_per_element"] is None:
        found.append("what it stores is less than what it goes through: the case must give elements_per_turn")
    return found


def worse(row: Row, before: Row) -> list[str]:
    """In what a row is worse than the committed one."""
    found = []
    for name, factor in (("instructions_per_element", MOST_INSTRUCTIONS), ("moved", MOST_BYTES),
                         ("requested", MOST_BYTES)):
        now, then = row.get(name), before.get(name)
        if now is not None and then is not None and now > factor * then:  # what has no figure is among the faults
            found.append(f"{name}: {now}, committed {then}, allowed {factor} times that")
    if row.get("occupancy", 1.0) < before.get("occupancy", 0.0):
        found.append(f"occupancy: {row['occupancy']}, committed {before['occupancy']}")
    if row.get("launches", 0) > before.get("launches", 0):
        found.append(f"launches: {row['launches']}, committed {before['launches']}")
    return found


# --- the table --------------------------------------------------------------------------------------------------------

def committed(path: Path = TABLE) -> Table:
    """Rows by key, without those of another triton."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    return content["rows"] if content["triton"] == PINNED else {}


def write(rows: Table, path: Path = TABLE) -> None:
    """One line per row, sorted, so that a change reads as one."""
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(rows.items()))
    path.write_text(f'{{"triton": {json.dumps(PINNED)}, "rows": {{\n{lines}\n}}}}\n')


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    text: Callable[[Row], str]


def _value(name: str, form: str = "") -> Callable[[Row], str]:
    return lambda row: format(row[name], form) if row.get(name) is not None else "-"


COLUMNS = (
    Column("launches", 8, _value("launches")),
    Column("warps", 5, _value("warps")),
    Column("regs", 4, _value("registers")),
    Column("spill B", 7, _value("spill_bytes")),
    Column("shared B", 8, _value("shared_bytes")),
    Column("occup", 5, _value("occupancy", ".2f")),
    Column("instr/elem", 10, _value("instructions_per_element", ".1f")),
    Column("loop", 5, _value("loop")),
    Column("setup", 5, _value("setup")),
    Column("moved", 6, _value("moved", ".3f")),
    Column("asked", 6, _value("requested", ".2f")),
    Column("bits", 0, lambda row: " ".join(f"{name}:{bits}" for name, bits in row.get("bits", {}).items())),
)


LEGEND = """
instr/elem: instructions of the largest loop per element of one turn; tests/tools/machine_code.py says how it is counted
moved: distinct 32-byte sectors over the fewest bytes possible; asked: bytes that threads ask for, over the same
bits: the narrowest access of each large tensor"""


def print_table(rows: Table) -> None:
    width = max(map(len, rows), default=10)
    print(" " * width, *(column.title.rjust(column.width) for column in COLUMNS))
    for key, row in sorted(rows.items()):
        print(key.ljust(width), *(column.text(row).rjust(column.width) for column in COLUMNS), flush=True)
    print(LEGEND)


def main(arguments: list[str]) -> int:
    from ..kernels.launch_cases import TABLE_CASES

    parser = argparse.ArgumentParser(prog="make kernels", description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases, or parts of names; default: all")
    parser.add_argument("--update", action="store_true", help=f"write {TABLE.name}")
    options = parser.parse_args(arguments)
    chosen = [case for case in TABLE_CASES if not options.cases or any(part in case.name for part in options.cases)]
    before, rows, status = committed(), Table(), 0
    for case in chosen:
        for dtype in case.dtypes:
            print(f"{case.name}, {dtype}", file=sys.stderr, flush=True)  # it takes minutes
            found = {key: row for arch in ARCHES for key, row in measure(case, dtype, arch, {}).items()}
            if why_not() is None:
                found |= measure_traffic(case, dtype, {})
            for key, row in found.items():
                for complaint in (*faults(key, row, case), *(worse(row, before[key]) if key in before else ())):
                    print(f"{key}: {complaint}", file=sys.stderr)
                    status = 1
            rows |= found
    print_table(rows)
    if options.update:
        kept = {key: row for key, row in before.items()
                if options.cases and key.partition(" | ")[0] not in {case.name for case in chosen}}
        write(kept | rows)
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
