"""One scale being trained: its networks, its optimizers, and the training step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..kernels import channels_last, frame_color_statistics, upsample_add_noise, upsample_tanh_residual
from .config import TrainConfig
from .critics import Critic
from .device import frames_on
from .generator import Generator, as_frames, generate_scale
from .layers import set_checkpointing, untracked, weights_cast
from .losses import color_statistics_loss, gradient_penalty, reconstruction_loss
from .noise import clip_path, noise_seed, scale_noise
from .phases import PhaseClock
from .pyramid import ScalePlan
from .ranks import ALONE, Ranks
from .sampling import TrainedScale
from .seeding import integer, random_source, uniform
from .step_graph import StepGraph

Losses = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class ScaleData:
    """What a scale learns from; all clips [1, 3, T, H, W] on the host, page-locked for a GPU (`host_copy`). k is
    `slow_motion`, the number of frames made for each of the clip's."""

    real: Tensor
    coarser_reconstruction: Tensor | None   # [1, 3, k T, h, w]; None at scale 0
    z_fixed: Tensor                         # [1, 3, k T, h, w] of scale 0
    noise_amp: float


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one critic or generator step takes from outside, on the device: a window of the clip and random numbers."""

    real: Tensor            # [1, 3, t, H, W]
    coarse: Tensor          # [1, 3, k t, h, w]: the window as the coarser scales reconstruct it; at scale 0 of z*
    real_mean: Tensor | None  # [1, t, 3], of the colours of each frame; None without a loss of colours
    real_cov: Tensor | None   # [1, t, 3, 3]
    seed: Tensor            # int64, all its noise derives from it
    image_mix: Tensor       # [k t, 1, 1, 1], of real and fake frames in the image critic's penalty
    video_mix: Tensor       # [1, 1, 1, 1, 1], the video critic's
    path: Tensor | None     # [k t], where the window's frames are in the clip, with slow motion


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The generator's input for a draw."""

    coarser: Tensor | None  # [2, 3, k t, h, w]: a random clip of the coarser scales, and the clip's reconstruction
    inputs: Tensor          # [2, 3, k t, H, W]: the same at this scale's size, the random one with noise


