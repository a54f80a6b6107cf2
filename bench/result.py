"""The form of every result of `sgif bench`: rows of figures, and the conditions they were taken under; JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ..engine import RunError
from ..engine.storage import read_json, write_bytes

SCHEMA = 2
OURS = "sgif"
NOT_YET = "not yet measured"
GATE_FAILED = "off by "
"""How the note of a row begins whose result is too far from float64's: it has no time."""

CaseSet = Literal["small", "paper", "large"]
Case = dict[str, Any]
"""What is computed: names to plain JSON values, the same names in every row of a suite."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call, over `rounds` calls that took turns with those of the other ways of the case."""

    median: float
    p20: float
    p80: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of computing one case."""

    case: Case
    way: str
    """OURS, or the baseline's name."""
    seconds: Timing | None = None
    """None: not timed here, and why is in `note`."""
    counters: dict[str, int] = field(default_factory=dict)
    """What does not vary from run to run: launches, bytes, flops, peak_bytes; fewer is better."""
    values: dict[str, float] = field(default_factory=dict)
    """Everything else: errors, predictions in seconds, exponents."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a suite is asked for."""

    device: torch.device
    cases: CaseSet = "small"
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
    timed: bool = True
    """False: counters only, which need no device of the kind and no quiet machine."""
    tell: Callable[[str], None] = lambda line: None
    """Called with a line about each case before it is looked at."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one run of a suite found."""

    suite: str
    command: str
    commit: str
    device: dict[str, Any]
    versions: dict[str, str]
    cases: CaseSet
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"schema": SCHEMA, **asdict(self)}


def write_result(path: Path, result: Result) -> None:
    """Write a result, whole or not at all: a line per row, so that results differ in the lines that changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {**result.to_json(), "rows": []}
    lines = ",\n".join(f"    {json.dumps(asdict(row), ensure_ascii=False)}" for row in result.rows)
    text = json.dumps(head, indent=2, ensure_ascii=False)
    write_bytes(path, (text.removesuffix("[]\n}") + f"[\n{lines}\n  ]\n}}\n").encode())


def load_result(path: Path) -> Result:
    """A result that `write_result` wrote. Raises RunError when it is none."""
    try:
        values = read_json(path)
    except RunError:
        raise RunError(f"{path} is {'no JSON' if path.is_file() else 'missing'}: expected a benchmark result") from None
    if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
        raise RunError(f"{path} is no benchmark result of schema {SCHEMA}: measure again with `sgif bench -o`")
    try:
        rows = tuple(Row(**{**row, "seconds": row["seconds"] and Timing(**row["seconds"])})
                     for row in values.pop("rows"))
        return Result(**values, rows=rows)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is no benchmark result of schema {SCHEMA}: {error}") from error


def is_result(path: Path) -> bool:
    """Whether the file is one that `load_result` reads; other measurements have their own form."""
    try:
        values = read_json(path)
    except RunError:
        return False
    return isinstance(values, dict) and values.get("schema") == SCHEMA


def dtype_name(dtype: torch.dtype) -> str:
    """`float32`, as cases have it."""
    return str(dtype).removeprefix("torch.")


def ways_of(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Rows by case (its values, as text) and way, in their order."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(case_text(row.case), {})[row.way] = row
    return found


def case_text(case: Case) -> str:
    """A case in one line: `separable_conv3d, forward, 1x32x8x25x44, float32`; what is None is left out."""
    return ", ".join("x".join(map(str, value)) if isinstance(value, list) else str(value)
                     for value in case.values() if value is not None)
