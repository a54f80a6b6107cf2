"""Tensors for tests, by name."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor

from sgif.engine.seeding import random_source


def normal(shape: tuple[int, ...], seed: int, *place: str | int) -> Tensor:
    """Standard normal numbers of `shape`; equal seeds and places give equal ones."""
    return torch.randn(shape, generator=random_source(seed, *place))


def watched_frames(size: tuple[int, int], count: int) -> tuple[Iterator[Tensor], list[weakref.ref[Tensor]]]:
    """`count` frames [1, 3, 1, *size] as they are asked for, and a reference to each that was, dead once it is let go
    of."""
    made: list[weakref.ref[Tensor]] = []

    def frames() -> Iterator[Tensor]:
        for index in range(count):
            frame = normal((1, 3, 1, *size), index, "watched")
            made.append(weakref.ref(frame))
            yield frame
    return frames(), made
