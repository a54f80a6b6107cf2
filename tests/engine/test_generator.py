"""The generator: eq. 2, what a frame depends on, folded norms, running statistics, checkpointing."""

import typing
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, interpolate, leaky_relu, pad

from sgif.engine import generator as generator_module
from sgif.engine.config import CHOICES, TrainConfig
from sgif.engine.generator import NUM_CONVS, Generator, generate_scale, with_neighbours
from sgif.engine.layers import set_checkpointing
from sgif.engine.pyramid import ScalePlan
from sgif.kernels.batch_norm_act import EPS, SLOPE

from .inputs import normal

Plan = Callable[..., ScalePlan]
SEPARABLE = typing.get_args(CHOICES["separable"])
PADDING = typing.get_args(CHOICES["padding"])
FORMS = [("3D", separable) for separable in SEPARABLE] + [("2D", "depthwise")]


def make_generator(plan: ScalePlan, separable: str = "depthwise", padding: str = "zeros") -> Generator:
    """With random norms and running statistics, and a residual that matters."""
    torch.manual_seed(0)
    generator = Generator(plan, TrainConfig(separable=separable, padding=padding))  # type: ignore[arg-type]
    with torch.no_grad():
        for block in generator.blocks:
            block.gamma.uniform_(0.5, 1.5)
            block.beta.uniform_(-0.5, 0.5)
            block.running_mean.uniform_(-0.5, 0.5)
            block.running_var.uniform_(0.5, 2.0)
        generator.tail_bias.uniform_(-0.5, 0.5)
    return generator


def upsampled(clip: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.stack([interpolate(frame, size=size, mode="bilinear") for frame in clip.unbind(2)], 2)


class Half:
    """Stands for a generator: keeps its input and returns half of it."""

    def __call__(self, x: Tensor) -> Tensor:
        self.x = x
        return x / 2


# ---- eq. 2 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 3, 4, 9, 11), (1, 3, 1, 9, 11), (2, 1, 4, 9, 11)], ids=str)
def test_scale_adds_a_residual_to_the_coarser_clip(shape: tuple[int, ...]) -> None:
    half, coarser, noise = Half(), normal((2, 3, 4, 7, 8), 0, "coarser"), normal(shape, 0, "noise")
    clip = generate_scale(half, coarser, noise, 0.3, (4, 9, 11))  # type: ignore[arg-type]
    up = upsampled(coarser, (9, 11))
    torch.testing.assert_close(half.x, up + 0.3 * noise)
    torch.testing.assert_close(clip, up + torch.tanh((up + 0.3 * noise) / 2))


@pytest.mark.parametrize(("noise", "amplitude"), [(None, 0.3), (torch.full((1, 3, 4, 9, 11), torch.nan), 0.0)],
                         ids=["none", "not asked for"])
def test_scale_without_noise_refines_the_coarser_clip(noise: Tensor | None, amplitude: float) -> None:
    half, coarser = Half(), normal((1, 3, 4, 7, 8), 0, "coarser")
    up = upsampled(coarser, (9, 11))
    clip = generate_scale(half, coarser, noise, amplitude, (4, 9, 11))  # type: ignore[arg-type]
    torch.testing.assert_close(clip, up + torch.tanh(up / 2))


def test_coarsest_scale_makes_a_clip_from_noise_alone() -> None:
    half, noise = Half(), normal((1, 1, 4, 9, 11), 0, "noise")
    clip = generate_scale(half, None, noise, 0.3, (4, 9, 11))  # type: ignore[arg-type]
    assert torch.equal(half.x, (0.3 * noise).expand(1, 3, 4, 9, 11))
    torch.testing.assert_close(clip, torch.tanh(0.15 * noise).expand(1, 3, 4, 9, 11))


# ---- frames ----------------------------------------------------------------------------------------------------------


def test_neighbours_stand_beside_each_frame_and_end_frames_for_the_missing_ones() -> None:
    clip = torch.arange(2.0).view(2, 1, 1, 1, 1) * 100 + torch.arange(3.0).view(1, 3, 1, 1, 1) * 10 \
        + torch.arange(4.0).view(1, 1, 4, 1, 1)  # sample, colour, frame
    neighbours = [(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3)]
    expected = [[100 * n + 10 * c + t for t in times for c in range(3)] for n in range(2) for times in neighbours]
    assert with_neighbours(clip).shape == (8, 9, 1, 1)
    assert with_neighbours(clip).flatten(1).tolist() == expected


def test_single_frame_is_its_own_neighbour() -> None:
    assert with_neighbours(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1, 1)).flatten().tolist() == [1, 2, 3] * 3


@pytest.mark.parametrize(("kind", "separable"), FORMS)
@torch.no_grad()
def test_reach_is_how_far_a_changed_frame_is_felt(make_plan: Plan, kind: str, separable: str) -> None:
    generator = make_generator(make_plan(kind=kind), separable).eval()
    x = normal((1, 3, 15, 9, 11), 0, "x")
    y = generator(x)
    for frame in (0, 7, 14):
        changed = x.clone()
        changed[:, :, frame] += 10
        felt = (generator(changed) - y).abs().amax((0, 1, 3, 4)) > 1e-5
        assert felt.tolist() == [abs(t - frame) <= generator.reach_frames for t in range(15)]


