"""BatchNorm + LeakyReLU against its reference: outputs, statistics, gradients of two orders, each by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, leaky_relu

from sgif.kernels import batch_norm_act, batch_norm_act_reference, weight_gradients_disabled
from sgif.kernels.batch_norm_act import (
    EPS,
    FEW_PARTS,
    SLOPE,
    Statistics,
    batch_norm_act_bwd,
    batch_norm_act_bwd_bwd,
    batch_norm_act_fwd,
)
from sgif.kernels.partial_statistics import PartialStatistics

from .compare import DEVICE, LAYOUTS, Calculation, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

TORCH_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
IMPLS = [*(("torch", dtype) for dtype in TORCH_DTYPES), *(("triton", dtype) for dtype in TRITON_DTYPES)]
# Shape of x, groups. 130 channels are two blocks.
CASES = [((2, 3, 5, 7), 1), ((2, 3, 5, 7), 2), ((6, 4, 3, 1), 3), ((3, 1, 4, 5), 1), ((1, 16, 9, 11), 1),
         ((1, 3, 2, 5, 7), 1), ((2, 3, 1, 5, 7), 2), ((4, 5, 3, 1, 3), 2), ((4, 17, 2, 3, 5), 4), ((6, 8, 1, 1), 2),
         ((1, 130, 2, 3), 1)]

op = import_module("sgif.kernels.batch_norm_act")  # `sgif.kernels.batch_norm_act` is the function
Norm = Callable[..., tuple[Tensor, Tensor, Tensor]]
each_impl = pytest.mark.parametrize(("impl", "dtype"), IMPLS, ids=label)


def reference(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.detach().movedim(1, -1).reshape(groups, -1, x.shape[1])
    mean = rows.mean(1)
    return (batch_norm_act_reference(x, gamma, beta, groups=groups), mean,
            (rows - mean[:, None]).square().mean(1))


def first_order(norm: Norm, groups: int) -> Calculation:
    def run(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor) -> Results:
        inputs = leaf(x), leaf(gamma), leaf(beta)
        y, mean, var = norm(*inputs, groups=groups)
        dx, dgamma, dbeta = torch.autograd.grad(y, inputs, dy)
        return {"y": y.detach(), "mean": mean, "var": var, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
    return run


def second_order(norm: Norm, groups: int) -> Calculation:
    """Gradients of dx in the direction v."""
    def run(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor, v: Tensor) -> Results:
        x, gamma, beta, dy = leaf(x), leaf(gamma), leaf(beta), leaf(dy)
        dx, = torch.autograd.grad(norm(x, gamma, beta, groups=groups)[0], x, dy, create_graph=True)
        ddy, of_x, of_gamma = torch.autograd.grad(dx, (dy, x, gamma), v)
        return {"ddy": ddy, "dx of dx": of_x, "dgamma of dx": of_gamma}
    return run


def per_position(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """The reference with a gamma and a beta for every position."""
    xh = torch.cat([batch_norm(part, None, None, training=True, eps=EPS) for part in x.chunk(groups)])
    return leaky_relu(gamma * xh + beta, SLOPE), gamma, beta


def everywhere(weight: Tensor, x: Tensor) -> Tensor:
    return weight.view(1, -1, *[1] * (x.dim() - 2)).expand_as(x)


def magnitudes(order: Callable[[Norm, int], Calculation], groups: int) -> Calculation:
    """What the sums over positions would be without signs: gradients of a gamma and a beta per position."""
    def run(x: Tensor, gamma: Tensor, beta: Tensor, *directions: Tensor) -> Results:
        terms = order(per_position, groups)(x, everywhere(gamma, x), everywhere(beta, x), *directions)
        return {name: term.abs().movedim(1, 0).flatten(1).sum(1) for name, term in terms.items()
                if name.startswith(("dgamma", "dbeta"))}
    return run


def magnitudes_of_kernels(order: Callable[[Norm, int], Calculation], groups: int) -> Calculation:
    """And the sums that the kernels take besides, in the terms of the docstring, without signs: statistics around the
    first row (the mean's is in y), and the brackets of dx, ddy and dx'."""
    def run(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor, *directions: Tensor) -> Results:
        x_, dy_, *v_ = (t.movedim(1, -1).reshape(groups, -1, t.shape[1]) for t in (x, dy, *directions))
        around_first = (x_ - x_[:, :1]).abs()
        r = (x_.var(1, correction=0, keepdim=True) + EPS).rsqrt()
        xh = (x_ - x_.mean(1, keepdim=True)) * r
        a = dy_.abs() * torch.where(gamma * xh + beta > 0, 1, SLOPE)
        xh, scale = xh.abs(), (gamma * r).abs()

        def mean(t: Tensor) -> Tensor:
            return t.mean(1, keepdim=True)
        found = magnitudes(order, groups)(x, gamma, beta, dy, *directions)
        if order is first_order:
            return found | {"mean": mean(around_first), "var": mean(around_first.square()),
                            "y": scale * (xh / r + mean(around_first)) + beta.abs(),
                            "dx": scale * (a + mean(a) + xh * mean(a * xh))}
        v, = (t.abs() for t in v_)
        p, q = mean(a * xh), mean(v * xh)
        return found | {"ddy": scale * (v + mean(v) + xh * q),
                        "dx of dx": scale * r * ((v + mean(v)) * p + (a + mean(a)) * q
                                                 + xh * (mean(a * v) + mean(v) * mean(a) + 3 * p * q))}
    return run


def check(inputs: tuple[Tensor, ...], groups: int, norm: Norm = batch_norm_act, kernels: bool = False) -> None:
    """The first order of x, gamma, beta, dy, and with v the second."""
    orders = [(first_order, inputs[:4]), (second_order, inputs)]
    sizes = magnitudes_of_kernels if kernels else magnitudes
    for order, given in orders[:len(inputs) - 3]:
        assert_matches(order(norm, groups), order(reference, groups), given,
                       magnitudes=sizes(order, groups), terms=inputs[0][:, 0].numel() // groups)


def check_impl(inputs: tuple[Tensor, ...], groups: int, impl: str) -> None:
    check(inputs, groups, partial(batch_norm_act, impl=impl), kernels=impl == "triton")


def tensors(shape: tuple[int, ...], dtype: torch.dtype, impl: str = "torch") -> tuple[Tensor, ...]:
    """x, gamma, beta, dy, v: gamma and beta are the master weights, at least float32."""
    master = torch.promote_types(dtype, torch.float32)
    device = DEVICE if impl == "triton" else "cpu"
    x, dy, v = (random(*shape, dtype=dtype, seed=seed).to(device) for seed in range(3))
    gamma, beta = (random(shape[1], dtype=master, seed=seed).to(device) for seed in (3, 4))
    return 2 * x + 0.5, gamma, 0.5 * beta, dy, v


@pytest.mark.parametrize(("impl", "dtype", "shape", "groups"),
                         # Interpreted kernels take half a second a case: a few of those in 16 bits.
                         [(*who, *case) for who in IMPLS for case in CASES[::1 if "torch" in who else 3]]
                         + [("triton", torch.float32, *case) for case in CASES if case not in CASES[::3]], ids=label)
def test_output_statistics_and_gradients_of_two_orders_match_reference(shape: tuple[int, ...], groups: int, impl: str,
                                                                       dtype: torch.dtype) -> None:
    check_impl(tensors(shape, dtype, impl), groups, impl)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("impl", "dtype"), IMPLS[:4], ids=label)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 4, 5, 7)], ids=label)
def test_any_layout_matches_reference(shape: tuple[int, ...], layout: str, impl: str, dtype: torch.dtype) -> None:
    x, gamma, beta, dy, v = tensors(shape, dtype, impl)
    check_impl((LAYOUTS[layout](x), gamma, beta, LAYOUTS[layout](dy), LAYOUTS[layout](v)), 2, impl)


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_a_large_mean_does_not_cancel(impl: str) -> None:
    x, *others = tensors((2, 3, 9, 11), torch.float32, impl)
    check_impl((1000 + 0.1 * x, *others), 1, impl)


@pytest.mark.parametrize(("offset", "deviation"), [(1000, 0.1), (1000, 1.0), (-3e4, 3.0)])
@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_variance_of_a_large_mean_is_right_to_a_thousandth(impl: str, offset: float, deviation: float) -> None:
    x = offset + deviation * tensors((2, 3, 9, 11), torch.float32, impl)[0]
    var = batch_norm_act(x, x.new_ones(3), x.new_zeros(3), impl=impl)[2]
    torch.testing.assert_close(var[0].double(), x.double().var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


def test_many_programs_match_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sums added up by each program of the elementwise passes, or, where they are many, beforehand."""
    monkeypatch.setattr(op, "FEW_PARTS", 2)
    monkeypatch.setattr(op, "FEW_PARTS_BYTES", 4096)
    monkeypatch.setattr(op, "_LAUNCHES", {name: launch._replace(num_warps=1, vectors=1)
                                          for name, launch in op._LAUNCHES.items()})
    for height, parts in ((4, 2), (5, 9)):
        op._plan.cache_clear()
        inputs = tensors((2, 7, 2, height, height + 8), torch.float32, "triton")
        assert {op._plan(name, 2, inputs[0][0, 0].numel(), 7, 4, "sm_90").grid[0]
                for name in ("fwd_stats", "bwd_sums", "bwd_bwd_sums")} == {parts}
        check_impl(inputs, 2, "triton")
    op._plan.cache_clear()


def test_inputs_are_not_read_beyond_their_ends() -> None:
    """From a base that is not aligned, among NaN."""
    def among_nan(x: Tensor) -> Tensor:
        rows = x.movedim(1, -1)
        around = x.new_full((x.numel() + 34,), float("nan"))
        return around[17:-17].copy_(rows.flatten()).view(rows.shape).movedim(-1, 1)
    x, gamma, beta, dy, v = tensors((2, 5, 3, 7), torch.float32, "triton")
    check_impl((among_nan(x), gamma, beta, among_nan(dy), among_nan(v)), 1, "triton")


def test_auto_is_torch_on_a_cpu_and_triton_says_what_it_does_not_take() -> None:
    x, gamma, beta, *_ = tensors((2, 3, 4, 5), torch.float64)
    assert torch.equal(batch_norm_act(x, gamma, beta)[0], batch_norm_act(x, gamma, beta, impl="torch")[0])
    with pytest.raises(ValueError, match=r"batch_norm_act: impl='triton' got torch\.float64"):
        batch_norm_act(x, gamma, beta, impl="triton")


@each_impl
def test_one_position_per_group_leaves_beta_alone(impl: str, dtype: torch.dtype) -> None:
    x, gamma, beta, dy, v = tensors((2, 3, 1, 1), dtype, impl)
    x, dy, gamma = leaf(x), leaf(dy), leaf(gamma)
    y, mean, var = batch_norm_act(x, gamma, beta, groups=2, impl=impl)
    assert torch.equal(y[0, :, 0, 0], leaky_relu(beta, SLOPE).to(dtype))
    assert torch.equal(mean, x[:, :, 0, 0].to(mean.dtype))
    assert not var.any()
    dx, = torch.autograd.grad(y, x, dy, create_graph=True)
    second = torch.autograd.grad(dx, (dy, x, gamma), v)
    assert not any(bool(gradient.any()) for gradient in (dx, *second))


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_a_constant_channel_gives_beta_and_finite_gradients(impl: str) -> None:
    x, gamma, beta, dy, v = tensors((2, 3, 4, 5), torch.float32, impl)
    x, gamma, dy = leaf(torch.full_like(x, 3.0)), leaf(gamma), leaf(dy)
    y, _, var = batch_norm_act(x, gamma, beta, impl=impl)
    assert torch.equal(y[0, :, 0, 0], leaky_relu(beta, SLOPE))
    assert not var.any()
    dx, = torch.autograd.grad(y, x, dy, create_graph=True)
    assert all(bool(t.isfinite().all()) for t in (dx, *torch.autograd.grad(dx, (dy, x, gamma), v)))


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_groups_do_not_see_each_other(impl: str) -> None:
    x, gamma, beta, _, _ = tensors((4, 3, 5, 7), torch.float32, impl)
    together = batch_norm_act(x, gamma, beta, groups=2, impl=impl)
    for group, part in enumerate(x.chunk(2)):
        y, mean, var = batch_norm_act(part, gamma, beta, impl=impl)
        assert torch.equal(together[0][2 * group:][:2], y)
        assert torch.equal(together[1][group:][:1], mean)
        assert torch.equal(together[2][group:][:1], var)


@each_impl
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (4, 3, 2, 5, 7)], ids=label)
def test_result_keeps_dtype_and_has_channels_innermost(shape: tuple[int, ...], impl: str, dtype: torch.dtype) -> None:
    stats_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    x, gamma, beta, _, _ = tensors(shape, dtype, impl)
    y, mean, var = batch_norm_act(leaf(x), gamma, beta, groups=2, impl=impl)
    assert y.dtype == dtype
    assert y.shape == shape
    assert y.movedim(1, -1).is_contiguous()
    assert mean.dtype == var.dtype == stats_dtype
    assert mean.shape == var.shape == (2, 3)
    assert not mean.requires_grad
    assert not var.requires_grad


