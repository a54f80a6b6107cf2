"""Reports of the tiny run, made once; what is in a page; and runs that are changed first."""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sgif.engine import load_run, make_report
from sgif.engine.runs import Run

MakeRun = Callable[..., Run]


@pytest.fixture
def changed_run(run: Run, tmp_path: Path) -> MakeRun:
    """`changed_run(name, scales=3, **clip)`: a copy of the tiny run with so many scales done and other words on its
    clip in config.json."""
    def make(name: str, scales: int = 3, **clip: Any) -> Run:
        path = shutil.copytree(run.path, tmp_path / name, ignore=shutil.ignore_patterns("report.html"))
        for scale in range(scales, 3):
            shutil.rmtree(path / f"scale_{scale:02d}")
        rows = [row for row in (path / "stats.jsonl").read_text().splitlines() if json.loads(row)["scale"] < scales]
        (path / "stats.jsonl").write_text("".join(row + "\n" for row in rows))
        record = json.loads((path / "config.json").read_text())
        record["clip"] |= clip
        (path / "config.json").write_text(json.dumps(record))
        return load_run(path)
    return make


@pytest.fixture(scope="session")
def tiny_page(tiny_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the tiny run."""
    return make_report([tiny_run.run.path], tmp_path_factory.mktemp("report") / "tiny.html").path


def clips_in(page: Path) -> dict[str, tuple[list[int], Tensor]]:
    """Durations and frames, uint8 [T, H, W, 3], of every clip in a page."""
    (text,) = re.findall(r'id="clips">(.*?)</script>', page.read_text(), flags=re.S)
    return {name: unpacked(base64.b64decode(data)) for name, data in json.loads(text).items()}


def unpacked(data: bytes) -> tuple[list[int], Tensor]:
    count, = struct.unpack_from("<I", data)
    head = struct.unpack_from(f"<{2 * count}I", data, 4)
    at, frames = 4 + 8 * count, []
    for length in head[1::2]:
        with Image.open(BytesIO(data[at:at + length])) as image:
            frames.append(torch.from_numpy(np.array(image.convert("RGB"))))
        at += length
    assert at == len(data)
    return list(head[::2]), torch.stack(frames)
