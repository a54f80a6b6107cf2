"""A step that can be a CUDA graph, and is the same step as one.

Without a GPU a stand-in captures by name: it undoes what ran while it captured, and runs the step again where a graph
would be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from sgif.engine import step_graph
from sgif.engine.step import ScaleTrainer
from sgif.engine.step_graph import StepGraph

MakeTrainer = Callable[..., ScaleTrainer]
CUDA = torch.device("cuda")


def learned(trainer: ScaleTrainer) -> dict[str, Tensor]:
    """Weights, running statistics and optimizers' slots by name."""
    found = {f"{name}.{key}": value for name, network in trainer.networks.items()
             for key, value in network.state_dict().items()}
    return found | {f"{name}.{index}.{slot}": value for name, optimizer in trainer.optimizers.items()
                    for index, slots in optimizer.state_dict()["state"].items() for slot, value in slots.items()}


def copies(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    return [name for name in a.keys() | b.keys() if not (name in a and name in b and torch.equal(a[name], b[name]))]


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("scale", [1, 2])
def test_warm_up_leaves_no_trace(scale: int, steps_before: int, make_trainer: MakeTrainer) -> None:
    warm, cold = make_trainer(scale), make_trainer(scale)
    for iteration in range(steps_before):
        warm.train_step(iteration)
        cold.train_step(iteration)
    before = copies(learned(warm))
    warm.warm_up([warm.draw(7, 0)])
    after = learned(warm)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(not value.any() for name, value in after.items() if name not in before)  # slots that are new
    assert all(p.grad is None for network in warm.networks.values() for p in network.parameters())

    losses = [trainer.train_step(steps_before) for trainer in (warm, cold)]
    assert different(*losses) == []
    assert different(learned(warm), learned(cold)) == []


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_what_a_step_learns_stays_at_its_address(scale: int, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(scale, d_steps=2)
    trainer.train_step(0)
    addresses = {name: value.data_ptr() for name, value in learned(trainer).items()}
    trainer.train_step(5)  # another window, and the learning rate has dropped
    assert {name: value.data_ptr() for name, value in learned(trainer).items()} == addresses


@pytest.fixture
def capture_on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ScaleTrainer]]:
    """`torch.cuda` as far as `StepGraph` uses it. The test puts its trainer into the list."""
    trainers: list[ScaleTrainer] = []

    class Graph:
        def replay(self) -> None:
            graph = trainers[0].graph
            assert graph is not None
            for name, value in trainers[0].run(graph.draws).items():
                graph.losses[name].copy_(value)

    @contextmanager
    def capturing(_graph: Graph) -> Iterator[None]:
        before = [(tensor, tensor.detach().clone()) for tensor in trainers[0]._learned()]
        yield
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)

    stream = SimpleNamespace(wait_stream=lambda _other: None)
    monkeypatch.setattr(step_graph.torch, "cuda", SimpleNamespace(
        Stream=lambda: stream, current_stream=lambda: stream, stream=lambda _stream: nullcontext(), CUDAGraph=Graph,
        graph=capturing))
    return trainers


@pytest.mark.parametrize("slow_motion", [1, 2])
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_replayed_step_is_the_step_on_other_draws(steps_before: int, slow_motion: int, make_trainer: MakeTrainer,
                                                    request: pytest.FixtureRequest) -> None:
    eager, captured = (make_trainer(1, d_steps=2, g_steps=2, slow_motion=slow_motion) for _ in range(2))
    for iteration in range(steps_before):
        eager.train_step(iteration)
        captured.train_step(iteration)
    expected = [copies(eager.train_step(iteration)) for iteration in range(steps_before, 6)]
    request.getfixturevalue("capture_on_cpu").append(captured)
    captured.captured = True
    found = [copies(captured.train_step(iteration)) for iteration in range(steps_before, 6)]
    assert isinstance(captured.graph, StepGraph)
    assert [different(a, b) for a, b in zip(found, expected, strict=True)] == [[]] * len(expected)
    assert different(learned(captured), learned(eager)) == []
    assert captured.clock.take().keys() == {"step", *eager.clock.take().keys()}


def test_no_graph_without_a_gpu(make_trainer: MakeTrainer) -> None:
    assert not make_trainer(0, graphs=True).captured


@pytest.mark.gpu
@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("slow_motion", [1, 2])
@pytest.mark.parametrize("scale", [0, 1, 2], ids=["3D-coarsest", "3D", "2D"])
def test_a_graph_on_a_gpu_is_the_eager_step(scale: int, slow_motion: int, amp: bool,
                                            make_trainer: MakeTrainer) -> None:
    captured, eager = (make_trainer(scale, CUDA, amp=amp, graphs=graphs, d_steps=2, slow_motion=slow_motion)
                       for graphs in (True, False))
    for iteration in range(6):
        losses = [copies(trainer.train_step(iteration)) for trainer in (captured, eager)]
        assert different(*losses) == []
    assert different(learned(captured), learned(eager)) == []


@pytest.mark.gpu
def test_a_replayed_step_allocates_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(1, CUDA)
    trainer.train_step(0)
    trainer.train_step(1)
    held = torch.cuda.memory_stats()["reserved_bytes.all.peak"]
    for iteration in range(2, 5):
        trainer.train_step(iteration)
    assert torch.cuda.memory_stats()["reserved_bytes.all.peak"] == held