@pytest.mark.parametrize(("shape", "groups"), [((2, 2, 2, 3), 1), ((4, 2, 1, 3), 2), ((2, 2, 2, 1, 2), 1)], ids=label)
def test_gradients_match_differences(shape: tuple[int, ...], groups: int) -> None:
    inputs = [leaf(t) for t in tensors(shape, torch.float64)[:3]]
    assert torch.autograd.gradcheck(lambda *args: batch_norm_act(*args, groups=groups)[0], inputs)


@pytest.mark.parametrize(("shape", "groups"), [((2, 2, 2, 3), 1), ((4, 2, 1, 3), 2), ((2, 2, 2, 1, 2), 1)], ids=label)
def test_second_gradients_match_differences(shape: tuple[int, ...], groups: int) -> None:
    def input_gradient(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor) -> Tensor:
        with weight_gradients_disabled():
            dx, = torch.autograd.grad(batch_norm_act(x, gamma, beta, groups=groups)[0], x, dy, create_graph=True)
        return dx
    x, gamma, beta, dy, _ = tensors(shape, torch.float64)
    assert torch.autograd.gradcheck(input_gradient, (leaf(x), leaf(gamma), beta, leaf(dy)))


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_no_weight_gradient_first_but_the_right_one_second(impl: str) -> None:
    x, gamma, beta, dy, v = tensors((2, 3, 5, 7), torch.float32, impl)
    inputs = leaf(x), leaf(gamma), leaf(beta)
    with weight_gradients_disabled():
        dx, dgamma, dbeta = torch.autograd.grad(batch_norm_act(*inputs, impl=impl)[0], inputs, dy, create_graph=True,
                                                allow_unused=True)
    assert dgamma is None
    assert dbeta is None
    expected = second_order(partial(batch_norm_act, impl=impl), 1)(x, gamma, beta, dy, v)["dgamma of dx"]
    assert torch.equal(torch.autograd.grad(dx, inputs[1], v)[0], expected)


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_the_second_derivative_has_no_beta_in_it(impl: str) -> None:
    x, gamma, beta, dy, v = map(leaf, tensors((2, 3, 5, 7), torch.float32, impl))
    dx, = torch.autograd.grad(batch_norm_act(x, gamma, beta, impl=impl)[0], x, dy, create_graph=True)
    assert torch.autograd.grad(dx, beta, v, allow_unused=True) == (None,)


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_a_penalty_on_the_gradient_of_two_layers_matches_reference(impl: str) -> None:
    """As the critics have it: the gradient of the input's gradient in all weights, layer after layer."""
    def penalty(norm: Norm) -> Calculation:
        def run(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor, mix: Tensor) -> Results:
            x, gamma, beta, mix = map(leaf, (x, gamma, beta, mix))
            spec = "oc,nchw->nohw" if mix.dim() == 2 else "nochw,nchw->nohw"
            hidden = torch.einsum(spec, mix, norm(x, gamma, beta, groups=1)[0])
            y = norm(hidden, 2 * gamma, beta, groups=1)[0]
            with weight_gradients_disabled():
                dx, = torch.autograd.grad(y, x, dy, create_graph=True)
            found = torch.autograd.grad(dx.square().sum(), (x, gamma, mix))
            return dict(zip(("dx", "dgamma", "dmix"), found, strict=True))
        return run

    def sizes(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor, mix: Tensor) -> Results:
        terms = penalty(per_position)(x, everywhere(gamma, x), everywhere(beta, x), dy,
                                      mix[None, :, :, None, None].expand(2, 3, 3, 5, 7))
        return {"dgamma": terms["dgamma"].abs().sum((0, 2, 3)), "dmix": terms["dmix"].abs().sum((0, 3, 4))}
    x, gamma, beta, dy, _ = tensors((2, 3, 5, 7), torch.float32, impl)
    inputs = (x, gamma, beta, dy, random(3, 3, seed=5).to(x.device))
    assert_matches(penalty(partial(batch_norm_act, impl=impl)), penalty(reference), inputs, magnitudes=sizes, terms=70)


