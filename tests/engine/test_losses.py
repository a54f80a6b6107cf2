"""Losses beside hand-computed numbers, and the penalty beside plain autograd."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, leaky_relu

from sgif.engine.critics import Critic
from sgif.engine.losses import color_statistics_loss, gradient_penalty, psnr_db, reconstruction_loss
from sgif.engine.seeding import uniform
from sgif.kernels import frame_color_statistics

from .inputs import normal

SHAPES = {2: (4, 3, 9, 11), 3: (2, 3, 4, 9, 11)}


def clip_of(*frames: Tensor) -> Tensor:
    """[1, 3, T, H, W] of frames [3, H, W]."""
    return torch.stack(frames, 1)[None]


# ---- gradient penalty ------------------------------------------------------------------------------------------------


def plain_scores(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """A critic in plain torch, differentiated by autograd's own formulas."""
    convolve = torch.conv2d if x.dim() == 4 else torch.conv3d
    for n in range(4):
        x = convolve(x, weights[f"blocks.{n}.conv.weight"], padding=1)
        x = batch_norm(x, None, None, weights[f"blocks.{n}.gamma"], weights[f"blocks.{n}.beta"], training=True)
        x = leaky_relu(x, 0.2)
    return convolve(x, weights["tail.weight"], padding=1)


def plain_penalty(weights: dict[str, Tensor], real: Tensor, fake: Tensor, mix: Tensor, norm: str) -> Tensor:
    x = (mix * real + (1 - mix) * fake).requires_grad_()
    gradient, = torch.autograd.grad(plain_scores(x, weights).sum(), x, create_graph=True)
    length = gradient.norm(dim=1) if norm == "voxel" else gradient.flatten(1).norm(dim=1)
    return ((length - 1) ** 2).mean()


def with_gradients(penalty: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(penalty, list(weights.values()), allow_unused=True)
    return {"penalty": penalty.detach().double(),
            **{name: torch.zeros_like(weights[name]).double() if gradient is None else gradient.double()
               for name, gradient in zip(weights, gradients, strict=True)}}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
@pytest.mark.parametrize("norm", ["voxel", "sample"])
@pytest.mark.parametrize("dims", [2, 3])
def test_penalty_and_its_gradients_match_plain_autograd(dims: int, norm: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    critic = Critic(dims=dims, width=4)
    with torch.no_grad():
        for block in critic.blocks:
            block.gamma.uniform_(0.5, 1.5)
            block.beta.uniform_(-0.5, 0.5)
    real, fake = normal(SHAPES[dims], 0, "real"), normal(SHAPES[dims], 0, "fake")
    mix = uniform((real.shape[0], *[1] * (dims + 1)), 0, "mix")
    critic.to(dtype)

    def plain(kind: torch.dtype) -> dict[str, Tensor]:
        weights = {name: p.detach().to(kind).requires_grad_() for name, p in critic.named_parameters()}
        return with_gradients(plain_penalty(weights, real.to(kind), fake.to(kind), mix.to(kind), norm), weights)

    penalty = gradient_penalty(critic, real.to(dtype), fake.to(dtype), mix.to(dtype), norm)  # type: ignore[arg-type]
    assert penalty.dtype == torch.float32
    found, exact, single = with_gradients(penalty, dict(critic.named_parameters())), plain(torch.float64), \
        plain(torch.float32)
    for name, value in exact.items():
        # float64 weights: what remains is the rounding of the gradient to float32; else the reference's own error
        error = 0.0 if dtype == torch.float64 else 2 * float((single[name] - value).abs().max())
        band = 2**-20 * float(value.abs().max()) + 1e-9
        assert float((found[name] - value).abs().max()) <= error + band, name
    assert all(exact[name].abs().max() > 1e-3 for name in exact if "weight" in name)


WEIGHTS = torch.tensor([2.0, -1.0, 2.0])  # of length 3


def linear(x: Tensor) -> Tensor:
    return torch.tensordot(WEIGHTS, x, dims=([0], [1])).flatten(1).mean(1)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 6, 4, 5)], ids=["frames", "clip"])
def test_penalty_of_a_linear_critic(shape: tuple[int, ...]) -> None:
    real, fake = normal(shape, 0, "real"), normal(shape, 0, "fake")
    mix = uniform((2, *[1] * (len(shape) - 1)), 0, "mix")
    positions = math.prod(shape[2:])
    assert float(gradient_penalty(linear, real, fake, mix, "voxel")) == pytest.approx((3 - 1) ** 2)
    assert float(gradient_penalty(linear, real, fake, mix, "sample")) == pytest.approx((3 * positions**0.5 - 1) ** 2)


