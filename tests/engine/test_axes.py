"""Round values along an axis, for whatever range."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgif.engine.axes import round_ticks


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (0, 0.95, [0, 0.25, 0.5, 0.75, 1]), (0, 100, [0, 25, 50, 75, 100]), (-0.31, 0.42, [-0.4, -0.2, 0, 0.2, 0.4, 0.6]),
    (23, 31.5, [22.5, 25, 27.5, 30, 32.5]),
])
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_ticks_go_from_below_to_above_in_few_equal_steps(low: float, span: float) -> None:
    high = low + max(span, 1e-6 * abs(low))
    ticks = round_ticks(low, high)
    tolerance = 1e-8 * max(abs(low), abs(high), high - low)
    assert ticks[0] <= low + tolerance
    assert ticks[-1] >= high - tolerance
    assert 3 <= len(ticks) <= 7
    steps = [after - before for before, after in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=tolerance)
