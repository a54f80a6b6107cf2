"""Compile a launch for a GPU that is not there, and read what it would use of it."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import io
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import triton
from triton import knobs
from triton._C.libtriton import ir
from triton.backends.compiler import Language
from triton.compiler import ASTSource

from .launches import Launch, backend_of, target_of
from .llvm_ir import access_bits
from .machine_code import Code, read_code
from .pinned import require_pinned_triton


@dataclass(frozen=True)
class Compiled:
    """What triton's stages made of a launch, as far as they were run."""

    launch: Launch
    asm: dict[str, Any] = field(repr=False)
    """Text by stage: "llir", then "ptx" and "cubin", or "amdgcn"."""
    metadata: dict[str, Any] = field(repr=False)
    log: str = field(repr=False)
    """What ptxas said."""
    seconds: float


def compile_launch(launch: Launch, until: str | None = None) -> Compiled:
    """Run triton's own stages for the launch's target, up to and including `until` (None: to machine code)."""
    require_pinned_triton("compiling ahead of time")
    target, options = target_of(launch.arch), launch.options
    until = until or {"cuda": "cubin", "hip": "amdgcn"}[target.backend]
    stages: dict[str, Any] = {}
    backend_of(launch.arch).add_stages(stages, options, Language.TRITON)
    metadata = {"target": target, **vars(options)}
    asm: dict[str, Any] = {}
    log = io.StringIO()
    start = time.perf_counter()
    with knobs.nvidia.scope(), contextlib.redirect_stdout(log):
        knobs.nvidia.dump_ptxas_log = True  # printed by triton's own call of ptxas
        module, _context = _frontend(launch)
        for name, stage in stages.items():
            module = stage(module, metadata)
            if isinstance(module, str | bytes):
                asm[name] = module
            if name == until:
                break
    return Compiled(launch, asm, metadata, log.getvalue(), time.perf_counter() - start)


def _frontend(launch: Launch) -> tuple[Any, Any]:
    """The kernel as Triton IR, and the context that it lives in."""
    backend, target, options = backend_of(launch.arch), target_of(launch.arch), launch.options
    source = ASTSource(launch.kernel, launch.signature, constexprs=launch.constexprs, attrs=launch.attrs)
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    return source.make_ir(target, options, backend.get_codegen_implementation(options), backend.get_module_map(),
                          context), context


_ir_texts: dict[tuple[str, ...], str] = {}


def ir_hash(launch: Launch) -> str:
    """Of what the compiler is given: IR without line numbers, options, target. Triton being pinned, it decides all."""
    target = target_of(launch.arch)
    key = (launch.kernel.cache_key, str(launch.signature), str(launch.constexprs), str(launch.attrs), target.backend,
           str(launch.options.num_warps))
    if key not in _ir_texts:
        module, _context = _frontend(launch)
        _ir_texts[key] = module.str_nodebug()
    return hashlib.sha256(f"{_ir_texts[key]}{_options(launch)}{target}".encode()).hexdigest()[:16]


def _options(launch: Launch) -> dict[str, Any]:
    """How the launch is compiled, without the libraries' paths, which are another machine's."""
    return {name: value for name, value in vars(launch.options).items() if name != "extern_libs"}


def source_hash(launch: Launch) -> str:
    """Of what the IR is made of: the code of all kernels in a folder, without comments and docstrings, and the launch.
    It costs nothing and changes with any kernel; where it stands, so does the IR."""
    code = _kernels_code(Path(launch.kernel.fn.__code__.co_filename).parent)
    described = (launch.name, launch.signature, launch.constexprs, launch.attrs, _options(launch),
                 target_of(launch.arch))
    return hashlib.sha256(f"{code}{described}".encode()).hexdigest()[:16]


@functools.cache
def _kernels_code(folder: Path) -> str:
    """Functions under @jit of all modules in `folder`, and the constants that they name."""
    parts = []
    for path in sorted(folder.glob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        kernels = [node for node in body if isinstance(node, ast.FunctionDef)
                   and any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)]
        names = {node.id for kernel in kernels for node in ast.walk(kernel) if isinstance(node, ast.Name)}
        constants = [node for node in body if isinstance(node, ast.Assign | ast.AnnAssign)
                     and names & {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}]
        parts += [ast.dump(_Undocumented().visit(node)) for node in (*kernels, *constants)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


class _Undocumented(ast.NodeTransformer):
    """Takes docstrings away."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


@dataclass(frozen=True)
class Resources:
    """What a launch uses of a GPU, as its compilers say."""

    registers: int
    """Per thread; on AMD the vector registers."""
    spill_bytes: int
    """Stored and loaded, from ptxas; on AMD spilled registers and scratch memory."""
    shared_bytes: int
    occupancy: float
    """Warps that fit a multiprocessor (compute unit) at a time, over those it can hold."""
    access_bits: dict[str, dict[str, set[int]]]
    """By argument: widths of a thread's loads and stores of global memory."""
    code: Code


def resources(compiled: Compiled) -> Resources:
    launch = compiled.launch
    parameters = [name for name, kind in launch.signature.items() if kind != "constexpr"]
    shared = int(compiled.metadata["shared"])
    if launch.arch.startswith("gfx"):
        text = compiled.asm["amdgcn"]
        registers = _number(r"\.vgpr_count:\s+(\d+)", text)
        spills = 4 * _number(r"\.vgpr_spill_count:\s+(\d+)", text) \
            + _number(r"\.private_segment_fixed_size:\s+(\d+)", text)
    else:
        text = _disassembled(compiled.asm["cubin"])
        registers = _number(r"Used (\d+) registers", compiled.log)
        spills = _number(r"(\d+) bytes spill stores", compiled.log) + _number(r"(\d+) bytes spill loads", compiled.log)
    return Resources(registers, spills, shared, occupancy(launch.arch, launch.options.num_warps, registers, shared),
                     access_bits(compiled.asm["llir"], parameters), read_code(text, launch.arch))


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    assert match, f"no {pattern} in what the compiler said: {text[:400]}"
    return int(match[1])


def _disassembled(cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        nvdisasm = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
        return subprocess.run([nvdisasm, "-c", file.name], capture_output=True, text=True, check=True).stdout


SHARED_BYTES = {"sm_80": 164 << 10, "sm_90": 228 << 10, "sm_100": 228 << 10, "gfx942": 64 << 10}


def occupancy(arch: str, num_warps: int, registers: int, shared_bytes: int) -> float:
    """Warps that fit a multiprocessor, over those it can hold (64; AMD: 32 waves on four SIMDs)."""
    if arch.startswith("gfx"):  # 512 registers per lane and SIMD in steps of 8, up to 8 waves
        most, by_registers, reserved, most_programs = 32, 4 * min(8, 512 // _rounded_up(registers, 8)), 0, 32
    else:  # 65536 registers in steps of 256 per warp; 1 KB of shared memory per program is the system's
        most, by_registers, reserved, most_programs = 64, 65536 // _rounded_up(32 * registers, 256), 1024, 32
    programs = min(most // num_warps, by_registers // num_warps, most_programs,
                   SHARED_BYTES[arch] // max(1, shared_bytes + reserved))
    return programs * num_warps / most


def _rounded_up(x: int, step: int) -> int:
    return -(-x // step) * step
