"""The generator of one scale, 3D or 2D, and the step that makes a scale's clip from the coarser one's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..kernels import (
    PadMode,
    PhiloxNoise,
    channels_last,
    folds_norm_act,
    scaled_noise,
    upsample_add_noise,
    upsample_tanh_residual,
)
from .config import TrainConfig
from .layers import Conv, ConvKind, ConvNormAct
from .pyramid import ScalePlan

TAIL_GAIN = 0.1  # a new generator starts near a residual of zero: it adds to the coarser clip, it does not cover it
NUM_CONVS = 5  # head, three body, tail; filter 3, so the receptive field reaches 5 pixels each way


class Generator(nn.Module):
    """Five convolutions from a clip with noise [N, 3, T, H, W] to a residual [N, 3, T, H, W] before its tanh.

    3D (section 3.3.1): separable convolutions over the volume. 2D (section 3.3.2): each frame with its previous and
    next neighbour on the channel axis (at the ends the frame itself stands in), dense 3x3; without `neighbours` each
    frame alone, as in SinGAN.
    """

    def __init__(self, plan: ScalePlan, config: TrainConfig) -> None:
        super().__init__()
        self.is_3d = plan.kind == "3D"
        self.neighbours = config.neighbours
        self.pad_once = config.padding == "once"
        self.circular = config.circular
        pad_time: PadMode = "circular" if config.circular else "replicate"  # zeros left the ends grey
        kind: ConvKind = config.separable if self.is_3d else "2d"
        space: PadMode = "none" if config.padding == "once" else config.padding
        self.width = width = plan.channels
        inputs = [9 if self.neighbours and not self.is_3d else 3, width, width, width]
        self.blocks = nn.ModuleList(
            ConvNormAct(Conv(kind, c, width, pad_space=space, pad_time=pad_time), width, track=True) for c in inputs)
        self.tail = Conv(kind, width, 3, pad_space=space, pad_time=pad_time, gain=TAIL_GAIN)
        self.tail_bias = nn.Parameter(torch.zeros(3))

    @property
    def reach_frames(self) -> int:
        """How many neighbouring frames each way a frame of the output depends on."""
        return NUM_CONVS if self.is_3d else int(self.neighbours)

    def forward(self, x: Tensor, context: tuple[int, int] = (0, 0)) -> Tensor:
        """`context`: so many frames of `x` at its start and at its end are there to be seen by their neighbours only;
        the result lacks them."""
        n, _, t, h, w = x.shape
        kept = slice(context[0], t - context[1])
        if self.pad_once:
            x = pad(x, (NUM_CONVS,) * 4 + (0, 0))
        if not self.is_3d:
            x = with_neighbours(x, kept, self.circular) if self.neighbours else as_frames(x[:, :, kept])
        x = channels_last(x)
        if self.training and self.tail.kind == "depthwise" and folds_norm_act(x, self.width):
            return self._forward_folded(x)
        for block in self.blocks:
            x = block(x)
        x = self.tail(x, None, self.tail_bias)
        return x[:, :, kept] if self.is_3d else x.view(n, -1, 3, h, w).movedim(1, 2)

    def _forward_folded(self, x: Tensor) -> Tensor:
        """Training with every norm and activation applied as the next convolution loads its input: one tensor is stored
        per convolution, which leaves nothing for checkpointing to save."""
        blocks = [block for block in self.blocks if isinstance(block, ConvNormAct)]
        first, *convs = (block.conv for block in blocks)
        y, mean, var = first.with_statistics(x)
        for block, conv in zip(blocks, (*convs, self.tail), strict=True):
            if block.track:
                block.follow(mean, var)
            bias = self.tail_bias if conv is self.tail else None
            y, mean, var = conv.of_normalised(y, mean, var, block.gamma, block.beta, bias)
        return y


def as_frames(clip: Tensor) -> Tensor:
    """Single frames [N T, C, H, W] of a clip [N, C, T, H, W]."""
    return clip.movedim(2, 1).flatten(0, 1)


def with_neighbours(x: Tensor, kept: slice = slice(None), circular: bool = False) -> Tensor:
    """Frames [N T, 9, H, W] of `x` [N, 3, T, H, W]: the previous frame, the frame, the next one on the channel axis;
    of all frames, or of those `kept`. The neighbour beyond an end is that of the other end if `circular`, else the
    frame itself."""
    first, last = (x[:, :, -1:], x[:, :, :1]) if circular else (x[:, :, :1], x[:, :, -1:])
    before = torch.cat((first, x[:, :, :-1]), 2)
    after = torch.cat((x[:, :, 1:], last), 2)
    return as_frames(torch.cat((before, x, after), 1)[:, :, kept])


def generate_scale(generator: Generator, coarser: Tensor | None, noise: Tensor | PhiloxNoise | None,
                   amplitude: float, shape: tuple[int, int, int]) -> Tensor:
    """x_n = up(x_{n-1}) + tanh(G_n(sigma_n z_n + up(x_{n-1}))), eq. 2; up(...) is zero at scale 0.

    Args:
        coarser: x_{n-1} [N, 3, T, h, w], or None at scale 0, where N is 1.
        noise: z_n [N, 3, T, H, W], with 1 in place of N, 3 or T where all share one, or noise that is drawn where it
            is used; None for none (not at scale 0).
        amplitude: sigma_n; no noise where it is 0.
        shape: (T, H, W) of the result.

    Returns:
        [N, 3, T, H, W]; float32, beyond [-1, 1] where a residual overshoots.
    """
    inputs = generator_input(coarser, noise, amplitude, shape)
    return upsample_tanh_residual(coarser, shape[1:], generator(inputs))


def generator_input(coarser: Tensor | None, noise: Tensor | PhiloxNoise | None, amplitude: float,
                    shape: tuple[int, int, int]) -> Tensor:
    """sigma_n z_n + up(x_{n-1}) of eq. 2, with the arguments of `generate_scale`."""
    if coarser is not None:
        return upsample_add_noise(coarser, shape[1:], noise if amplitude else None, amplitude)
    assert noise is not None, "scale 0 is made from noise alone"
    return scaled_noise((1, 3, *shape), noise, amplitude)
