"""BatchNorm + LeakyReLU against its reference: outputs, statistics, gradients of two orders, each by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, leaky_relu

from sgif.kernels import batch_norm_act, batch_norm_act_reference, weight_gradients_disabled
from sgif.kernels.batch_norm_act import EPS, SLOPE

from .compare import LAYOUTS, Calculation, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
# Shape of x, groups.
CASES = [((2, 3, 5, 7), 1), ((2, 3, 5, 7), 2), ((6, 4, 3, 1), 3), ((3, 1, 4, 5), 1), ((1, 16, 9, 11), 1),
         ((1, 3, 2, 5, 7), 1), ((2, 3, 1, 5, 7), 2), ((4, 5, 3, 1, 3), 2), ((4, 17, 2, 3, 5), 4), ((6, 8, 1, 1), 2)]

Norm = Callable[..., tuple[Tensor, Tensor, Tensor]]


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


def magnitudes(order: Callable[[Norm, int], Calculation], groups: int) -> Calculation:
    """What the sums over positions would be without signs: gradients of a gamma and a beta per position."""
    def per_position(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        xh = torch.cat([batch_norm(part, None, None, training=True, eps=EPS) for part in x.chunk(groups)])
        return leaky_relu(gamma * xh + beta, SLOPE), gamma, beta

    def run(x: Tensor, gamma: Tensor, beta: Tensor, *directions: Tensor) -> Results:
        gamma, beta = (t.view(1, -1, *[1] * (x.dim() - 2)).expand_as(x) for t in (gamma, beta))
        terms = order(per_position, groups)(x, gamma, beta, *directions)
        return {name: term.abs().movedim(1, 0).flatten(1).sum(1) for name, term in terms.items()
                if name.startswith(("dgamma", "dbeta"))}
    return run


def check(inputs: tuple[Tensor, ...], groups: int) -> None:
    """The first order of x, gamma, beta, dy, and with v the second."""
    orders = [(first_order, inputs[:4]), (second_order, inputs)]
    for order, given in orders[:len(inputs) - 3]:
        assert_matches(order(batch_norm_act, groups), order(reference, groups), given,
                       magnitudes=magnitudes(order, groups), terms=inputs[0][:, 0].numel() // groups)


def tensors(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """x, gamma, beta, dy, v: gamma and beta are the master weights, at least float32."""
    master = torch.promote_types(dtype, torch.float32)
    x, dy, v = (random(*shape, dtype=dtype, seed=seed) for seed in range(3))
    gamma, beta = (random(shape[1], dtype=master, seed=seed) for seed in (3, 4))
    return 2 * x + 0.5, gamma, 0.5 * beta, dy, v


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize(("shape", "groups"), CASES, ids=label)
def test_output_statistics_and_gradients_of_two_orders_match_reference(shape: tuple[int, ...], groups: int,
                                                                       dtype: torch.dtype) -> None:
    check(tensors(shape, dtype), groups)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 4, 5, 7)], ids=label)
def test_any_layout_matches_reference(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    x, gamma, beta, dy, v = tensors(shape, dtype)
    check((LAYOUTS[layout](x), gamma, beta, LAYOUTS[layout](dy), LAYOUTS[layout](v)), 2)


def test_a_large_mean_does_not_cancel() -> None:
    x, *others = tensors((2, 3, 9, 11), torch.float32)
    check((1000 + 0.1 * x, *others), 1)


def test_variance_of_a_large_mean_is_right_to_a_thousandth() -> None:
    x = 1000 + 0.1 * random(2, 3, 9, 11)
    var = batch_norm_act(x, torch.ones(3), torch.zeros(3))[2]
    torch.testing.assert_close(var[0].double(), x.double().var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
def test_one_position_per_group_leaves_beta_alone(dtype: torch.dtype) -> None:
    x, gamma, beta, dy, v = tensors((2, 3, 1, 1), dtype)
    x, dy, gamma = leaf(x), leaf(dy), leaf(gamma)
    y, mean, var = batch_norm_act(x, gamma, beta, groups=2)
    assert torch.equal(y[0, :, 0, 0], leaky_relu(beta, SLOPE).to(dtype))
    assert torch.equal(mean, x[:, :, 0, 0].to(mean.dtype))
    assert not var.any()
    dx, = torch.autograd.grad(y, x, dy, create_graph=True)
    second = torch.autograd.grad(dx, (dy, x, gamma), v)
    assert not any(bool(gradient.any()) for gradient in (dx, *second))


def test_a_constant_channel_gives_beta_and_finite_gradients() -> None:
    x, gamma, beta, dy, v = tensors((2, 3, 4, 5), torch.float32)
    x, gamma, dy = leaf(torch.full_like(x, 3.0)), leaf(gamma), leaf(dy)
    y, _, var = batch_norm_act(x, gamma, beta)
    assert torch.equal(y[0, :, 0, 0], leaky_relu(beta, SLOPE))
    assert not var.any()
    dx, = torch.autograd.grad(y, x, dy, create_graph=True)
    assert all(bool(t.isfinite().all()) for t in (dx, *torch.autograd.grad(dx, (dy, x, gamma), v)))


def test_groups_do_not_see_each_other() -> None:
    x, gamma, beta, _, _ = tensors((4, 3, 5, 7), torch.float32)
    together = batch_norm_act(x, gamma, beta, groups=2)
    for group, part in enumerate(x.chunk(2)):
        y, mean, var = batch_norm_act(part, gamma, beta)
        assert torch.equal(together[0][2 * group:][:2], y)
        assert torch.equal(together[1][group:][:1], mean)
        assert torch.equal(together[2][group:][:1], var)


@pytest.mark.parametrize(("dtype", "stats_dtype"), [(torch.float32, torch.float32), (torch.bfloat16, torch.float32),
                                                    (torch.float64, torch.float64)], ids=label)
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (4, 3, 2, 5, 7)], ids=label)
def test_result_keeps_dtype_and_has_channels_innermost(shape: tuple[int, ...], dtype: torch.dtype,
                                                       stats_dtype: torch.dtype) -> None:
    x, gamma, beta, _, _ = tensors(shape, dtype)
    y, mean, var = batch_norm_act(leaf(x), gamma, beta, groups=2)
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


def test_no_weight_gradient_first_but_the_right_one_second() -> None:
    x, gamma, beta, dy, v = tensors((2, 3, 5, 7), torch.float32)
    inputs = leaf(x), leaf(gamma), leaf(beta)
    with weight_gradients_disabled():
        dx, dgamma, dbeta = torch.autograd.grad(batch_norm_act(*inputs)[0], inputs, dy, create_graph=True,
                                                allow_unused=True)
    assert dgamma is None
    assert dbeta is None
    expected = second_order(batch_norm_act, 1)(x, gamma, beta, dy, v)["dgamma of dx"]
    assert torch.equal(torch.autograd.grad(dx, inputs[1], v)[0], expected)


def test_the_second_derivative_has_no_beta_in_it() -> None:
    x, gamma, beta, dy, v = map(leaf, tensors((2, 3, 5, 7), torch.float32))
    dx, = torch.autograd.grad(batch_norm_act(x, gamma, beta)[0], x, dy, create_graph=True)
    assert torch.autograd.grad(dx, beta, v, allow_unused=True) == (None,)


@pytest.mark.parametrize("through", ["gamma", "beta"])
def test_second_derivative_through_a_weight_gradient_raises(through: str) -> None:
    x, gamma, beta, dy, _ = map(leaf, tensors((2, 3, 5, 7), torch.float32))
    weight = {"gamma": gamma, "beta": beta}[through]
    dw, = torch.autograd.grad(batch_norm_act(x, gamma, beta)[0], weight, dy, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative through the gradients of gamma and beta is not offered"):
        torch.autograd.grad(dw.sum(), x)


def test_third_derivative_raises() -> None:
    x, gamma, beta, dy, v = map(leaf, tensors((2, 3, 5, 7), torch.float32))
    dx, = torch.autograd.grad(batch_norm_act(x, gamma, beta)[0], x, dy, create_graph=True)
    of_dx, = torch.autograd.grad(dx, x, v, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_dx.sum().backward()


def test_samples_that_do_not_split_into_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_norm_act of 3 samples in 2 groups: expected a multiple"):
        batch_norm_act(random(3, 2, 4, 4), torch.ones(2), torch.zeros(2), groups=2)


def test_reference_is_two_lines_of_torch() -> None:
    x, gamma, beta, _, _ = tensors((2, 3, 5, 7), torch.float64)
    y = batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)
    assert torch.equal(batch_norm_act_reference(x, gamma, beta), leaky_relu(y, 0.2))
