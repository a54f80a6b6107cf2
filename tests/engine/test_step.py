"""One training step beside a plain one in float64, and what a step may and may not touch."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode

from sgif.engine.step import Draw, Losses, ScaleData, ScaleTrainer

from .plain_step import WEIGHTS, assert_gradients_match, assert_losses_match, doubles, plain_step, shift_norms

MakeTrainer = Callable[..., ScaleTrainer]

CASES = [(0, {}), (1, {"separable": "r2plus1d"}), (1, {"separable": "dense", "gp_norm": "sample"}), (2, {}),
         (0, {"padding": "once"}), (2, {"padding": "reflect"}), (1, {"padding": "replicate", "checkpointing": True})]


@pytest.mark.parametrize(("scale", "changes"), CASES, ids=str)
def test_step_matches_plain_torch(scale: int, changes: dict[str, Any], make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(scale, **WEIGHTS, **changes)
    shift_norms(trainer)
    before = {name: doubles(network) for name, network in trainer.networks.items()}
    draw = trainer.draw(3, 0)
    losses, batch = trainer.train_step(3), trainer.prepare(draw)
    learned = {name: doubles(critic) for name, critic in trainer.networks.items() if name != "generator"}
    plain = plain_step(trainer, before, learned, [(draw, batch)])
    for name, network in trainer.networks.items():
        assert_gradients_match({key: p.grad for key, p in network.named_parameters()}, plain.gradients[name], name)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert_losses_match(losses, plain.losses)


@pytest.mark.parametrize("beta1", [0.5, 0.0])
def test_optimizers_are_adam_with_the_given_beta(make_trainer: MakeTrainer, beta1: float) -> None:
    trainer = make_trainer(1, beta1=beta1, lr=1e-3)
    parameters = {f"{name}.{key}": p for name, network in trainer.networks.items()
                  for key, p in network.named_parameters()}
    first = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    second = {name: value.clone() for name, value in first.items()}
    expected = {name: p.detach().double() for name, p in parameters.items()}
    for n in (1, 2, 3):
        trainer.train_step(n)
        for name, p in parameters.items():
            assert p.grad is not None
            first[name] = beta1 * first[name] + (1 - beta1) * p.grad.double()
            second[name] = 0.999 * second[name] + 0.001 * p.grad.double() ** 2
            step_size = first[name] / (1 - beta1**n) / ((second[name] / (1 - 0.999**n)).sqrt() + 1e-8)
            expected[name] -= 1e-3 * step_size
            torch.testing.assert_close(p.detach().double(), expected[name], rtol=1e-5, atol=2e-6, msg=name)


# ---- schedule --------------------------------------------------------------------------------------------------------


def rates(trainer: ScaleTrainer) -> list[float]:
    return [group["lr"] for optimizer in trainer.optimizers.values() for group in optimizer.param_groups]


def test_learning_rate_drops_at_the_given_part_of_the_iterations(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(0, iterations=10, lr=1e-3, lr_drop_at=0.8, lr_drop_factor=0.1)
    for iteration, expected in [(0, 1e-3), (7, 1e-3), (8, 1e-4), (9, 1e-4), (0, 1e-3)]:
        trainer.train_step(iteration)
        assert rates(trainer) == pytest.approx([expected] * 2)


def test_learning_rate_never_drops_at_one(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(0, iterations=3, lr=1e-3, lr_drop_at=1.0)
    trainer.train_step(2)
    assert rates(trainer) == [1e-3] * 2


def hooked(trainer: ScaleTrainer, hook: Callable[[str], None]) -> None:
    """Call `hook` with an optimizer's name before it steps."""
    for name, optimizer in trainer.optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, name=name: hook(name))


