"""Time left and the part that is done follow from the same costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sgif.engine.pyramid import ScalePlan
from sgif.engine.time_left import scale_costs, seconds_left, share_done


@pytest.fixture
def plans(make_plan: Callable[..., ScalePlan]) -> list[ScalePlan]:
    return [make_plan(index=0, height=10, width=20, iterations=100),
            make_plan(index=1, height=40, width=50, iterations=50, channels=8)]


def test_an_iteration_costs_its_voxels_and_4000_more_in_every_channel(plans: list[ScalePlan]) -> None:
    assert scale_costs(plans) == [100 * 4 * (4000 + 10 * 20 * 3), 50 * 8 * (4000 + 40 * 50 * 3)]


def test_the_rest_of_a_scale_goes_on_at_its_speed_and_finer_ones_cost_more(plans: list[ScalePlan]) -> None:
    first, second = scale_costs(plans)
    left_scale, left_run = seconds_left(plans, 0, 75, 2.0)
    assert left_scale == 50.0
    assert left_run == pytest.approx(50.0 + 200.0 * second / first)
    assert seconds_left(plans, 1, 50, 2.0) == (0.0, 0.0)


def test_the_part_that_is_done_and_the_time_left_agree(plans: list[ScalePlan]) -> None:
    assert (share_done(plans, 0, 0), share_done(plans, 2, 0)) == (0.0, 1.0)
    assert share_done(plans, 0, 100) == pytest.approx(share_done(plans, 1, 0))
    whole = seconds_left(plans, 0, 0, 2.0)[1]
    assert share_done(plans, 0, 25) == pytest.approx(1 - seconds_left(plans, 0, 25, 2.0)[1] / whole)
