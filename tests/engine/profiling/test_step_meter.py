"""The mode that follows storages, launches and bytes of fake tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sgif.engine.profiling.step_meter import StepMeter
from sgif.kernels import batch_norm_act


@contextmanager
def metering(*, on_gpu: bool = False) -> Iterator[StepMeter]:
    meter = StepMeter(on_gpu=on_gpu, launchers=True)
    with FakeTensorMode(), meter:
        yield meter


def test_storages_count_from_birth_to_death() -> None:
    with metering() as meter:
        a = torch.empty(100)
        b = a + 1
        assert meter.live_bytes == 800
        del a
        assert meter.live_bytes == 400
        b = b * 2  # both are alive for a moment
        assert (meter.live_bytes, meter.peak_bytes) == (400, 800)
    del b
    assert meter.live_bytes == 0


def test_views_take_no_memory_and_no_launch() -> None:
    with metering() as meter:
        a = torch.empty(4, 25)
        views = a[1:], a.t(), a.view(100), a.detach()
        assert (meter.live_bytes, meter.phases["other"].launches) == (400, 0)
    del views


def test_what_writes_is_a_launch_and_moves_inputs_and_outputs() -> None:
    with metering() as meter:
        a = torch.empty(100)
        with meter.in_phase("sum"):
            total = a + a[:1]  # 400 and 4 read, 400 written
        with meter.in_phase("in place"):
            total.mul_(a)  # twice 400 read, 400 written
    assert (meter.phases["sum"].launches, meter.phases["sum"].bytes) == (1, 804)
    assert (meter.phases["in place"].launches, meter.phases["in place"].bytes) == (1, 1200)
    assert meter.phases["in place"].peak_bytes == 0


def test_an_expanded_tensor_moves_what_it_holds() -> None:
    with metering() as meter:
        result = torch.empty(1).expand(100) + torch.empty(100)
    assert meter.phases["other"].bytes == 4 + 400 + 400
    del result


def test_blocks_are_rounded_up() -> None:
    with metering(on_gpu=True) as meter:
        tensors = torch.empty(1), torch.empty(129)
        assert meter.live_bytes == 512 + 1024
    del tensors


def test_temporaries_inside_an_op_count() -> None:
    with metering() as meter:
        x = torch.empty(2, 8, 64, 64).contiguous(memory_format=torch.channels_last)
        result = batch_norm_act(x, torch.empty(8), torch.empty(8))
        assert meter.peak_bytes > 3.5 * x.untyped_storage().nbytes()
    del result


def test_of_a_compiled_function_only_results_count() -> None:
    def three_steps(x: Tensor) -> Tensor:
        return (x + 1) * 2 - 3

    with metering() as meter:
        x = torch.empty(100)
        y = meter.run_compiled(three_steps, x)
        assert (meter.live_bytes, meter.peak_bytes, meter.phases["other"].launches) == (800, 800, 1)
    del y
