"""Every launch that an op makes on CPU tensors, with the specialisation that a GPU would compile it for.

Nothing here guesses: triton's own binder decides types, divisibility by 16 and arguments equal to 1, from the very
tensors and numbers that the launcher passed. So a gate over these launches checks what is launched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from triton.backends.compiler import BaseBackend, GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from sgif.kernels import dispatch

from .pinned import require_pinned_triton

ARCHES = ("sm_80", "sm_90", "sm_100", "gfx942")


@dataclass(frozen=True)
class Launch:
    """One `kernel[grid](...)`."""

    kernel: JITFunction
    arch: str
    grid: tuple[int, int, int]
    arguments: dict[str, Any] = field(repr=False)
    """Values by name, in the order of the kernel's parameters, constexprs included."""
    signature: dict[str, str]
    """Types by name: "*bf16", "i32", "fp32", "constexpr" ..."""
    constexprs: dict[tuple[int, ...], Any] = field(repr=False)
    attrs: dict[tuple[int, ...], Any] = field(repr=False)
    options: Any = field(repr=False)

    @property
    def name(self) -> str:
        return self.kernel.fn.__name__

    @property
    def num_threads(self) -> int:
        return self.options.num_warps * target_of(self.arch).warp_size


def target_of(arch: str) -> GPUTarget:
    if arch.startswith("gfx"):
        return GPUTarget("hip", arch, 64)
    return GPUTarget("cuda", int(arch.removeprefix("sm_")), 32)


def backend_of(arch: str) -> BaseBackend:
    return make_backend(target_of(arch))


@contextmanager
def intercepted_launches(arch: str, handle: Callable[[Launch], None]) -> Iterator[None]:
    """Inside, ops take CPU tensors for `impl="triton"`, choose as for `arch`, and each launch goes to `handle`."""
    require_pinned_triton("the capture of launches")
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("an interpreting process has no launches: run this in one without TRITON_INTERPRET")
    backend = backend_of(arch)

    def run(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        kwargs |= {"debug": False, "instrumentation_mode": ""}  # as JITFunction.run adds them
        bind = create_function_from_signature(kernel.signature, kernel.params, backend)
        bound, specialization, _ = bind(*args, **kwargs)
        options, signature, constexprs, attrs = kernel._pack_args(backend, kwargs, bound, specialization, None)
        sizes = tuple(int(size) for size in (grid(bound) if callable(grid) else grid))
        handle(Launch(kernel, arch, (*sizes, 1, 1)[:3], bound, signature, constexprs, attrs, options))

    before = JITFunction.run, dispatch.emulated_arch
    JITFunction.run, dispatch.emulated_arch = run, arch
    try:
        yield
    finally:
        JITFunction.run, dispatch.emulated_arch = before


@contextmanager
def captured_launches(arch: str) -> Iterator[list[Launch]]:
    """Collect the launches made inside. Nothing is computed: outputs stay as they were allocated."""
    launches: list[Launch] = []
    with intercepted_launches(arch, launches.append):
        yield launches
