"""Colour statistics against `torch.cov`, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from sgif.kernels import frame_color_statistics

from .compare import DEVICE, LAYOUTS, Calculation, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")


def torch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    frames = [[clip[:, t].flatten(1) for t in range(x.shape[2])] for clip in x]
    mean = torch.stack([torch.stack([pixels.mean(1) for pixels in clip]) for clip in frames])
    cov = torch.stack([torch.stack([torch.cov(pixels, correction=0) for pixels in clip]) for clip in frames])
    return mean, cov


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=label)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 7), (1, 3, 1, 25, 44), (1, 3, 2, 1, 1), (3, 3, 1, 1, 6)], ids=label)
def test_statistics_and_gradients_match_torch_cov(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    n, _, t, _, _ = shape

    def calculation(statistics):
        def run(x: Tensor, dmean: Tensor, dcov: Tensor) -> Results:
            x = leaf(x)
            mean, cov = statistics(x)
            dx, = torch.autograd.grad((mean, cov), x, (dmean, dcov), create_graph=True)
            ddx, = torch.autograd.grad(dx.double().square().sum(), x)
            return {"mean": mean.detach(), "cov": cov.detach(), "dx": dx.detach(), "dx of dx squared": ddx}
        return run

    x = LAYOUTS[layout](random(*shape, dtype=dtype) + 0.5)
    inputs = x, random(n, t, 3, seed=1), random(n, t, 3, 3, seed=2)
    assert_matches(calculation(frame_color_statistics), calculation(torch_statistics), inputs,
                   terms=shape[3] * shape[4])


def test_statistics_of_two_pixels_by_hand() -> None:
    x = torch.tensor([[0.0, 2.0], [1.0, 5.0], [3.0, 3.0]]).view(1, 3, 1, 1, 2)
    mean, cov = frame_color_statistics(x)
    assert mean.tolist() == [[[1.0, 3.0, 3.0]]]
    assert cov.tolist() == [[[[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]]]


def test_statistics_are_float32_in_every_precision() -> None:
    assert {t.dtype for t in frame_color_statistics(random(1, 3, 2, 4, 5).bfloat16())} == {torch.float32}


# ---- Triton ----------------------------------------------------------------------------------------------------------


def first_order(statistics: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Calculation:
    def run(x: Tensor, dmean: Tensor, dcov: Tensor) -> Results:
        x = leaf(x)
        mean, cov = statistics(x)
        dx, = torch.autograd.grad((mean, cov), x, (dmean, dcov))
        return {"mean": mean.detach(), "cov": cov.detach(), "dx": dx}
    return run


by_triton = partial(frame_color_statistics, impl="triton")


# 1024 pixels are a part: one part, one and a little, three; one pixel.
@pytest.mark.parametrize(("shape", "layout", "dtype"), [
    ((2, 3, 2, 5, 7), "contiguous", torch.float32), ((2, 3, 2, 5, 7), "contiguous", torch.bfloat16),
    ((2, 3, 2, 5, 7), "contiguous", torch.float16), ((2, 3, 2, 5, 7), "channels-last", torch.float32),
    ((2, 3, 2, 5, 7), "sliced", torch.float32), ((2, 3, 2, 5, 7), "permuted", torch.float32),
    ((2, 3, 2, 5, 7), "expanded", torch.float32), ((1, 3, 2, 1, 1), "contiguous", torch.float32),
    ((1, 3, 2, 25, 41), "contiguous", torch.float32), ((1, 3, 1, 32, 96), "contiguous", torch.bfloat16),
    ((1, 3, 1, 1025, 1), "sliced", torch.float32), ((1, 3, 1, 1, 3000), "sliced", torch.float32)], ids=label)
def test_triton_matches_torch_cov(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> None:
    n, _, t, h, w = shape
    x = LAYOUTS[layout](random(*shape, dtype=dtype).to(DEVICE) + 0.5)
    inputs = x, random(n, t, 3, seed=1).to(DEVICE), random(n, t, 3, 3, seed=2).to(DEVICE)
    assert_matches(first_order(by_triton), first_order(torch_statistics), inputs, terms=h * w)


def test_windows_and_samples_of_a_clip_are_read_where_they_lie() -> None:
    clip = random(2, 3, 5, 6, 7).to(DEVICE)
    for part in (clip[1:], clip[:, :, 1:4], clip[:, :, ::2]):
        for result, expected in zip(by_triton(part), by_triton(part.contiguous()), strict=True):
            assert torch.equal(result, expected)


def test_what_lies_around_a_clip_is_not_read() -> None:
    around = torch.full((3, 3, 4, 6, 7), float("nan"), device=DEVICE)
    around[1:2, :, 1:3] = random(1, 3, 2, 6, 7).to(DEVICE)
    assert all(bool(result.isfinite().all()) for result in by_triton(around[1:2, :, 1:3]))


@pytest.mark.parametrize("size", [(3, 5), (40, 60)], ids=label)
def test_a_large_mean_does_not_cancel(size: tuple[int, int]) -> None:
    """A deviation of 0.1 around 1000: E[x^2] - E[x]^2 in float32 would keep no digit of 0.01."""
    x = 1000 + 0.1 * random(1, 3, 2, *size).to(DEVICE)
    mean, cov = by_triton(x)
    exact_mean, exact_cov = torch_statistics(x.double())
    torch.testing.assert_close(mean.double(), exact_mean, rtol=2e-7, atol=0)
    torch.testing.assert_close(cov.double(), exact_cov, rtol=0, atol=1e-4 * float(exact_cov.max()))


def test_a_constant_frame_varies_by_nothing() -> None:
    mean, cov = by_triton(torch.full((1, 3, 1, 40, 30), 0.7, device=DEVICE))
    torch.testing.assert_close(mean, torch.full_like(mean, 0.7))
    assert float(cov.abs().max()) < 1e-12


def test_an_outlier_in_front_does_not_spoil_the_rest() -> None:
    """The first pixel as a pivot would."""
    x = 1e-3 * random(1, 3, 1, 64, 65).to(DEVICE)
    x[..., 0, 0] = 1.0
    torch.testing.assert_close(by_triton(x)[1].double(), torch_statistics(x.double())[1], rtol=1e-4, atol=1e-10)


def test_only_one_of_the_results_may_be_used() -> None:
    x = leaf(random(1, 3, 2, 4, 5).to(DEVICE))
    for k in range(2):
        gradients = [torch.autograd.grad(frame_color_statistics(x, impl=impl)[k].square().sum(), x)[0]
                     for impl in ("triton", "torch")]  # type: ignore[arg-type]
        torch.testing.assert_close(*gradients)


def test_a_second_derivative_by_triton_is_refused() -> None:
    x = leaf(random(1, 3, 1, 2, 3).to(DEVICE))
    dx, = torch.autograd.grad(by_triton(x)[1].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="frame_color_statistics: the Triton form has no second derivative"):
        torch.autograd.grad(dx.sum(), x)


@pytest.mark.parametrize("shape", [(1, 1, 2, 4, 5), (3, 4, 5)], ids=label)
def test_what_is_no_clip_of_three_colours_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"frame_color_statistics: x is .*expected \[N, 3, T, H, W\]"):
        frame_color_statistics(random(*shape))


@pytest.mark.parametrize("layout", ["contiguous", "sliced"])
def test_operators_keep_torchs_contract(layout: str) -> None:
    x = LAYOUTS[layout](random(1, 3, 2, 2, 3).to(DEVICE))
    mean, cov = by_triton(x)
    torch.library.opcheck(torch.ops.sgif.frame_color_statistics.default, (leaf(x),))
    # Without gradients: it raises by design.
    torch.library.opcheck(torch.ops.sgif.frame_color_statistics_bwd.default, (x, mean, mean, cov))


def test_a_compiled_graph_holds_it_whole() -> None:
    x = leaf(random(1, 3, 1, 2, 3).to(DEVICE))
    compiled = torch.compile(lambda x: by_triton(x)[1].sum(), fullgraph=True, backend="aot_eager")
    assert torch.equal(*(torch.autograd.grad(f(x), x)[0] for f in (compiled, lambda x: by_triton(x)[1].sum())))


@pytest.mark.gpu
def test_a_large_clip_gives_the_same_bits_twice_and_in_a_graph() -> None:
    x = random(2, 3, 8, 180, 320).to(DEVICE)
    first, second = by_triton(x), by_triton(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = by_triton(x)
    graph.replay()
    for a, b, c in zip(first, second, captured, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@pytest.mark.gpu
def test_nothing_is_read_back() -> None:
    x = leaf(random(1, 3, 2, 40, 60).to(DEVICE))
    by_triton(x)[1].sum().backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        by_triton(x)[1].sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
