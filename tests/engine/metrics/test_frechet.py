"""The Frechet distance against scipy, closed forms and its own symmetries; moments against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sgif.engine.metrics.frechet import Moments, frechet_distance

from ..inputs import normal

SEEDS = st.integers(0, 10_000)
CHANNELS = st.integers(1, 12)


def gaussian(channels: int, seed: int, *, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """A mean and a covariance of that rank (full, if None), entries of order 1."""
    factor = normal((channels, channels if rank is None else rank), seed, "factor").double()
    return normal((channels,), seed, "mean").double(), factor @ factor.T / channels


def rotation(channels: int, seed: int) -> Tensor:
    q: Tensor = torch.linalg.qr(normal((channels, channels), seed, "rotation").double())[0]
    return q


@pytest.mark.parametrize("channels", [1, 7, 64, 192])
def test_distance_agrees_with_sqrtm_at_full_rank(channels: int) -> None:
    (mean1, cov1), (mean2, cov2) = gaussian(channels, 0), gaussian(channels, 1)
    cov1, cov2 = cov1 + 0.1 * torch.eye(channels), cov2 + 0.1 * torch.eye(channels)
    root = scipy.linalg.sqrtm(cov1.numpy() @ cov2.numpy())
    expected = float((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace()) - 2 * np.trace(root).real
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-8, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(CHANNELS, SEEDS, st.integers(0, 12))
def test_distance_is_symmetric_and_zero_only_to_itself(channels: int, seed: int, rank: int) -> None:
    a, b = gaussian(channels, seed, rank=min(rank, channels)), gaussian(channels, seed + 1)
    assert frechet_distance(*a, *b) == pytest.approx(frechet_distance(*b, *a), rel=1e-9)
    assert frechet_distance(*a, *b) > 1e-3 * float((a[0] - b[0]).square().sum())
    assert frechet_distance(*a, *a) <= 1e-12 * (1 + float(a[1].trace()))


@settings(max_examples=40, deadline=None)
@given(CHANNELS, SEEDS, st.floats(0.01, 100))
def test_distance_knows_no_axes_and_grows_with_the_square_of_the_scale(channels: int, seed: int, scale: float) -> None:
    (mean1, cov1), (mean2, cov2), q = gaussian(channels, seed), gaussian(channels, seed + 1), rotation(channels, seed)
    plain = frechet_distance(mean1, cov1, mean2, cov2)
    assert frechet_distance(q @ mean1, q @ cov1 @ q.T, q @ mean2, q @ cov2 @ q.T) == pytest.approx(plain, rel=1e-9)
    scaled = frechet_distance(scale * mean1, scale**2 * cov1, scale * mean2, scale**2 * cov2)
    assert scaled == pytest.approx(scale**2 * plain, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(CHANNELS, SEEDS)
def test_covariances_that_commute_have_a_closed_form(channels: int, seed: int) -> None:
    """Of one set of axes, also with variances of zero: the distance of the standard deviations."""
    q, a, b = rotation(channels, seed), normal((channels,), seed, "a").double(), normal((channels,), seed, "b").double()
    a, b = a.clamp_min(0), b.abs()
    zero = torch.zeros(channels)
    found = frechet_distance(zero, q * a.square() @ q.T, zero, q * b.square() @ q.T)
    assert found == pytest.approx(float((a - b).square().sum()), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("rank", [0, 1, 3, 60])
def test_singular_covariances_lose_no_digits(rank: int) -> None:
    """The nearest to zero that rounding leaves is far below what a square root of the product would: 1e-8."""
    mean, cov = gaussian(64, 5, rank=rank)
    assert frechet_distance(mean, cov, mean, cov) <= 1e-12 * (1 + float(cov.trace()))
    assert frechet_distance(mean, cov, mean, 4 * cov) == pytest.approx(float(cov.trace()), rel=1e-9, abs=1e-12)


def test_what_is_no_gaussian_is_refused() -> None:
    mean, cov = gaussian(3, 0)
    with pytest.raises(ValueError, match=r"expected two times \[C\]"):
        frechet_distance(mean, cov, mean[:2], cov)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(mean, cov * float("nan"), mean, cov)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_moments_of_batches_are_those_of_all_rows(seed: int, sizes: list[int]) -> None:
    rows = normal((sum(sizes), 5), seed, "rows")
    moments = Moments()
    for batch in rows.split(sizes):
        moments.add(batch)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.double().mean(0), rtol=1e-12, atol=1e-12)
    expected = np.cov(rows.double().numpy(), rowvar=False) if len(rows) > 1 else np.zeros((5, 5))
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-11, atol=1e-12)


def test_a_large_mean_costs_the_covariance_no_digits() -> None:
    """E[x^2] - E[x]^2 would have none left: 1e16 is where float64 ends."""
    rows = normal((1000, 3), 0, "rows").double()
    moments = Moments()
    for batch in (rows + 1e8).split(37):
        moments.add(batch)
    torch.testing.assert_close(moments.covariance, torch.cov(rows.T), rtol=1e-6, atol=1e-6)
