"""Figures of a study: votes, ties, intervals, agreement."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sgif.engine import score_study
from sgif.engine.study.records import Answers, Key
from sgif.engine.study.score import Z_95, fleiss_kappa, score, wilson_interval

from .conftest import Made


def study(real: int, generated: int) -> Key:
    clips = {**{f"r{n}": True for n in range(real)}, **{f"g{n}": False for n in range(generated)}}
    return Key(study="s", title="t", plays=2, real=clips, sources={clip: f"{clip}.gif" for clip in clips})


def visitor(name: str, judged_real: dict[str, bool]) -> Answers:
    return Answers(participant=name, finished=True, judged_real=judged_real)


def votes(key: Key, by_clip: dict[str, Sequence[int]]) -> list[Answers]:
    """One visitor for each vote: 1 real, 0 fake."""
    most = max(map(len, by_clip.values()))
    return [visitor(str(n), {clip: bool(cast[n]) for clip, cast in by_clip.items() if n < len(cast)})
            for n in range(most)]


def test_the_paper_s_figure_is_the_majority_of_three() -> None:
    key = study(9, 90)
    cast = {f"g{n}": ((1, 1, 0) if n % 2 else (1, 1, 1)) if n < 44 else ((1, 0, 0) if n % 2 else (0, 0, 0))
            for n in range(90)}
    result = score(key, votes(key, {**cast, **{f"r{n}": (1, 1, 1) for n in range(9)}}))
    assert (result.generated.judged_real, result.generated.clips, result.generated.ties) == (44, 90, 0)
    assert (result.real.judged_real, result.real.clips) == (9, 9)
    assert result.generated.interval == pytest.approx((0.388, 0.590), abs=1e-3)
    assert result.answers_per_clip == (3, 3.0, 3)


def test_a_tie_counts_as_fake_and_is_counted() -> None:
    key = study(1, 2)
    result = score(key, votes(key, {"r0": (1, 0), "g0": (0, 1), "g1": (1, 1)}))
    assert (result.generated.judged_real, result.generated.ties) == (1, 1)
    assert (result.real.judged_real, result.real.ties) == (0, 1)


def test_clips_that_nobody_saw_are_left_out_and_counted() -> None:
    key = study(1, 3)
    result = score(key, votes(key, {"g0": (1,), "g1": (0, 0, 1)}))
    assert (result.generated.clips, result.generated.unseen, result.generated.judged_real) == (2, 1, 1)
    assert (result.real.clips, result.real.unseen, result.real.interval) == (0, 1, None)
    assert (result.answers, result.answers_per_clip) == (4, (0, 1.0, 3))


def test_a_participant_is_right_about_both_kinds() -> None:
    key = study(2, 2)
    result = score(key, [visitor("a", {"r0": True, "r1": False, "g0": False, "g1": False}), visitor("b", {"g0": True})])
    first, second = result.participants
    assert (first.real_right, first.real_seen, first.generated_right, first.generated_seen) == (1, 2, 2, 2)
    assert first.accuracy == 0.75
    assert (second.real_seen, second.generated_right, second.generated_seen, second.accuracy) == (0, 0, 1, 0.0)


@pytest.mark.parametrize(("successes", "trials"), [(44, 90), (1, 3), (7, 8)])
def test_wilson_s_ends_are_the_shares_that_the_count_just_fits(successes: int, trials: int) -> None:
    low, high = wilson_interval(successes, trials)
    assert 0 < low < successes / trials < high < 1
    for end in (low, high):
        deviations = abs(successes / trials - end) / math.sqrt(end * (1 - end) / trials)
        assert deviations == pytest.approx(Z_95, rel=1e-12)


@pytest.mark.parametrize("trials", [1, 5, 90])
def test_wilson_at_none_and_all(trials: int) -> None:
    low, high = wilson_interval(0, trials)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(Z_95**2 / (trials + Z_95**2))
    assert wilson_interval(trials, trials) == pytest.approx((1 - high, 1 - low))


def test_kappa_of_a_worked_example() -> None:
    """14 raters, 10 subjects, 5 categories: the example that is worked through in Wikipedia's "Fleiss' kappa"."""
    counts = [(0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1), (7, 7, 0, 0, 0),
              (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7)]
    assert fleiss_kappa(counts) == pytest.approx(0.2099, abs=5e-5)


@pytest.mark.parametrize(("counts", "kappa"), [
    ([(3, 0), (0, 3)], 1.0),
    ([(1, 1), (1, 1)], -1.0),
    ([(3, 0), (0, 3), (1, 0), (0, 0)], 1.0),  # what was judged once or never says nothing of agreement
    ([(3, 0), (3, 0)], None),
    ([(1, 0), (0, 1)], None),
    ([], None),
])
def test_kappa_at_its_ends(counts: list[tuple[int, int]], kappa: float | None) -> None:
    assert fleiss_kappa(counts) == (None if kappa is None else pytest.approx(kappa))


def test_files_are_scored(made: Made, answer_file: Callable[..., Path]) -> None:
    real = [clip for clip, is_real in made.truth.items() if is_real]
    generated = [clip for clip, is_real in made.truth.items() if not is_real]
    answers = [answer_file(real), answer_file([*real, generated[0]]), answer_file([real[0], generated[0]])]
    result = score_study(made.key, answers)
    assert (result.real.judged_real, result.generated.judged_real) == (2, 1)
    assert [one.accuracy for one in result.participants] == [1.0, 0.75, 0.5]
    plain = json.loads(json.dumps(result.to_json()))
    by_source = {Path(clip["source"]).stem: clip for clip in plain["clips"]}
    assert by_source.keys() == {"real_a", "real_b", "made_a", "made_b"}
    assert sorted(clip["votes_real"] for clip in plain["clips"]) == [0, 2, 2, 3]
    assert plain["generated"]["judged_real"] == 1
