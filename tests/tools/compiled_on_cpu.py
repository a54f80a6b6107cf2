"""Run what Triton compiled for a GPU on the CPU: the launchers run as they are, on CPU tensors.

    with compiled_on_cpu("sm_80"):
        y = some_op(x, impl="triton")

Triton's LLVM IR for the launch, after all its passes, is retargeted to x86-64 with the LLVM inside triton. Intrinsics
and inline PTX become calls of the functions in `compiled_on_cpu.c`, which runs the lanes of a program as fibers. Each
access of global memory is checked: it lies in the storage of a tensor argument and is aligned as the instruction asks,
or the launch raises. What it proves are the numbers of the compiled code, its masks, layouts and barriers; not what
ptxas or the AMDGPU backend make of it, not timing, not memory ordering.

Covered: sm_80, sm_90 and sm_100 without wgmma, TMA and tcgen05, gfx942. What is not raises NotImplementedError by name.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from triton._C.libtriton import llvm

from .ahead_of_time import compile_launch
from .launches import Launch, intercepted_launches, target_of
from .llvm_ir import TYPE, closing, members, ptx_text, size_of, split_arguments, type_of
from .pinned import require_pinned_triton
from .traffic import SECTOR_BYTES, Traffic, distinct_bytes, extent

SOURCE = Path(__file__).with_suffix(".c")
TRIPLE = "x86_64-unknown-linux-gnu"
CPU = "x86-64-v3"
SLOT_BYTES = 64

SCALARS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64, "fp32": ctypes.c_float, "fp64": ctypes.c_double,
           "u32": ctypes.c_uint32, "u64": ctypes.c_uint64, "i16": ctypes.c_int16, "i8": ctypes.c_int8,
           "u1": ctypes.c_bool, "i1": ctypes.c_bool}


def why_not() -> str | None:
    """Why compiled kernels cannot run here, for a skip that says so."""
    if not shutil.which("gcc"):
        return "running compiled kernels on the CPU needs gcc"
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"compiled kernels run on x86-64 Linux, not {platform.system()} {platform.machine()}"
    return None


@contextmanager
def compiled_on_cpu(arch: str) -> Iterator[list[Traffic]]:
    """Inside, `impl="triton"` on CPU tensors runs what triton compiles for `arch`. Gives the traffic of each launch."""
    require_pinned_triton("running compiled kernels on the CPU")
    traffic: list[Traffic] = []
    with intercepted_launches(arch, lambda launch: traffic.append(run_launch(launch))):
        yield traffic


class _Storage(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64), ("requested", ctypes.c_uint64 * 2),
                ("sectors", ctypes.c_void_p))


def run_launch(launch: Launch) -> Traffic:
    """Raises RuntimeError for an access outside of every tensor or misaligned, and for lanes that never meet."""
    entry = _kernel(launch)
    values = [(kind, launch.arguments[name]) for name, kind in launch.signature.items() if kind != "constexpr"]
    arguments = (ctypes.c_uint64 * max(1, len(values)))()
    for i, (kind, value) in enumerate(values):
        if kind.startswith("*"):
            arguments[i] = value.data_ptr()
        else:
            SCALARS[kind].from_buffer(arguments, 8 * i).value = value

    tensors = {name: x for name, x in launch.arguments.items() if isinstance(x, torch.Tensor)}
    bounds = sorted({(x.untyped_storage().data_ptr(), x.untyped_storage().nbytes()) for x in tensors.values()})
    sectors = [np.zeros(nbytes // SECTOR_BYTES + 2, np.uint8) for _, nbytes in bounds]
    storages = (_Storage * max(1, len(bounds)))(*(
        _Storage(begin, begin + nbytes, (0, 0), touched.ctypes.data)
        for (begin, nbytes), touched in zip(bounds, sectors, strict=True)))
    failure = run_kernel(entry, arguments, launch.grid, launch.num_threads, target_of(launch.arch).warp_size, storages,
                         len(bounds))
    if failure:
        where = ", ".join(f"{name} {begin:#x} to {end:#x}" for name, (begin, end) in
                          ((name, extent(x)) for name, x in tensors.items()))
        raise RuntimeError(f"{launch.name} for {launch.arch}: {failure} ({where})")

    def touched(x: torch.Tensor, bit: int) -> bool:
        i = bounds.index((x.untyped_storage().data_ptr(), x.untyped_storage().nbytes()))
        first, end = (address // SECTOR_BYTES - bounds[i][0] // SECTOR_BYTES for address in extent(x))
        return bool((sectors[i][first:end + 1] & bit).any())

    distinct = {(x.data_ptr(), x.shape): x for x in tensors.values()}.values()
    return Traffic(
        launch.name, *(sum(storage.requested[i] for storage in storages) for i in (0, 1)),
        *(SECTOR_BYTES * sum(int((s & bit != 0).sum()) for s in sectors) for bit in (1, 2)),
        *(sum(distinct_bytes(x) for x in distinct if touched(x, bit)) for bit in (1, 2)))


def run_kernel(entry: Any, arguments: Any, grid: tuple[int, int, int], num_threads: int, warp_size: int, storages: Any,
               num_storages: int) -> str:
    """Run all programs; returns what went wrong, or nothing."""
    driver = _driver()
    driver.run(entry, arguments, (ctypes.c_int * 3)(*grid), num_threads, warp_size, storages, num_storages)
    return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(driver, "failure"))).decode()


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="compiled-on-cpu-")  # removed when the process ends


@functools.cache
def _driver() -> ctypes.CDLL:
    library = Path(_folder().name, "driver.so")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-lm"], check=True)
    return ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)  # kernels find its functions


_kernels: dict[Any, Any] = {}


def _kernel(launch: Launch) -> Any:
    """The kernel as a C function of one pointer to its arguments, 8 bytes each."""
    key = (launch.kernel.cache_key, launch.arch, str(launch.signature), str(launch.constexprs), str(launch.attrs),
           str(launch.options))
    if key not in _kernels:
        try:
            _kernels[key] = load(retarget(compile_launch(launch, until="llir").asm["llir"], launch.name))
        except NotImplementedError as error:
            raise NotImplementedError(f"{launch.name} for {launch.arch}: {error}") from None
    return _kernels[key]


def load(ir: str) -> Any:
    """`kernel_entry` of retargeted IR."""
    missing = [name for name in _called_functions(ir) if not hasattr(_driver(), name)]
    if missing:
        raise NotImplementedError(f"{SOURCE.name} lacks {', '.join(missing)}")
    llvm.init_targets()
    base = Path(_folder().name, hashlib.sha256(ir.encode()).hexdigest()[:16])
    base.with_suffix(".o").write_bytes(llvm.translate_to_asm(ir, TRIPLE, CPU, "", [], True, True))
    subprocess.run(["gcc", "-shared", "-o", base.with_suffix(".so"), base.with_suffix(".o"), "-lm"], check=True)
    return ctypes.CDLL(str(base.with_suffix(".so"))).kernel_entry


# --- from a GPU's IR to the CPU's -------------------------------------------------------------------------------------

def retarget(ir: str, kernel: str) -> str:
    """LLVM IR that triton made for NVIDIA or AMD, as IR for x86-64 with `kernel_entry(ptr arguments)`."""
    ir = _without_metadata(ir)
    ir = _check_accesses(ir)
    ir = _without_address_spaces(ir)
    wrappers: dict[tuple[str, ...], str] = {}
    ir = _replace_assembly(ir, wrappers)
    ir = _replace_intrinsics(ir, wrappers)
    declarations = "\n".join(f"declare void @{name}({args})" for name, args in CHECKED.items())
    return "\n".join([f'target triple = "{TRIPLE}"', ir, *wrappers.values(), _entry(ir, kernel), declarations,
                      *(f"declare void @{name}(ptr, ptr)" for name in sorted(_wrapped(wrappers)))])


CHECKED = {"check_access": "ptr, i64, i64, i64", "load_global": "ptr, ptr, i64, i64",
           "store_global": "ptr, ptr, i64, i64", "load_shared": "ptr, ptr, i64, i64",
           "store_shared": "ptr, ptr, i64, i64", "copy_to_shared": "ptr, ptr, i64, i64, i64"}


def _wrapped(wrappers: dict[tuple[str, ...], str]) -> set[str]:
    calls = re.compile(r"call void @([\w$]+)\(ptr %out, ptr %in\)")
    return {name for text in wrappers.values() for name in calls.findall(text)}


def _called_functions(ir: str) -> list[str]:
    """Names declared in retargeted IR that the driver must have."""
    return sorted(name for name in re.findall(r"^declare [^@\n]*@([\w$]+)\(ptr, ptr\)$", ir, re.MULTILINE))


def _without_metadata(ir: str) -> str:
    ir = re.sub(r"^(target |source_filename|attributes |!|;).*\n", "", ir, flags=re.MULTILINE)
    ir = re.sub(r",? !\w[\w.]* ![\w.]+|,? !\w+ !\d+", "", ir)
    ir = re.sub(r" #\d+", "", ir)
    ir = re.sub(r"^\s*fence .*\n", "", ir, flags=re.MULTILINE)  # lanes never run at the same time
    return ir.replace("ptx_kernel ", "").replace("amdgpu_kernel ", "").replace(" inreg", "")


def _check_accesses(ir: str) -> str:
    """A check before each plain load and store of global memory, which AMD's code has."""
    def check(match: re.Match[str]) -> str:
        kind, value, address, alignment = match["kind"], match["value"], match["address"], match["align"]
        is_store = int(match["op"].startswith("store"))
        return (f"  call void @check_access(ptr {address}, i64 {size_of(kind)}, i64 {alignment}, i64 {is_store})\n"
                f"  {match['result'] or ''}{match['op']} {kind}{value or ','} ptr {address}, align {alignment}")
    return re.sub(rf"^  (?P<result>%[\w.]+ = )?(?P<op>load|store)(?: volatile)? (?P<kind>{TYPE})(?P<value> [^\n]*?,|,)"
                  r" ptr addrspace\(1\) (?P<address>[%@][\w.]+), align (?P<align>\d+)", check, ir, flags=re.MULTILINE)