@pytest.mark.parametrize("through", ["gamma", "beta"])
@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_second_derivative_through_a_weight_gradient_raises(impl: str, through: str) -> None:
    x, gamma, beta, dy, _ = map(leaf, tensors((2, 3, 5, 7), torch.float32, impl))
    weight = {"gamma": gamma, "beta": beta}[through]
    dw, = torch.autograd.grad(batch_norm_act(x, gamma, beta, impl=impl)[0], weight, dy, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative through the gradients of gamma and beta is not offered"):
        torch.autograd.grad(dw.sum(), x)


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_third_derivative_raises_however_it_is_reached(impl: str) -> None:
    x, gamma, beta, dy, v = map(leaf, tensors((2, 3, 5, 7), torch.float32, impl))
    dx, = torch.autograd.grad(batch_norm_act(x, gamma, beta, impl=impl)[0], x, dy, create_graph=True)
    for second in torch.autograd.grad(dx, (dy, x, gamma), v, create_graph=True):
        for wrt in (x, gamma, dy, v):
            with pytest.raises(RuntimeError, match="batch_norm_act: the third derivative is not offered"):
                torch.autograd.grad(second.sum(), wrt, allow_unused=True, retain_graph=True)
        with pytest.raises(RuntimeError, match="batch_norm_act: the third derivative is not offered"):
            second.sum().backward(retain_graph=True)


@pytest.mark.parametrize("groups", [1, 2])
@each_impl
def test_given_statistics_are_constants(groups: int, impl: str, dtype: torch.dtype) -> None:
    x, gamma, beta, dy, _ = tensors((4, 3, 5, 7), dtype, impl)
    mean, var = (random(groups, 3, dtype=gamma.dtype, seed=seed).to(x.device) for seed in (5, 6))

    def order(norm: Callable[..., Tensor]) -> Calculation:
        def run(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor, mean: Tensor, var: Tensor) -> Results:
            inputs = leaf(x), leaf(gamma), leaf(beta)
            y = norm(*inputs, groups=groups, statistics=Statistics(mean, var.abs()))
            return {"y": y.detach(), **dict(zip(("dx", "dgamma", "dbeta"), torch.autograd.grad(y, inputs, dy),
                                                strict=True))}
        return run

    def sizes(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor, mean: Tensor, var: Tensor) -> Results:
        shape = (groups, 1, 3, 1, 1)
        xh = (x.unflatten(0, (groups, -1)) - mean.view(shape)) * (var.abs().view(shape) + EPS).rsqrt()
        return {"dgamma": (xh.flatten(0, 1) * dy).abs().sum((0, 2, 3)), "dbeta": dy.abs().sum((0, 2, 3))}

    assert_matches(order(lambda *args, **kwargs: batch_norm_act(*args, **kwargs, impl=impl)[0]),
                   order(batch_norm_act_reference), (x, gamma, beta, dy, mean, var), magnitudes=sizes, terms=140)


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_second_derivative_with_given_statistics_raises(impl: str) -> None:
    x, gamma, beta, dy, v = map(leaf, tensors((2, 3, 5, 7), torch.float32, impl))
    y, *_ = batch_norm_act(x, gamma, beta, statistics=Statistics(beta[None], gamma[None].square()), impl=impl)
    dx, = torch.autograd.grad(y, x, dy, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative with given statistics is not offered"):
        torch.autograd.grad(dx, dy, v)


@pytest.mark.parametrize("parts", [1, 5, FEW_PARTS + 2])
@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_statistics_of_parts_are_as_good_as_those_taken_here(impl: str, parts: int) -> None:
    x, gamma, beta, dy, v = tensors((4, 3, 5, 17), torch.float32, impl)

    def norm(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = x.detach().movedim(1, -1).reshape(groups, parts, -1, x.shape[1])
        means = rows.mean(2)
        statistics = PartialStatistics(rows.new_full((groups, parts), rows.shape[2]), means,
                                       (rows - means[:, :, None]).square().sum(2))
        return batch_norm_act(x, gamma, beta, groups=groups, statistics=statistics, impl=impl)
    check((x, gamma, beta, dy, v), 2, norm, kernels=impl == "triton")


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_no_bit_changes_from_run_to_run(impl: str) -> None:
    inputs = tensors((4, 17, 2, 3, 5), torch.float32, impl)
    norm = partial(batch_norm_act, impl=impl)
    for order, given in ((first_order, inputs[:4]), (second_order, inputs)):
        first, again = order(norm, 2)(*given), order(norm, 2)(*given)
        assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_ops_keep_their_contract(impl: str, layout: str) -> None:
    """Schemas, fakes with the true layouts, registration of autograd, dynamic shapes; with gradients, where the
    check's own backward pass through all results asks for none that is not offered."""
    x, gamma, beta, dy, v = tensors((2, 3, 2, 5, 7), torch.float32, impl)
    x, dy, v = (LAYOUTS[layout](t) for t in (x, dy, v))
    _, mean, var = batch_norm_act_fwd(x, gamma, beta, 1, [], impl)
    torch.library.opcheck(batch_norm_act_fwd, (leaf(x), leaf(gamma), leaf(beta), 1, [], impl))
    torch.library.opcheck(batch_norm_act_bwd,
                          (leaf(dy), leaf(x), mean, var, leaf(gamma), leaf(beta), False, False, impl))
    torch.library.opcheck(batch_norm_act_bwd_bwd, (v, dy, x, mean, var, gamma, beta, True, impl))


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_ops_keep_their_contract_in_their_other_forms(impl: str) -> None:
    x, gamma, beta, dy, v = tensors((2, 3, 5, 7), torch.float32, impl)
    _, mean, var = batch_norm_act_fwd(x, gamma, beta, 1, [], impl)
    check_of = partial(torch.library.opcheck, test_utils=("test_schema", "test_faketensor"))
    for statistics in ([mean, var], [x.new_ones(1, 2), mean.repeat(1, 2, 1), var.repeat(1, 2, 1)]):
        check_of(batch_norm_act_fwd, (x, gamma, beta, 1, statistics, impl))
    for given, weights in ((False, True), (True, True), (True, False)):
        check_of(batch_norm_act_bwd, (dy, x, mean, var, gamma, beta, given, weights, impl))
    check_of(batch_norm_act_bwd_bwd, (v, dy, x, mean, var, gamma, beta, False, impl))


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_is_one_node_of_a_full_graph(impl: str) -> None:
    x, gamma, beta, dy, _ = tensors((2, 3, 5, 7), torch.float32, impl)
    norm = partial(batch_norm_act, impl=impl)
    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    expected, found = (first_order(form, 2)(x, gamma, beta, dy) for form in (norm, compiled))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.gpu
def test_a_captured_graph_replays_what_eager_computes() -> None:
    """Forward, backward and double backward, which reads nothing back from the device."""
    inputs = tensors((2, 16, 4, 33, 40), torch.bfloat16, "triton")
    norm = partial(batch_norm_act, impl="triton")
    orders = (partial(first_order(norm, 1), *inputs[:4]), partial(second_order(norm, 1), *inputs))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for run in orders:
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.set_sync_debug_mode("error")
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = [run() for run in orders]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for t in inputs:
        t.copy_(t.flip(-1))
    expected = [run() for run in orders]
    graph.replay()
    for found, results in zip(captured, expected, strict=True):
        assert all(torch.equal(found[name], results[name]) for name in results)


def test_launches_cover_every_size_without_empty_programs() -> None:
    """From one voxel to 32x512x512, any number of channels, on every kind of device."""
    for arch in ("sm_80", "sm_90", "sm_100", "gfx942", "sm_75"):
        for channels in (1, 3, 16, 24, 32, 64, 128, 130, 512):
            for rows in (1, 7, 129, 8 * 25 * 44, 8 * 256 * 256, 32 * 512 * 512):
                for name in op._LAUNCHES:
                    plan = op._plan(name, 2, rows, channels, 2, arch)
                    parts, blocks, groups = plan.grid
                    assert groups == 2
                    assert (parts - 1) * plan.rows_per_program < rows <= parts * plan.rows_per_program
                    assert blocks * plan.block_c >= channels > (blocks - 1) * plan.block_c
                    assert plan.rows_per_program % plan.block_m == 0
                    assert parts <= 65535


def test_samples_that_do_not_split_into_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_norm_act of 3 samples in 2 groups: expected a multiple"):
        batch_norm_act(random(3, 2, 4, 4), torch.ones(2), torch.zeros(2), groups=2)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    x, three, four = random(2, 3, 4, 4), torch.ones(3), torch.ones(4)
    with pytest.raises(ValueError, match=r"with gamma \(4,\), beta \(3,\): expected .* \[C\], \[C\]"):
        batch_norm_act(x, four, three)
    with pytest.raises(ValueError, match=r"x \(2, 3, 4\) with"):
        batch_norm_act(x[:, :, 0], three, three)
    for statistics in (Statistics(three, three), Statistics(four[None], four[None]),
                       PartialStatistics(torch.ones(1, 2), torch.ones(1, 2, 3), torch.ones(1, 3, 3))):
        with pytest.raises(ValueError, match="of 3 channels in 1 groups with statistics"):
            batch_norm_act(x, three, three, statistics=statistics)


def test_reference_is_two_lines_of_torch() -> None:
    x, gamma, beta, _, _ = tensors((2, 3, 5, 7), torch.float64)
    y = batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)
    assert torch.equal(batch_norm_act_reference(x, gamma, beta), leaky_relu(y, 0.2))
