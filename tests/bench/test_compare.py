"""What counts as a change, and which changes are regressions."""

from dataclasses import replace

import pytest

from sgif.bench.compare import Change, beyond_noise, compare, load_pairs, table
from sgif.bench.result import Result, Row, Timing, write_result
from sgif.engine import RunError

CASE = {"op": "separable_conv3d", "shape": [1, 32, 8, 25, 44], "dtype": "float32"}


def seconds(median, spread=0.01):
    return Timing(median=median, p20=median * (1 - spread), p80=median * (1 + spread), rounds=9)


def row(**changes):
    counters = {"launches": 3, "bytes": 1000}
    return replace(Row(case=CASE, way="sgif", seconds=seconds(1.0), counters=counters), **changes)


def result(*rows, **changes):
    device = {"kind": "cpu", "cpu": "Chip", "threads": 1, "before": {"load": 0.1}, "after": {"load": 0.9}}
    return replace(Result(suite="ops", command="sgif bench ops", commit="abc", device=device,
                          versions={"sgif": "1", "torch": "2"}, cases="small", rows=rows or (row(),)), **changes)


def changes(before, after):
    return [(change.figure, change.verdict, change.regression) for change in compare(before, after).changes]


def test_nothing_changed():
    found = compare(result(), result())
    assert (found.changes, found.notes, found.rows, found.regressions) == ((), (), 1, 0)


@pytest.mark.parametrize(("one", "other", "differs"), [
    (seconds(1.0), seconds(1.2), True), (seconds(1.2), seconds(1.0), True),
    (seconds(1.0), seconds(1.04), False),         # apart, but within 5 %
    (seconds(1.0, 0.2), seconds(1.2, 0.2), False),  # 20 %, but they overlap
])
def test_times_differ_beyond_noise(one, other, differs):
    assert beyond_noise(one, other) is differs
    assert bool(changes(result(row(seconds=one)), result(row(seconds=other)))) is differs


def test_slower_is_worse_and_no_regression_faster_is_better():
    assert changes(result(), result(row(seconds=seconds(2.0)))) == [("seconds", "worse", False)]
    assert changes(result(), result(row(seconds=seconds(0.5)))) == [("seconds", "better", False)]


def test_one_byte_more_is_a_regression_though_launches_fell():
    found = compare(result(), result(row(counters={"bytes": 1001, "launches": 2})))
    assert [(c.figure, c.before, c.after, c.verdict) for c in found.changes] == [
        ("bytes", 1000, 1001, "worse"), ("launches", 3, 2, "better")]
    assert found.regressions == 1


def test_a_counter_that_is_gone_is_a_regression_a_new_one_is_none():
    assert changes(result(), result(row(counters={"launches": 3}))) == [("bytes", "gone", True)]
    assert changes(result(row(counters={})), result()) == [("launches", "new", False), ("bytes", "new", False)]


def test_a_gate_that_now_fails_is_a_regression():
    failing = row(seconds=None, note="off by 0.5 where 0.1 is allowed", values={"error": 0.5})
    assert changes(result(), result(failing)) == [("gate", "worse", True)]
    assert changes(result(failing), result()) == [("gate", "better", False)]
    assert changes(result(failing), result(failing)) == []
    assert changes(result(failing), result(row(seconds=None))) == []  # counted only: nothing was checked


def test_rows_that_come_and_go():
    plain = row(way="plain")
    assert changes(result(row(), plain), result()) == [("row", "gone", True)]
    assert changes(result(), result(row(), plain)) == [("row", "new", False)]


def test_rows_of_times_alone_may_be_missing_where_nothing_is_timed():
    compiled = row(way="compiled", counters={})
    assert changes(result(row(), compiled), result(row(seconds=None))) == []
    assert changes(result(row(), compiled), result()) == [("row", "gone", True)]


def test_other_cases_compare_what_is_in_both():
    found = compare(result(row(), row(way="plain")), result(cases="large"))
    assert found.changes == ()
    assert found.notes == ("cases small and large: only rows that are in both are compared",)


@pytest.mark.parametrize(("other", "why"), [
    ({"device": {"kind": "cpu", "cpu": "Other", "threads": 1}}, "device differ (cpu Chip and Other)"),
    ({"versions": {"sgif": "1", "torch": "3"}}, "versions differ (torch 2 and 3)"),
])
def test_times_of_another_machine_or_torch_are_not_compared(other, why):
    found = compare(result(), result(row(seconds=seconds(9.0), counters={"launches": 3, "bytes": 999}), **other))
    assert [change.figure for change in found.changes] == ["bytes"]
    assert found.notes == (f"{why}: times are not compared, counters are",)


def test_another_sgif_and_another_load_are_what_comparing_is_for():
    after = result(row(seconds=seconds(9.0)), versions={"sgif": "2", "torch": "2"}, commit="def")
    after = replace(after, device={**after.device, "before": {"load": 1.0}, "notes": ["busy"]})
    assert changes(result(), after) == [("seconds", "worse", False)]


def test_table_has_regressions_first_and_bold():
    found = compare(result(), result(row(seconds=seconds(0.5), counters={"launches": 4, "bytes": 1000})))
    lines = table(found).splitlines()
    where = "| separable_conv3d, 1x32x8x25x44, float32 | sgif |"
    assert lines[-4:-2] == [f"{where} launches | 3 | 4 | +33 % | **worse** |",
                            f"{where} seconds | 1 s | 0.5 s | -50 % | better |"]
    assert lines[-1] == "1 row compared, 2 changes, 1 regression."
    assert found.to_json()["regressions"] == 1
    assert Change(**found.to_json()["changes"][0]) == found.changes[0]


def test_different_suites_are_refused():
    with pytest.raises(ValueError, match="ops and step are different suites"):
        compare(result(), result(suite="step"))


def test_folders_are_matched_by_the_names_of_their_results(tmp_path):
    before, after = tmp_path / "a", tmp_path / "b"
    for folder, name in ((before, "ops-cpu"), (before, "ops-h100"), (after, "ops-cpu"), (after, "step-cpu")):
        write_result(folder / f"{name}.json", result(command=f"{folder.name} {name}"))
    for folder in (before, after):
        (folder / "demo-cpu.json").write_text('{"schema": 1}')
    pairs, left_out = load_pairs(before, after)
    assert [(one.command, other.command) for one, other in pairs] == [("a ops-cpu", "b ops-cpu")]
    assert left_out == [f"ops-h100.json is only in {before}", f"step-cpu.json is only in {after}"]


def test_what_cannot_be_matched_is_refused(tmp_path):
    write_result(tmp_path / "a/x.json", result())
    write_result(tmp_path / "b/y.json", result())
    with pytest.raises(RunError, match="no result of the same name"):
        load_pairs(tmp_path / "a", tmp_path / "b")
    with pytest.raises(RunError, match="expected two files or two folders"):
        load_pairs(tmp_path / "a", tmp_path / "b/y.json")
    with pytest.raises(RunError, match="missing"):
        load_pairs(tmp_path / "a/x.json", tmp_path / "a/z.json")
