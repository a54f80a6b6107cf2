"""Tensors for tests, by name."""

from __future__ import annotations

import torch
from torch import Tensor

from sgif.engine.seeding import random_source


def normal(shape: tuple[int, ...], seed: int, *place: str | int) -> Tensor:
    """Standard normal numbers of `shape`; equal seeds and places give equal ones."""
    return torch.randn(shape, generator=random_source(seed, *place))
