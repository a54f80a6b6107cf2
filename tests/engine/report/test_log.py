"""The log as far as it can be read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgif.engine.report.log import MAX_NAMES, read_log, thinned

GOOD = [{"scale": scale, "iteration": iteration, "losses": {"G/rec": 0.5 - iteration / 100},
         "phase_seconds": {"D/image": 0.2, "G/rec": 0.1}, "peak_bytes": 1000 * scale + iteration}
        for scale in (0, 1) for iteration in (10, 20)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_read_by_scale(tmp_path: Path) -> None:
    first, second, third = read_log(write(tmp_path / "stats.jsonl", GOOD), [20, 40, 60])
    assert first.losses == {"G/rec": [(0.5, 0.4), (1.0, 0.3)]}
    assert second.losses == {"G/rec": [(0.25, 0.4), (0.5, 0.3)]}
    assert (first.iteration, second.iteration, third.iteration) == (20, 20, 0)
    assert (first.peak_bytes, second.peak_bytes, third.peak_bytes) == (20, 1020, 0)
    assert first.phase_seconds == pytest.approx({"D/image": 0.02, "G/rec": 0.01}), "seconds of 20 iterations"


def test_no_file_is_a_log_without_rows(tmp_path: Path) -> None:
    assert [log.iteration for log in read_log(tmp_path / "stats.jsonl", [20, 40])] == [0, 0]


@pytest.mark.parametrize("rubbish", [
    b'{"scale": 0, "iteration": 15, "losses": {"G/r', b"\xff\xfe\x00", b"", b"[" * 100_000, b"[1, 2]", b"null",
    b'{"scale": 7, "iteration": 15}', b'{"scale": -1, "iteration": 15}', b'{"scale": 0.0, "iteration": 15}',
    b'{"scale": 0, "iteration": 21}', b'{"scale": 0, "iteration": 0}', b'{"scale": true, "iteration": 15}',
], ids=lambda rubbish: rubbish[:30].decode("latin1"))
def test_a_line_that_is_no_row_is_passed_over(rubbish: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "stats.jsonl", GOOD)
    expected = read_log(path, [20, 40])
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:1], rubbish, *lines[1:], rubbish]))
    assert read_log(path, [20, 40]) == expected


def test_what_is_no_number_is_left_out_and_what_is_not_finite_is_nan(tmp_path: Path) -> None:
    losses = {"text": "1", "true": True, "none": None, "list": [1], "huge": 10**400, "large": 1e300,
              "nan": math.nan, "infinite": math.inf, "whole": 3}
    (log,) = read_log(write(tmp_path / "stats.jsonl", [{"scale": 0, "iteration": 1, "losses": losses,
                                                       "phase_seconds": 3, "peak_bytes": "much"}]), [1])
    assert {name: value for name, ((_, value),) in log.losses.items()} == pytest.approx(
        {"huge": math.nan, "large": math.nan, "nan": math.nan, "infinite": math.nan, "whole": 3.0}, nan_ok=True)
    assert (log.phase_seconds, log.peak_bytes) == ({}, 0)


def test_rows_in_another_order_and_written_twice_count_once(tmp_path: Path) -> None:
    path = write(tmp_path / "stats.jsonl", GOOD)
    expected = read_log(path, [20, 40])
    older = {**GOOD[0], "losses": {"G/rec": 9.0}}
    assert read_log(write(path, [older, *reversed(GOOD)]), [20, 40]) == expected


def test_names_are_bounded(tmp_path: Path) -> None:
    rows = [{"scale": 0, "iteration": n, "losses": {f"a{n}": 1.0}, "phase_seconds": {f"b{n}": 1.0}}
            for n in range(1, 100)]
    (log,) = read_log(write(tmp_path / "stats.jsonl", rows), [100])
    assert (len(log.losses), len(log.phase_seconds)) == (MAX_NAMES, MAX_NAMES)


@given(st.integers(0, 200), st.integers(1, 30))
def test_a_thinned_line_keeps_its_mean_and_its_place(count: int, most: int) -> None:
    points = [(n / 200, float(n)) for n in range(count)]
    thin = thinned(points, most)
    assert len(thin) <= most
    if count and count % most == 0:
        assert sum(y for _, y in thin) / len(thin) == pytest.approx((count - 1) / 2)
    assert [x * 200 for x, _ in thin] == pytest.approx([y for _, y in thin]), "each at the place of what it stands for"


def test_a_value_that_is_not_finite_leaves_a_gap_when_thinned() -> None:
    points = [(float(n), math.nan if n == 5 else 1.0) for n in range(10)]
    assert [y for _, y in thinned(points, 5)] == pytest.approx([1, 1, math.nan, 1, 1], nan_ok=True)
