"""Statistics of parts put together: as good as those of the whole, whatever the parts."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from sgif.kernels.partial_statistics import combine_statistics, combine_statistics_reference

from .compare import DEVICE, Results, assert_matches, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

each_impl = pytest.mark.parametrize("impl", ["torch", "triton"])


def parts_of(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, means and m2s of `x` [groups, M, C] cut into parts of `sizes` rows; NaN where there are none."""
    parts = x.split(sizes, 1)
    means = torch.stack([part.mean(1) for part in parts], 1)
    m2s = torch.stack([(part - part.mean(1, keepdim=True)).square().sum(1) for part in parts], 1)
    m2s[:, [size == 0 for size in sizes]] = torch.nan
    return x.new_tensor(sizes).expand(x.shape[0], -1), means, m2s


def results(mean: Tensor, var: Tensor) -> Results:
    return {"mean": mean, "var": var}


@each_impl
@pytest.mark.parametrize("sizes", [[1], [7], [3, 4], [5, 0, 1, 1], [1] * 70, [64] * 63 + [9, 0]],
                         ids=lambda sizes: f"{len(sizes)}-parts-{sum(sizes)}-rows")
def test_parts_together_match_reference(sizes: list[int], impl: str) -> None:
    """The kernel sums around the mean of the first part."""
    x = random(2, sum(sizes), 11).to(DEVICE if impl == "triton" else "cpu")
    around_first = (x - x[:, :sizes[0]].mean(1, keepdim=True)).double()
    assert_matches(lambda *parts: results(*combine_statistics(*parts, impl=impl)),
                   lambda *parts: results(*combine_statistics_reference(*parts)), parts_of(x, sizes),
                   magnitudes=lambda *_: results(around_first.abs().mean(1), around_first.square().mean(1)),
                   terms=len(sizes))


def test_reference_gives_the_statistics_of_the_whole() -> None:
    x = 3 + random(2, 20, 5, dtype=torch.float64)
    mean, var = combine_statistics_reference(*parts_of(x, [7, 0, 12, 1]))
    torch.testing.assert_close(mean, x.mean(1))
    torch.testing.assert_close(var, x.var(1, correction=0))


@each_impl
def test_a_large_mean_does_not_cancel(impl: str) -> None:
    x = (1000 + 0.1 * random(1, 96, 3)).to(DEVICE if impl == "triton" else "cpu")
    counts, means, m2s = (t.float() for t in parts_of(x.double(), [32, 32, 31, 1]))
    _, var = combine_statistics(counts, means, m2s, impl=impl)
    torch.testing.assert_close(var.double(), x.double().var(1, correction=0), rtol=1e-3, atol=0)


@each_impl
def test_op_keeps_its_contract(impl: str) -> None:
    parts = parts_of(random(2, 6, 5).to(DEVICE if impl == "triton" else "cpu"), [4, 2])
    transposed = [parts[0], *(t.transpose(1, 2).contiguous().transpose(1, 2) for t in parts[1:])]
    for given in (parts, transposed):
        torch.library.opcheck(torch.ops.sgif.combine_statistics.default, (*given, impl))


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    counts, means, m2s = parts_of(random(2, 6, 5), [4, 2])
    for wrong in ((counts[0], means, m2s), (counts, means[0], m2s[0]), (counts, means, m2s[:, :1])):
        with pytest.raises(ValueError, match=r"expected \[groups, parts\] and twice \[groups, parts, C\]"):
            combine_statistics(*wrong)


def test_equal_parts_take_two_lines_of_torch() -> None:
    counts, means, m2s = parts_of(random(2, 6, 5, dtype=torch.float64), [3, 3])
    mean = means.mean(1)
    var = (m2s / counts[..., None] + (means - mean[:, None]).square()).mean(1)
    together = partial(combine_statistics, impl="torch")(counts, means, m2s)
    torch.testing.assert_close(together, (mean, var))
