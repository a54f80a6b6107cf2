"""Weights of the networks' shapes, with random numbers."""

from __future__ import annotations

from torch import Tensor

from sgif.engine.metrics.features import KINDS
from sgif.engine.metrics.weights import tensor_shapes

from ..inputs import normal


def random_weights(name: str) -> dict[str, Tensor]:
    """A state dict of a network's first layers: filters of unit gain, norms of every sort that keeps values alive."""
    found = {}
    for key, shape in tensor_shapes(KINDS[name].convolutions).items():
        value = normal(shape, 0, "weights", key)
        if len(shape) == 4:
            value = value / (shape[1] * shape[2] * shape[3]) ** 0.5
        found[key] = value.abs() + 0.5 if key.endswith(("running_var", ".weight")) and len(shape) == 1 else value
    return found
