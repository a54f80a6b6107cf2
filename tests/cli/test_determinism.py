"""The same command gives the same bytes, whatever was computed before it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sgif.cli.main import main
from sgif.engine.clip_writer import write_clip
from sgif.engine.config import TrainConfig
from sgif.engine.trainer import train

from ..engine.conftest import TINY, make_clip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, one of slow motion, a clip, a mask and a still."""
    folder, clip = tmp_path_factory.mktemp("made"), make_clip()
    train(clip, folder / "run", TrainConfig(**TINY))
    train(clip, folder / "slow", TrainConfig(**{**TINY, "slow_motion": 2, "iterations": 2}))
    write_clip(folder / "clip.png", clip.frames, clip.frame_ms)
    mask = np.zeros((12, 16), np.uint8)
    mask[3:8, 4:9] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(clip.frames[0].numpy()).save(folder / "still.png")
    return folder


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "train": lambda made, to: ["train", made / "clip.png", "-o", to, "--preset", "draft", "--min-size", 8, "--width", 4,
                               "--iterations", 3, "--device", "cpu", "--threads", 1, "--no-fuse", "--quiet"],
    "sample": lambda made, to: ["sample", made / "run", "-n", 2, "--reconstruct", "-o", to],
    "sizes": lambda made, to: ["sample", made / "run", "--scale", "2x1.5", "--frames", 9, "-o", to, "--format", "mp4"],
    "loop": lambda made, to: ["sample", made / "run", "--loop", "--start-scale", 1, "-o", to, "--format", "webp"],
    "slow motion": lambda made, to: ["sample", made / "slow", "--speed", 0.6, "-o", to],
    "edit": lambda made, to: ["edit", made / "run", made / "clip.png", "--mask", made / "mask.png", "-o", to / "a.gif"],
    "inpaint": lambda made, to: ["inpaint", made / "run", made / "clip.png", "--mask", made / "mask.png", "-o",
                                 to / "a.apng"],
    "animate": lambda made, to: ["animate", made / "run", made / "still.png", "--start-scale", 1, "-o", to / "a.gif"],
    "superres": lambda made, to: ["superres", made / "run", "--factor", 2, "-o", to / "a.webp"],
    "report": lambda made, to: ["report", made / "run", "-o", to / "report.html"],
}


@pytest.mark.parametrize("what", COMMANDS)
def test_the_same_command_makes_the_same_bytes(what: str, made: Path, tmp_path: Path) -> None:
    made_by = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (which nothing may draw from)
        torch.manual_seed(seed)
        folder = tmp_path / str(seed)
        assert main([*map(str, COMMANDS[what](made, folder))]) == 0
        made_by.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
                        if path.is_file() and path.suffix not in (".json", ".jsonl", ".html" * (what == "train"))})
    assert made_by[0]
    assert made_by[0] == made_by[1]
