"""BatchNorm + LeakyReLU as one operator, with a double backward.

    m, v = mean and variance of x over a group's samples and positions, per channel
    xh = (x - m) r,  r = 1 / sqrt(v + eps)
    y = LeakyReLU(gamma xh + beta)

`x` is [N, C, ...]; `groups` splits N into as many sets with statistics of their own (real and fake clips of a critic
in one call). float32 statistics in every precision. Differentiable twice in x and gamma, once in beta
(the second derivative has no beta in it); the third derivative raises.

Equivalent to, for one group:
    y = F.leaky_relu(F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps), slope)

With s the slope mask, a = s dy, v the gradient that arrives at dx, M the rows of a group, and the channel means
A = E[a], V = E[v], P = E[a xh], Q = E[v xh], S = E[a v], D = S - V A - Q P, h = -gamma r (v P + a Q):

    dx  = gamma r (a - A - xh P),  dgamma = M P,  dbeta = M A
    ddy = s gamma r (v - V - xh Q)
    dx' = r (h - E[h] - xh E[h xh]) - gamma r^2 D xh,  E[h] = -gamma r (V P + A Q),  E[h xh] = -2 gamma r P Q
    dgamma' = M r D
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .convolution import channels_last, weight_gradients_wanted
from .fusion import fused

EPS = 1e-5
SLOPE = 0.2


def batch_norm_act_reference(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int = 1) -> Tensor:
    """The specification, in plain torch."""
    parts = [torch.nn.functional.batch_norm(part, None, None, gamma, beta, training=True, eps=EPS)
             for part in x.chunk(groups)]
    return torch.nn.functional.leaky_relu(torch.cat(parts), SLOPE)


def batch_norm_act(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise `x` [N, C, ...] with its own statistics, scale, shift and activate.

    Returns:
        y like `x` with channels innermost in memory; mean and variance (biased) [groups, C] in float32, not
        differentiable. float64 stays float64.

    Raises:
        ValueError: when N is no multiple of `groups`.
    """
    if x.shape[0] % groups:
        raise ValueError(f"batch_norm_act of {x.shape[0]} samples in {groups} groups: expected a multiple")
    x = channels_last(x)
    rows = x.movedim(1, -1).reshape(groups, -1, x.shape[1])  # [groups, M, C], a view
    y, mean, var = BatchNormActFunction.apply(rows, gamma, beta)
    return y.view(x.shape[0], *x.shape[2:], x.shape[1]).movedim(-1, 1), mean[:, 0], var[:, 0]


def _wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _slope(y):
    return torch.where(y > 0, y.new_ones(()), SLOPE)  # between two plain numbers it would be float32 for float64 too


def _examples(tensors: int, groups: tuple[int, ...]):
    """Canonical arguments: `tensors` of [groups, M, C], the statistics [groups, 1, C] and gamma, beta [C].

    Two M: beyond 4096 terms inductor sums in chunks and guards on it (torch 2.13).
    """
    def build(device: torch.device, dtype: torch.dtype):
        for count, length in itertools.product(groups, (4099, 131)):
            rows = [torch.zeros(count, length, 32, device=device, dtype=dtype) for _ in range(tensors)]
            stats = [torch.ones(count, 1, 32, device=device) for _ in range(2 if tensors > 1 else 0)]
            yield *rows, *stats, torch.ones(32, device=device), torch.zeros(32, device=device)
    return build


@fused(_examples(tensors=1, groups=(1, 2)))
def _norm_forward(x, gamma, beta):
    wide = _wide(x)
    var, mean = torch.var_mean(wide, 1, correction=0, keepdim=True)
    y = (wide - mean) * (var + EPS).rsqrt() * gamma + beta
    return torch.where(y > 0, y, SLOPE * y).to(x.dtype), mean, var


@fused(_examples(tensors=2, groups=(1, 2)))
def _norm_backward(dy, x, mean, var, gamma, beta):
    r = (var + EPS).rsqrt()
    xh = (_wide(x) - mean) * r
    a = _wide(dy) * _slope(gamma * xh + beta)
    mean_a, mean_axh = a.mean(1, keepdim=True), (a * xh).mean(1, keepdim=True)
    dx = gamma * r * (a - mean_a - xh * mean_axh)
    rows = x.shape[1]
    return dx.to(x.dtype), rows * mean_axh.sum((0, 1)), rows * mean_a.sum((0, 1))


@fused(_examples(tensors=3, groups=(1,)))
def _norm_double_backward(v, dy, x, mean, var, gamma, beta):
    r = (var + EPS).rsqrt()
    xh = (_wide(x) - mean) * r
    slope = _slope(gamma * xh + beta)
    a, v = _wide(dy) * slope, _wide(v)
    mean_a, mean_v = a.mean(1, keepdim=True), v.mean(1, keepdim=True)
    mean_axh, mean_vxh = (a * xh).mean(1, keepdim=True), (v * xh).mean(1, keepdim=True)
    d = (a * v).mean(1, keepdim=True) - mean_v * mean_a - mean_vxh * mean_axh
    ddy = slope * gamma * r * (v - mean_v - xh * mean_vxh)
    h = -gamma * r * (v * mean_axh + a * mean_vxh)
    mean_h = -gamma * r * (mean_v * mean_axh + mean_a * mean_vxh)
    mean_hxh = -2 * gamma * r * mean_axh * mean_vxh
    dx = r * (h - mean_h - xh * mean_hxh) - gamma * r * r * d * xh
    return ddy.to(dy.dtype), dx.to(x.dtype), x.shape[1] * (r * d).sum((0, 1))


class BatchNormActFunction(torch.autograd.Function):
    """On rows [groups, M, C], which makes 4-D and 5-D tensors one case."""

    @staticmethod
    def forward(ctx, x, gamma, beta):
        y, mean, var = _norm_forward(x.detach(), gamma.detach(), beta.detach())
        ctx.save_for_backward(x, mean, var, gamma, beta)
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    def backward(ctx, dy, _mean, _var):
        return BatchNormActGradFunction.apply(dy, *ctx.saved_tensors)


class BatchNormActGradFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dy, x, mean, var, gamma, beta):
        dy = dy.contiguous()
        ctx.save_for_backward(dy, x, mean, var, gamma, beta)
        dx, dgamma, dbeta = _norm_backward(*(t.detach() for t in (dy, x, mean, var, gamma, beta)))
        ctx.set_materialize_grads(False)
        if not weight_gradients_wanted():
            return dx, None, None
        return dx, dgamma, dbeta

    @staticmethod
    @once_differentiable
    def backward(ctx, v, v_gamma, v_beta):
        if v_gamma is not None or v_beta is not None:
            raise RuntimeError("batch_norm_act: the second derivative through the gradients of gamma and beta is not "
                               "offered; compute the first gradient inside weight_gradients_disabled()")
        if v is None:
            return (None,) * 6
        arguments = tuple(t.detach() for t in ctx.saved_tensors)
        ddy, dx, dgamma = _norm_double_backward(v.contiguous(), *arguments)
        return ddy, dx, None, None, dgamma, None