class ScaleTrainer:
    """The networks of one scale and how they learn: a generator, and the critics whose weight is not 0. Every random
    number derives from (seed, scale, iteration), and of several `ranks` from this one's number."""

    def __init__(self, plan: ScalePlan, config: TrainConfig, coarser: list[TrainedScale], data: ScaleData,
                 device: torch.device, ranks: Ranks = ALONE) -> None:
        self.plan, self.config, self.coarser, self.data, self.device = plan, config, coarser, data, device
        self.ranks = ranks
        self.colors: list[Tensor] | None = None  # of the whole clip
        if config.stat_weight:
            by_frame = zip(*(frame_color_statistics(frame) for frame in data.real.split(1, 2)), strict=True)
            self.colors = [torch.cat(statistic, 1).to(device) for statistic in by_frame]
        self.clock = PhaseClock(device)
        self.amplitudes = torch.tensor([data.noise_amp, 0.0], device=device)  # z_opt is zero above scale 0
        weights = {"D/image": 1.0, "D/image_gp": config.gp_weight, "D/video": 1.0, "D/video_gp": config.gp_weight,
                   "G/image": config.image_weight, "G/video": config.video_weight, "G/rec": config.rec_weight,
                   "G/stat": config.stat_weight}
        self.weights = {name: torch.tensor(weight, device=device) for name, weight in weights.items()}
        samples = {"image": plan.frames_made, "video": 1}
        self.fake_minus_real = {name: torch.tensor([-1.0 / count] * count + [1.0 / count] * count, device=device)
                                for name, count in samples.items()}  # of scores: the mean of fake ones - of real ones
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_source(config.seed, "weights", plan.index).initial_seed())
            self.generator = Generator(plan, config)
            critics = (("image", 2, config.image_weight), ("video", 3, config.video_weight))
            self.critics = {name: Critic(dims=dims, width=plan.channels) for name, dims, weight in critics if weight}
        for network in self.networks.values():
            network.to(device).train()
            set_checkpointing(network, config.checkpointing)
        judges = [parameter for critic in self.critics.values() for parameter in critic.parameters()]
        self.optimizers = {"generator": self._adam(self.generator.parameters()), "critics": self._adam(judges)}
        self.captured = config.graphs and device.type == "cuda" and ranks.count == 1  # messages were not tried in one
        self.graph: StepGraph | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, **{f"{name}_critic": critic for name, critic in self.critics.items()}}

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        on_gpu = self.device.type == "cuda"
        lr = torch.tensor(self.config.lr, device=self.device) if on_gpu else self.config.lr
        return torch.optim.Adam(parameters, lr=lr, betas=(self.config.beta1, 0.999), fused=True, capturable=on_gpu)

    def train_step(self, iteration: int) -> Losses:
        """One iteration: critic steps, then generator steps. Reads nothing back from the device.

        Returns:
            Every loss term, unweighted, as device scalars; with a CUDA graph the next step overwrites them.
        """
        self._set_learning_rate(iteration)
        draws = [self.draw(iteration, k) for k in range(self.config.d_steps + self.config.g_steps - 1)]
        if not self.captured:
            return self.run(draws)
        if self.graph is None:
            self.graph = StepGraph(self.run, self.warm_up, draws, self.clock)
        with self.clock("step"):
            return self.graph(draws)

    def run(self, draws: Sequence[Draw]) -> Losses:
        """All that the device does in an iteration. The same launches each time, at addresses that stay."""
        losses: Losses = {}
        d_steps, g_steps = self.config.d_steps, self.config.g_steps
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp):
            for k, draw in enumerate(draws[:d_steps]):
                batch = self.prepare(draw)
                # The generator steps begin with the forward that the last critic step used: its weights are the same.
                kept = k == d_steps - 1 and not self.config.checkpointing
                with torch.set_grad_enabled(kept), self.clock("G/forward"):
                    clips = self.generate(batch)
                losses |= self.critic_step(draw, clips[:1].detach())
            if self.config.checkpointing:  # what that forward keeps would lie there while the critics learn
                with untracked(self.generator), self.clock("G/forward"):
                    clips = self.generate(batch)
            for k, draw in enumerate(draws[-g_steps:]):
                if k > 0:
                    batch = self.prepare(draw)
                    with self.clock("G/forward"):
                        clips = self.generate(batch)
                losses |= self.generator_step(draw, clips)
        return losses

    def warm_up(self, draws: Sequence[Draw]) -> None:
        """A step that leaves no trace but this: every kernel that `run` launches is compiled, and what the optimizers
        keep is allocated."""
        fresh = {name: not optimizer.state for name, optimizer in self.optimizers.items()}
        before = [(tensor, tensor.detach().clone()) for tensor in self._learned()]
        self.run(draws)
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
            for name, optimizer in self.optimizers.items():
                if fresh[name]:
                    torch._foreach_zero_([slot for slots in optimizer.state.values() for slot in slots.values()])
                optimizer.zero_grad(set_to_none=True)

    def _learned(self) -> Iterator[Tensor]:
        """Everything that a step changes and the next one reads."""
        for network in self.networks.values():
            yield from (*network.parameters(), *network.buffers())
        for optimizer in self.optimizers.values():
            yield from (slot for slots in optimizer.state.values() for slot in slots.values())

    def _set_learning_rate(self, iteration: int) -> None:
        """x lr_drop_factor from the iteration at lr_drop_at of all."""
        dropped = iteration >= self.config.lr_drop_at * self.plan.iterations
        lr = self.config.lr * (self.config.lr_drop_factor if dropped else 1.0)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(lr)
                else:
                    group["lr"] = lr

    def draw(self, iteration: int, k: int) -> Draw:
        """A random window of consecutive frames, and random numbers."""
        config, data, frames, per_frame = self.config, self.data, self.plan.frames_per_step, self.plan.slow_motion
        made = self.plan.frames_made
        place: tuple[str | int, ...] = ("train", self.plan.index, iteration, k, *self.ranks.drawn)
        first = integer(data.real.shape[2] - frames + 1, config.seed, "window", *place)

        def mix(name: str, *shape: int) -> Tensor:
            return uniform(shape, config.seed, "mix", name, *place[1:], device=self.device)

        mean, cov = (statistic[:, first:first + frames] for statistic in self.colors) if self.colors else (None, None)
        coarse = data.z_fixed if data.coarser_reconstruction is None else data.coarser_reconstruction
        return Draw(real=frames_on(self.device, data.real, first, frames),
                    coarse=frames_on(self.device, coarse, per_frame * first, made), real_mean=mean, real_cov=cov,
                    seed=noise_seed(config.seed, *place, device=self.device),
                    image_mix=mix("image", made, 1, 1, 1), video_mix=mix("video", 1, 1, 1, 1, 1),
                    path=clip_path(config, per_frame * first, made, coarse.shape[2], self.device))

    def prepare(self, draw: Draw) -> Batch:
        """The generator's input: a random clip of the coarser scales with noise, and the clip's reconstruction."""
        config, frames, size = self.config, self.plan.frames_made, self.plan.size
        with torch.no_grad(), self.clock("coarser"):
            fake: Tensor | None = None
            for stage in self.coarser:
                noise = scale_noise(stage.plan, config, draw.seed, frames, stage.plan.size, path=draw.path)
                fake = generate_scale(stage.generator, fake, noise, stage.noise_amp, (frames, *stage.plan.size))
            noise = scale_noise(self.plan, config, draw.seed, frames, size, path=draw.path)
            if fake is None:
                assert isinstance(noise, Tensor)
                return Batch(coarser=None, inputs=self.data.noise_amp * torch.cat((noise, draw.coarse)))
            coarser = torch.cat((fake, draw.coarse))
            inputs = upsample_add_noise(coarser, size, noise if self.data.noise_amp else None, self.amplitudes)
            return Batch(coarser=coarser, inputs=inputs)

    def generate(self, batch: Batch) -> Tensor:
        """The random clip and the reconstruction [2, 3, k t, H, W], in one pass that normalises them together, as the
        running statistics of the frozen generator will."""
        return upsample_tanh_residual(batch.coarser, self.plan.size, self.generator(batch.inputs))

    def critic_step(self, draw: Draw, fake: Tensor) -> Losses:
        """The critics, eq. 4: E[D(fake)] - E[D(real)] + lambda penalty. Each term is differentiated as soon as it is
        there, so that what one needs for that is gone before the next comes. With slow motion the image critic sees all
        that is made, beside each real frame as often as it is needed, the video critic every k-th frame (5.2)."""
        self._critics_learn(True)
        self.optimizers["critics"].zero_grad(set_to_none=True)
        losses: Losses = {}
        real, fake = channels_last(draw.real), channels_last(fake)  # once for both: frames are then a view
        as_many = channels_last(real.repeat_interleave(self.plan.slow_motion, 2)) if self.plan.slow_motion > 1 else real
        pairs = {"image": (as_frames(as_many), as_frames(fake), draw.image_mix),
                 "video": (real, self._at_clip_rate(fake), draw.video_mix)}
        with weights_cast(self.critics.values(), self.device.type):
            for name, critic in self.critics.items():
                real_x, fake_x, mix = pairs[name]
                with self.clock(f"D/{name}"):
                    scores = critic(torch.cat((real_x, fake_x)), groups=2)
                    losses[f"D/{name}"] = self._differentiated(f"D/{name}", (scores * self.fake_minus_real[name]).sum())
                    del scores
                with self.clock(f"D/{name}_gp"):
                    penalty = gradient_penalty(critic, real_x, fake_x, mix, self.config.gp_norm)
                    losses[f"D/{name}_gp"] = self._differentiated(f"D/{name}_gp", penalty)
                    del penalty
        self._learn("D", "critics", losses)
        return losses

    def generator_step(self, draw: Draw, clips: Tensor) -> Losses:
        """The generator, eq. 3: adversarial losses, reconstruction and colour statistics. Their gradients meet at the
        clips, one after the other. With slow motion all but the image critic see every k-th frame."""
        self._critics_learn(False)
        self.optimizers["generator"].zero_grad(set_to_none=True)
        fake, reconstruction = (part.detach().requires_grad_() for part in clips.split(1))
        losses: Losses = {}

        def add(name: str, loss: Tensor) -> None:
            losses[name] = self._differentiated(name, loss)

        with self.clock("G/losses"), weights_cast(self.critics.values(), self.device.type):
            if "image" in self.critics:
                add("G/image", -self.critics["image"](as_frames(fake)).mean())
            if "video" in self.critics:
                add("G/video", -self.critics["video"](self._at_clip_rate(fake)).mean())
            add("G/rec", reconstruction_loss(self._at_clip_rate(reconstruction), draw.real))
            if draw.real_mean is not None and draw.real_cov is not None:
                add("G/stat", color_statistics_loss(self._at_clip_rate(fake), draw.real_mean, draw.real_cov))
        with self.clock("G/backward"):
            assert fake.grad is not None
            assert reconstruction.grad is not None
            with torch.autocast(self.device.type, enabled=False):
                clips.backward(torch.cat((fake.grad, reconstruction.grad)))
        self._learn("G", "generator", losses)
        return losses

    def _at_clip_rate(self, clip: Tensor) -> Tensor:
        """The frames that stand for the clip's: every k-th with slow motion, else all."""
        return channels_last(clip[:, :, ::self.plan.slow_motion]) if self.plan.slow_motion > 1 else clip

    def _differentiated(self, name: str, loss: Tensor) -> Tensor:
        """Add the gradients of the loss, times its weight, to what there is; give its value."""
        with torch.autocast(self.device.type, enabled=False):  # which would round what a backward multiplies
            loss.backward(self.weights[name])
        return loss.detach()

    def _learn(self, phase: str, name: str, losses: Losses) -> None:
        """Let an optimizer step, on the mean of the ranks' gradients. Losses and running statistics become means too,
        of which the latter move as if one process had seen all batches: what they are is linear in those of a batch."""
        optimizer = self.optimizers[name]
        if self.ranks.count > 1:
            learned = [p.grad for p in optimizer.param_groups[0]["params"] if p.grad is not None]
            seen = self.generator.buffers() if name == "generator" else ()
            with self.clock(f"{phase}/average"):
                self.ranks.average([*learned, *seen, *losses.values()])
        with self.clock(f"{phase}/adam"):
            optimizer.step()

    def _critics_learn(self, enabled: bool) -> None:
        """In generator steps the critics' weights take no gradient."""
        for critic in self.critics.values():
            critic.requires_grad_(enabled)
