"""The Triton kernels of the depthwise pair and the separable convolution against their references in plain torch.

Without a GPU they run in Triton's interpreter, some 40 us per operation: shapes are small, and a case has one program
or two. What the interpreter cannot show (races, real loads) the tests marked `gpu` do, and test_compiled.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.kernels import PadMode, batch_norm_act_reference, separable_conv3d, separable_conv3d_reference
from sgif.kernels.depthwise_pair import (
    depthwise_pair3d,
    depthwise_pair3d_reference,
    depthwise_pair_bwd_input,
    depthwise_pair_bwd_weight,
    depthwise_pair_fwd,
    frames_per_program,
)
from sgif.kernels.dispatch import Impl
from sgif.kernels.separable_conv3d import (
    norm_act_separable_conv3d,
    norm_act_separable_conv_fwd,
    separable_conv3d_statistics,
    separable_conv_bwd_pointwise,
    separable_conv_fwd,
    separable_conv_stats_fwd,
)

from .compare import DEVICE, LAYOUTS, Calculation, Results, assert_matches, label, leaf, random

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("poisoned_empty", "language_patched_once")

HALF = (torch.float16, torch.bfloat16)
Shape = tuple[int, ...]


def pair_gradients(pair: Callable[..., Tensor], **options: str) -> Calculation:
    def run(*tensors: Tensor) -> Results:
        x, spatial, temporal = (leaf(t) for t in tensors[:3])
        v = pair(x, spatial, temporal, **options)
        dx, ds, dt = torch.autograd.grad(v, (x, spatial, temporal), tensors[3].to(v.dtype))
        return {"v": v.detach(), "dx": dx, "dspatial": ds, "dtemporal": dt}
    return run


def conv_gradients(conv: Callable[..., Tensor], **options: str) -> Calculation:
    """Gradients in the dtype of x: dv, between dy and the filters' gradients, is rounded to it."""
    def run(*tensors: Tensor) -> Results:
        *tensors, dy = tensors
        inputs = [leaf(t) for t in tensors]
        y = conv(*inputs, **options)
        names = ("dx", "dspatial", "dtemporal", "dpointwise", "dbias")
        gradients = (g.to(y.dtype) for g in torch.autograd.grad(y, inputs, dy.to(y.dtype)))
        return {"y": y.detach(), **dict(zip(names, gradients, strict=True))}
    return run


def every_second_gradient(conv: Callable[..., Tensor], **options: str) -> Calculation:
    """Of all first gradients, in random directions."""
    def run(*tensors: Tensor) -> Results:
        *tensors, dy = (leaf(t) for t in tensors)
        y = conv(*tensors, **options)
        gradients = torch.autograd.grad(y, tensors, dy, create_graph=True)
        directions = [random(*g.shape, seed=20 + i).to(g) for i, g in enumerate(gradients)]
        seconds = torch.autograd.grad(gradients, [*tensors[:4], dy], directions)
        return dict(zip(("x", "spatial", "temporal", "pointwise", "dy"), seconds, strict=True))
    return run


def result_shape(shape: Shape, channels: int, pad_space: PadMode, pad_time: PadMode) -> Shape:
    less_t, less_hw = (2 if mode == "none" else 0 for mode in (pad_time, pad_space))
    n, _, t, h, w = shape
    return n, channels, t - less_t, h - less_hw, w - less_hw


def inputs(shape: Shape, out_channels: int, dtype: torch.dtype = torch.float32, pad_space: PadMode = "zeros",
           pad_time: PadMode = "zeros") -> list[Tensor]:
    """x, spatial, temporal, pointwise, bias, dy: x and dy in `dtype`, filters in float32."""
    c = shape[1]
    x = random(*shape, dtype=dtype, seed=0)
    filters = [random(*size, seed=seed) for seed, size in enumerate(((c, 3, 3), (c, 3), (out_channels, c),
                                                                    (out_channels,)), start=1)]
    dy = random(*result_shape(shape, out_channels, pad_space, pad_time), dtype=dtype, seed=5)
    return [t.to(DEVICE) for t in (x, *filters, dy)]


