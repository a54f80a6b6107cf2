"""A training step in plain torch and float64, on the clips of one draw or of several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, interpolate, leaky_relu, pad

from sgif.engine.critics import Critic
from sgif.engine.generator import NUM_CONVS, Generator
from sgif.engine.layers import Conv
from sgif.engine.step import Batch, Draw, ScaleTrainer

Weights = dict[str, Tensor]

# Figures that none of the presets has, so that each is seen to be used where it belongs.
WEIGHTS = {"image_weight": 1.3, "video_weight": 4.1, "rec_weight": 17.0, "stat_weight": 2.9, "gp_weight": 0.37}


@dataclass(frozen=True, kw_only=True)
class PlainStep:
    """What a step should have found."""

    losses: Weights
    gradients: dict[str, Weights]   # by network


def plain_step(trainer: ScaleTrainer, before: Mapping[str, Weights], learned: Mapping[str, Weights],
               drawn: Sequence[tuple[Draw, Batch]]) -> PlainStep:
    """Losses and gradients of one step on the clips of all draws as one batch. A norm takes its statistics over each
    draw's clips apart: of the generator's random clip with the reconstruction, of a critic's real and fake clips alone.

    `before` has the weights that the step begins with, `learned` the critics' after it, which the generator meets.
    """
    draws, batches, groups = [draw for draw, _ in drawn], [batch for _, batch in drawn], len(drawn)
    real = torch.cat([draw.real for draw in draws]).double()
    inputs = torch.cat([batch.inputs for batch in batches]).double()
    clips = torch.tanh(plain_residual(trainer.generator, before["generator"], inputs, groups))
    coarser = [batch.coarser for batch in batches if batch.coarser is not None]
    if coarser:
        up = [interpolate(frame.double(), size=trainer.plan.size, mode="bilinear")
              for frame in torch.cat(coarser).unbind(2)]
        clips = clips + torch.stack(up, 2)
    fake, reconstruction = clips[::2], clips[1::2]

    losses: Weights = {}
    gradients: dict[str, Weights] = {}
    fixed = fake.detach()
    pairs = {"image": (frames_of(real), frames_of(fixed), torch.cat([draw.image_mix for draw in draws])),
             "video": (real, fixed, torch.cat([draw.video_mix for draw in draws]))}
    for name, (real_x, fake_x, mix) in pairs.items():
        critic, weights = trainer.critics[name], before[f"{name}_critic"]
        losses[f"D/{name}"] = (plain_blocks(critic, weights, fake_x, groups).mean()
                               - plain_blocks(critic, weights, real_x, groups).mean())
        losses[f"D/{name}_gp"] = plain_penalty(critic, weights, real_x, fake_x, mix.double(), groups,
                                               trainer.config.gp_norm)
        total = losses[f"D/{name}"] + WEIGHTS["gp_weight"] * losses[f"D/{name}_gp"]
        gradients[f"{name}_critic"] = plain_gradients(total, weights)

    for name, x in (("image", frames_of(fake)), ("video", fake)):
        losses[f"G/{name}"] = -plain_blocks(trainer.critics[name], learned[f"{name}_critic"], x, groups).mean()
    losses |= {"G/rec": (reconstruction - real).abs().mean(), "G/stat": plain_color_loss(fake, real)}
    total = torch.stack([WEIGHTS[f"{name}_weight"] * losses[f"G/{name}"]
                         for name in ("image", "video", "rec", "stat")]).sum()
    return PlainStep(losses=losses,
                     gradients={**gradients, "generator": plain_gradients(total, before["generator"])})


def shift_norms(trainer: ScaleTrainer) -> None:
    """Norms with other scales and shifts than they begin with, always the same."""
    with torch.no_grad():
        for network in trainer.networks.values():
            for name, parameter in network.named_parameters():
                if "gamma" in name or "beta" in name:
                    parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))


def surrounded(x: Tensor, space: str, time: str) -> Tensor:
    """`x` with one more value at both ends of its axes, one axis after the other."""
    for axis, mode in enumerate((space, space, *([time] if x.dim() == 5 else []))):
        if mode == "zeros":
            x = pad(x, (0, 0) * axis + (1, 1))
        elif mode != "none":
            dim, size = x.dim() - 1 - axis, x.shape[x.dim() - 1 - axis]
            low, high = (0, size - 1) if mode == "replicate" else (1, size - 2)
            x = torch.cat((x.narrow(dim, low, 1), x, x.narrow(dim, high, 1)), dim)
    return x


def convolved(x: Tensor, conv: Conv, weights: Weights) -> Tensor:
    if conv.kind == "r2plus1d":
        x = torch.conv3d(surrounded(x, conv.pad_space, "none"), weights["spatial"])
        return torch.conv3d(surrounded(x, "none", conv.pad_time), weights["temporal"])
    x = surrounded(x, conv.pad_space, conv.pad_time)
    if conv.kind == "depthwise":
        x = torch.conv3d(x, weights["spatial"][:, None, None], groups=x.shape[1])
        x = torch.conv3d(x, weights["temporal"][:, None, :, None, None], groups=x.shape[1])
        return torch.conv3d(x, weights["pointwise"][:, :, None, None, None])
    return (torch.conv2d if conv.kind == "2d" else torch.conv3d)(x, weights["weight"])


def below(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def plain_blocks(network: Generator | Critic, weights: Weights, x: Tensor, groups: int) -> Tensor:
    for n, block in enumerate(network.blocks):
        x = convolved(x, block.conv, below(weights, f"blocks.{n}.conv."))
        gamma, beta = weights[f"blocks.{n}.gamma"], weights[f"blocks.{n}.beta"]
        x = torch.cat([batch_norm(part, None, None, gamma, beta, training=True) for part in x.chunk(groups)])
        x = leaky_relu(x, 0.2)
    return convolved(x, network.tail, below(weights, "tail."))


def plain_residual(generator: Generator, weights: Weights, x: Tensor, groups: int) -> Tensor:
    x = pad(x, (NUM_CONVS,) * 4) if generator.pad_once else x
    if generator.is_3d:
        return plain_blocks(generator, weights, x, groups) + weights["tail_bias"].view(3, 1, 1, 1)
    last = x.shape[2] - 1
    frames = [torch.cat((x[:, :, max(t - 1, 0)], x[:, :, t], x[:, :, min(t + 1, last)]), 1) for t in range(last + 1)]
    out = plain_blocks(generator, weights, frames_of(torch.stack(frames, 2)), groups)
    return (out + weights["tail_bias"].view(3, 1, 1)).unflatten(0, (-1, last + 1)).transpose(1, 2)


def frames_of(clip: Tensor) -> Tensor:
    """Those of the first clip, then those of the next."""
    return torch.stack(clip.unbind(2), 1).flatten(0, 1)


def plain_penalty(critic: Critic, weights: Weights, real: Tensor, fake: Tensor, mix: Tensor, groups: int,
                  norm: str) -> Tensor:
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    gradient, = torch.autograd.grad(plain_blocks(critic, weights, x, groups).sum(), x, create_graph=True)
    length = gradient.norm(dim=1) if norm == "voxel" else gradient.flatten(1).norm(dim=1)
    return ((length - 1) ** 2).mean()


def plain_color_loss(fake: Tensor, real: Tensor) -> Tensor:
    distances = []
    for frames in zip(frames_of(fake), frames_of(real), strict=True):
        pixels = [frame.flatten(1) for frame in frames]
        means, covs = [p.mean(1) for p in pixels], [torch.cov(p, correction=0) for p in pixels]
        distances.append((means[0] - means[1]).norm() + (covs[0] - covs[1]).norm())
    return torch.stack(distances).mean()


def doubles(network: torch.nn.Module) -> Weights:
    return {name: p.detach().double().requires_grad_() for name, p in network.named_parameters()}


def plain_gradients(total: Tensor, weights: Weights) -> Weights:
    gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True, retain_graph=True)
    return {name: torch.zeros_like(w) if g is None else g for (name, w), g in zip(weights.items(), gradients,
                                                                                 strict=True)}


def assert_gradients_match(found: Mapping[str, Tensor | None], expected: Weights, label: str) -> None:
    largest = max(float(g.abs().max()) for g in expected.values())
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert gradient is not None, f"{label} {name}"
        error = float((gradient.double() - expected[name]).abs().max())
        # float32 through five layers and two derivatives: 1e-5 measured
        assert error <= 2e-4 * float(expected[name].abs().max()) + 2e-6 * largest, f"{label} {name}: {error}"


def assert_losses_match(found: Mapping[str, Tensor], expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value.detach()), rel=1e-4, abs=1e-5), name
