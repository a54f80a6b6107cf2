"""Who computes an operator, Triton or plain torch, and how an operator is made known to torch.

Every public function takes `impl`: "auto" (Triton on CUDA and ROCm tensors where it is installed, torch elsewhere),
"triton" (Triton, or an error that says why not) or "torch". The choice is made once, at the door, and travels as an
argument of the registered ops, so that backward runs what forward ran.

Without triton everything imports: `jit` then leaves kernels as they are, and nothing calls them. Where kernels are
emulated (Triton's interpreter with TRITON_INTERPRET=1 set before the first import of triton, or the tests' tool that
runs compiled code on the CPU), impl="triton" also takes CPU tensors.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # macOS, Windows, and CPU builds of torch, which do not bring it
    triton = tl = None

__all__ = ["HAS_TRITON", "TRITON_DTYPES", "Impl", "ResolvedImpl", "arch_of", "below_autograd", "jit", "register_op",
           "resolve_impl", "tl", "triton"]

Impl = Literal["auto", "triton", "torch"]
ResolvedImpl = Literal["triton", "torch"]

HAS_TRITON = triton is not None
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

emulated_arch: str | None = "sm_90" if HAS_TRITON and os.environ.get("TRITON_INTERPRET") == "1" else None
"""The GPU that CPU tensors are computed for, where kernels are emulated; None: nowhere. Only tests change it."""

auto_emulates = False
"""Whether impl="auto" takes emulated kernels too, as where a GPU is rehearsed (`engine/profiling/rehearsal.py`)."""

_LIBRARY = torch.library.Library("sgif", "FRAGMENT")

op_implementations: dict[str, Callable[..., Any]] = {}
"""What computes each registered op, by its name without `sgif::`: for who follows what an op does inside."""


def jit(kernel: Callable[..., Any]) -> Any:
    """`triton.jit`, or nothing where triton is absent."""
    return triton.jit(kernel) if HAS_TRITON else kernel


def resolve_impl(impl: Impl, op: str, x: Tensor) -> ResolvedImpl:
    """Who computes `op` for a tensor such as `x`.

    Raises:
        ValueError: for an unknown name, or "triton" where Triton cannot run.
    """
    if impl not in ("auto", "triton", "torch"):
        raise ValueError(f"{op}: impl is {impl!r}, expected auto, triton or torch")
    if impl == "torch":
        return "torch"
    trouble = _why_not_triton(x)
    if trouble is None:
        # Interpreted kernels are for tests, which ask for them by name.
        return "triton" if impl == "triton" or x.is_cuda or auto_emulates else "torch"
    if impl == "triton":
        raise ValueError(f"{op}: impl='triton' {trouble}")
    return "torch"


def _why_not_triton(x: Tensor) -> str | None:
    if not HAS_TRITON:
        return "needs the package triton, which is not installed: pip install 'sgif[triton]', or use impl='torch'"
    if x.dtype not in TRITON_DTYPES:
        return f"got {x.dtype}: expected float32, float16 or bfloat16, or impl='torch'"
    if not (x.is_cuda or emulated_arch):
        return f"got a tensor on {x.device}: expected one on a CUDA or ROCm device, or impl='torch'"
    return None


def arch_of(x: Tensor) -> str:
    """The architecture that a launcher chooses its configuration for: "sm_80", "sm_90", "sm_100", "gfx942" ..."""
    if not x.is_cuda:
        assert emulated_arch is not None
        return emulated_arch
    return _device_arch(x.device.index)


@functools.cache
def _device_arch(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    if torch.version.hip:
        return str(properties.gcnArchName).split(":")[0]
    return f"sm_{properties.major}{properties.minor}"


def register_op(schema: str, run: Callable[..., Any], fake: Callable[..., Any],
                autograd: type[torch.autograd.Function] | None = None) -> Any:
    """Register `sgif::<schema>` and return the callable op.

    Args:
        schema: name, arguments and results as torch writes them, e.g. "twice(Tensor x, str impl) -> Tensor".
        run: computes, on any device.
        fake: gives empty results with the shapes, dtypes and strides that `run` gives.
        autograd: how it is differentiated; its forward calls the op inside `below_autograd()`, its backward calls
            ops again, so that derivatives have derivatives. None: not differentiable.
    """
    name = schema.split("(", 1)[0]
    op_implementations[name] = run
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"sgif::{name}", fake, lib=_LIBRARY)
    if autograd is not None:
        _LIBRARY.impl(name, autograd.apply, "Autograd")
    return getattr(torch.ops.sgif, name).default


def below_autograd() -> Any:
    """A context in which an op runs without being recorded: for the forward of the Function that differentiates it."""
    return torch._C._AutoDispatchBelowAutograd()
