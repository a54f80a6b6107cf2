"""What a stranger may do to a run folder: change a file and give the record the hash of what it now is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgif.engine.storage import read_json, sha256_of, write_json


def record_of(run: Path, name: str) -> Path:
    """The record that has the hash of a run's file: scale.json beside it, or config.json."""
    folder = (run / name).parent
    return folder / ("config.json" if folder == run else "scale.json")


def rehash(run: Path, name: str) -> None:
    """Give the record the hash that the file has now."""
    change(record_of(run, name), lambda record: record["sha256"].update({Path(name).name: sha256_of(run / name)}))


def flip_last_bit(path: Path) -> None:
    """The least damage that there is."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change(path: Path, edit: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    record = read_json(path)
    edit(record)
    write_json(path, record)


def without_hashes(run: Path) -> Path:
    """Make it a run as schema 1 had them."""
    change(run / "config.json", lambda record: (record.pop("sha256"), record.update(schema=1)))
    for path in run.glob("scale_*/scale.json"):
        change(path, lambda record: record.pop("sha256"))
    return run