def check_pair(shape: Shape, dtype: torch.dtype = torch.float32, pad_space: PadMode = "zeros",
               pad_time: PadMode = "zeros", layout: str = "channels-last") -> None:
    x, spatial, temporal, _, _, dv = inputs(shape, shape[1], dtype, pad_space, pad_time)
    options = {"pad_space": pad_space, "pad_time": pad_time}
    tensors = (LAYOUTS[layout](x), spatial, temporal, LAYOUTS[layout](dv))
    assert_matches(pair_gradients(depthwise_pair3d, impl="triton", **options),
                   pair_gradients(depthwise_pair3d_reference, **options), tensors, multilinear=True, terms=27)


@pytest.mark.parametrize(("pad_space", "pad_time"), [
    ("zeros", "reflect"), ("replicate", "replicate"), ("reflect", "circular"), ("none", "zeros"), ("zeros", "none"),
    ("none", "none")])
def test_pair_pads_space_and_time(pad_space: PadMode, pad_time: PadMode) -> None:
    check_pair((1, 3, 3, 4, 5), pad_space=pad_space, pad_time=pad_time)


@pytest.mark.parametrize(("shape", "pad_space", "pad_time"), [
    ((1, 1, 1, 1, 1), "replicate", "circular"), ((1, 1, 1, 1, 1), "zeros", "replicate"),
    ((1, 2, 2, 2, 1), "replicate", "reflect"), ((1, 2, 2, 2, 2), "reflect", "zeros")], ids=label)
def test_pair_of_clips_smaller_than_the_filter(shape: Shape, pad_space: PadMode, pad_time: PadMode) -> None:
    check_pair(shape, pad_space=pad_space, pad_time=pad_time)


@pytest.mark.parametrize("dtype", HALF, ids=label)
def test_pair_in_half_precision(dtype: torch.dtype) -> None:
    """bfloat16 is read in words of two; 24 channels are a masked block."""
    check_pair((1, 24, 1, 3, 3), dtype, "zeros", "replicate")


def test_pair_of_two_blocks_of_channels() -> None:
    check_pair((1, 72, 1, 2, 2))


def test_pair_of_two_tiles_and_two_pieces_of_time() -> None:
    assert frames_per_program(4, 2, "sm_90") == 2
    check_pair((1, 4, 4, 2, 17))


@pytest.mark.parametrize("layout", ["sliced", "permuted", "expanded"])
def test_pair_of_any_layout(layout: str) -> None:
    check_pair((1, 4, 1, 3, 3), layout=layout)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=label)
def test_pair_reads_a_window_where_it_lies_and_nothing_around_it(dtype: torch.dtype) -> None:
    """A window of a channels-last clip, at an odd offset, in the middle of NaN."""
    shape = (1, 6, 2, 3, 3)
    around = torch.full((1, 4, 5, 6, 9), float("nan"), dtype=dtype, device=DEVICE)
    window = around[:, 1:3, 1:4, 2:5, 1:7].movedim(-1, 1)
    window.copy_(random(*shape, dtype=dtype))
    spatial, temporal = random(6, 3, 3, seed=1).to(DEVICE), random(6, 3, seed=2).to(DEVICE)
    whole = depthwise_pair_fwd(window.contiguous(memory_format=torch.channels_last_3d), spatial, temporal, "reflect",
                               "replicate")
    torch.testing.assert_close(depthwise_pair_fwd(window, spatial, temporal, "reflect", "replicate"), whole, rtol=0,
                               atol=0)
    assert bool(torch.isfinite(whole).all())


def check_conv(shape: Shape, out_channels: int, dtype: torch.dtype = torch.float32, pad_space: PadMode = "zeros",
               pad_time: PadMode = "zeros") -> None:
    options = {"pad_space": pad_space, "pad_time": pad_time}
    assert_matches(conv_gradients(separable_conv3d, impl="triton", **options),
                   conv_gradients(separable_conv3d_reference, **options),
                   inputs(shape, out_channels, dtype, pad_space, pad_time), multilinear=True, terms=27)


