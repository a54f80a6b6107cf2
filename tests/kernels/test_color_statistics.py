"""Colour statistics against `torch.cov`, frame by frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sgif.kernels import frame_color_statistics

from .compare import LAYOUTS, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")


def torch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    frames = [[clip[:, t].flatten(1) for t in range(x.shape[2])] for clip in x]
    mean = torch.stack([torch.stack([pixels.mean(1) for pixels in clip]) for clip in frames])
    cov = torch.stack([torch.stack([torch.cov(pixels, correction=0) for pixels in clip]) for clip in frames])
    return mean, cov


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=label)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 7), (1, 3, 1, 25, 44), (1, 3, 2, 1, 1), (3, 3, 1, 1, 6)], ids=label)
def test_statistics_and_gradients_match_torch_cov(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    n, _, t, _, _ = shape

    def calculation(statistics):
        def run(x: Tensor, dmean: Tensor, dcov: Tensor) -> Results:
            x = leaf(x)
            mean, cov = statistics(x)
            dx, = torch.autograd.grad((mean, cov), x, (dmean, dcov), create_graph=True)
            ddx, = torch.autograd.grad(dx.double().square().sum(), x)
            return {"mean": mean.detach(), "cov": cov.detach(), "dx": dx.detach(), "dx of dx squared": ddx}
        return run

    x = LAYOUTS[layout](random(*shape, dtype=dtype) + 0.5)
    inputs = x, random(n, t, 3, seed=1), random(n, t, 3, 3, seed=2)
    assert_matches(calculation(frame_color_statistics), calculation(torch_statistics), inputs,
                   terms=shape[3] * shape[4])


def test_statistics_of_two_pixels_by_hand() -> None:
    x = torch.tensor([[0.0, 2.0], [1.0, 5.0], [3.0, 3.0]]).view(1, 3, 1, 1, 2)
    mean, cov = frame_color_statistics(x)
    assert mean.tolist() == [[[1.0, 3.0, 3.0]]]
    assert cov.tolist() == [[[[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]]]


def test_statistics_are_float32_in_every_precision() -> None:
    assert {t.dtype for t in frame_color_statistics(random(1, 3, 2, 4, 5).bfloat16())} == {torch.float32}
