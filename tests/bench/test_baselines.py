"""The plain step computes what the engine's computes, so that their times may be compared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sgif.bench.baselines import PlainStep
from sgif.engine.config import TrainConfig
from sgif.engine.critics import Critic
from sgif.engine.layers import ConvNormAct
from sgif.engine.pyramid import ScalePlan
from sgif.engine.step import ScaleData, ScaleTrainer

WIDTH, FRAMES, SIZE = 4, 3, (9, 11)


def clip(seed: int) -> Tensor:
    return torch.rand((1, 3, FRAMES, *SIZE), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def in_order(critic: Critic) -> list[nn.Parameter]:
    """Parameters as the plain network has them: filters, then the norm's."""
    blocks = [block for block in critic.blocks if isinstance(block, ConvNormAct)]
    return [*(p for block in blocks for p in (block.conv.weight, block.gamma, block.beta)), critic.tail.weight]


@pytest.fixture
def trainer() -> ScaleTrainer:
    plan = ScalePlan(index=0, height=SIZE[0], width=SIZE[1], kind="3D", channels=WIDTH, frames_per_step=FRAMES,
                     iterations=1)
    data = ScaleData(real=clip(0), coarser_reconstruction=None, z_fixed=clip(1), noise_amp=1.0)
    return ScaleTrainer(plan, TrainConfig(device="cpu", fuse=False), [], data, torch.device("cpu"))


def test_critics_have_the_losses_and_gradients_of_the_engine(trainer: ScaleTrainer,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PlainStep(WIDTH, trainer.config)
    pairs = [(plain.image_critic, trainer.critics["image"]), (plain.video_critic, trainer.critics["video"])]
    for own, engines in pairs:
        for a, b in zip(own.parameters(), in_order(engines), strict=True):
            a.data.copy_(b.data)
    draw, fake = trainer.draw(0, 0), clip(2)
    mixes = iter((draw.image_mix, draw.video_mix))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: next(mixes))
    found, expected = plain.critic_step(draw.real, fake), trainer.critic_step(draw, fake)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].detach(), value, rtol=1e-4, atol=1e-5, msg=name)
    for own, engines in pairs:
        for (name, a), b in zip(own.named_parameters(), in_order(engines), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4 * float(b.grad.abs().max()), msg=name)


def test_a_step_has_every_loss_and_trains_every_network() -> None:
    plain = PlainStep(WIDTH, TrainConfig())
    networks = nn.ModuleList((plain.generator, plain.image_critic, plain.video_critic))
    before = [p.detach().clone() for p in networks.parameters()]
    real, noise, z_fixed = (torch.cat((clip(n), clip(n + 1))) for n in range(3))
    losses = plain(real, noise, z_fixed)
    assert losses.keys() == {"D/image", "D/image_gp", "D/video", "D/video_gp", "G/image", "G/video", "G/rec", "G/stat"}
    assert all(loss.isfinite() for loss in losses.values())
    assert all(not torch.equal(a, b) for a, b in zip(before, networks.parameters(), strict=True))


def test_singan_has_one_critic_and_no_colours() -> None:
    plain = PlainStep(WIDTH, TrainConfig(), singan=True)
    before = [p.detach().clone() for p in plain.image_critic.parameters()]
    losses = plain(clip(0), clip(1), clip(2))
    assert losses.keys() == {"D/video", "D/video_gp", "G/video", "G/rec"}
    assert all(torch.equal(a, b) for a, b in zip(before, plain.image_critic.parameters(), strict=True))
