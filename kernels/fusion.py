"""Elementwise chains and reductions fused by `torch.compile`, with the same plain functions as the fallback.

A fused function runs eagerly until `enable_fusion` has compiled it. Compilation happens once, on canonical shapes and
with dynamic ones allowed, so that the code does not depend on which scale came first: a resumed run computes the same
bits as an uninterrupted one.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

import torch

from .dispatch import below_autograd

# Inductor stores what is computed from more than four tensors and used twice; computed twice it takes 1.2 to 1.5 times
# less time (torch 2.13, norms of 2 to 20 MB).
_OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {"realize_reads_threshold": 100,
                                                             "realize_opcount_threshold": 1000}

P = ParamSpec("P")
R = TypeVar("R")

_registry: list[tuple[FusedFunction[..., Any], Callable[[torch.device, torch.dtype], Iterable[tuple[Any, ...]]]]] = []


class FusedFunction(Generic[P, R]):
    """A plain function and, once enabled, its compiled form. Call it inside an op, below autograd, with
    detached tensors."""

    def __init__(self, plain: Callable[P, R], lazy: bool) -> None:
        self.plain, self.lazy = plain, lazy
        self.active = plain
        self.__doc__ = plain.__doc__

    @property
    def enabled(self) -> bool:
        """Whether a call runs compiled code."""
        return self.active is not self.plain

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.active(*args, **kwargs)


def fused(examples: Callable[[torch.device, torch.dtype], Iterable[tuple[Any, ...]]], *, lazy: bool = False
          ) -> Callable[[Callable[P, R]], FusedFunction[P, R]]:
    """Make a plain function fusable. `examples(device, dtype)` gives the arguments to compile it for; a `lazy` one is
    compiled for them when it is first called, since not every model calls it."""
    def register(plain: Callable[P, R]) -> FusedFunction[P, R]:
        function = FusedFunction(plain, lazy)
        _registry.append((function, examples))
        return function
    return register


def enable_fusion(device: torch.device, dtype: torch.dtype) -> str | None:
    """Compile every fused function for `device` and activations of `dtype`.

    Returns None, or one line that says why everything stays eager (no compiler, an unsupported platform).
    """
    missing = _missing_compiler(device)
    if missing:
        return missing
    try:
        for function, examples in _registry:
            arguments = partial(examples, device, dtype)
            function.active = (_compiled_when_called(function, arguments, device) if function.lazy
                               else _compiled(function, arguments, device))
    except Exception as error:  # whatever the compiler stack raises, the plain functions still work
        disable_fusion()
        return f"torch.compile failed ({type(error).__name__})"
    return None


def _compiled(function: FusedFunction[..., Any], examples: Callable[[], Iterable[tuple[Any, ...]]],
              device: torch.device) -> Callable[..., Any]:
    compiled = torch.compile(function.plain, dynamic=True, options=_OPTIONS)
    # As inside an op: compiled code is guarded by the dispatch keys too, and elsewhere they include autograd's.
    with torch.no_grad(), below_autograd():
        for arguments in examples():
            compiled(*arguments)
    return _outside_autocast(compiled, device.type)


def _compiled_when_called(function: FusedFunction[..., Any], examples: Callable[[], Iterable[tuple[Any, ...]]],
                          device: torch.device) -> Callable[..., Any]:
    made: Callable[..., Any] | None = None

    def run(*args: Any) -> Any:
        nonlocal made
        if made is None:
            try:
                made = _compiled(function, examples, device)
            except Exception as error:  # as in `enable_fusion`
                made = function.plain
                warnings.warn(f"torch.compile failed ({type(error).__name__}): {function.plain.__name__} is not fused",
                              stacklevel=1)
            function.active = made
        return made(*args)
    return run


def _outside_autocast(compiled: Callable[..., Any], device_type: str) -> Callable[..., Any]:
    """Call as when it was compiled: code is guarded by the autocast state too, and would be compiled anew in the first
    step, for its shapes alone, until torch gives up at the eighth time and runs it eagerly."""
    def run(*args: Any) -> Any:
        with torch.autocast(device_type, enabled=False):
            return compiled(*args)
    return run


def disable_fusion() -> None:
    """Let every fused function run eagerly."""
    for function, _ in _registry:
        function.active = function.plain


def fused_functions() -> list[FusedFunction[..., Any]]:
    """All functions that `enable_fusion` compiles."""
    return [function for function, _ in _registry]


def _missing_compiler(device: torch.device) -> str | None:
    if sys.platform == "win32":
        return "torch.compile is not used on Windows"
    if device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        return "no C++ compiler (g++ or clang++)"
    return None
