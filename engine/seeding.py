"""Random numbers that depend on where they are used and on nothing that happened before."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def hashed(seed: int, *place: str | int) -> int:
    """A whole number in [0, 2^63) for one place."""
    digest = hashlib.sha256(repr((seed, *place)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def random_source(seed: int, *place: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one place, e.g. `random_source(seed, "noise", scale, step)`; equal places give equal numbers."""
    return torch.Generator(device).manual_seed(hashed(seed, *place))


def uniform(shape: tuple[int, ...], seed: int, *place: str | int, device: torch.device | str = "cpu") -> Tensor:
    """Numbers in [0, 1) of `shape` for one place."""
    return torch.rand(shape, generator=random_source(seed, *place, device=device), device=device)


def integer(high: int, seed: int, *place: str | int) -> int:
    """A whole number in [0, high) for one place."""
    return int(torch.randint(high, (), generator=random_source(seed, *place)))
