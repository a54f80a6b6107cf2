"""Two small clips, one with a name that means harm, weights of Inception's shapes, and a finished Table 1 of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.bench.reproduce.experiment import Experiment, reproduce
from sgif.engine import scale_session
from sgif.engine.clip import Clip
from sgif.engine.metrics.features import Features, Inception, load_features
from sgif.engine.metrics.weights import tensor_shapes
from sgif.engine.storage import write_tensors

HARM = "<script>alert(1)</script> | `x`.gif".replace("/", "")
SETTINGS: dict[str, Any] = {"device": "cpu", "threads": 1, "fuse": False, "memory_check": False, "max_size_px": 26,
                            "min_size_px": 14, "scale_factor": 1.5, "width": 4, "max_width": 4, "iterations": (2, 2)}


@pytest.fixture(autouse=True)
def no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding the previews takes longer than training here; only their place is filled."""
    monkeypatch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())


def waves(seed: int, frames: int = 4, height: int = 20, width: int = 26) -> Tensor:
    """uint8 [T, H, W, 3]: waves that travel."""
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (frames, height, width)), indexing="ij")
    colours = (torch.sin(0.5 * x + t + seed), torch.cos(0.4 * y - 0.7 * t), torch.sin(0.3 * (x + y) - 1.3 * t))
    return (127.5 + 100 * torch.stack(colours, -1)).round().to(torch.uint8)


def make_clip(name: str, seed: int) -> Clip:
    return Clip(frames=waves(seed), frame_ms=(80,) * 4, source=f"clips/{name}")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of Inception's first layers with numbers drawn at random."""
    path, source = tmp_path_factory.mktemp("weights") / "inception.safetensors", torch.Generator().manual_seed(0)
    shapes = tensor_shapes(Inception.convolutions)
    write_tensors(path, {name: torch.rand(shape, generator=source) - (0.5 if len(shape) == 4 else -0.5)
                         for name, shape in shapes.items()})
    return path


@pytest.fixture(scope="session")
def features(weights: Path) -> Features:
    return load_features("inception", weights)


@pytest.fixture(scope="session")
def make_experiment(features: Features) -> Callable[..., Experiment]:
    """Table 1 of a clip, two samples each, with changes."""
    def make(folder: Path, **changes: Any) -> Experiment:
        default: dict[str, Any] = {"what": "table1", "clips": [make_clip("waves.gif", 0)], "folder": folder,
                                   "command": "sgif reproduce table1 waves.gif", "preset": "draft",
                                   "settings": SETTINGS, "samples": 2, "features": features}
        return Experiment(**{**default, **changes})
    return make


@dataclass(frozen=True)
class Finished:
    """An experiment that was done without a break."""

    folder: Path
    result: dict[str, Any]
    told: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def finished(make_experiment: Callable[..., Experiment], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder, told = tmp_path_factory.mktemp("table") / "table1", list[str]()
    clips = [make_clip("waves.gif", 0), make_clip(HARM, 1)]
    with pytest.MonkeyPatch.context() as patch:  # it is made before `no_preview`
        patch.setattr(scale_session, "write_preview", lambda path, *_: path.touch())
        return Finished(folder, reproduce(make_experiment(folder, clips=clips), tell=told.append), told)
