"""A whole training step by the Triton kernels: every path of the engine reaches them, and learns what torch learns.

Without a GPU the kernels are interpreted.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor

from sgif.engine.step import ScaleTrainer
from sgif.kernels import dispatch

pytest.importorskip("triton")

MakeTrainer = Callable[..., ScaleTrainer]  # of two frames here, since the interpreter is slow
OPERATORS = ("batch_norm_act", "color_statistics", "depthwise_pair", "partial_statistics", "resample",
             "separable_conv3d")
EVERYWHERE = {"batch_norm_act_fwd", "batch_norm_act_bwd", "batch_norm_act_bwd_bwd", "upsample_add_noise",
              "upsample_tanh_residual", "tanh_residual_bwd", "frame_color_statistics", "frame_color_statistics_bwd"}
TRAINED_3D = {"separable_conv_stats_fwd", "depthwise_pair_bwd_input", "depthwise_pair_bwd_weight",
              "separable_conv_bwd_pointwise", "norm_act_separable_conv_fwd", "norm_act_depthwise_pair_bwd_weight",
              "norm_act_separable_conv_bwd_pointwise"}
FROZEN_3D = {"separable_conv_fwd"}


class OpNames(torch.utils._python_dispatch.TorchDispatchMode):
    """Names of this project's ops that run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if function.namespace == "sgif":
            self.seen.add(function._schema.name.removeprefix("sgif::"))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def triton_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """impl="auto" takes Triton on CPU tensors too."""
    original = dispatch.resolve_impl
    for name in OPERATORS:
        monkeypatch.setattr(import_module(f"sgif.kernels.{name}"), "resolve_impl",
                            lambda impl, op, x: original("triton" if impl == "auto" else impl, op, x))


def learned(trainer: ScaleTrainer) -> dict[str, Tensor]:
    """Losses and gradients by name after one step."""
    losses = trainer.train_step(0)
    gradients = {f"{network}.{name}": p.grad for network, module in trainer.networks.items()
                 for name, p in module.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    return {**losses, **gradients, **dict(trainer.generator.named_buffers())}  # type: ignore[dict-item]


@pytest.mark.parametrize(("scale", "launched"), [
    pytest.param(0, EVERYWHERE | TRAINED_3D, id="3D-coarsest"),
    pytest.param(1, EVERYWHERE | TRAINED_3D | FROZEN_3D, id="3D", marks=pytest.mark.slow),
    pytest.param(2, EVERYWHERE | FROZEN_3D, id="2D", marks=pytest.mark.slow)])
def test_a_step_by_triton_is_the_step_by_torch(scale: int, launched: set[str], make_trainer: MakeTrainer,
                                               request: pytest.FixtureRequest) -> None:
    expected = learned(make_trainer(scale, frames=2, padding="reflect"))
    request.getfixturevalue("triton_everywhere")
    with OpNames() as ops:
        found = learned(make_trainer(scale, frames=2, padding="reflect"))
    assert ops.seen == launched
    assert_learned(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [0, 1, 2], ids=["3D-coarsest", "3D", "2D"])
def test_a_step_on_a_gpu_is_the_step_on_a_cpu(scale: int, make_trainer: MakeTrainer,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    expected = learned(make_trainer(scale, frames=2, padding="reflect"))
    found = learned(make_trainer(scale, torch.device("cuda"), frames=2, padding="reflect"))
    assert_learned({name: value.cpu() for name, value in found.items()}, expected)


def assert_learned(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        size = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=2e-3, atol=2e-3 * size + 1e-6, msg=f"{name}, up to {size}")
