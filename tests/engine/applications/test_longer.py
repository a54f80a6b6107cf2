"""Longer than the clip (section 5.3): what moves in a sample goes on as it began, however long it is."""

from typing import Any

import torch
from torch import Tensor

from sgif.engine.runs import Run, load_run


def motion(run: Run, frames: int) -> Tensor:
    """Mean absolute difference of neighbouring frames, [T - 1], over six samples."""
    clips = run.sample(6, frames=frames)
    return (clips[:, :, 1:] - clips[:, :, :-1]).abs().mean((0, 1, 3, 4))


def test_motion_neither_dies_nor_grows_with_the_length(tiny_run: Any) -> None:
    """In each of eight blocks of samples 16 times as long as the clip it is what it is in samples of one block's
    length, a quarter more or less."""
    run, block = load_run(tiny_run.run.path), 12
    short, long = motion(run, block).mean(), motion(run, 8 * block)
    blocks = torch.stack([part.mean() for part in long.split(block)])
    assert len(blocks) == 8
    assert 0.75 * short < blocks.min()
    assert blocks.max() < 1.25 * short
    assert blocks.max() < 1.2 * blocks.min()
    assert long.min() > 0.5 * short  # nor freezes for a moment
