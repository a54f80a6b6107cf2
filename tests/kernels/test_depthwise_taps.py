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
    plain = taps._tap_gradients.plain
    monkeypatch.setattr(taps._tap_gradients, "active", lambda *args: plain(*args))


@pytest.fixture
def compiled(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.compiler.reset()
    assert enable_fusion(CPU, request.param) is None
    yield
    disable_fusion()


def derivatives(conv: Callable[[Tensor, Tensor, int], Tensor], padding: int) -> Calculation:
    """The result, its gradients, and theirs in the directions u and g."""
    def run(*tensors: Tensor) -> Results:
        x, w, dv, u, g = (leaf(t) for t in tensors)
        v = conv(x, w, padding)
        dx, dw = torch.autograd.grad(v, (x, w), dv, create_graph=True)
        of_dx = torch.autograd.grad(dx, (w, dv), u, retain_graph=True)
        of_dw = torch.autograd.grad(dw, (x, dv), g)
        return {"v": v.detach(), "dx": dx.detach(), "dw": dw.detach(), "dw of dx": of_dx[0], "ddv of dx": of_dx[1],
                "dx of dw": of_dw[0], "ddv of dw": of_dw[1]}
    return run


def inputs(shape: tuple[int, ...], padding: int, dtype: torch.dtype, layout: str = "contiguous") -> list[Tensor]:
    """x, w, dv, u like x, g like w; taps in float32 at least, rounded to `dtype`, in which they are multiplied."""
    n, c, *clip = shape
    smaller = (n, c, *(size - 2 + 2 * padding for size in clip))
    made = [random(*size, dtype=dtype, seed=seed)
            for seed, size in enumerate((shape, (taps.TAPS, c), smaller, shape, (taps.TAPS, c)))]
    return [LAYOUTS[layout](t) if t.dim() == 5 else t.to(torch.promote_types(dtype, torch.float32)) for t in made]


def check_derivatives(tensors: list[Tensor], padding: int) -> None:
    assert_matches(derivatives(taps.depthwise_taps_fwd, padding), derivatives(taps.depthwise_taps_reference, padding),
                   tensors, multilinear=True, terms=taps.TAPS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=label)
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=label)
def test_derivatives_of_two_orders_match_reference(shape: tuple[int, ...], padding: int, dtype: torch.dtype,
                                                   layout: str) -> None:
    check_derivatives(inputs(shape, padding, dtype, layout), padding)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=label)
@pytest.mark.parametrize(("pad_space", "pad_time"), [("reflect", "replicate"), ("zeros", "zeros"),
                                                     ("replicate", "none"), ("none", "circular")])
def test_separable_convolution_by_taps_matches_its_reference(pad_space: PadMode, pad_time: PadMode,
                                                             dtype: torch.dtype) -> None:
    tensors = make((2, 16, 5, 6, 7), 4, dtype, pad_space, pad_time)
    assert taps.taps_pay(*map(leaf, tensors[:3]))
    check(tensors, pad_space, pad_time)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("shape", [(1, 16, 3, 9, 9), (1, 15, 9, 9, 9)], ids=label)
def test_short_clips_and_few_channels_are_left_to_the_dense_convolution(shape: tuple[int, ...]) -> None:
    """Of single frames, rows or columns the sums would be compiled anew."""
    assert not taps.taps_pay(*map(leaf, make(shape, 4, torch.float32)[:3]))


def test_without_a_compiler_the_dense_convolution_learns_and_the_taps_sample() -> None:
    disable_fusion()
    tensors = tuple(map(leaf, make((1, 32, 4, 6, 6), 4, torch.float32)[:3]))
    assert not taps.taps_pay(*tensors)
    with torch.no_grad():
        assert taps.taps_pay(*tensors)


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
    check_derivatives(inputs((1, 16, 5, 7, 9), 0, dtype), 0)  # compiles
    with torch.compiler.set_stance("fail_on_recompile"):
        for shape, padding in (((2, 32, 10, 27, 46), 0), ((1, 16, 5, 9, 11), 1), ((1, 17, 7, 13, 7), 2),
                               ((2, 48, 5, 5, 5), 0), ((1, 128, 6, 8, 8), 1)):
            check_derivatives(inputs(shape, padding, dtype), padding)


def test_a_compiler_that_fails_at_the_first_call_leaves_the_dense_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("CppCompileError")
    monkeypatch.setattr(torch, "compile", lambda _plain, **_: failing)
    fusion = import_module("sgif.kernels.fusion")
    examples, = (examples for function, examples in fusion._registry if function is taps._tap_gradients)
    monkeypatch.setattr(taps._tap_gradients, "active", fusion._compiled_when_called(
        taps._tap_gradients, lambda: examples(CPU, torch.float32), CPU))
    x, w, dv = inputs((1, 16, 5, 7, 9), 0, torch.float32)[:3]
    assert taps.taps_pay(x, leaf(w))
    with pytest.warns(UserWarning, match="torch.compile failed"):
        dw = taps.depthwise_taps_bwd_weight(x, dv, 0)
    torch.testing.assert_close(dw, taps._tap_gradients.plain(x[0].movedim(0, -1), dv[0].movedim(0, -1)))
    assert not taps.taps_pay(x, leaf(w))