@pytest.mark.parametrize(("d_steps", "g_steps"), [(1, 1), (3, 1), (1, 3), (2, 2)])
def test_iteration_is_critic_steps_then_generator_steps(make_trainer: MakeTrainer, d_steps: int, g_steps: int) -> None:
    trainer = make_trainer(1, d_steps=d_steps, g_steps=g_steps)
    steps: list[str] = []
    hooked(trainer, steps.append)
    trainer.train_step(0)
    assert steps == ["critics"] * d_steps + ["generator"] * g_steps


def test_every_step_of_an_iteration_draws_for_itself_but_the_turn_from_critics_to_generator(
        make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(1, d_steps=2, g_steps=3)
    fakes: list[tuple[str, Tensor]] = []

    def record(name: str, method: Callable[..., Losses]) -> None:
        def recording(draw: Draw, clips: Tensor) -> Losses:
            fakes.append((name, clips[:1].detach()))
            return method(draw, clips)
        monkeypatch.setattr(trainer, name, recording)

    record("critic_step", trainer.critic_step)
    record("generator_step", trainer.generator_step)
    trainer.train_step(0)
    assert [name for name, _ in fakes] == ["critic_step"] * 2 + ["generator_step"] * 3
    same = [torch.equal(a[1], b[1]) for a, b in pairwise(fakes)]
    assert same == [False, True, False, False]


# ---- windows ---------------------------------------------------------------------------------------------------------


def numbered(clip: Tensor) -> Tensor:
    """`clip` with every frame filled with its number."""
    return torch.arange(float(clip.shape[2])).view(1, 1, -1, 1, 1).expand_as(clip).contiguous()


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_real_clip_and_reconstruction_come_from_one_window_inside_the_clip(scale: int,
                                                                          make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(scale)
    data, frames, total = trainer.data, trainer.plan.frames_per_step, trainer.data.real.shape[2]
    coarser = data.coarser_reconstruction
    trainer.data = ScaleData(real=numbered(data.real), z_fixed=numbered(data.z_fixed), noise_amp=1.0,
                             coarser_reconstruction=None if coarser is None else numbered(coarser))
    firsts = set()
    for iteration in range(60):
        draw = trainer.draw(iteration, 0)
        batch = trainer.prepare(draw)
        assert draw.real.shape == (1, 3, frames, *trainer.plan.size)
        assert batch.inputs.shape == (2, 3, frames, *trainer.plan.size)
        window = draw.real[0, 0, :, 0, 0]
        first = int(window[0])
        assert window.tolist() == list(range(first, first + frames))
        torch.testing.assert_close(batch.inputs[1:], draw.real)  # interpolation rounds
        firsts.add(first)
    assert firsts == set(range(total - frames + 1))


def test_whole_clip_is_the_window_when_it_is_short(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(0, frames_per_step=(4, 3))
    trainer.data = ScaleData(real=trainer.data.real[:, :, :4], coarser_reconstruction=None,
                             z_fixed=trainer.data.z_fixed[:, :, :4], noise_amp=1.0)
    assert torch.equal(trainer.draw(5, 0).real, trainer.data.real)


@pytest.mark.parametrize("scale", [1, 2])
def test_only_the_random_clip_gets_noise(scale: int, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(scale)
    batch = trainer.prepare(trainer.draw(0, 0))
    assert batch.coarser is not None
    up = torch.stack([interpolate(frame, size=trainer.plan.size, mode="bilinear")
                      for frame in batch.coarser.unbind(2)], 2)
    noise = batch.inputs - up
    assert noise[1].abs().max() < 1e-6
    assert float(noise[0].std()) == pytest.approx(trainer.data.noise_amp, rel=0.15)
    # 2D: one map for all frames
    assert (noise[0] - noise[0, :, :1]).abs().max() < 1e-6 if scale == 2 else noise[0].std(1).mean() > 1e-3


def test_draws_depend_on_the_iteration_and_not_on_what_was_drawn_before(make_trainer: MakeTrainer) -> None:
    one, other = make_trainer(1), make_trainer(1)
    for iteration in range(3):
        other.draw(iteration, 0)

    def inputs(trainer: ScaleTrainer, iteration: int, k: int) -> Tensor:
        return trainer.prepare(trainer.draw(iteration, k)).inputs

    assert torch.equal(inputs(one, 3, 0), inputs(other, 3, 0))
    assert not torch.equal(inputs(one, 3, 0)[:1], inputs(one, 4, 0)[:1])
    assert not torch.equal(inputs(one, 3, 0)[:1], inputs(one, 3, 1)[:1])


def test_weights_start_from_seed_and_scale_alone(make_trainer: MakeTrainer) -> None:
    torch.manual_seed(1)
    one = make_trainer(1)
    torch.manual_seed(2)
    same, other = make_trainer(1), make_trainer(1, seed=1)
    for name, network in one.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, same.networks[name].state_dict()[key])
        weight = next(key for key in network.state_dict() if "conv" in key)
        assert not torch.equal(network.state_dict()[weight], other.networks[name].state_dict()[weight])


# ---- what a step touches ---------------------------------------------------------------------------------------------


def without_gradient(*networks: torch.nn.Module) -> bool:
    return all(p.grad is None for network in networks for p in network.parameters())


def test_each_step_leaves_the_other_networks_without_gradient(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(1, d_steps=2, g_steps=2)
    seen: list[str] = []

    def check(name: str) -> None:
        seen.append(name)
        critics = (trainer.critics["image"], trainer.critics["video"])
        assert without_gradient(*([trainer.generator] if name == "critics" else critics))
        assert not without_gradient(*(critics if name == "critics" else [trainer.generator]))

    hooked(trainer, check)
    for optimizer in trainer.optimizers.values():  # so that a gradient found later was made later
        optimizer.register_step_post_hook(lambda optimizer, *_: optimizer.zero_grad(set_to_none=True))
    trainer.train_step(0)
    trainer.train_step(1)
    assert seen == ["critics", "critics", "generator", "generator"] * 2


def test_coarser_scales_stay_frozen(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(2)
    coarser = [stage.generator for stage in trainer.coarser]
    assert len(coarser) == 2
    before = [{name: value.clone() for name, value in generator.state_dict().items()} for generator in coarser]
    trainer.train_step(0)
    for generator, state in zip(coarser, before, strict=True):
        assert without_gradient(generator)
        assert not any(p.requires_grad for p in generator.parameters())
        assert not generator.training
        assert all(torch.equal(value, state[name]) for name, value in generator.state_dict().items())


class NoReading(TorchDispatchMode):
    """Refuses what makes the host wait for a value of the device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "unique"):
            raise AssertionError(f"a step reads a value back: {function}")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 2])
def test_step_reads_nothing_back_from_the_device(scale: int, amp: bool, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(scale, amp=amp, d_steps=2, g_steps=2)
    draws = [trainer.draw(0, k) for k in range(3)]
    with NoReading():
        losses = trainer.run(draws)
    assert all(loss.dim() == 0 and not loss.requires_grad and loss.isfinite() for loss in losses.values())


def test_reading_back_would_be_noticed() -> None:
    with NoReading(), pytest.raises(AssertionError, match="reads a value back"):
        float(torch.ones(()) + 1)


def test_step_is_repeatable(make_trainer: MakeTrainer) -> None:
    one, other = make_trainer(2), make_trainer(2)
    for iteration in range(2):
        a, b = one.train_step(iteration), other.train_step(iteration)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_checkpointing_changes_no_bit_of_a_step(make_trainer: MakeTrainer) -> None:
    kept, recomputed = make_trainer(1), make_trainer(1, checkpointing=True)
    for iteration in range(2):
        kept.train_step(iteration)
        recomputed.train_step(iteration)
    for name, network in kept.networks.items():
        other = recomputed.networks[name].state_dict()
        assert [key for key, value in network.state_dict().items() if not torch.equal(value, other[key])] == []