def _without_address_spaces(ir: str) -> str:
    if re.search(r"inttoptr \S+ \S+ to ptr addrspace\(3\)|ptrtoint ptr addrspace\(3\) \S+ to i32", ir):
        raise NotImplementedError("shared memory addressed by number is not covered")
    ir = re.sub(r"addrspacecast \(ptr(?: addrspace\(\d+\))? (@\w+) to ptr(?: addrspace\(\d+\))?\)", r"\1", ir)
    ir = re.sub(r"addrspacecast ptr(?: addrspace\(\d+\))? (\S+) to ptr(?: addrspace\(\d+\))?", r"bitcast ptr \1 to ptr",
                ir)
    return re.sub(r" ?addrspace\(\d+\)", "", ir)


def _entry(ir: str, kernel: str) -> str:
    match = re.search(rf"^define [^@]*@{kernel}\((.*)\) ", ir, re.MULTILINE)
    assert match, kernel
    types = [type_of(argument) for argument in split_arguments(match[1])]
    given = len(types) - 2  # triton adds scratch memory for global use and for profiling, unused here
    lines = []
    for i, kind in enumerate(types):
        lines += [f"  %p{i} = getelementptr i64, ptr %arguments, i64 {i}", f"  %a{i} = load {kind}, ptr %p{i}"]
    passed = ", ".join(f"{kind} %a{i}" if i < given else "ptr null" for i, kind in enumerate(types))
    return "\n".join(["define void @kernel_entry(ptr %arguments) {", *lines[:2 * given],
                      f"  call void @{kernel}({passed})", "  ret void", "}"])


