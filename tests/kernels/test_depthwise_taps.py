"""The depthwise filter tap by tap against its reference, to the second order, and inside the separable convolution."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import torch
from torch import Tensor

from sgif.kernels import PadMode, disable_fusion, enable_fusion, separable_conv3d

from .compare import LAYOUTS, Calculation, Results, assert_matches, label, leaf, random
from .test_separable_conv3d import check, make

taps = import_module("sgif.kernels.depthwise_taps")
CPU = torch.device("cpu")
COMPILER = bool(shutil.which("g++") or shutil.which("clang++"))

pytestmark = pytest.mark.usefixtures("poisoned_empty")

SHAPES = [(2, 16, 5, 7, 9), (1, 17, 3, 4, 3), (3, 1, 4, 3, 6)]  # of x


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that `enable_fusion` opens, without a compiler."""
    for function in (taps._correlate, taps._tap_gradients):
        monkeypatch.setattr(function, "active", lambda *args, plain=function.plain: plain(*args))


@pytest.fixture
def compiled(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.compiler.reset()
    assert enable_fusion(CPU, request.param) is None
    yield
    disable_fusion()


def derivatives(conv: Callable[[Tensor, Tensor], Tensor]) -> Calculation:
    """The result, its gradients, and theirs in the directions u and g."""
    def run(*tensors: Tensor) -> Results:
        x, w, dv, u, g = (leaf(t) for t in tensors)
        v = conv(x, w)
        dx, dw = torch.autograd.grad(v, (x, w), dv, create_graph=True)
        of_dx = torch.autograd.grad(dx, (w, dv), u, retain_graph=True)
        of_dw = torch.autograd.grad(dw, (x, dv), g)
        return {"v": v.detach(), "dx": dx.detach(), "dw": dw.detach(), "dw of dx": of_dx[0], "ddv of dx": of_dx[1],
                "dx of dw": of_dw[0], "ddv of dw": of_dw[1]}
    return run


def inputs(shape: tuple[int, ...], dtype: torch.dtype, layout: str = "contiguous") -> list[Tensor]:
    """x, w, dv, u like x, g like w; taps in float32 at least."""
    n, c, t, h, w = shape
    wide = torch.promote_types(dtype, torch.float32)
    sizes = ((shape, dtype), ((taps.TAPS, c), wide), ((n, c, t - 2, h - 2, w - 2), dtype), (shape, dtype),
             ((taps.TAPS, c), wide))
    made = [random(*size, dtype=kind, seed=seed) for seed, (size, kind) in enumerate(sizes)]
    return [LAYOUTS[layout](t) if t.dim() == 5 else t for t in made]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=label)
@pytest.mark.parametrize("shape", SHAPES, ids=label)
def test_derivatives_of_two_orders_match_reference(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    assert_matches(derivatives(taps.depthwise_taps_fwd), derivatives(taps.depthwise_taps_reference),
                   inputs(shape, dtype, layout), multilinear=True, terms=taps.TAPS)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=label)
@pytest.mark.parametrize(("pad_space", "pad_time"), [("reflect", "replicate"), ("zeros", "zeros"),
                                                     ("replicate", "none"), ("none", "circular")])
def test_separable_convolution_by_taps_matches_its_reference(pad_space: PadMode, pad_time: PadMode,
                                                             dtype: torch.dtype) -> None:
    tensors = make((2, 16, 5, 6, 7), 4, dtype, pad_space, pad_time)
    assert taps.taps_pay(tensors[0])
    check(tensors, pad_space, pad_time)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("shape", [(1, 16, 4, 9, 9), (1, 15, 9, 9, 9)], ids=label)
def test_short_clips_and_few_channels_are_left_to_the_dense_convolution(shape: tuple[int, ...]) -> None:
    """Of single frames, rows or columns the code would be compiled anew."""
    assert not taps.taps_pay(torch.empty(shape))


def test_without_a_compiler_the_dense_convolution_stays() -> None:
    disable_fusion()
    assert not taps.taps_pay(torch.empty(1, 32, 8, 25, 44))


@pytest.mark.usefixtures("eager")
def test_autocast_gives_its_dtype_and_channels_innermost() -> None:
    x, spatial, temporal, pointwise, bias = make((1, 16, 5, 6, 7), 8, torch.float32)[:5]
    with torch.autocast("cpu", torch.bfloat16):
        y = separable_conv3d(x, spatial, temporal, pointwise, bias)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="no C++ compiler")
@pytest.mark.parametrize(("compiled", "dtype"), [(dtype, dtype) for dtype in (torch.float32, torch.bfloat16)],
                         indirect=["compiled"], ids=label)
@pytest.mark.usefixtures("compiled")
def test_compiled_once_for_every_shape_and_right(dtype: torch.dtype) -> None:
    first = inputs((1, 16, 5, 7, 9), dtype)
    derivatives(taps.depthwise_taps_fwd)(*first)  # compiles
    with torch.compiler.set_stance("fail_on_recompile"):
        for shape in ((2, 32, 10, 27, 46), (1, 16, 5, 9, 11), (1, 17, 7, 13, 7), (2, 48, 5, 5, 5), (1, 128, 6, 8, 8)):
            assert_matches(derivatives(taps.depthwise_taps_fwd), derivatives(taps.depthwise_taps_reference),
                           inputs(shape, dtype), multilinear=True, terms=taps.TAPS)


def test_a_compiler_that_fails_at_the_first_call_leaves_the_dense_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("CppCompileError")
    monkeypatch.setattr(torch, "compile", lambda _plain, **_: failing)
    for function, examples in import_module("sgif.kernels.fusion")._registry:
        if function.lazy:
            monkeypatch.setattr(function, "active", import_module("sgif.kernels.fusion")._compiled_when_called(
                function, lambda examples=examples: examples(CPU, torch.float32), CPU))
    tensors = inputs((1, 16, 5, 7, 9), torch.float32)
    assert taps.taps_pay(tensors[0])
    with pytest.warns(UserWarning, match="torch.compile failed"):
        v = taps.depthwise_taps_fwd(*tensors[:2])
    torch.testing.assert_close(v, taps.depthwise_taps_reference(*tensors[:2]))
    assert not taps.taps_pay(tensors[0])
