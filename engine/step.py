"""One scale being trained: its networks, its optimizers, and the training step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..kernels import upsample_add_noise, upsample_tanh_residual
from .config import TrainConfig
from .critics import Critic, as_frames
from .device import frames_on
from .generator import Generator, generate_scale
from .layers import set_checkpointing
from .losses import color_statistics_loss, gradient_penalty, reconstruction_loss
from .noise import noise_seed, scale_noise
from .phases import PhaseClock
from .pyramid import ScalePlan
from .sampling import TrainedScale
from .seeding import integer, random_source, uniform

Losses = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class ScaleData:
    """What a scale learns from; all clips [1, 3, T, H, W] on the host, page-locked for a GPU (`host_copy`)."""

    real: Tensor
    coarser_reconstruction: Tensor | None   # None at scale 0
    z_fixed: Tensor                         # [1, 3, T, h, w] of scale 0
    noise_amp: float


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One draw: a window of the clip and the generator's input for it, on the device."""

    real: Tensor            # [1, 3, t, H, W]
    coarser: Tensor | None  # [2, 3, t, h, w]: a random clip of the coarser scales, and the clip's reconstruction
    inputs: Tensor          # [2, 3, t, H, W]: the same at this scale's size, the random one with noise


class ScaleTrainer:
    """The networks of one scale and how they learn. Every random number derives from (seed, scale, iteration)."""

    def __init__(self, plan: ScalePlan, config: TrainConfig, coarser: list[TrainedScale], data: ScaleData,
                 device: torch.device) -> None:
        self.plan, self.config, self.coarser, self.data, self.device = plan, config, coarser, data, device
        self.clock = PhaseClock(device)
        self.amplitudes = torch.tensor([data.noise_amp, 0.0], device=device)  # z_opt is zero above scale 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_source(config.seed, "weights", plan.index).initial_seed())
            self.generator = Generator(plan, config)
            self.image_critic = Critic(dims=2, width=plan.channels)
            self.video_critic = Critic(dims=3, width=plan.channels)
        for network in self.networks.values():
            network.to(device).train()
            set_checkpointing(network, config.checkpointing)
        critics = [*self.image_critic.parameters(), *self.video_critic.parameters()]
        self.optimizers = {"generator": self._adam(self.generator.parameters()), "critics": self._adam(critics)}

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "image_critic": self.image_critic, "video_critic": self.video_critic}

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=self.config.lr, betas=(self.config.beta1, 0.999), fused=True)

    def train_step(self, iteration: int) -> Losses:
        """One iteration: critic steps, then generator steps. Reads nothing back from the device.

        Returns:
            Every loss term, unweighted, as device scalars.
        """
        self._set_learning_rate(iteration)
        losses: Losses = {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp):
            for k in range(self.config.d_steps):
                batch = self.draw(iteration, k)
                # The generator steps begin with the forward that the last critic step used: its weights are the same.
                with torch.set_grad_enabled(k == self.config.d_steps - 1), self.clock("G/forward"):
                    clips = self.generate(batch)
                losses |= self.critic_step(batch.real, clips[:1].detach(), iteration, k)
            for k in range(self.config.g_steps):
                if k > 0:
                    batch = self.draw(iteration, self.config.d_steps - 1 + k)
                    with self.clock("G/forward"):
                        clips = self.generate(batch)
                losses |= self.generator_step(batch.real, clips)
        return losses

    def _set_learning_rate(self, iteration: int) -> None:
        """x lr_drop_factor from the iteration at lr_drop_at of all."""
        dropped = iteration >= self.config.lr_drop_at * self.plan.iterations
        lr = self.config.lr * (self.config.lr_drop_factor if dropped else 1.0)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr

    def draw(self, iteration: int, k: int) -> Batch:
        """A random window of consecutive frames, a random clip of the coarser scales, and noise."""
        config, frames, size = self.config, self.plan.frames_per_step, self.plan.size
        place = ("train", self.plan.index, iteration, k)
        seed = noise_seed(config.seed, *place, device=self.device)
        first = integer(self.data.real.shape[2] - frames + 1, config.seed, "window", *place)

        def window(clip: Tensor) -> Tensor:
            return frames_on(self.device, clip, first, frames)

        with torch.no_grad(), self.clock("coarser"):
            fake: Tensor | None = None
            for stage in self.coarser:
                noise = scale_noise(stage.plan, config, seed, frames, stage.plan.size)
                fake = generate_scale(stage.generator, fake, noise, stage.noise_amp, (frames, *stage.plan.size))
            noise = scale_noise(self.plan, config, seed, frames, size)
            if fake is None:
                assert isinstance(noise, Tensor)
                inputs = self.data.noise_amp * torch.cat((noise, window(self.data.z_fixed)))
                return Batch(real=window(self.data.real), coarser=None, inputs=inputs)
            assert self.data.coarser_reconstruction is not None
            coarser = torch.cat((fake, window(self.data.coarser_reconstruction)))
            inputs = upsample_add_noise(coarser, size, noise if self.data.noise_amp else None, self.amplitudes)
            return Batch(real=window(self.data.real), coarser=coarser, inputs=inputs)

    def generate(self, batch: Batch) -> Tensor:
        """The random clip and the reconstruction [2, 3, t, H, W], in one pass that normalises them together, as the
        running statistics of the frozen generator will."""
        return upsample_tanh_residual(batch.coarser, self.plan.size, self.generator(batch.inputs))

    def critic_step(self, real: Tensor, fake: Tensor, iteration: int, k: int) -> Losses:
        """Both critics, eq. 4: E[D(fake)] - E[D(real)] + lambda penalty."""
        self._critics_learn(True)
        losses: Losses = {}
        pairs = {"image": (self.image_critic, as_frames(real), as_frames(fake)),
                 "video": (self.video_critic, real, fake)}
        for name, (critic, real_x, fake_x) in pairs.items():
            with self.clock(f"D/{name}"):
                scores = critic(torch.cat((real_x, fake_x)), groups=2).flatten(1).mean(1)
                count = real_x.shape[0]
                losses[f"D/{name}"] = scores[count:].mean() - scores[:count].mean()
            with self.clock(f"D/{name}_gp"):
                mix = uniform((count, *[1] * (real_x.dim() - 1)), self.config.seed, "mix", name, self.plan.index,
                              iteration, k, device=self.device)
                losses[f"D/{name}_gp"] = gradient_penalty(critic, real_x, fake_x, mix, self.config.gp_norm)
        with self.clock("D/backward"):
            total = sum(losses[f"D/{name}"] + self.config.gp_weight * losses[f"D/{name}_gp"] for name in pairs)
            self._update("critics", total)
        return {name: loss.detach() for name, loss in losses.items()}

    def generator_step(self, real: Tensor, clips: Tensor) -> Losses:
        """The generator, eq. 3: both adversarial losses, reconstruction and colour statistics."""
        self._critics_learn(False)
        config, fake, reconstruction = self.config, clips[:1], clips[1:]
        with self.clock("G/losses"):
            losses = {
                "G/image": -self.image_critic(as_frames(fake)).mean(),
                "G/video": -self.video_critic(fake).mean(),
                "G/rec": reconstruction_loss(reconstruction, real),
                "G/stat": color_statistics_loss(fake, real),
            }
        with self.clock("G/backward"):
            total = (config.image_weight * losses["G/image"] + config.video_weight * losses["G/video"]
                     + config.rec_weight * losses["G/rec"] + config.stat_weight * losses["G/stat"])
            self._update("generator", total)
        return {name: loss.detach() for name, loss in losses.items()}

    def _update(self, name: str, loss: Tensor | float) -> None:
        assert isinstance(loss, Tensor)
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def _critics_learn(self, enabled: bool) -> None:
        """In generator steps the critics' weights take no gradient."""
        self.image_critic.requires_grad_(enabled)
        self.video_critic.requires_grad_(enabled)
