"""Predicted lower bounds: which of three limits holds, and for whom there is one."""

import pytest
import torch

from sgif.bench.roofline import (
    DEVICES,
    EAGER_LAUNCH_SECONDS,
    GRAPH_LAUNCH_SECONDS,
    fraction,
    fraction_values,
    predict,
    prediction_values,
)

F32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize(("counters", "seconds"), [
    ({"launches": 1, "bytes": 3_350_000_000, "flops": 1}, 1e-3),
    ({"launches": 1, "bytes": 1, "flops": 989_400_000_000}, 1e-3),
    ({"launches": 1000, "bytes": 1, "flops": 1}, 1.5e-3),
], ids=["bytes", "flops", "launches"])
def test_the_tightest_limit_holds(counters: dict[str, int], seconds: float) -> None:
    assert predict(counters, BF16)["H100 SXM"] == pytest.approx(seconds)


def test_float32_is_that_of_cuda_cores() -> None:
    counters = {"launches": 1, "bytes": 1, "flops": 19_500_000_000_000}
    assert predict(counters, F32)["A100 80GB"] == pytest.approx(1)
    assert predict(counters, BF16)["A100 80GB"] == pytest.approx(19.5 / 312)


def test_launches_cost_more_without_a_graph() -> None:
    counters = {"launches": 1000, "bytes": 1, "flops": 1}
    in_a_graph, alone = (predict(counters, F32, graph=graph)["L4"] for graph in (True, False))
    assert (in_a_graph, alone) == (1000 * GRAPH_LAUNCH_SECONDS, 1000 * EAGER_LAUNCH_SECONDS)
    assert in_a_graph < alone


def test_a_device_without_the_dtype_is_left_out() -> None:
    counters = {"launches": 1, "bytes": 1, "flops": 1}
    assert predict(counters, F32).keys() == DEVICES.keys()
    assert predict(counters, BF16).keys() == DEVICES.keys() - {"T4"}
    assert predict(counters, torch.float64) == {}


def test_values_say_that_they_are_predictions() -> None:
    values = prediction_values({"launches": 1, "bytes": 123_456_789, "flops": 1}, F32)
    assert values["predicted T4"] == 0.0003858
    assert all(name.startswith("predicted ") for name in values)


def test_bfloat16_is_never_slower_and_no_rate_is_off_by_a_unit() -> None:
    for peaks in DEVICES.values():
        assert 1e11 < peaks.bytes_per_second < 1e13
        assert all(1e12 < rate < 1e16 for rate in peaks.flops_per_second.values())
        assert peaks.flops_per_second.get(BF16, 1e16) > peaks.flops_per_second[F32]


def test_fraction_is_of_what_is_possible() -> None:
    assert fraction(1.0, 4.0) == 0.25
    with pytest.raises(ValueError, match=r"measured 0\.0 s"):
        fraction(1.0, 0.0)


def test_the_fraction_is_that_of_the_device_s_own_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"predicted H100 SXM": 1.0, "predicted L4": 3.0}
    assert fraction_values(values, 4.0, torch.device("cpu")) == {}
    for name, expected in (("NVIDIA L4", {"fraction of the bound": 0.75}), ("Tesla T4", {}), ("another", {})):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert fraction_values(values, 4.0, torch.device("cuda")) == expected
