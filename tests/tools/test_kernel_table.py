"""The table says what stands in the machine code, notices what gets worse, and survives being written and read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..kernels.launch_cases import LaunchCase
from .ahead_of_time import compile_launch, ir_hash, occupancy, resources, source_hash
from .compiled_on_cpu import why_not
from .kernel_table import Table, committed, faults, measure, measure_traffic, worse, write
from .launches import ARCHES, captured_launches
from .machine_code import read_code

pytestmark = pytest.mark.compiled
BF16 = torch.bfloat16


@triton.jit
def _running_sum_kernel(x_ptr, out_ptr, T, W, BLOCK: tl.constexpr, C: tl.constexpr):
    offs_w = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    offs = tl.cast(offs_w, tl.int64)[:, None] * C + tl.arange(0, C)[None, :]
    mask = (offs_w < W)[:, None]
    acc = tl.zeros((BLOCK, C), tl.float32)
    for _ in range(T):
        acc += tl.load(x_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        tl.store(out_ptr + offs, acc, mask=mask)
        offs += tl.cast(W, tl.int64) * C


@triton.jit
def _total_kernel(x_ptr, out_ptr, T, W, BLOCK: tl.constexpr, C: tl.constexpr):
    offs_w = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    offs = tl.cast(offs_w, tl.int64)[:, None] * C + tl.arange(0, C)[None, :]
    acc = tl.zeros((BLOCK, C), tl.float32)
    for _ in range(T):
        acc += tl.load(x_ptr + offs, mask=(offs_w < W)[:, None], other=0.0).to(tl.float32)
        offs += tl.cast(W, tl.int64) * C
    tl.store(out_ptr + tl.program_id(0) * C + tl.arange(0, C), tl.sum(acc, 0))


def running_sum(x: Tensor, block: int = 64, **options: int) -> dict[str, Tensor]:
    """`x` is [T, W, C]."""
    out = torch.empty_like(x)
    steps, width, channels = x.shape
    _running_sum_kernel[(triton.cdiv(width, block),)](x, out, steps, width, BLOCK=block, C=channels, **options)
    return {"out": out}


def total(x: Tensor, block: int = 64) -> dict[str, Tensor]:
    steps, width, channels = x.shape
    out = x.new_empty(triton.cdiv(width, block), channels, dtype=torch.float32)
    _total_kernel[(len(out),)](x, out, steps, width, BLOCK=block, C=channels)
    return {"out": out}


CASE = LaunchCase(
    name="running sum", calculation=running_sum, reference=lambda x: {"out": x.cumsum(0)},
    inputs=lambda shape, new: (new(*shape),), large=(8, 10000, 64), medium=(4, 100, 64), small=(3, 20, 64))


@pytest.mark.parametrize("arch", ARCHES)
def test_row_says_what_a_kernel_uses(arch: str) -> None:
    [(key, row)] = measure(CASE, BF16, arch, {}).items()
    assert key == f"running sum | bfloat16 | {arch} | _running_sum_kernel"
    assert row["bits"] == {"x_ptr": 128, "out_ptr": 128}
    assert (row["launches"], row["warps"], row["spill_bytes"], row["shared_bytes"]) == (1, 4, 0, 0)
    assert 16 <= row["registers"] <= 128
    assert 0 < row["occupancy"] <= 1
    elements = 64 * 64 / (4 * (64 if arch == "gfx942" else 32))  # per thread and turn
    assert row["loop"] > elements  # at least an addition each
    assert row["instructions_per_element"] == round(row["loop"] / elements, 1)
    assert faults(key, row, CASE) == []


def test_elements_of_a_reduction_come_from_the_case() -> None:
    case = dataclasses.replace(CASE, name="total", calculation=total)
    [(key, row)] = measure(case, BF16, "sm_90", {}).items()
    assert faults(key, row, case) == [
        "what it stores is less than what it goes through: the case must give elements_per_turn"]
    case = dataclasses.replace(case, elements_per_turn={"_total_kernel": lambda a: a["BLOCK"] * a["C"]})
    [(key, row)] = measure(case, BF16, "sm_90", {}).items()
    assert row["instructions_per_element"] == round(row["loop"] / 32, 1)


def test_narrow_access_and_spills_are_faults() -> None:
    case = dataclasses.replace(CASE, large=(8, 100_000, 1))
    [(key, row)] = measure(case, BF16, "sm_90", {}).items()
    narrow = "is accessed in 16 bits, not 128"
    assert faults(key, row, case) == [f"x_ptr {narrow}", f"out_ptr {narrow}"]
    assert faults(key, row, dataclasses.replace(case, narrow={"x_ptr": "one", "sm_90 out_ptr": "one"})) == []
    assert len(faults(key, row, dataclasses.replace(case, narrow={"x_ptr": "one", "sm_80 out_ptr": "one"}))) == 1
    assert len(faults(key, row, dataclasses.replace(case, narrow={"_running_sum_kernel x_ptr": "one"}))) == 1
    case = dataclasses.replace(CASE, calculation=lambda x: running_sum(x, block=128, maxnreg=24))
    [(key, row)] = measure(case, BF16, "sm_90", {}).items()
    assert faults(key, row, case) == [f"{row['spill_bytes']} bytes are spilled"]


@pytest.mark.parametrize("name", ["instructions_per_element", "moved", "requested", "launches"])
def test_what_grows_is_worse(name: str) -> None:
    assert worse({name: 1.0}, {name: 1.0}) == []
    assert worse({name: 0.5}, {name: 1.0}) == []
    assert len(worse({name: 1.2}, {name: 1.0})) == 1


def test_lower_occupancy_is_worse() -> None:
    assert worse({"occupancy": 0.5}, {"occupancy": 0.5}) == []
    assert len(worse({"occupancy": 0.4375}, {"occupancy": 0.5})) == 1


def test_known_row_is_kept_while_the_ir_stands_and_only_then() -> None:
    before = measure(CASE, BF16, "sm_90", {})
    marked: Table = {key: row | {"registers": -1} for key, row in before.items()}
    assert measure(CASE, BF16, "sm_90", marked) == marked
    edited: Table = {key: row | {"source": "of another kernel"} for key, row in marked.items()}
    assert measure(CASE, BF16, "sm_90", edited) == marked  # the IR stands
    other = dataclasses.replace(CASE, calculation=lambda x: running_sum(x, block=32))
    assert all(row["registers"] > 0 for row in measure(other, BF16, "sm_90", marked).values())


@pytest.mark.parametrize("arch", ARCHES)
def test_hashes_are_the_same_wherever_triton_is_installed(arch: str) -> None:
    with captured_launches(arch) as launches:
        running_sum(torch.empty(8, 100, 64, dtype=BF16))
    elsewhere = dataclasses.replace(launches[0], options=dataclasses.replace(
        launches[0].options, extern_libs={"libdevice": "/elsewhere/libdevice.10.bc"}))
    assert elsewhere.options != launches[0].options
    assert source_hash(elsewhere) == source_hash(launches[0])
    assert ir_hash(elsewhere) == ir_hash(launches[0])


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_bytes_of_a_stream_are_the_fewest() -> None:
    rows = measure_traffic(CASE, BF16, {})
    assert {key: (row["moved"], row.get("requested"), row.get("launches")) for key, row in rows.items()} == {
        "running sum | bfloat16 | bytes | _running_sum_kernel": (1.0, 1.0, None),
        "running sum | bfloat16 | bytes | all": (1.0, None, 1),
    }
    marked = {key: row | {"moved": 7} for key, row in rows.items()}
    assert measure_traffic(CASE, BF16, marked) == marked
    edited = {key: row | {"source": "of another kernel"} for key, row in marked.items()}
    assert measure_traffic(CASE, BF16, edited) == marked
    changed = {key: row | {"ir": "of another kernel"} for key, row in edited.items()}
    assert measure_traffic(CASE, BF16, changed) == rows


def test_table_survives_the_file_and_another_triton_empties_it(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    rows = {"b": {"registers": 3}, "a": {"bits": {"x_ptr": 128}}}
    write(rows, path)
    assert committed(path) == rows
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    path.write_text(path.read_text().replace(triton.__version__, "0.0.0"))
    assert committed(path) == {}


def test_unaligned_base_is_compiled_as_such() -> None:
    x = torch.zeros(8 * 100 * 64 + 1, dtype=BF16)
    with captured_launches("sm_90") as launches:
        running_sum(x[:-1].view(8, 100, 64))
        running_sum(x[1:].view(8, 100, 64))
    aligned, unaligned = (resources(compile_launch(launch)).access_bits for launch in launches)
    assert aligned == {"x_ptr": {"load": {128}}, "out_ptr": {"store": {128}}}
    assert unaligned == {"x_ptr": {"load": {16}}, "out_ptr": {"store": {128}}}


def test_occupancy_is_what_fits() -> None:
    assert occupancy("sm_90", 8, 128, 0) == 16 / 64  # 65536 / (128 * 32) warps
    assert occupancy("sm_90", 8, 32, 0) == 1
    assert occupancy("sm_80", 4, 32, 40 << 10) == 4 * 4 / 64  # four programs of 41 KB in 164 KB
    assert occupancy("gfx942", 4, 128, 0) == 16 / 32  # four waves on each SIMD


def test_loops_are_read_from_control_flow() -> None:
    nvidia = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 BRA `(.L_x_1) ;
.L_x_0:
        /*0020*/                   LDG.E.128 R4, [R2.64] ;
        /*0030*/                   STG.E.128 [R2.64], R4 ;
        /*0040*/                   STG.E.U16 [R2.64], R4 ;
        /*0050*/                   BRA.U UP0, `(.L_x_0) ;
.L_x_1:
        /*0060*/                   EXIT ;
.L_x_2:
        /*0070*/                   BRA `(.L_x_2);
"""
    code = read_code(nvidia, "sm_90")
    assert (code.instructions, len(code.loop), code.setup, code.stored_bits) == (7, 4, 3, 144)
    amd = """
.LBB0_0:
\ts_load_dwordx2 s[0:1], s[2:3], 0x0
.LBB0_1:
\tglobal_load_dwordx4 v[0:3], v0, s[0:1]
\tglobal_store_dwordx4 v0, v[0:3], s[0:1] ; comment
\ts_cbranch_scc1 .LBB0_1
\ts_endpgm
.Lfunc_end0:
"""
    code = read_code(amd, "gfx942")
    assert (code.instructions, len(code.loop), code.setup, code.stored_bits) == (5, 3, 2, 128)


def test_a_figure_that_is_missing_is_compared_with_nothing() -> None:
    assert worse({"instructions_per_element": None}, {"instructions_per_element": 1.0}) == []
    assert worse({"instructions_per_element": 1.0}, {"instructions_per_element": None}) == []
