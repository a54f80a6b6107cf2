"""A study of four small clips, made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from sgif.engine import make_study, write_clip

from ...answers import answers_to

FRAME_MS = (100, 200, 300)
LEVELS = {"real_a": 10, "real_b": 20, "made_a": 30, "made_b": 40}  # red of the first frame; the next have 50, 100 more


def write_levels(path: Path, level: int, size: tuple[int, int] = (8, 10), frame_ms: Sequence[int] = FRAME_MS) -> str:
    """A clip whose frames are each of one colour, (level, 0, 0), 50 more in every frame."""
    levels = torch.arange(len(frame_ms)) * 50 % 200 + level
    frames = torch.zeros(len(frame_ms), *size, 3, dtype=torch.uint8)
    frames[..., 0] = levels[:, None, None].to(torch.uint8)
    write_clip(path, frames, frame_ms)
    return str(path)


@dataclass(frozen=True)
class Made:
    """A study and what it was made of."""

    page: Path
    key: Path
    truth: dict[str, bool]
    levels: dict[str, int]  # red of the first frame, by clip


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("study")
    clips = {name: write_levels(folder / f"{name}.gif", level) for name, level in LEVELS.items()}
    study = make_study(folder / "study.html", [clips["real_a"], clips["real_b"]], [clips["made_a"], clips["made_b"]],
                       title="Which <b>are</b> real? </script>", seed=1)
    record = json.loads(study.key.read_text())
    return Made(page=study.page, key=study.key, truth={name: clip["real"] for name, clip in record["clips"].items()},
                levels={name: LEVELS[Path(clip["source"]).stem] for name, clip in record["clips"].items()})


@pytest.fixture
def answer_record(made: Made) -> Callable[..., dict[str, Any]]:
    """`answer_record(judged_real)`: what the page saves for another visitor each time, who found these clips real."""
    visitors = count(1)
    return lambda judged_real=(): answers_to(json.loads(made.key.read_text()), judged_real, next(visitors))


@pytest.fixture
def answer_file(answer_record: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """The same, written to a file of its own."""
    def write(judged_real: Sequence[str] = ()) -> Path:
        record = answer_record(judged_real)
        path = tmp_path / f"answers-{record['participant']}.json"
        path.write_text(json.dumps(record))
        return path
    return write
