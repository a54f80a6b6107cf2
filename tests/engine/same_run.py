"""Whether two runs learned the same."""

import json
from pathlib import Path

from sgif.engine.storage import read_json


def files(run: Path) -> set[str]:
    return {str(file.relative_to(run)) for file in run.rglob("*")}


def assert_same_run(path: Path, unbroken: Path) -> None:
    """Weights byte for byte, records and log but for what a clock said, and not a file more."""
    assert files(path) == files(unbroken)
    for file in sorted(unbroken.rglob("*.safetensors")):
        name = file.relative_to(unbroken)
        assert (path / name).read_bytes() == file.read_bytes(), f"{name} differs"
    for file in unbroken.glob("*/scale.json"):
        records = [read_json(file), read_json(path / file.relative_to(unbroken))]
        for record in records:
            record["seconds"] = record["cpu_seconds"] = 0
            record["sha256"]["preview.gif"] = "not always made here"
        assert json.dumps(records[0]) == json.dumps(records[1])
    logs = [[json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()] for run in (path, unbroken)]
    learned = [[(row["scale"], row["iteration"], row["losses"]) for row in log] for log in logs]
    assert learned[0] == learned[1]
