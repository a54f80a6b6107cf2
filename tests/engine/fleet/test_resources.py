"""What a run is given of a machine: by the forecast, and never more than there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sgif.engine import ConfigError
from sgif.engine.fleet import resources
from sgif.engine.fleet.plan import Job
from sgif.engine.fleet.resources import PROCESS_BYTES, Forecasts, Machine, check_possible, need, this_machine
from sgif.engine.profiling.budget import CONTEXT_BYTES
from sgif.engine.profiling.forecast import forecast_largest

GIB = 1 << 30


def test_on_a_cpu_a_run_takes_its_threads_and_what_the_forecast_and_the_process_take(tiny_config: Any) -> None:
    given = need(tiny_config(threads=3), GIB, 5, Machine(cpus=4, memory_bytes=8 * GIB))
    assert (given.cpus, given.gpus, given.memory_bytes) == (3, 0, GIB + PROCESS_BYTES)


def test_on_a_gpu_it_takes_a_part_that_holds_the_forecast_and_a_context(tiny_config: Any) -> None:
    given = need(tiny_config(), 8 * GIB - CONTEXT_BYTES, 7, Machine(cpus=4, memory_bytes=64 * GIB, gpu_bytes=80 * GIB))
    assert given.gpus == 0.12, "8 of 72 GiB, rounded up to a hundredth"
    assert given.memory_bytes == PROCESS_BYTES + 7


def test_more_than_there_is_is_asked_for_as_all_there_is(tiny_config: Any) -> None:
    given = need(tiny_config(), 100 * GIB, GIB, Machine(cpus=4, memory_bytes=1, gpu_bytes=80 * GIB))
    assert (given.gpus, given.memory_bytes) == (1.0, 1)


def job(config: Any, frames: int = 6) -> Job:
    return Job(name="a", source="a.gif", run_dir=Path("a"), config=config, frames=frames, sizes=((8, 11), (12, 16)),
               finished=False)


def test_a_forecast_is_that_of_training_and_made_once_for_clips_alike(tiny_config: Any,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    machine, calls = this_machine("cpu"), []
    expected = forecast_largest(12, 16, 6, tiny_config(), resources.torch.device("cpu")).peak_bytes

    def counted(*given: Any) -> Any:
        calls.append(given)
        return forecast_largest(*given)

    monkeypatch.setattr(resources, "forecast_largest", counted)
    forecasts = Forecasts(machine)
    assert forecasts(job(tiny_config())) == forecasts(job(tiny_config()))
    assert forecasts(job(tiny_config())).peak_bytes == expected
    assert len(calls) == 1


def test_checkpointing_is_put_on_where_that_makes_it_fit_a_gpu(tiny_config: Any) -> None:
    config = tiny_config(width=16, iterations=1)
    roomy = Forecasts(Machine(cpus=1, memory_bytes=None, gpu_bytes=80 * GIB))(job(config))
    assert roomy.peak_bytes is not None
    tight = Forecasts(Machine(cpus=1, memory_bytes=None, gpu_bytes=roomy.peak_bytes))(job(config))
    assert not roomy.config.checkpointing
    assert tight.config.checkpointing
    assert tight.peak_bytes is not None
    assert tight.peak_bytes < roomy.peak_bytes


def test_without_a_forecast_a_run_gets_a_gpu_of_its_own(tiny_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "forecast_largest", lambda *_: 1 / 0)
    given = Forecasts(Machine(cpus=1, memory_bytes=None, gpu_bytes=80 * GIB))(job(tiny_config()))
    assert (given.gpus, given.peak_bytes, given.memory_bytes) == (1.0, None, PROCESS_BYTES)


@pytest.mark.parametrize(("changes", "said"), [
    ({"device": "cuda"}, "device is 'cuda' and there is no GPU"),
    ({"threads": 3}, "threads is 3 and no machine has more than 2 CPUs"),
])
def test_what_no_machine_can_give_is_refused_before_anything_waits_for_it(changes: dict[str, Any], said: str,
                                                                          tiny_config: Any) -> None:
    with pytest.raises(ConfigError, match=said):
        check_possible(tiny_config(**changes), Machine(cpus=2, memory_bytes=None))
