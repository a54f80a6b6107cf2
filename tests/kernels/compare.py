"""Comparison with a reference by name, and the layouts that a tensor may come in.

Tolerances are computed, not chosen: the reference runs in float64, which is taken as exact, and in float32 with its
results rounded to the dtype under test. Twice the largest error of the latter, and one rounding step of that dtype at
the largest value, is what the operator may be off by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Results = dict[str, Tensor]
Calculation = Callable[..., Results]


def tolerance(exact: Tensor, single: Tensor, dtype: torch.dtype) -> float:
    """What a result in `dtype` may be off by: `exact` is the reference in float64, `single` the same in float32."""
    step = torch.finfo(dtype).eps
    if dtype == torch.float64:  # the reference would be its own judge: its float32 error, scaled
        own = (single.double() - exact).abs().max() * (step / torch.finfo(torch.float32).eps)
    else:
        own = (single.to(dtype).double() - exact).abs().max()
    return float(2 * own + step * exact.abs().max())


def assert_matches(calculation: Calculation, reference: Calculation, inputs: Sequence[Tensor]) -> None:
    """Every result of `reference` has its equal, by name, in `calculation` of the same `inputs`."""
    results = calculation(*inputs)
    exact = reference(*(t.to(torch.float64).contiguous() for t in inputs))
    single = reference(*(t.to(torch.float32).contiguous() for t in inputs))
    assert results.keys() == exact.keys()
    for name, result in results.items():
        assert result.shape == exact[name].shape, name
        error = (result.double() - exact[name]).abs()
        allowed = tolerance(exact[name], single[name], result.dtype)
        # A NaN is not below anything, so one anywhere fails here.
        assert bool((error <= allowed).all()), f"{name} is off by {float(error.max()):.2e}, allowed {allowed:.2e}"


def leaf(x: Tensor) -> Tensor:
    """`x` with its strides as a leaf that asks for a gradient."""
    return x.detach().requires_grad_()


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _sliced(x: Tensor) -> Tensor:
    around = x.new_full([2 * size + 1 for size in x.shape], float("nan"))
    inner = around[tuple(slice(1, None, 2) for _ in x.shape)]
    return inner.copy_(x)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels-last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "sliced": _sliced,
    "permuted": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "expanded": lambda x: x[..., :1].expand_as(x),
}


def label(value: object) -> str | None:
    """A shape as "2x3x7x9", a dtype as "bfloat16": for `ids` of parametrize."""
    if isinstance(value, tuple):
        return "x".join(str(size) for size in value)
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else None
