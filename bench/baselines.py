"""What one would write first: the same model and losses in plain torch modules, with autograd's own derivatives.

float32 unless under autocast, contiguous tensors, nn.Conv, nn.BatchNorm, nn.LeakyReLU, and the penalty's double
backward as autograd records it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..engine.config import TrainConfig
from ..engine.losses import ROOT_EPS, color_statistics_loss, reconstruction_loss
from ..engine.pyramid import ScalePlan
from ..kernels import frame_color_statistics
from .counters import Counters, count

Losses = dict[str, Tensor]


def _network(dims: int, width: int, outputs: int) -> nn.Sequential:
    """Five convolutions from three channels, filter 3, zeros around; norm and LeakyReLU behind all but the last."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
    layers: list[nn.Module] = []
    for channels in (3, width, width, width):
        layers += [conv(channels, width, 3, padding=1, bias=False), norm(width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, conv(width, outputs, 3, padding=1, bias=outputs == 3))


class PlainStep:
    """A dense 3D generator, critics, and one training step of them.

    Args:
        width: channels.
        config: weights of the losses and Adam's settings.
        fused: Adam in one launch.
        singan: SinGAN in 3D: without the image critic and the colour statistics.
    """

    def __init__(self, width: int, config: TrainConfig, *, fused: bool = False, singan: bool = False) -> None:
        self.config, self.singan = config, singan
        self.image_critic, self.video_critic = _network(2, width, 1), _network(3, width, 1)
        self.generator = _network(3, width, 3)
        critics = [*(() if singan else self.image_critic.parameters()), *self.video_critic.parameters()]
        self.critics_adam, self.generator_adam = (
            torch.optim.Adam(parameters, lr=config.lr, betas=(config.beta1, 0.999), fused=fused)
            for parameters in (critics, self.generator.parameters()))

    def to(self, device: torch.device) -> PlainStep:
        """Move the networks."""
        for network in (self.image_critic, self.video_critic, self.generator):
            network.to(device)
        return self

    def __call__(self, real: Tensor, noise: Tensor, z_fixed: Tensor) -> Losses:
        """A critic step and a generator step on `real`, `noise` and `z_fixed` [clips, 3, T, H, W]; every loss term,
        unweighted."""
        clips = torch.tanh(self.generator(torch.cat((noise, z_fixed))))
        fake, reconstruction = clips.chunk(2)
        losses = self.critic_step(real, fake.detach())
        losses |= {"G/video": -self.video_critic(fake).mean(), "G/rec": reconstruction_loss(reconstruction, real)}
        config = self.config
        total = config.video_weight * losses["G/video"] + config.rec_weight * losses["G/rec"]
        if not self.singan:
            losses |= {"G/image": -self.image_critic(_frames(fake)).mean(),
                       "G/stat": color_statistics_loss(fake, *frame_color_statistics(real))}
            total = total + config.image_weight * losses["G/image"] + config.stat_weight * losses["G/stat"]
        self.generator_adam.zero_grad()
        total.backward()
        self.generator_adam.step()
        return losses

    def critic_step(self, real: Tensor, fake: Tensor) -> Losses:
        losses: Losses = {}
        pairs = (("image", self.image_critic, _frames(real), _frames(fake)), ("video", self.video_critic, real, fake))
        for name, critic, real_x, fake_x in pairs[self.singan:]:
            losses[f"D/{name}"] = critic(fake_x).mean() - critic(real_x).mean()
            losses[f"D/{name}_gp"] = _gradient_penalty(critic, real_x, fake_x)
        total = sum(loss * (self.config.gp_weight if name.endswith("gp") else 1) for name, loss in losses.items())
        assert isinstance(total, Tensor)
        self.critics_adam.zero_grad()
        total.backward()
        self.critics_adam.step()
        return losses


def _frames(clips: Tensor) -> Tensor:
    return clips.transpose(1, 2).flatten(0, 1)


def _gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    mix = torch.rand(real.shape[0], *[1] * (real.dim() - 1), device=real.device)
    x = (mix * real + (1 - mix) * fake).requires_grad_()
    gradient, = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (((gradient.square().sum(1) + ROOT_EPS).sqrt() - 1) ** 2).mean()


def count_plain(plan: ScalePlan, *, amp: bool, singan: bool = False) -> Counters:
    """Counters of a plain step on one clip of a scale's shape. Its optimizers are fused, which torch's own default is
    not."""
    def make() -> Callable[[], object]:
        step = PlainStep(plan.channels, TrainConfig(), fused=True, singan=singan)
        clips = [torch.empty(1, 3, plan.frames_per_step, *plan.size) for _ in range(3)]

        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):  # fakes are on the CPU
                step(*clips)
        run()  # the first step makes what optimizers keep
        return run
    return count(make)
