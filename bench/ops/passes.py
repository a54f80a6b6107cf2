"""The passes of an operator that are measured apart: forward, gradients, the gradient penalty's second backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels import weight_gradients_disabled

Function = Callable[..., Tensor]
"""Of some tensors, in the order of the inputs."""
Inputs = Mapping[str, Tensor]
Run = Callable[[], object]


class Prepared(NamedTuple):
    """A pass that only waits to be run, again and again."""

    run: Run
    call_bytes: int
    """Of the tensors that it begins with."""


class Directions(NamedTuple):
    """What arrives at a result from behind: normal numbers, the same for every layout, dtype and way of a case."""

    dtype: torch.dtype
    """That of the case, to which they are rounded whatever the result's."""
    magnitudes: bool = False
    """Without signs: then a gradient is the sum of magnitudes of its terms, if the inputs have no signs either."""

    def like(self, y: Tensor) -> Tensor:
        """One of the shape, layout and dtype of `y`."""
        random = torch.Generator(y.device).manual_seed(1)
        values = torch.randn(y.shape, generator=random, device=y.device).to(self.dtype)
        return torch.empty_like(y).copy_(values.abs() if self.magnitudes else values)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass, and how a function is brought to where it begins."""

    name: str
    prepare: Callable[[Function, Inputs, frozenset[str], Directions], Prepared]
    """By the function, its inputs, the names of those that are constants, and the directions."""
    order: int
    """1 for the result itself, 2 for its gradients, 3 for theirs."""


def forward(function: Function, inputs: Inputs, constants: frozenset[str], _directions: Directions) -> Prepared:
    """Recorded for a backward pass, as in training."""
    leaves = _leaves(inputs, [name for name in inputs if name not in constants])
    return Prepared(lambda: function(*leaves.values()), _bytes(*leaves.values()))


def gradients(wanted: Sequence[str] | None, function: Function, inputs: Inputs, constants: frozenset[str],
              directions: Directions) -> Prepared:
    """Gradients of `wanted`; None: of all inputs but x and the constants."""
    names = [name for name in inputs if name not in constants and name != "x"] if wanted is None else wanted
    leaves = _leaves(inputs, names)
    y = function(*leaves.values())
    dy = directions.like(y)
    return Prepared(lambda: torch.autograd.grad(y, [leaves[name] for name in names], dy, retain_graph=True),
                    _bytes(*leaves.values(), y, dy))


def double_backward(wanted: Sequence[str], function: Function, inputs: Inputs, constants: frozenset[str],
                    directions: Directions) -> Prepared:
    """From what arrives at dx to the gradients of dy and `wanted`."""
    leaves = _leaves(inputs, [name for name in inputs if name not in constants])
    y = function(*leaves.values())
    dy = directions.like(y).requires_grad_()
    with weight_gradients_disabled():
        dx, = torch.autograd.grad(y, leaves["x"], dy, create_graph=True)
    v = directions.like(dx)
    return Prepared(lambda: torch.autograd.grad(dx, [dy, *(leaves[name] for name in wanted)], v, retain_graph=True),
                    _bytes(*leaves.values(), dy, dx, v))


def _leaves(inputs: Inputs, wanted: Sequence[str]) -> dict[str, Tensor]:
    return {name: x.detach().requires_grad_(name in wanted) for name, x in inputs.items()}


def _bytes(*tensors: Tensor) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


FORWARD = Pass(name="forward", prepare=forward, order=1)
INPUT_GRADIENT = Pass(name="input gradient", prepare=partial(gradients, ["x"]), order=2)
WEIGHT_GRADIENTS = Pass(name="weight gradients", prepare=partial(gradients, None), order=2)


def backward(*wanted: str) -> Pass:
    """All gradients that training asks for, at once."""
    return Pass(name="backward", prepare=partial(gradients, wanted), order=2)


def second_backward(*wanted: str) -> Pass:
    """The gradient penalty's."""
    return Pass(name="double backward", prepare=partial(double_backward, wanted), order=3)