def _replace_intrinsics(ir: str, wrappers: dict[tuple[str, ...], str]) -> str:
    """Calls of NVIDIA's and AMD's intrinsics become calls of wrappers around functions of the driver."""
    for declaration in re.findall(r"^declare .*\n", ir, flags=re.MULTILINE):
        match = re.match(rf"declare (?:noundef |range\([^)]*\) |nonnull |align \d+ |dereferenceable\(\d+\) )*({TYPE}) "
                         r"@((?:llvm\.(?:nvvm|amdgcn)\.|__nvvm_)[\w.]+)\((.*)\)", declaration)
        if match is None:
            continue
        result, name, arguments = match.groups()
        ir = ir.replace(declaration, "")
        wrapper = f"wrapped.{name}"
        wrappers[name,] = _wrapper(wrapper, name, result, [type_of(a) for a in split_arguments(arguments)])
        ir = ir.replace(f"@{name}(", f"@{wrapper}(")
    return ir.replace(" immarg", "")


def _wrapper(wrapper: str, function: str, result: str, types: list[str], order: list[int] | None = None) -> str:
    """IR of a function that hands its operands to the driver's and returns what that leaves; all through memory."""
    arguments = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(types))
    order = list(range(len(types))) if order is None else order
    lines = [f"define internal {result} @{wrapper}({arguments}) noinline {{",
             f"  %out = alloca [{SLOT_BYTES} x i8], align 64",
             f"  %in = alloca [{SLOT_BYTES * max(1, len(order))} x i8], align 64"]
    for slot, i in enumerate(order):
        lines += [f"  %p{slot} = getelementptr i8, ptr %in, i64 {SLOT_BYTES * slot}",
                  f"  store {types[i]} %a{i}, ptr %p{slot}, align 64"]
    lines += [f"  call void @{re.sub(r'[.:]+', '_', function)}(ptr %out, ptr %in)"]
    return "\n".join([*lines, *_return(result), "}"])


