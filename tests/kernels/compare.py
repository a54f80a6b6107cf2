"""Comparison with a reference by name, and the layouts that a tensor may come in.

Tolerances are computed, not chosen. The reference runs in float64, which is taken as exact, and in float32. A result
may be off by twice the error of the latter, its rounding to the dtype under test included, and a band: one rounding
step of that dtype at the largest value, and one of the dtype that sums are kept in at the largest sum of magnitudes
(the order of a sum is free). The reference's error is the worst of all results, each relative to its size: a single
one may be lucky.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Results = dict[str, Tensor]
Calculation = Callable[..., Results]

# Where kernels run: on a GPU compiled, without one in Triton's interpreter.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

STEP32 = torch.finfo(torch.float32).eps


def assert_matches(calculation: Calculation, reference: Calculation, inputs: Sequence[Tensor], *,
                   multilinear: bool = False, magnitudes: Calculation | None = None, terms: int = 1) -> None:
    """Every result of `reference` has its equal, by name, in `calculation` of the same `inputs`.

    `magnitudes` gives the sums of magnitudes behind results of the same names. `multilinear` says that all results are
    sums of products of the inputs: the reference of their magnitudes is that. A result's own size stands for the rest.
    `terms` is for sums taken one by one, unlike the reference's: their roundings add up like a random walk.
    """
    results = calculation(*inputs)
    doubles = [t.to(torch.float64).contiguous() for t in inputs]
    exact = reference(*doubles)
    single = reference(*(t.to(torch.float32).contiguous() for t in inputs))
    assert results.keys() == exact.keys()

    summed = exact | (reference(*(t.abs() for t in doubles)) if multilinear else {})
    summed |= magnitudes(*doubles) if magnitudes else {}
    size = {name: _largest(value) for name, value in summed.items()}
    own = max(_largest(single[name].double() - exact[name]) / (size[name] or 1.0) for name in exact)  # relative
    for name, result in results.items():
        assert result.shape == exact[name].shape, name
        step = torch.finfo(result.dtype).eps
        accumulator_step = min(step, STEP32)
        rounding = _largest(single[name].to(result.dtype).double() - single[name].double())
        allowed = (2 * (own * accumulator_step / STEP32 * size[name] + rounding)
                   + step * _largest(exact[name]) + terms**0.5 * accumulator_step * size[name])
        if result.dtype == torch.float64:
            allowed *= 2  # the judge errs as much
        error = (result.double() - exact[name]).abs()
        # A NaN is not below anything, so one anywhere fails here.
        assert bool((error <= allowed).all()), f"{name} is off by {float(error.max()):.2e}, allowed {allowed:.2e}"


def _largest(x: Tensor) -> float:
    return float(x.abs().max())


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
    "expanded": lambda x: x[:, :1].expand_as(x),
}


def label(value: object) -> str | None:
    """A shape as "2x3x7x9", a dtype as "bfloat16": for `ids` of parametrize."""
    if isinstance(value, tuple):
        return "x".join(str(size) for size in value)
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else None
