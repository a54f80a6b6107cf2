"""The two critics of a scale: 2D on single frames, 3D on the snippet. PatchGANs: the mean of a score per position."""

from __future__ import annotations

from torch import Tensor, nn

from ..kernels import convolution_mean, tap_combinations
from .layers import Conv, ConvKind, ConvNormAct


class Critic(nn.Module):
    """Five dense convolutions from [N, 3, (T,) H, W] to a map of scores, of which the mean per sample [N] is taken.

    Dense, since separable critics were unstable (section 3.3.1). Zeros around every layer. Real and fake samples have
    BatchNorm statistics of their own (`groups`).
    """

    tap_combinations: Tensor

    def __init__(self, *, dims: int, width: int) -> None:
        super().__init__()
        kind: ConvKind = "2d" if dims == 2 else "dense"
        self.blocks = nn.ModuleList(ConvNormAct(Conv(kind, c, width), width, track=False)
                                    for c in (3, width, width, width))
        self.tail = Conv(kind, width, 1)
        self.register_buffer("tap_combinations", tap_combinations(dims), persistent=False)

    def forward(self, x: Tensor, groups: int = 1) -> Tensor:
        for block in self.blocks:
            x = block(x, groups)
        return convolution_mean(x, self.tail.weight, self.tap_combinations).squeeze(1)
