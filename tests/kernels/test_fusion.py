"""Fused functions: compiled once, the same numbers, and eager again when anything is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sgif.kernels import disable_fusion, enable_fusion
from sgif.kernels.dispatch import below_autograd

from .test_batch_norm_act import check, tensors

fusion = import_module("sgif.kernels.fusion")
CPU = torch.device("cpu")
COMPILER = bool(shutil.which("g++") or shutil.which("clang++"))


@pytest.fixture(autouse=True)
def _eager_afterwards() -> Iterator[None]:
    yield
    disable_fusion()


def active_and_plain() -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
    return [(function.active, function.plain) for function, _ in fusion._registry]


def all_eager() -> bool:
    return bool(fusion._registry) and all(active is plain for active, plain in active_and_plain())


def pretend_compilers(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    monkeypatch.setattr(fusion, "shutil", SimpleNamespace(which=lambda name: name if name in found else None))


def pretend_compile(monkeypatch: pytest.MonkeyPatch, compile_: Callable[..., Callable[..., Any]]) -> None:
    monkeypatch.setattr(torch, "compile", compile_)


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="no C++ compiler")
def test_compiled_code_serves_under_autocast() -> None:
    torch.compiler.reset()
    assert enable_fusion(CPU, torch.bfloat16) is None
    with torch.compiler.set_stance("fail_on_recompile"), torch.autocast("cpu", torch.bfloat16), torch.no_grad(), \
            below_autograd():
        for function, examples in fusion._registry:
            for arguments in () if function.lazy else examples(CPU, torch.bfloat16):
                function(*arguments)


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="no C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_compiled_once_for_every_shape_and_right(dtype: torch.dtype) -> None:
    """More and fewer than 4096 rows, few and odd numbers of channels, frames and clips, groups."""
    torch.compiler.reset()
    assert enable_fusion(CPU, dtype) is None
    assert not any(active is plain for active, plain in active_and_plain())
    with torch.compiler.set_stance("fail_on_recompile"):
        for shape, groups in (((8, 16, 25, 44), 1), ((1, 32, 4, 25, 42), 1), ((2, 33, 4, 25, 42), 2),
                              ((1, 24, 3, 25, 25), 1), ((2, 3, 4, 5, 7), 2), ((3, 5, 6, 7), 1), ((6, 2, 3, 3), 3),
                              ((1, 17, 1, 1, 3), 1)):
            # The second order is compiled for one group only: the penalty is of one set of samples.
            check(tensors(shape, dtype)[:5 if groups == 1 else 4], groups)


def test_without_a_compiler_everything_stays_eager_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_compilers(monkeypatch)
    assert enable_fusion(CPU, torch.float32) == "no C++ compiler (g++ or clang++)"
    assert all_eager()


def test_on_windows_everything_stays_eager_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "sys", SimpleNamespace(platform="win32"))
    assert enable_fusion(CPU, torch.float32) == "torch.compile is not used on Windows"
    assert all_eager()


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_either_compiler_will_do(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    pretend_compilers(monkeypatch, compiler)
    pretend_compile(monkeypatch, lambda plain, **_: lambda *arguments: plain(*arguments))
    assert enable_fusion(CPU, torch.float32) is None
    assert not any(active is plain for active, plain in active_and_plain())


def test_disabling_brings_the_plain_functions_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_compilers(monkeypatch, "g++")
    pretend_compile(monkeypatch, lambda plain, **_: lambda *arguments: plain(*arguments))
    enable_fusion(CPU, torch.float32)
    disable_fusion()
    assert all_eager()


def test_a_compile_that_fails_midway_leaves_everything_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("CppCompileError")
    compiled = iter((lambda *_: None, failing))
    pretend_compilers(monkeypatch, "g++")
    pretend_compile(monkeypatch, lambda _plain, **_: next(compiled))
    assert enable_fusion(CPU, torch.float32) == "torch.compile failed (RuntimeError)"
    assert all_eager()
    check(tensors((2, 3, 5, 7), torch.float32), 1)


def test_every_example_runs_and_carries_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example arguments are of the dtype asked for, and the functions are compiled without grad mode."""
    seen: list[torch.dtype] = []

    def watch(plain: Callable[..., Any], *, dynamic: bool, options: dict[str, Any]) -> Callable[..., Any]:
        def run(*arguments: torch.Tensor) -> Any:
            assert dynamic
            assert not torch.is_grad_enabled()
            assert not any(argument.requires_grad for argument in arguments)
            seen.append(arguments[0].dtype)
            return plain(*arguments)
        return run
    pretend_compilers(monkeypatch, "g++")
    pretend_compile(monkeypatch, watch)
    assert enable_fusion(CPU, torch.bfloat16) is None
    assert len(seen) >= len(fusion._registry)
    assert set(seen) == {torch.bfloat16}


def test_compiled_and_called_in_the_same_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards look at dispatch keys and at `requires_grad`: where these differ, a function is compiled anew at the first
    shape that training has."""
    seen: list[int] = []

    def watch(plain: Callable[..., Any], *, dynamic: bool, options: dict[str, Any]) -> Callable[..., Any]:
        def run(*arguments: torch.Tensor) -> Any:
            assert not any(argument.requires_grad for argument in arguments)
            seen.append(torch._C._dispatch_tls_local_exclude_set().raw_repr())
            return plain(*arguments)
        return run
    pretend_compilers(monkeypatch, "g++")
    pretend_compile(monkeypatch, watch)
    assert enable_fusion(CPU, torch.float32) is None
    compiled = len(seen)
    check(tensors((2, 3, 5, 7), torch.float32), 1)
    assert len(seen) > compiled > 0
    assert len(set(seen)) == 1
