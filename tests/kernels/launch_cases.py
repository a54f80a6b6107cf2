"""The launches that stand for each op: what the table of kernels measures and what compiled code is compared on.

A case calls a public function, or a registered op, with `impl="triton"` and names its results; a derivative's results
are gradients. All that it launches is compiled, measured and compared. An op adds a section with its cases to CASES,
among them those whose specialisation differs: T=1, H=1, W=1, a base that is not 16-byte aligned, each value of a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .compare import Calculation, random

Shape = tuple[int, ...]
New = Callable[..., Tensor]
"""`new(*shape)` gives a tensor of the case's dtype, `new(*shape, dtype=torch.float32)` of another."""


@dataclass(frozen=True, kw_only=True)
class LaunchCase:
    name: str
    calculation: Calculation
    """Results by name of the inputs, by Triton."""
    reference: Calculation
    """The same in plain torch, for float64."""
    inputs: Callable[[Shape, New], tuple[Tensor, ...]]
    """Tensors for a shape. Build channels-last ones by `channels_last`, without a copy: `large` is never filled."""
    large: Shape
    """What the launch table was written for: compiled and gated, never run."""
    medium: Shape | None = None
    """Run on the CPU to count bytes: a million elements or so, with tiles that are cut off; None: not counted."""
    small: Shape
    """Run on the CPU and compared."""
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
    comparison: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `assert_matches`."""
    narrow: Mapping[str, str] = field(default_factory=dict)
    """Why a large tensor is not accessed in 128 bits, by argument of a kernel, as "x_ptr" or "gfx942 x_ptr"."""
    elements_per_turn: Mapping[str, Callable[[Mapping[str, Any]], int]] = field(default_factory=dict)
    """By kernel: elements that a program handles in one turn of its loop, from the kernel's arguments. Left out: those
    that the loop stores. A kernel that stores no large tensor, or after its loop, as a reduction does, must say."""

    def filled(self, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        seeds = iter(range(100))
        return self.inputs(shape, lambda *size, dtype=dtype: random(*size, dtype=dtype, seed=next(seeds)))

    def unfilled(self, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.inputs(shape, lambda *size, dtype=dtype: torch.empty(size, dtype=dtype))


def channels_last(new: New, shape: Shape) -> Tensor:
    """A tensor [N, C, *space] whose channels lie next to each other."""
    batch, channels, *space = shape
    return new(batch, *space, channels).movedim(-1, 1)


CASES: tuple[LaunchCase, ...] = ()
