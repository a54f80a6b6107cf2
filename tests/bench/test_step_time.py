"""Times and counts of a step beside plain ones, and their table."""

from pathlib import Path

import pytest

from sgif.bench import step_time
from sgif.bench.conditions import fill_between, read_result
from sgif.bench.step_time import FAIR, NAIVE, OURS, markdown_table

ROOT = Path(step_time.__file__).parents[1]
COMMITTED = ROOT / "bench" / "results" / "step-cpu.json"


@pytest.fixture(scope="module")
def result():
    pytest.importorskip("triton")
    return step_time.collect("measure", sizes=[(6, 8)], rounds=1, compiled=False)


def test_every_way_is_timed_and_counted(result):
    full = result["rows"][0]
    assert full["cpu_seconds"].keys() == {OURS, NAIVE, FAIR}
    assert all(seconds["median"] > 0 for seconds in full["cpu_seconds"].values())
    assert [row["amp"] for row in result["rows"]] == [False, True]
    for row in result["rows"]:
        assert (row["cpu_seconds"] is None) == (row["amp"] and not result["device"]["onednn_bfloat16"])
        assert {"D/video_gp", "G/backward"} <= row["phases"].keys()
        assert all(value > 0 for value in row["plain"].values())


def test_table_has_a_line_for_each_row_and_phase(result):
    table = markdown_table(result)
    assert table.count("fp32 6x8") == 2
    assert all(f"| {phase} |" in table for phase in result["rows"][0]["phases"])


def test_document_shows_the_committed_result():
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = markdown_table(read_result(COMMITTED, step_time.SCHEMA))
    assert fill_between(text, step_time.BEGIN, step_time.END, table) == text
