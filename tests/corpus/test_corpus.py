"""Every file of the corpus is read rightly, or refused in one sentence with exit code 2, within seconds and 2 GiB."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sgif.engine import Clip, preset_config, train

from .case import Case
from .make_corpus import FAMILIES, write
from .read_corpus import MEMORY_BYTES, SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and resource limits")


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Case]]:
    return {family: list(make()) for family, make in FAMILIES.items()}


@pytest.fixture(scope="module")
def found(cases: dict[str, list[Case]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of every case, by its name; and the most memory that was taken."""
    folder = tmp_path_factory.mktemp("corpus")
    folder.chmod(0o777)
    asked = [{"name": case.name, "path": write(case, folder), "reader": case.reader, "options": case.options,
              "as_nobody": case.as_nobody} for family in cases.values() for case in family]
    (folder / "cases.json").write_text(json.dumps(asked))
    clip = Clip(frames=torch.arange(3 * 16 * 32 * 3).remainder(256).to(torch.uint8).reshape(3, 16, 32, 3),
                frame_ms=(40,) * 3, source="made")
    train(clip, folder / "run", preset_config("draft", iterations=1, width=2, fuse=False, threads=1, device="cpu"))
    done = subprocess.run([sys.executable, Path(__file__).with_name("read_corpus.py"), "cases.json", "run"], cwd=folder,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {rows[-1:]}: {done.stderr}"
    return {row.get("name", "peak"): row for row in rows}


def test_no_case_is_missing(cases: dict[str, list[Case]], found: dict[str, dict[str, Any]]) -> None:
    names = [case.name for family in cases.values() for case in family]
    assert len(names) == len(set(names)) == len(found) - 1 >= 60


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_read_rightly_or_refused(family: str, cases: dict[str, list[Case]],
                                       found: dict[str, dict[str, Any]]) -> None:
    wrong = [what for case in cases[family] if (what := wrong_with(case, found[case.name]))]
    assert not wrong, "\n".join(wrong)


def wrong_with(case: Case, result: dict[str, Any]) -> str:
    """What is not as it should be, or nothing."""
    if "crash" in result or result["seconds"] > SECONDS:
        return str(result)
    if case.refused is not None:
        right = re.search(case.refused, result.get("refused", "not refused"), re.DOTALL) and result.get("code") == 2 \
            and re.fullmatch(r"sgif: [^\n]+\n", result["said"]) and result["said"][:-1].isprintable()
    else:
        colours = case.colours or result.get("colours", ())
        near = [abs(a - b) <= case.tolerance
                for frame, expected in zip(result.get("colours", ()), colours, strict=False)
                for a, b in zip(frame, expected, strict=True)] if case.reader != "mask" else []
        right = (result.get("frames") == case.frames and len(colours) == case.frames and all(near)
                 and result["said"] == "" and case.size in (None, tuple(result["size"]))
                 and case.ms in (None, tuple(result.get("ms", ())))
                 and all(re.search(note, "\n".join(result["notes"])) for note in case.notes))
    return "" if right else str(result)[:600]


def test_all_of_them_take_less_than_2_gib(found: dict[str, dict[str, Any]]) -> None:
    assert found["peak"]["peak_bytes"] < MEMORY_BYTES
