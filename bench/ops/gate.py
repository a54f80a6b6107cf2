"""No speed without the right result: what each way computes beside float64, by a tolerance that is computed.

The plain form runs in float64 on the same rounded inputs, which is taken as exact, and in the dtype under test. A way
may be off by twice the error of the latter and a band: one step of its result's dtype at the largest value, and what
adding up one by one in float32 may cost, since the order of a sum is free: one step at the largest sum of magnitudes,
or, once for each order of derivative behind the result, at the largest value times the root of the number of terms (a
random walk; ATen's batch norm with channels innermost adds up like that). In 16 bits the plain form's error counts only
as far as float32's, scaled by the ratio of the steps, explains it: a library that computes nonsense sets no tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..cases import Shape
from .operators import Problem
from .passes import Directions, Function, Inputs, Pass, Run

GATE_ELEMENTS = 5 << 18
"""Of activations in a gate; float64 takes seconds for as many (one thread, 32 channels)."""
LEAST_SIDE = 8


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What one plain form allows, for each result of a pass."""

    exact: tuple[Tensor, ...]
    own: float
    """The plain form's error in the dtype under test, of the sums of magnitudes."""
    rounding: tuple[float, ...]
    """Of the exact results to that dtype."""
    sizes: tuple[float, ...]
    """Largest sums of magnitudes."""
    terms: tuple[int, ...]
    """Of the longest sums."""
    order: int
    """How many sums feed on one another."""

    def judge(self, results: Sequence[Tensor]) -> Verdict:
        """The worst of the results."""
        worst = Verdict(error=0.0, allowed=float("inf"))
        assert len(results) == len(self.exact)
        for result, exact, rounding, size, terms in zip(results, self.exact, self.rounding, self.sizes, self.terms,
                                                        strict=True):
            step, largest = torch.finfo(result.dtype).eps, _largest(exact)
            allowed = (2 * (self.own * size + rounding) + step * largest
                       + torch.finfo(torch.float32).eps * max(size, self.order * terms**0.5 * largest))
            found = Verdict(error=_largest(result.double() - exact), allowed=allowed)
            worst = max(worst, found, key=lambda verdict: verdict.share)
        return worst


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far off a way is."""

    error: float
    """Largest difference from float64."""
    allowed: float

    @property
    def share(self) -> float:
        """Of what is allowed; infinite where something is no number."""
        return self.error / self.allowed if self.error == self.error else float("inf")

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # NaN is not


def gate_shape(shape: Shape) -> Shape:
    """`shape` [N, C, T, H, W], or its largest crop of frames that float64 is quick with."""
    n, c, t, h, w = shape
    if n * c * t * h * w <= GATE_ELEMENTS:
        return shape
    pixels = GATE_ELEMENTS // (n * c * t)
    side = max(LEAST_SIDE, int(pixels**0.5))
    height = min(h, side)
    return n, c, t, height, min(w, max(LEAST_SIDE, pixels // height))


def tolerance(problem: Problem, plain: Function, inputs: Inputs, step: Pass, dtype: torch.dtype) -> Tolerance:
    """What `plain`, the problem's or another way's, allows who computes a pass from `inputs` of `dtype`."""
    def results(wide: torch.dtype | None, directions: Directions) -> tuple[Tensor, ...]:
        given = {name: (x.abs() if directions.magnitudes else x).contiguous() for name, x in inputs.items()}
        given = {name: x.to(wide) if wide else x for name, x in given.items()}
        return results_of(step.prepare(plain, given, problem.constants, directions).run)

    directions = Directions(dtype)
    exact = tuple(result.double() for result in results(torch.float64, directions))
    summed = results(torch.float64, Directions(dtype, magnitudes=True)) if problem.multilinear else exact
    sizes = tuple(max(_largest(size), _largest(value), torch.finfo(torch.float64).tiny)
                  for size, value in zip(summed, exact, strict=True))

    def relative_error(wide: torch.dtype | None) -> float:
        found = zip(results(wide, directions), exact, sizes, strict=True)
        return max(_largest(result.double() - value) / size for result, value, size in found)

    own = relative_error(torch.float32)
    if dtype != torch.float32:
        by_steps = own * torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
        measured = relative_error(None)
        own = measured if measured <= by_steps else by_steps  # NaN is neither
    rounding = tuple(_largest(value.to(dtype).double() - value) for value in exact)
    terms = tuple(problem.terms if value.numel() >= problem.positions else problem.positions for value in exact)
    return Tolerance(exact=exact, own=own, rounding=rounding, sizes=sizes, terms=terms, order=step.order)


def results_of(run: Run) -> tuple[Tensor, ...]:
    """The results of a pass, with torch's random numbers from the same seed for all who draw any."""
    torch.manual_seed(0)
    results: Any = run()
    return tuple(result.detach() for result in ((results,) if isinstance(results, Tensor) else results))


def _largest(x: Tensor) -> float:
    return float(x.abs().max())
