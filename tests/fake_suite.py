"""A suite that answers at once, and a checkout with a document for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sgif.bench import suites
from sgif.bench.documents import IMAGES, README, RESULTS, markers
from sgif.bench.environment import caption
from sgif.bench.result import Result, Row, Settings, Timing
from sgif.bench.suite import Suite


def collect(settings: Settings) -> list[Row]:
    """One case per dtype; what it is asked for comes back as figures."""
    rows = []
    for dtype in settings.dtypes:
        settings.tell(f"case {dtype}")
        seconds = Timing(median=0.5, p20=0.4, p80=0.6, rounds=5) if settings.timed else None
        rows.append(Row(case={"op": "fill", "dtype": str(dtype), "set": settings.cases}, way="sgif", seconds=seconds,
                        counters={"launches": 3}, note="" if seconds else "not yet measured"))
    return rows


def fails(settings: Settings) -> list[Row]:
    raise ValueError("two\nlines")


def table(result: Result) -> str:
    lines = [f"| fill | {row.seconds and row.seconds.median} |" for row in result.rows]
    return "\n".join([*lines, "", caption(result)])


FAKE = Suite(
    name="fake", summary="fills", collect=collect, document=Path("docs/fake.md"),
    table=table,
    draw=lambda result: {"bench-fake.svg": f"<svg>{len(result.rows)} rows</svg>"},
)
BROKEN = replace(FAKE, name="broken", collect=fails)


def install(monkeypatch: pytest.MonkeyPatch, *fakes: Suite) -> None:
    """Put `fakes` in the place of all suites."""
    monkeypatch.setattr(suites, "SUITES", fakes)


def make_checkout(root: Path) -> Path:
    """A folder with what `sgif bench --document` fills."""
    for folder in (RESULTS, IMAGES):
        (root / folder).mkdir(parents=True)
    (root / README).write_text("# readme\n{}\nold\n{}\n".format(*markers("readme")))
    (root / FAKE.document).write_text("before\n{}\nold\n{}\nafter\n".format(*markers("fake")))
    return root


def result_on(device: dict[str, object], suite: str = "fake") -> Result:
    """A result of another machine."""
    described = {"cpu": "Chip", "cores": 2, "threads": 1, **device}
    return Result(suite=suite, command=f"sgif bench {suite}", commit="0123456789abcdef", device=described,
                  versions={"sgif": "1"}, cases="small", rows=(Row(case={"op": "fill"}, way="sgif"),))