def test_penalty_is_taken_between_real_and_fake_with_one_number_per_sample() -> None:
    real, fake = normal((2, 3, 4, 5), 0, "real"), normal((2, 3, 4, 5), 0, "fake")
    mix = torch.tensor([0.25, 1.0]).view(2, 1, 1, 1)
    # D(x) = |x|^2 / 2 has the gradient x
    points = torch.stack((0.25 * real[0] + 0.75 * fake[0], real[1]))
    expected = ((points.norm(dim=1) - 1) ** 2).mean()
    penalty = gradient_penalty(lambda x: x.square().sum(1).flatten(1).mean(1) / 2, real, fake, mix, "voxel")
    assert float(penalty.detach()) == pytest.approx(float(expected), rel=1e-6)


def test_penalty_has_a_finite_gradient_where_the_critic_is_flat() -> None:
    weight = torch.zeros(3, requires_grad=True)
    x = normal((2, 3, 4, 5), 0, "x")
    penalty = gradient_penalty(lambda x: torch.tensordot(weight, x, dims=([0], [1])).flatten(1).mean(1), x, x,
                               torch.ones(2, 1, 1, 1), "voxel")
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(1, abs=1e-5)
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


# ---- reconstruction, colours -----------------------------------------------------------------------------------------


def test_reconstruction_loss_is_the_mean_distance() -> None:
    real = torch.zeros(1, 3, 2, 2, 2)
    reconstruction = real.clone()
    reconstruction[0, 0, 0] = 0.6
    reconstruction[0, 1, 1] = -0.3
    assert float(reconstruction_loss(reconstruction, real)) == pytest.approx((4 * 0.6 + 4 * 0.3) / 24)


HALVES = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
FLAT = torch.zeros(2, 2)


def color_loss(fake: Tensor, real: Tensor) -> Tensor:
    return color_statistics_loss(fake, *frame_color_statistics(real))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(torch.stack((FLAT + 0.3, FLAT, FLAT - 0.4)), 0.5),  # only the mean differs
     (torch.stack((HALVES, FLAT, FLAT)), 1.0),  # variance of red 1
     (torch.stack((HALVES, -HALVES, FLAT)), 2.0),  # four entries of the covariance are 1 or -1
     (torch.stack((HALVES, HALVES.T, FLAT)), 2**0.5),  # two, the colours vary apart
     (torch.stack((0.5 * HALVES + 0.3, FLAT + 0.4, FLAT)), 0.5 + 0.25)],
    ids=["mean", "variance", "covariance", "independent", "both"])
def test_colour_loss_of_a_frame_beside_black(frame: Tensor, expected: float) -> None:
    loss = color_loss(clip_of(frame), torch.zeros(1, 3, 1, 2, 2))
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_colour_loss_is_averaged_over_frames() -> None:
    bright, black = torch.stack((FLAT + 0.3, FLAT, FLAT)), torch.zeros(3, 2, 2)
    # averaged first, the frames' means would agree
    loss = color_loss(clip_of(bright, black, black), clip_of(black, bright, black))
    assert float(loss) == pytest.approx(0.2, abs=1e-5)


def test_colour_loss_compares_colours_and_not_places() -> None:
    frames = normal((1, 3, 2, 4, 6), 0, "frames")
    assert float(color_loss(frames.flip(3, 4), frames)) == pytest.approx(0, abs=1e-5)


def test_colour_loss_has_a_finite_gradient_at_its_minimum() -> None:
    frames = normal((1, 3, 2, 4, 6), 0, "frames").requires_grad_()
    gradient, = torch.autograd.grad(color_loss(frames, frames.detach()), frames)
    assert gradient.isfinite().all()


def test_psnr_of_a_known_error() -> None:
    a = torch.zeros(1, 3, 2, 4, 4)
    assert psnr_db(a, a + 0.2) == pytest.approx(10 * math.log10(4 / 0.04), abs=1e-4)
    assert psnr_db(a, a) > 120


def test_psnr_cuts_what_cannot_be_shown() -> None:
    a = torch.ones(1, 3, 2, 4, 4)
    assert psnr_db(a, a + 5) == psnr_db(a, a)
