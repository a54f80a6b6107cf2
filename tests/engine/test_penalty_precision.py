"""The gradient penalty in bfloat16: its parameter gradient is as near to float32's as rounding to bfloat16 lets it be.

By plain autograd it is not on CPUs with AMX: oneDNN's bfloat16 convolution with a filter as large as the image is
wrong where the width is divisible by 4 (cosine 0.65, torch 2.13), and for two frames the weight gradient is memory
that was never written.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sgif.engine.critics import Critic, as_frames
from sgif.engine.losses import gradient_penalty

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
