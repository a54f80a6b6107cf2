"""The Frechet distance of two Gaussians, and the mean and covariance of feature rows in float64 as they come.

    d = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2        (Dowson and Landau 1982)

The last trace is the sum of the singular values of C1^1/2 C2^1/2. Taken so, and not by the square root of a product, no
digit is lost where a covariance is singular: few rows, or channels that a ReLU keeps at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Count, mean and covariance of rows that come in batches, in float64 on their device (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros((), dtype=torch.float64)
        self._scatter = torch.zeros((), dtype=torch.float64)  # sum of (x - mean)(x - mean)^T

    def add(self, rows: Tensor) -> None:
        """Take in rows [N, C] of any float dtype."""
        rows = rows.double()
        count, mean = len(rows), rows.mean(0)
        centred = rows - mean
        scatter = centred.T @ centred
        if self.count == 0:
            self.count, self._mean, self._scatter = count, mean, scatter
            return
        total, shift = self.count + count, mean - self._mean
        self._mean = self._mean + shift * (count / total)
        self._scatter = self._scatter + scatter + torch.outer(shift, shift) * (self.count * count / total)
        self.count = total

    @property
    def mean(self) -> Tensor:
        """[C], on the host."""
        return self._mean.cpu()

    @property
    def covariance(self) -> Tensor:
        """[C, C], divided by the count - 1, on the host."""
        return (self._scatter / max(self.count - 1, 1)).cpu()

    def distance(self, other: Moments) -> float:
        """`frechet_distance` to the rows of `other`."""
        return frechet_distance(self.mean, self.covariance, other.mean, other.covariance)


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """The distance above, squared as it is for FID, of means [C] and covariances [C, C]; float64, never negative.

    Raises:
        ValueError: for shapes that do not belong together, and for numbers that are not finite.
    """
    if mean1.dim() != 1 or mean2.shape != mean1.shape or not cov1.shape == cov2.shape == (*mean1.shape, *mean1.shape):
        raise ValueError(f"means {list(mean1.shape)}, {list(mean2.shape)} and covariances {list(cov1.shape)}, "
                         f"{list(cov2.shape)}: expected two times [C] and two times [C, C]")
    mean1, cov1, mean2, cov2 = (value.double() for value in (mean1, cov1, mean2, cov2))
    if not all(value.isfinite().all() for value in (mean1, cov1, mean2, cov2)):
        raise ValueError("a mean or a covariance is not finite: look for the frames or features that made it so")
    shared = torch.linalg.svdvals(_root(cov1).T @ _root(cov2)).sum()
    return max(0.0, float((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * shared))


def _root(cov: Tensor) -> Tensor:
    """R with R R^T = cov; eigenvalues that rounding made negative are zero."""
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    root: Tensor = vectors * values.clamp_min(0).sqrt()
    return root
