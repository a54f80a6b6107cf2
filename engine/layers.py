"""Convolution + BatchNorm + LeakyReLU, the block that generators and critics are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.utils.checkpoint import checkpoint

from ..kernels import (
    PadMode,
    as_cast,
    batch_norm_act,
    convolution,
    norm_act_separable_conv3d,
    separable_conv3d,
    separable_conv3d_statistics,
)
from ..kernels.batch_norm_act import EPS, SLOPE

ConvKind = Literal["2d", "dense", "r2plus1d", "depthwise"]


def _filters(*shape: int, fan_in: int, gain: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * gain / fan_in**0.5)


class Conv(nn.Module):
    """A 2D convolution [N, C, H, W] or one of three forms of a 3D one [N, C, T, H, W], filter 3, size kept.

    `scale` and `bias` [O] are applied to the output: frozen norms are folded in this way. Filters start so that the
    variance is kept (times `gain` squared): SinGAN's 0.02, through two depthwise parts, would fall below BatchNorm's
    epsilon.
    """

    def __init__(self, kind: ConvKind, in_channels: int, out_channels: int, *,
                 pad_space: PadMode = "zeros", pad_time: PadMode = "zeros", gain: float = 1.0) -> None:
        super().__init__()
        self.kind = kind
        self.pad_space, self.pad_time = pad_space, pad_time
        if kind == "depthwise":
            self.spatial = _filters(in_channels, 3, 3, fan_in=9)
            self.temporal = _filters(in_channels, 3, fan_in=3)
            self.pointwise = _filters(out_channels, in_channels, fan_in=in_channels, gain=gain)
        elif kind == "r2plus1d":
            self.spatial = _filters(out_channels, in_channels, 1, 3, 3, fan_in=9 * in_channels)
            self.temporal = _filters(out_channels, out_channels, 3, 1, 1, fan_in=3 * out_channels, gain=gain)
        else:
            taps = (3, 3) if kind == "2d" else (3, 3, 3)
            self.weight = _filters(out_channels, in_channels, *taps, fan_in=in_channels * 3 ** len(taps),
                                   gain=gain)
            self.cast_weight: Tensor | None = None  # inside `weights_cast`

    def forward(self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        def scaled(weight: Tensor) -> Tensor:
            return weight if scale is None else weight * scale.view(-1, *[1] * (weight.dim() - 1))

        if self.kind == "depthwise":
            return separable_conv3d(x, self.spatial, self.temporal, scaled(self.pointwise), bias,
                                    pad_space=self.pad_space, pad_time=self.pad_time)
        if self.kind == "r2plus1d":
            x = convolution(x, self.spatial, pad_space=self.pad_space)
            return convolution(x, scaled(self.temporal), bias, pad_time=self.pad_time)
        weight = self.weight if self.cast_weight is None else as_cast(self.weight, self.cast_weight)
        return convolution(x, scaled(weight), bias, pad_space=self.pad_space, pad_time=self.pad_time)

    def with_statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The depthwise form's result, its mean and its biased variance [O]."""
        return separable_conv3d_statistics(x, self.spatial, self.temporal, self.pointwise, pad_space=self.pad_space,
                                           pad_time=self.pad_time)

    def of_normalised(self, x: Tensor, mean: Tensor, var: Tensor, gamma: Tensor, beta: Tensor,
                      bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The same of LeakyReLU(BatchNorm(x)), which is never stored."""
        return norm_act_separable_conv3d(x, mean, var, gamma, beta, self.spatial, self.temporal, self.pointwise, bias,
                                         pad_space=self.pad_space, pad_time=self.pad_time)


class ConvNormAct(nn.Module):
    """Conv, BatchNorm, LeakyReLU. Training: batch statistics, running ones updated once. Eval: running statistics,
    folded into the convolution."""

    running_mean: Tensor
    running_var: Tensor
    momentum = 0.1

    def __init__(self, conv: Conv, channels: int, *, track: bool) -> None:
        super().__init__()
        self.conv = conv
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.track = track
        self.checkpointing = False
        if track:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, groups: int = 1) -> Tensor:
        """`x` [N, C, ...]; `groups` sets of samples are normalised apart (training only)."""
        if not self.training:
            scale = self.gamma * (self.running_var + EPS).rsqrt()
            return leaky_relu(self.conv(x, scale, self.beta - self.running_mean * scale), SLOPE)
        y: Tensor
        if self.checkpointing and torch.is_grad_enabled():
            y, mean, var = checkpoint(self._normalise, x, groups, use_reentrant=False, preserve_rng_state=False)
        else:
            y, mean, var = self._normalise(x, groups)
        if self.track:  # outside the recomputed part: checkpointing would update them twice (pytorch#96136)
            self.follow(mean.mean(0), var.mean(0))
        return y

    @torch.no_grad()
    def follow(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards those of a batch [C]; for who has seen that `track` is on."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)

    def _normalise(self, x: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        return batch_norm_act(self.conv(x), self.gamma, self.beta, groups=groups)


@contextmanager
def weights_cast(modules: Iterable[nn.Module], device_type: str) -> Iterator[None]:
    """Inside, under autocast, the blocks' dense convolutions below `modules` read copies of their weights, made here by
    one launch, instead of casting them at every use. The weights must stay as they are meanwhile."""
    blocks = [block for module in modules for block in module.modules() if isinstance(block, ConvNormAct)]
    convs = [block.conv for block in blocks if block.conv.kind in ("2d", "dense")]
    if not torch.is_autocast_enabled(device_type):
        convs = []
    if convs:
        copies = [torch.empty_like(conv.weight, dtype=torch.get_autocast_dtype(device_type)) for conv in convs]
        with torch.no_grad():
            torch._foreach_copy_(copies, [conv.weight for conv in convs])
        for conv, copy in zip(convs, copies, strict=True):
            conv.cast_weight = copy
    try:
        yield
    finally:
        for conv in convs:
            conv.cast_weight = None


@contextmanager
def untracked(module: nn.Module) -> Iterator[None]:
    """Inside, no block below `module` moves its running statistics: for a batch that they have seen."""
    blocks = [block for block in module.modules() if isinstance(block, ConvNormAct) and block.track]
    for block in blocks:
        block.track = False
    try:
        yield
    finally:
        for block in blocks:
            block.track = True


def set_checkpointing(module: nn.Module, enabled: bool) -> None:
    """Let every block below `module` recompute its activations in backward, or keep them."""
    for block in module.modules():
        if isinstance(block, ConvNormAct):
            block.checkpointing = enabled
