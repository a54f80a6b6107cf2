"""The critics: what a score sees, norms per group, checkpointing through the penalty."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from sgif.engine import layers
from sgif.engine.critics import Critic
from sgif.engine.generator import as_frames
from sgif.engine.layers import set_checkpointing
from sgif.engine.losses import gradient_penalty
from sgif.engine.seeding import uniform

from .inputs import normal

SHAPES = {2: (3, 3, 9, 11), 3: (2, 3, 4, 9, 11)}


def make_critic(dims: int) -> Critic:
    torch.manual_seed(0)
    critic = Critic(dims=dims, width=4)
    with torch.no_grad():
        for block in critic.blocks:
            block.gamma.uniform_(0.5, 1.5)
            block.beta.uniform_(-0.5, 0.5)
    return critic


@pytest.mark.parametrize("dims", [2, 3])
def test_a_score_is_the_mean_over_all_positions(dims: int) -> None:
    critic, x = make_critic(dims), normal(SHAPES[dims], 0, "x")
    torch.testing.assert_close(critic(x), score_map(critic, x).flatten(1).mean(1))


def score_map(critic: Critic, x: Tensor) -> Tensor:
    """A score at every position [N, 1, (T,) H, W]."""
    for block in critic.blocks:
        x = block(x)
    scores: Tensor = critic.tail(x)
    return scores


@pytest.mark.parametrize(("dims", "size"), [(2, (13, 15)), (3, (13, 13, 15))])
@torch.no_grad()
def test_score_sees_eleven_values_along_each_axis(dims: int, size: tuple[int, ...],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    # A norm lets every position see every other one, through the statistics: it is left out here.
    monkeypatch.setattr(layers, "batch_norm_act", lambda x, gamma, beta, groups: (leaky_relu(x, 0.2), None, None))
    critic, centre = make_critic(dims), [n // 2 for n in size]
    x = normal((1, 3, *size), 0, "x")
    changed = x.clone()
    changed[(0, slice(None), *centre)] += 100
    felt = (score_map(critic, changed) - score_map(critic, x))[0, 0].abs() > 1e-5
    expected = torch.zeros(size, dtype=torch.bool)
    expected[tuple(slice(c - 5, c + 6) for c in centre)] = True
    assert torch.equal(felt, expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_groups_are_scored_as_if_alone(dims: int) -> None:
    critic = make_critic(dims).double()
    real, fake = normal(SHAPES[dims], 0, "real").double(), 3 * normal(SHAPES[dims], 0, "fake").double() + 1
    together, apart = critic(torch.cat((real, fake)), groups=2), torch.cat((critic(real), critic(fake)))
    torch.testing.assert_close(together, apart, rtol=1e-6, atol=1e-6)
    mixed = critic(torch.cat((real, fake)))
    assert (mixed - apart).abs().max() > 0.1

    upstream = normal(tuple(together.shape), 0, "upstream")
    parameters = dict(critic.named_parameters())
    for name, a, b in zip(parameters, torch.autograd.grad((together * upstream).sum(), list(parameters.values())),
                          torch.autograd.grad((apart * upstream).sum(), list(parameters.values())), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=f"gradient of {name}")


@pytest.mark.parametrize("norm", ["voxel", "sample"])
@pytest.mark.parametrize("dims", [2, 3])
def test_checkpointing_changes_no_bit_of_the_gradients(dims: int, norm: str) -> None:
    real, fake = normal(SHAPES[dims], 0, "real"), normal(SHAPES[dims], 0, "fake")
    mix = uniform((real.shape[0], *[1] * (dims + 1)), 0, "mix")
    results: list[dict[str, Tensor | None]] = []
    for checkpointing in (False, True):
        critic = make_critic(dims)
        set_checkpointing(critic, checkpointing)
        scores = critic(torch.cat((real, fake)), groups=2)
        penalty = gradient_penalty(critic, real, fake, mix, norm)  # type: ignore[arg-type]
        (scores[: real.shape[0]].mean() - scores[real.shape[0] :].mean() + penalty).backward()
        results.append({"scores": scores.detach(), "penalty": penalty.detach(),
                        **{name: p.grad for name, p in critic.named_parameters()}})
    assert all(value is not None for value in results[0].values())
    assert [name for name in results[0] if not torch.equal(results[0][name], results[1][name])] == []


def test_frames_are_single_pictures_in_the_order_of_time() -> None:
    clip = torch.arange(2 * 3 * 4).view(2, 3, 4, 1, 1)
    frames = as_frames(clip)
    assert frames.shape == (8, 3, 1, 1)
    assert torch.equal(frames, torch.stack([clip[n, :, t] for n in range(2) for t in range(4)]))
