"""Channels stay innermost from the first convolution to the last gradient: no activation changes its layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.engine.config import TrainConfig
from sgif.engine.profiling.rehearsal import rehearse
from sgif.engine.pyramid import plan_scales
from sgif.engine.step import ScaleTrainer

MakeConfig = Callable[..., TrainConfig]
MakeTrainer = Callable[..., ScaleTrainer]
WIDTH = 4  # of the tiny run


@pytest.fixture
def layout_copies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that `Tensor.contiguous` copied, of tensors with as many channels as the networks."""
    shapes: list[tuple[int, ...]] = []
    contiguous = Tensor.contiguous

    def recording(x: Tensor, **options: Any) -> Tensor:
        if x.dim() >= 4 and x.shape[1] == WIDTH and not x.is_contiguous(**options):
            shapes.append(tuple(x.shape))
        return contiguous(x, **options)
    monkeypatch.setattr(Tensor, "contiguous", recording)
    return shapes


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 2], ids=["3D-coarsest", "3D", "2D"])
def test_no_activation_changes_its_layout(scale: int, amp: bool, layout_copies: list[tuple[int, ...]],
                                          make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(scale, amp=amp, padding="reflect")
    trainer.train_step(0)
    assert layout_copies == []


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 2], ids=["3D-coarsest", "3D", "2D"])
def test_none_does_on_a_gpu(scale: int, amp: bool, layout_copies: list[tuple[int, ...]],
                            tiny_config: MakeConfig) -> None:
    """As far as it can be told without one: by a rehearsal."""
    pytest.importorskip("triton")
    config = tiny_config(amp=amp)
    rehearse(plan_scales(12, 16, 6, config), scale, 6, config, torch.device("cuda"), fused=False)
    assert layout_copies == []


def test_a_change_of_layout_would_be_noticed(layout_copies: list[tuple[int, ...]]) -> None:
    torch.empty(2, WIDTH, 3, 4).contiguous(memory_format=torch.channels_last)
    assert layout_copies == [(2, WIDTH, 3, 4)]
