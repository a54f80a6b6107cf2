"""The README's benchmark figures, of made-up results."""

from dataclasses import replace

import pytest

from sgif.bench import readme
from sgif.bench.result import Row, Timing

from ..fake_suite import result_on


def timed(median):
    return Timing(median=median, p20=median, p80=median, rounds=5)


def result(suite, *rows):
    return replace(result_on({"kind": "cpu"}, suite), rows=rows)


def step(case, way, seconds, **counters):
    return Row(case={"size": case}, way=way, seconds=seconds and timed(seconds), counters=counters)


STEP = result("step", step(1, "sgif", 1.0, launches=10, bytes=100, peak_bytes=1000),
              step(1, "plain", 2.0, launches=20, bytes=300, peak_bytes=4000),
              step(2, "sgif", 4.0, launches=10, bytes=200, peak_bytes=2000),
              step(2, "plain", 5.0, launches=20, bytes=1000, peak_bytes=8000),
              step(2, "dense", None, launches=40, bytes=1000, peak_bytes=8000))
LINES = ["| training step | plain | 2 | 1.2 to 2 | 2 | 3 to 5 | 4 |", "| training step | dense | 1 |  | 4 | 5 | 4 |"]


def test_without_results_it_says_so():
    assert readme.table({}) == "Not yet measured."


def test_a_step_is_a_line_per_baseline_and_what_is_not_timed_has_no_time():
    text = readme.table({"step": STEP})
    assert text.split("\n\n")[0].splitlines()[2:] == LINES
    assert "a GPU's times are not yet measured." in text
    assert "not yet measured" not in readme.table({"step": STEP}, gpu_measured=True)
    assert text.endswith("Times: Chip, 2 cores, 1 thread; sgif 1; commit 0123456789.")


def test_operators_are_held_against_the_fastest_that_computes_the_same():
    def rows(case, **ways):
        return [step(case, way.replace("_", " "), seconds) for way, seconds in ways.items()]

    other = replace(step(1, "dense", 0.1), note="another function: what it replaces")
    found = result("ops", *rows(1, sgif=2.0, sgif_compiled=1.0, aten=4.0, folded=3.0), other,
                   *rows(2, sgif=2.0, aten=1.0), *rows(3, sgif=1.0), *rows(4, sgif=None, aten=1.0))
    assert "| operators | the fastest other way | 2 | 0.5 to 3, median 1.8 | | | |" in readme.table({"ops": found})


def test_memory_at_256x256_is_told_by_options():
    def row(side, way, options, gib):
        return Row(case={"what": "step", "shape": [64, 8, side, side], "options": options}, way=way,
                   counters={"peak_bytes": round(gib * 2**30)})

    fits = Row(case={"what": "fits", "shape": None, "options": "as set", "gib": 8}, way="sgif",
               values={"height": 200, "width": 208, "frames": 8})
    found = result("memory", row(256, "sgif", "as set", 6.9), row(256, "sgif", "--amp", 3.5),
                   row(256, "plain", "as set", 30), row(128, "sgif", "as set", 1.0), fits)
    text, table = readme.table({"memory": found}).split("\n\n", 1)
    assert text == (
        "Memory of a training step of 8 frames of 256x256, 64 channels, counted as on an H100: sgif 6.9 GiB as set, "
        "3.5 GiB with `--amp`; a plain step 30 GiB as set.")
    assert "| as set | 8 | 200x208 |" in table


@pytest.mark.parametrize(("ratios", "text"), [
    ([], ""), ([1.5], "1.5"), ([2.0, 1.0, 3.0], "1 to 3"), ([2.0, 2.01], "2"),
    ([0.5, 123.4], "0.5 to 123"),
])
def test_ranges(ratios, text):
    assert readme._range(ratios) == text