def _return(result: str) -> list[str]:
    if result == "void":
        return ["  ret void"]
    return [f"  %result = load {result}, ptr %out, align 64", f"  ret {result} %result"]


# --- inline PTX -------------------------------------------------------------------------------------------------------

def _replace_assembly(ir: str, wrappers: dict[tuple[str, ...], str]) -> str:
    pieces, position = [], 0
    for match in re.finditer(rf'call ({TYPE}) asm (?:sideeffect )?"([^"]*)", "([^"]*)"\(', ir):
        end = closing(ir, match.end())
        arguments = split_arguments(ir[match.end():end])
        result, text, constraints = match.groups()
        types = [type_of(argument) for argument in arguments]
        key = (result, text, constraints, *types)
        name = f"ptx.{list(wrappers).index(key) if key in wrappers else len(wrappers)}"
        if key not in wrappers:
            wrappers[key] = _assembly_wrapper(name, result, ptx_text(text), types)
        pieces += [ir[position:match.start()], f"call {result} @{name}({', '.join(arguments)})"]
        position = end + 1
    return "".join([*pieces, ir[position:]])


def _assembly_wrapper(name: str, result: str, text: str, types: list[str]) -> str:
    """IR of a function that does what some lines of PTX do. `$i` names the results first, then the operands."""
    outs = members(result)
    lines_of_text = (line.partition("//")[0].strip() for line in text.replace(";", "\n").splitlines())
    instructions = [line for line in lines_of_text if line]
    *moves, instruction = instructions
    match = re.fullmatch(r"(?:@\$(?P<predicate>\d+)\s+)?(?P<mnemonic>[\w.:]+)\s*(?P<operands>.*)", instruction)
    if match is None or not all(move.startswith("mov.") for move in moves):
        raise NotImplementedError(f"inline PTX is not covered: {text}")

    def operand(reference: str) -> str:
        return f"%a{int(reference.strip().removeprefix('$')) - len(outs)}"

    defaults = {}
    for move in moves:
        target, value = re.fullmatch(r"mov\.\w+\s+\$(\d+)\s*,\s*(\S+)", move).groups()  # type: ignore[union-attr]
        defaults[int(target)] = operand(value) if value.startswith("$") else str(int(value, 0))
    predicate = "i64 1"
    lines = []
    if match["predicate"]:
        lines.append(f"  %predicate = zext i1 {operand(match['predicate'])} to i64")
        predicate = "i64 %predicate"
    memory = re.fullmatch(r"(ld|st)\.(?:volatile\.)?(global|shared)(?:\.(?!v\d|b\d)[\w:]+)*(?:\.v(\d))?\.b(\d+)",
                          match["mnemonic"])
    if memory:
        lines += _memory(memory, match["operands"], operand, types, outs, defaults, predicate)
    elif re.match(r"cp\.async\.c[ag]\.shared\.global", match["mnemonic"]):
        lines += _async_copy(match["operands"], operand, predicate)
    else:
        if moves or match["predicate"]:
            raise NotImplementedError(f"inline PTX is not covered: {text}")
        order = [int(i) - len(outs) for i in re.findall(r"\$(\d+)", match["operands"]) if int(i) >= len(outs)]
        return _wrapper(name, match["mnemonic"], result, types, order)
    arguments = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(types))
    return "\n".join([f"define internal {result} @{name}({arguments}) noinline {{",
                      f"  %out = alloca [{SLOT_BYTES} x i8], align 64", *lines, *_return(result), "}"])