@pytest.mark.parametrize(("shape", "out_channels", "dtype", "pad_space", "pad_time"), [
    ((1, 3, 2, 3, 4), 5, torch.float32, "replicate", "zeros"),
    ((1, 20, 1, 4, 3), 3, torch.float32, "none", "circular"),
    ((2, 16, 1, 3, 3), 16, torch.float16, "zeros", "replicate"),
    ((1, 18, 2, 3, 3), 3, torch.bfloat16, "zeros", "reflect")], ids=label)
def test_conv_and_its_gradients_match_reference(shape: Shape, out_channels: int, dtype: torch.dtype,
                                                pad_space: PadMode, pad_time: PadMode) -> None:
    check_conv(shape, out_channels, dtype, pad_space, pad_time)


def test_conv_second_gradients_match_reference() -> None:
    """Of every first gradient, so that the derivatives of all ops are reached."""
    tensors = inputs((1, 2, 2, 2, 3), 3)
    options = {"pad_space": "zeros", "pad_time": "zeros"}
    assert_matches(every_second_gradient(separable_conv3d, impl="triton", **options),
                   every_second_gradient(separable_conv3d_reference, **options), tensors, multilinear=True, terms=54)


def block_gradients(block: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Calculation:
    """The training block on (x, gamma, beta, filters ..., dy)."""
    def run(*tensors: Tensor) -> Results:
        *tensors, dy = tensors
        arguments = [leaf(t) for t in tensors]
        y, mean, var = block(*arguments)
        names = ("dx", "dgamma", "dbeta", "dspatial", "dtemporal", "dpointwise", "dbias")
        gradients = torch.autograd.grad(y, arguments, dy.to(y.dtype))
        return {"y": y.detach(), "mean": mean.detach(), "var": var.detach(), **dict(zip(names, gradients, strict=True))}
    return run


@pytest.mark.parametrize("impl", ["triton", "torch"])
@pytest.mark.parametrize(("shape", "pad_space", "pad_time"), [((1, 4, 2, 3, 4), "zeros", "zeros"),
                                                              ((2, 4, 1, 2, 3), "replicate", "replicate")], ids=label)
def test_training_block_matches_norm_activation_and_convolution(shape: Shape, pad_space: PadMode, pad_time: PadMode,
                                                                impl: Any) -> None:
    """Statistics of a mean far from zero included."""
    x, *filters, dy = inputs(shape, 3, pad_space=pad_space, pad_time=pad_time)
    gamma, beta = random(4, seed=7).to(DEVICE), random(4, seed=8).to(DEVICE)

    def fused(x: Tensor, gamma: Tensor, beta: Tensor, *filters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        var, mean = torch.var_mean(x.detach(), (0, 2, 3, 4), correction=0)
        return norm_act_separable_conv3d(x, mean, var, gamma, beta, *filters, pad_space=pad_space, pad_time=pad_time,
                                         impl=impl)

    def apart(x: Tensor, gamma: Tensor, beta: Tensor, *filters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = separable_conv3d_reference(batch_norm_act_reference(x, gamma, beta), *filters, pad_space=pad_space,
                                       pad_time=pad_time)
        var, mean = torch.var_mean(y, (0, 2, 3, 4), correction=0)
        return y, mean, var
    assert_matches(block_gradients(fused), block_gradients(apart), (x + 2, gamma, beta, *filters, dy), terms=27 * 4)


@pytest.mark.parametrize("impl", ["triton", "torch"])
def test_result_with_statistics_matches_the_convolution(impl: Impl) -> None:
    x, *filters, dy = inputs((2, 4, 3, 3, 5), 3, pad_space="reflect", pad_time="replicate")
    pads: dict[str, PadMode] = {"pad_space": "reflect", "pad_time": "replicate"}

    def apart(*arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = separable_conv3d_reference(*arguments, **pads)
        var, mean = torch.var_mean(y.detach(), (0, 2, 3, 4), correction=0)
        return y, mean, var

    def gradients(function: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Calculation:
        def calculation(*given: Tensor) -> Results:
            *leaves, dy = (leaf(t) for t in given)
            y, mean, var = function(*leaves)
            assert not mean.requires_grad
            assert not var.requires_grad
            found = torch.autograd.grad(y, leaves, dy)
            named = dict(zip(("dx", "ds", "dt", "dp", "db"), found, strict=True))
            return {"y": y.detach(), "mean": mean, "var": var, **named}
        return calculation

    assert_matches(gradients(lambda *a: separable_conv3d_statistics(*a, **pads, impl=impl)), gradients(apart),
                   (x, *filters, dy), terms=27 * 4)


def test_gradients_without_a_bias() -> None:
    x, spatial, temporal, pointwise, _, dy = inputs((1, 2, 1, 2, 2), 2)
    filters, one, zero = (spatial, temporal, pointwise), torch.ones(2, device=DEVICE), torch.zeros(2, device=DEVICE)
    forms: list[Callable[..., Tensor]] = [
        lambda *a, impl: separable_conv3d(*a, impl=impl),
        lambda *a, impl: separable_conv3d_statistics(*a, impl=impl)[0],
        lambda x, *f, impl: norm_act_separable_conv3d(x, *torch.var_mean(x.detach(), (0, 2, 3, 4), correction=0)[::-1],
                                                      one, zero, *f, impl=impl)[0]]
    for form in forms:
        found, expected = ([t.grad for t in leaves] for leaves in (
            _backward(form, (x, *filters), dy, impl) for impl in ("triton", "torch")))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _backward(form: Callable[..., Tensor], inputs: tuple[Tensor, ...], dy: Tensor, impl: str) -> list[Tensor]:
    leaves = [leaf(t.clone()) for t in inputs]
    form(*leaves, impl=impl).backward(dy)
    return leaves


def test_variance_of_a_large_mean_survives() -> None:
    """Single precision squares of 1000 would leave nothing of a variance of one."""
    x, spatial, temporal, pointwise, bias, _ = inputs((1, 4, 3, 3, 5), 4)
    one, zero = torch.ones(4, device=DEVICE), torch.zeros(4, device=DEVICE)
    y, mean, var = norm_act_separable_conv_fwd(x, zero, one, one, zero, spatial, temporal, pointwise, bias + 1000,
                                               "zeros", "zeros")
    expected_var, expected_mean = torch.var_mean(y.double(), (0, 2, 3, 4), correction=0)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), expected_var, rtol=1e-3, atol=0)  # y itself is rounded to 6e-5


def test_training_block_has_no_second_derivative() -> None:
    x, *filters, dy = inputs((1, 2, 1, 2, 2), 2)
    x.requires_grad_()
    one, zero = torch.ones(2, device=DEVICE), torch.zeros(2, device=DEVICE)
    y, _, _ = norm_act_separable_conv3d(x, zero, one, one, zero, *filters, impl="triton")
    dx, = torch.autograd.grad(y, x, dy, create_graph=True)
    with pytest.raises(RuntimeError, match="norm_act_separable_conv3d is differentiable once"):
        torch.autograd.grad(dx.sum(), x)


def test_three_channels_come_as_planes_and_others_with_channels_innermost() -> None:
    x, spatial, temporal, pointwise, _, _ = inputs((1, 4, 1, 2, 3), 4)
    assert separable_conv_fwd(x, spatial, temporal, pointwise[:3], None, "zeros", "zeros").is_contiguous()
    y = separable_conv_fwd(x, spatial, temporal, pointwise, None, "zeros", "zeros")
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


def registered_ops() -> Iterator[tuple[str, Callable[..., object], Callable[[Tensor, Tensor], tuple[object, ...]]]]:
    s, t, p = random(4, 3, 3, seed=1).to(DEVICE), random(4, 3, seed=2).to(DEVICE), random(3, 4, seed=3).to(DEVICE)
    one = torch.ones(4, device=DEVICE)
    pads = "replicate", "zeros"
    yield "fwd", depthwise_pair_fwd, lambda x, _: (x, s, t, *pads)
    yield "bwd_input", depthwise_pair_bwd_input, lambda x, _: (x, s, t, *pads)
    yield "bwd_weight", depthwise_pair_bwd_weight, lambda x, dy: (x, dy, s, t, *pads)
    yield "conv_fwd", separable_conv_fwd, lambda x, _: (x, s, t, p, None, *pads)
    yield "conv_stats_fwd", separable_conv_stats_fwd, lambda x, _: (x, s, t, p, None, *pads)
    yield "conv_bwd_pointwise", separable_conv_bwd_pointwise, lambda x, dy: (x, dy, s, t, *pads)
    yield "norm_fwd", norm_act_separable_conv_fwd, lambda x, _: (x, one, one, one, one, s, t, p, None, *pads)


@pytest.mark.parametrize("layout", ["channels-last", "permuted"])
@pytest.mark.parametrize(("op", "arguments"), [(op, build) for _, op, build in registered_ops()],
                         ids=[name for name, _, _ in registered_ops()])
def test_op_keeps_its_contract(op: Callable[..., object], arguments: Callable[[Tensor, Tensor], tuple[object, ...]],
                               layout: str) -> None:
    x, dy = (LAYOUTS[layout](random(1, 4, 1, 2, 2, seed=seed).to(DEVICE)) for seed in range(2))
    torch.library.opcheck(op, arguments(x, dy), test_utils=("test_schema", "test_autograd_registration",
                                                            "test_faketensor"))


def test_compile_sees_one_node() -> None:
    x, *filters, _ = inputs((1, 2, 1, 2, 2), 2)
    compiled = torch.compile(lambda *t: separable_conv3d(*t, impl="triton"), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, *filters), separable_conv3d(x, *filters, impl="triton"), rtol=0, atol=0)


@pytest.mark.parametrize("impl", ["triton", "torch"])
def test_a_mirror_image_of_one_pixel_is_refused(impl: str) -> None:
    x, *filters, _ = inputs((1, 2, 2, 1, 4), 2)
    with pytest.raises(RuntimeError):
        separable_conv3d(x, *filters, pad_space="reflect", impl=impl)
    with pytest.raises(RuntimeError):
        depthwise_pair3d(x.transpose(2, 3), *filters[:2], pad_time="reflect", impl=impl)


def test_more_channels_than_a_program_holds_are_refused_by_name() -> None:
    x, *filters, _ = inputs((1, 129, 1, 1, 1), 2)
    with pytest.raises(ValueError, match="128 channels at most"):
        separable_conv3d(x, *filters, impl="triton")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=label)
@pytest.mark.parametrize("channels", [3, 32, 64, 128])
def test_compiled_conv_matches_reference_at_a_trained_size(channels: int, dtype: torch.dtype) -> None:
    check_conv((2, channels, 8, 59, 104), channels, dtype, "replicate", "replicate")


@pytest.mark.gpu
def test_same_inputs_give_the_same_bits() -> None:
    tensors = inputs((2, 64, 8, 59, 104), 64, torch.bfloat16)
    run = conv_gradients(separable_conv3d, impl="triton")
    once, again = run(*tensors), run(*tensors)
    assert all(torch.equal(once[name], again[name]) for name in once)


@pytest.mark.gpu
def test_captured_graph_replays_what_eager_computes() -> None:
    tensors = inputs((1, 32, 8, 25, 44), 32, torch.bfloat16)
    run = conv_gradients(separable_conv3d, impl="triton")
    eager = run(*tensors)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(*tensors)
    graph.replay()
    assert all(torch.equal(eager[name], captured[name]) for name in eager)


@pytest.mark.gpu
def test_nothing_waits_for_the_device() -> None:
    tensors = inputs((1, 32, 8, 25, 44), 32, torch.bfloat16)
    run = conv_gradients(separable_conv3d, impl="triton")
    run(*tensors)
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(*tensors)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
