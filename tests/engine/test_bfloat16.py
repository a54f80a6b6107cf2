"""Losses of the critics in bfloat16: their gradients are as near to float32's as rounding to bfloat16 lets them be.

That is not very near: a norm's result close to zero changes its slope in LeakyReLU. Plain float32 that only rounds what
it stores has cosines of 0.987 to 0.9999 with float32. By plain autograd the gradient penalty is further off on CPUs
with AMX: oneDNN's bfloat16 convolution with a filter as large as the image is wrong where the width is divisible by 4
(cosine 0.65, torch 2.13), and for two frames the weight gradient is memory that was never written.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, cosine_similarity, leaky_relu

from sgif.engine.critics import Critic
from sgif.engine.generator import as_frames
from sgif.engine.layers import ConvNormAct, weights_cast
from sgif.engine.losses import gradient_penalty
from sgif.kernels import channels_last

pytestmark = pytest.mark.usefixtures("poisoned_empty")


def parameter_gradients(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """In the order of the parameters, without those that are not in the penalty (beta)."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        penalty = gradient_penalty(critic, real, fake, mix, "voxel")
    gradients = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
    return [gradient for gradient in gradients if gradient is not None]


def rounded_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What a kernel in bfloat16 promises: float32 inside, rounded when it is stored."""
    def run(a: Tensor, b: Tensor, *rest: Any) -> Tensor:
        return function(a.float(), b.float(), *rest).to(a.dtype)
    return run


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    """1 - cosine."""
    a_flat, b_flat = (torch.cat([gradient.flatten() for gradient in gradients]).double() for gradients in (a, b))
    return 1 - float(cosine_similarity(a_flat, b_flat, dim=0))


@pytest.mark.parametrize(("dims", "frames", "height", "width"), [
    (2, 8, 25, 44), (2, 3, 25, 42), (3, 8, 25, 44), (3, 2, 25, 44), (3, 3, 24, 33)])
def test_penalty_gradient_in_bfloat16_strays_no_further_than_rounding_does(
        monkeypatch: pytest.MonkeyPatch, dims: int, frames: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic(dims=dims, width=16)
    clip = torch.rand(2, 1, 3, frames, height, width, generator=generator) * 2 - 1
    real, fake = (as_frames(t) if dims == 2 else t for t in clip)
    mix = torch.rand(real.shape[0], *[1] * (real.dim() - 1), generator=generator)
    assert all(parameter.dtype == torch.float32 for parameter in critic.parameters())

    full = parameter_gradients(critic, real, fake, mix, torch.float32)
    low = parameter_gradients(critic, real, fake, mix, torch.bfloat16)
    module = import_module("sgif.kernels.convolution")
    for name in ("_forward", "_input_grad", "_weight_grad"):
        monkeypatch.setattr(module, name, rounded_float32(getattr(module, name)))
    rounded = parameter_gradients(critic, real, fake, mix, torch.bfloat16)
    assert distance(low, full) <= 2 * distance(rounded, full)
    assert distance(low, rounded) <= 1e-3


@pytest.mark.parametrize("dims", [2, 3])
def test_weights_cast_once_give_the_bits_of_weights_cast_at_every_use(dims: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic(dims=dims, width=8)
    x = torch.rand(2, 3, *[5] * dims, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mix = torch.full((2, *[1] * (x.dim() - 1)), 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        expected = losses(critic, x, x.flip(-1), mix, list(critic.parameters()))
        with weights_cast([critic], "cpu"):
            found = losses(critic, x, x.flip(-1), mix, list(critic.parameters()))
            read = [block.conv.cast_weight for block in critic.blocks if isinstance(block, ConvNormAct)]
    assert [copy is not None and copy.dtype for copy in read] == [torch.bfloat16] * 4
    for name, gradients in expected.items():
        assert all(torch.equal(a, b) for a, b in zip(gradients, found[name], strict=True)), name
    assert all(block.conv.cast_weight is None for block in critic.blocks if isinstance(block, ConvNormAct))


class Rounded(torch.autograd.Function):
    """To bfloat16, and so is its gradient where `both` says so: what is stored, but not weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, both: bool) -> Tensor:
        ctx.both = both
        return x.bfloat16().float()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return Rounded.apply(g, True) if ctx.both else g, None  # type: ignore[no-untyped-call]


def plain_scores(critic: Critic, x: Tensor, rounded: bool) -> Tensor:
    """Mean scores [N] by torch's own functions in float32, whose results are stored in bfloat16 if `rounded`."""
    def stored(t: Tensor, both: bool = True) -> Tensor:
        return Rounded.apply(t, both) if rounded else t  # type: ignore[no-any-return,no-untyped-call]

    convolve = torch.conv2d if x.dim() == 4 else torch.conv3d
    x = stored(x)
    for block in critic.blocks:
        assert isinstance(block, ConvNormAct)
        x = stored(convolve(x, stored(block.conv.weight, False), padding=1))
        x = stored(leaky_relu(batch_norm(x, None, None, block.gamma, block.beta, training=True), 0.2))
    return convolve(x, critic.tail.weight, padding=1).flatten(1).mean(1)


def losses(scores: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor,
           parameters: list[Tensor]) -> dict[str, list[Tensor]]:
    """Gradients of the critic's two losses, and of the generator's at its clip."""
    fake = fake.detach().requires_grad_()
    found = {"scores": (scores(fake).mean() - scores(real).mean(), parameters),
             "penalty": (gradient_penalty(scores, real, fake.detach(), mix, "voxel"), parameters),
             "generator": (-scores(fake).mean(), [fake])}
    return {name: list(torch.autograd.grad(loss, wrt, allow_unused=True, materialize_grads=True))
            for name, (loss, wrt) in found.items()}


@pytest.mark.parametrize("layout", ["planes", "channels last"])
@pytest.mark.parametrize(("dims", "frames", "height", "width"), [(2, 8, 25, 44), (2, 3, 25, 42), (3, 8, 25, 44),
                                                                 (3, 2, 25, 44)])
def test_gradients_of_each_loss_stray_no_further_than_rounded_storage_does(
        dims: int, frames: int, height: int, width: int, layout: str) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic(dims=dims, width=16)
    clip = torch.rand(2, 1, 3, frames, height, width, generator=generator) * 2 - 1
    real, fake = (as_frames(t) if dims == 2 else t for t in clip)
    mix = torch.rand(real.shape[0], *[1] * (real.dim() - 1), generator=generator)
    if layout == "channels last":
        real, fake = channels_last(real), channels_last(fake)
    parameters = list(critic.parameters())

    with torch.autocast("cpu", torch.bfloat16):
        found = losses(critic, real, fake, mix, parameters)
    rounded, exact = (losses(lambda x, r=r: plain_scores(critic, x, r), real, fake, mix, parameters)
                      for r in (True, False))
    for name, gradients in found.items():
        off, allowed = distance(gradients, exact[name]), 2 * distance(rounded[name], exact[name]) + 1e-4
        assert off <= allowed, f"{name}: 1 - cosine is {off:.1e}, allowed {allowed:.1e}"
