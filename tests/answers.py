"""What a study's page would save, for tests that open none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sgif.engine.study.records import checksum


def answers_to(key: dict[str, Any], judged_real: Iterable[str], participant: int = 0) -> dict[str, Any]:
    """The answers of a visitor who finds these clips of a key's real, by their names, and the others fake."""
    answers = [{"clip": clip, "answer": "real" if clip in judged_real else "fake", "plays": 1, "ms": 6000}
               for clip in key["clips"]]
    record = {"format": "sgif-study-answers", "schema": 1, "study": key["study"], "participant": f"{participant:016x}",
              "seed": 7, "finished": True, "answers": answers}
    return {**record, "checksum": checksum(record)}
