"""Compile a launch for a GPU that is not there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from dataclasses import dataclass, field
from typing import Any

from triton import knobs
from triton._C.libtriton import ir
from triton.backends.compiler import Language
from triton.compiler import ASTSource

from .launches import Launch, backend_of, target_of
from .pinned import require_pinned_triton


@dataclass(frozen=True)
class Compiled:
    """What triton's stages made of a launch, as far as they were run."""

    launch: Launch
    ir_hash: str
    """Of what the compiler is given: the kernel's IR without line numbers, options, target and triton's version."""
    asm: dict[str, Any] = field(repr=False)
    """By stage: "ttir", "ttgir", "llir", then "ptx" and "cubin", or "amdgcn"."""
    metadata: dict[str, Any] = field(repr=False)
    log: str = field(repr=False)
    """What ptxas said."""
    seconds: float


def compile_launch(launch: Launch, until: str | None = None) -> Compiled:
    """Run triton's own stages for the launch's target, up to and including `until` (None: to machine code)."""
    require_pinned_triton("compiling ahead of time")
    backend, target, options = backend_of(launch.arch), target_of(launch.arch), launch.options
    until = until or {"cuda": "cubin", "hip": "amdgcn"}[target.backend]
    source = ASTSource(launch.kernel, launch.signature, constexprs=launch.constexprs, attrs=launch.attrs)
    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, Language.TRITON)
    metadata = {"target": target, **vars(options)}
    asm: dict[str, Any] = {}
    log = io.StringIO()
    start = time.perf_counter()
    with knobs.nvidia.scope(), contextlib.redirect_stdout(log):
        knobs.nvidia.dump_ptxas_log = True  # printed by triton's own call of ptxas
        context = ir.context()
        ir.load_dialects(context)
        backend.load_dialects(context)
        module = source.make_ir(target, options, backend.get_codegen_implementation(options),
                                backend.get_module_map(), context)
        ir_hash = hashlib.sha256(f"{module.str_nodebug()}{options}{target}".encode()).hexdigest()[:16]
        for name, stage in stages.items():
            if until == "ir":
                break
            module = stage(module, metadata)
            asm[name] = module if isinstance(module, str | bytes) else module.str_nodebug()
            if name == until:
                break
    return Compiled(launch, ir_hash, asm, metadata, log.getvalue(), time.perf_counter() - start)
