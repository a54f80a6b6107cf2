"""What changed between two results of a suite: times beyond noise, counters at all, rows that came or went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..engine import RunError
from .environment import counted
from .result import GATE_FAILED, Result, Row, Timing, case_text, is_result, load_result

NOISE = 0.05
"""By how much medians must differ to be told apart, as a part of the first, beside intervals that do not touch."""

Verdict = Literal["worse", "better", "gone", "new"]
Pair = tuple[Result, Result]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure of one row that is not what it was."""

    case: str
    way: str
    figure: str
    """"seconds", a counter's name, "gate", or "row"."""
    before: float | None
    after: float | None
    verdict: Verdict
    regression: bool
    """A counter rose, a gate fails that did not, a row or counter is gone. Times alone are none: they need a quiet
    machine, and are for people to judge."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All changes of one suite, regressions first."""

    suite: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    rows: int
    """How many are in both."""

    @property
    def regressions(self) -> int:
        return sum(change.regression for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "regressions": self.regressions}


def compare(before: Result, after: Result) -> Comparison:
    """What changed from `before` to `after`. Raises ValueError when they are of different suites."""
    if before.suite != after.suite:
        raise ValueError(f"{before.suite} and {after.suite} are different suites: compare two results of one")
    notes = list(_not_comparable(before, after))
    rows, others = _by_case_and_way(before), _by_case_and_way(after)
    changes = [change for key, row in rows.items() if key in others
               for change in _changes(key, row, others[key], timed=not notes)]
    if before.cases == after.cases:
        timed = any(row.seconds for row in after.rows)  # else rows that have nothing but times may be left out
        changes += [_whole_row(key, "gone") for key, row in rows.items()
                    if key not in others and (timed or row.counters)]
        changes += [_whole_row(key, "new") for key in others if key not in rows]
    else:
        notes.append(f"cases {before.cases} and {after.cases}: only rows that are in both are compared")
    changes.sort(key=lambda change: (not change.regression, change.verdict != "worse"))
    return Comparison(suite=before.suite, changes=tuple(changes), notes=tuple(notes), rows=len(rows.keys() & others))


def _not_comparable(before: Result, after: Result) -> Iterator[str]:
    """Why times may not be compared: another machine or other versions of what computes. That of sgif may differ."""
    states = {"before", "after", "notes", "memory_bytes"}  # kernels of one machine tell different totals
    machines = [{name: value for name, value in result.device.items() if name not in states}
                for result in (before, after)]
    programs = [{name: value for name, value in result.versions.items() if name != "sgif"}
                for result in (before, after)]
    for what, (one, other) in (("device", machines), ("versions", programs)):
        differing = [f"{name} {one.get(name)} and {other.get(name)}" for name in dict.fromkeys((*one, *other))
                     if one.get(name) != other.get(name)]
        if differing:
            yield f"{what} differ ({', '.join(differing)}): times are not compared, counters are"


def _by_case_and_way(result: Result) -> dict[tuple[str, str], Row]:
    return {(case_text(row.case), row.way): row for row in result.rows}


def _whole_row(key: tuple[str, str], verdict: Verdict) -> Change:
    return Change(case=key[0], way=key[1], figure="row", before=None, after=None, verdict=verdict,
                  regression=verdict == "gone")


def _changes(key: tuple[str, str], before: Row, after: Row, *, timed: bool) -> Iterator[Change]:
    case, way = key
    failed, fails = (row.note.startswith(GATE_FAILED) for row in (before, after))
    if fails > failed or (failed > fails and after.seconds):  # without times nothing is checked
        yield Change(case=case, way=way, figure="gate", before=before.values.get("error"),
                     after=after.values.get("error"), verdict="worse" if fails else "better", regression=fails)
    for name in dict.fromkeys((*before.counters, *after.counters)):
        was, now = before.counters.get(name), after.counters.get(name)
        if was != now:
            verdict: Verdict = "gone" if now is None else "new" if was is None else "worse" if now > was else "better"
            yield Change(case=case, way=way, figure=name, before=was, after=now, verdict=verdict,
                         regression=verdict in ("gone", "worse"))
    if timed and before.seconds and after.seconds and beyond_noise(before.seconds, after.seconds):
        one, other = before.seconds.median, after.seconds.median
        yield Change(case=case, way=way, figure="seconds", before=one, after=other,
                     verdict="worse" if other > one else "better", regression=False)


def beyond_noise(one: Timing, other: Timing) -> bool:
    """Whether the intervals p20-p80 do not touch and the medians differ by more than NOISE."""
    apart = one.p80 < other.p20 or other.p80 < one.p20
    return apart and abs(other.median / one.median - 1) > NOISE


# ---- Files -----------------------------------------------------------------------------------------------------------


def load_pairs(before: Path, after: Path) -> tuple[list[Pair], list[str]]:
    """The results to compare, of two files or, by the files' names, of two folders, and what is left out.

    Raises:
        RunError: a file is no result, one is a file and the other a folder, or no name is in both.
    """
    if before.is_dir() != after.is_dir():
        raise RunError(f"{before} and {after}: expected two files or two folders of results")
    if not before.is_dir():
        return [(load_result(before), load_result(after))], []
    names = [{path.name for path in sorted(folder.glob("*.json")) if is_result(path)} for folder in (before, after)]
    both = sorted(names[0] & names[1])
    if not both:
        raise RunError(f"{before} and {after} have no result of the same name")
    left_out = [f"{name} is only in {before}" for name in sorted(names[0] - names[1])]
    left_out += [f"{name} is only in {after}" for name in sorted(names[1] - names[0])]
    return [(load_result(before / name), load_result(after / name)) for name in both], left_out


# ---- Report ----------------------------------------------------------------------------------------------------------


def table(comparison: Comparison) -> str:
    """Markdown: a line per change, regressions bold; or one that says that there is none."""
    lines = [f"## {comparison.suite}", "", *(f"{note}." for note in comparison.notes), *([""] * bool(comparison.notes))]
    if comparison.changes:
        lines += ["| case | way | figure | before | after | change | |", "|---|---|---|--:|--:|--:|---|",
                  *map(_line, comparison.changes), ""]
    counts = counted(comparison.rows, "row"), counted(len(comparison.changes), "change")
    return "\n".join([*lines, f"{counts[0]} compared, {counts[1]}, {counted(comparison.regressions, 'regression')}."])


def _line(change: Change) -> str:
    before, after = (_value(change.figure, value) for value in (change.before, change.after))
    ratio = f"{100 * (change.after / change.before - 1):+.2g} %" if change.before and change.after is not None else ""
    verdict = f"**{change.verdict}**" if change.regression else change.verdict
    return f"| {change.case} | {change.way} | {change.figure} | {before} | {after} | {ratio} | {verdict} |"


def _value(figure: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g} s" if figure == "seconds" else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
