"""Benchmarks run at shapes that training has."""

import pytest

from sgif.bench.cases import CASES

ALL = [case for cases in CASES.values() for case in cases]


@pytest.mark.parametrize("case", ALL, ids=lambda case: "x".join(map(str, case.shape)))
def test_a_case_is_a_scale_of_a_real_pyramid(case):
    plan = case.plan()
    assert case.shape[1:] == (plan.channels, plan.frames_per_step, plan.height, plan.width)
    assert case.clips in (1, 2)


def test_cases_go_from_the_coarsest_scale_to_the_largest():
    assert {"small", "paper", "large"} == CASES.keys()
    assert min(case.height * case.width for case in ALL) <= 25 * 44
    assert (512, 512) in {(case.height, case.width) for case in CASES["large"]}
    assert {8, 32} <= {case.frames for case in ALL}
    assert {32, 64, 128} == {case.channels for case in ALL}


def test_no_shape_is_twice_in_a_set():
    for cases in CASES.values():
        assert len({case.shape for case in cases}) == len(cases)