@pytest.mark.parametrize(("kind", "separable"), FORMS)
@torch.no_grad()
def test_samples_do_not_mix_in_a_frozen_generator(make_plan: Plan, kind: str, separable: str) -> None:
    generator = make_generator(make_plan(kind=kind), separable).eval()
    x = normal((2, 3, 4, 9, 11), 0, "x")
    torch.testing.assert_close(generator(x), torch.cat((generator(x[:1]), generator(x[1:]))), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize(("kind", "separable"), FORMS)
@pytest.mark.parametrize("frames", [1, 4])
@torch.no_grad()
def test_size_is_kept(make_plan: Plan, kind: str, separable: str, padding: str, frames: int) -> None:
    generator = make_generator(make_plan(kind=kind), separable, padding)
    x = normal((2, 3, frames, 9, 11), 0, "x")
    for training in (True, False):
        y = generator.train(training)(x)
        assert y.shape == x.shape
        assert y.isfinite().all()


def test_first_convolution_of_a_2d_scale_sees_nine_channels(make_plan: Plan) -> None:
    assert Generator(make_plan(kind="2D"), TrainConfig()).blocks[0].conv.weight.shape == (4, 9, 3, 3)


# ---- norms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize(("kind", "separable"), FORMS)
@torch.no_grad()
def test_folded_norms_equal_running_statistics_applied_apart(make_plan: Plan, kind: str, separable: str,
                                                             padding: str) -> None:
    generator = make_generator(make_plan(kind=kind), separable, padding).double().eval()
    x = normal((2, 3, 4, 9, 11), 0, "x").double()
    y = pad(x, (NUM_CONVS,) * 4 + (0, 0)) if padding == "once" else x
    y = y if kind == "3D" else with_neighbours(y)
    for block in generator.blocks:
        y = batch_norm(block.conv(y), block.running_mean, block.running_var, block.gamma, block.beta, eps=EPS)
        y = leaky_relu(y, SLOPE)
    y = generator.tail(y) + generator.tail_bias.view(-1, *[1] * (y.dim() - 2))
    y = y if kind == "3D" else y.unflatten(0, (2, 4)).movedim(1, 2)
    torch.testing.assert_close(generator(x), y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding", PADDING)
def test_norms_folded_into_the_next_convolution_change_nothing(make_plan: Plan, padding: str,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    x, states = normal((2, 3, 4, 9, 11), 0, "x").double(), []
    for folds in (False, True):
        monkeypatch.setattr(generator_module, "folds_norm_act", lambda *_, folds=folds: folds)
        generator = make_generator(make_plan(), "depthwise", padding).double()
        y = generator(x.requires_grad_())
        names, leaves = zip(*generator.named_parameters(), strict=True)
        gradients = torch.autograd.grad((y * normal(tuple(y.shape), 0, "dy")).sum(), (x, *leaves))
        states.append({"y": y.detach(), **dict(zip(("dx", *names), gradients, strict=True)),
                       **dict(generator.named_buffers())})
    assert len(states[0]) == len({**states[0], **states[1]}) == 2 + len(names) + 8
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-9, atol=1e-9, msg=name)


def test_only_training_of_separable_generators_is_folded(make_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[str] = []
    monkeypatch.setattr(generator_module, "folds_norm_act", lambda *_: True)
    for kind, separable in FORMS:
        generator = make_generator(make_plan(kind=kind), separable)
        name = f"{kind} {separable}"
        monkeypatch.setattr(generator, "_forward_folded", lambda x, name=name: folded.append(name) or x)
        for training in (False, True):
            generator.train(training)(normal((1, 3, 4, 9, 11), 0, "x"))
    assert folded == ["3D depthwise"]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("kind", "separable"), FORMS)
def test_running_statistics_move_once_per_forward(make_plan: Plan, kind: str, separable: str,
                                                  checkpointing: bool) -> None:
    generator = make_generator(make_plan(kind=kind), separable).double()
    set_checkpointing(generator, checkpointing)
    x = normal((2, 3, 4, 9, 11), 0, "x").double()
    expected, y = [], x if kind == "3D" else with_neighbours(x)
    for block in generator.blocks:
        y = block.conv(y)
        rows = y.movedim(1, -1).flatten(0, -2)
        expected += [0.9 * block.running_mean + 0.1 * rows.mean(0),
                     0.9 * block.running_var + 0.1 * rows.var(0, correction=0)]
        y = leaky_relu(batch_norm(y, None, None, block.gamma, block.beta, training=True, eps=EPS), SLOPE)
    generator(x).square().sum().backward()
    moved = [statistic for block in generator.blocks for statistic in (block.running_mean, block.running_var)]
    torch.testing.assert_close(moved, expected, rtol=1e-9, atol=1e-9)


def test_frozen_generator_keeps_its_running_statistics(make_plan: Plan) -> None:
    generator = make_generator(make_plan()).eval()
    before = {name: value.clone() for name, value in generator.named_buffers()}
    generator(normal((1, 3, 4, 9, 11), 0, "x"))
    assert before
    assert all(torch.equal(value, before[name]) for name, value in generator.named_buffers())


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize(("kind", "separable"), FORMS)
def test_checkpointing_changes_no_bit_of_the_gradients(make_plan: Plan, kind: str, separable: str,
                                                       padding: str) -> None:
    x, states = normal((2, 3, 4, 9, 11), 0, "x"), []
    for checkpointing in (False, True):
        generator = make_generator(make_plan(kind=kind), separable, padding)
        set_checkpointing(generator, checkpointing)
        y = generator(x)
        (y * normal(tuple(y.shape), 0, "dy")).sum().backward()
        states.append({"y": y.detach(), **generator.state_dict(),
                       **{f"d{name}": p.grad for name, p in generator.named_parameters()}})
    assert all(value is not None for value in states[0].values())
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []
