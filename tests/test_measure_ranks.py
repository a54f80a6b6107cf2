"""What docs/measure_ranks.py counts, against what a step has."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from sgif.engine.config import preset_config
from sgif.engine.pyramid import plan_scales
from sgif.engine.step import ScaleTrainer

from .scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("measure_ranks")


@pytest.fixture
def trainer(script: ModuleType) -> ScaleTrainer:
    config = preset_config("draft", fuse=False, width=4, max_width=4, frames_per_step=(2, 2))
    made: ScaleTrainer = script.engine_trainer(plan_scales(12, 16, 3, config), 0, 3, config, torch.device("cpu"))
    return made


def test_every_pass_through_a_norm_is_counted(script: ModuleType, trainer: ScaleTrainer) -> None:
    """Networks have four norms. The generator's are passed forward and back. Each critic's so for its adversarial loss
    and for the generator's, and for the penalty forward, back and twice back, and three of them once more: a gradient
    does not hang on what the tail, which is linear, was given."""
    assert script.norm_passes(trainer) == 8 + 2 * (8 + 8 + 4 * 3 + 3)


def test_a_message_has_the_gradients_of_a_step_s_networks_its_losses_and_running_statistics(
        script: ModuleType, trainer: ScaleTrainer) -> None:
    def numbers(*networks: torch.nn.Module) -> int:
        return sum(p.numel() for network in networks for p in network.parameters())

    trainer.ranks = script.Ranks(0, 2)
    trainer.ranks.average = lambda tensors: None  # type: ignore[method-assign]
    statistics = sum(buffer.numel() for buffer in trainer.generator.buffers())
    assert script.sent(trainer) == [numbers(*trainer.critics.values()) + 4,
                                    numbers(trainer.generator) + statistics + 4]