def _memory(memory: re.Match[str], operands: str, operand: Callable[[str], str], types: list[str], outs: list[str],
            defaults: dict[int, str], predicate: str) -> list[str]:
    kind, space, vector, bits = memory.groups()
    count, item = int(vector or 1), int(bits) // 8
    address, offset = re.search(r"\[\s*(\$\d+)(?:\s*\+\s*(\d+))?\s*\]", operands).groups()  # type: ignore[union-attr]
    lines = [f"  %address = getelementptr i8, ptr {operand(address)}, i64 {offset or 0}"]
    if kind == "ld":
        values = [(outs[i], defaults.get(i, "zeroinitializer")) for i in range(count)]
    else:
        references = re.findall(r"\$\d+", operands.split("]", 1)[1])
        values = [(types[int(operand(reference).removeprefix("%a"))], operand(reference)) for reference in references]
    if any(size_of(kind_) != item for kind_, _ in values):
        raise NotImplementedError(f"inline PTX is not covered: registers {values} for {bits} bits")
    for i, (kind_, value) in enumerate(values):
        lines += [f"  %q{i} = getelementptr i8, ptr %out, i64 {i * item}", f"  store {kind_} {value}, ptr %q{i}"]
    name = f"{'load' if kind == 'ld' else 'store'}_{space}"
    return [*lines, f"  call void @{name}(ptr %out, ptr %address, i64 {count * item}, {predicate})"]


def _async_copy(operands: str, operand: Callable[[str], str], predicate: str) -> list[str]:
    match = re.fullmatch(r"\[\s*(\$\d+)(?: \+ 0)?\s*\]\s*,\s*\[\s*(\$\d+)(?: \+ 0)?\s*\]\s*,\s*(\w+)(?:\s*,\s*(\S+))?",
                         operands)
    if match is None:
        raise NotImplementedError(f"inline PTX is not covered: cp.async {operands}")
    shared, address, size, available = match.groups()
    if available and available.startswith("$"):
        lines, copied = [f"  %available = zext i32 {operand(available)} to i64"], "%available"
    else:
        lines, copied = [], str(int(available or size, 0))
    return [*lines, f"  call void @copy_to_shared(ptr {operand(shared)}, ptr {operand(address)}, i64 {int(size, 0)}, "
                    f"i64 {copied}, {predicate})"]
