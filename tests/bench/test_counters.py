"""Counters of single calls, as on an H100 and the same everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from sgif.bench import counters
from sgif.bench.counters import count
from sgif.engine import RunError
from sgif.engine.profiling import rehearsal
from sgif.kernels import batch_norm_act, channels_last, dispatch

needs_triton = pytest.mark.skipif(not dispatch.HAS_TRITON, reason="needs Triton")


@needs_triton
def test_only_the_call_counts_and_its_inputs_are_in_the_peak() -> None:
    def make() -> Callable[[], Tensor]:
        x, w = torch.empty(1, 4, 16, 16), torch.empty(8, 4, 3, 3)
        conv2d(x, w)
        return lambda: conv2d(x, w, padding=1)
    x, w, y = 4 * 4 * 256, 4 * 8 * 4 * 9, 4 * 8 * 256
    blocks = x + -(-w // 512) * 512 + y  # CUDA's allocator rounds up to 512 bytes
    assert count(make) == {"launches": 1, "bytes": x + w + y, "flops": 2 * 8 * 256 * 4 * 9, "peak_bytes": blocks}


@needs_triton
def test_a_call_that_makes_nothing_holds_its_inputs() -> None:
    assert count(lambda: torch.empty(128).t) == {"launches": 0, "bytes": 0, "flops": 0, "peak_bytes": 512}


@needs_triton
@pytest.mark.parametrize("last", [False, True])
def test_a_convolution_keeps_the_layout_of_its_input(last: bool) -> None:
    def make() -> Callable[[], Tensor]:
        x, w = torch.empty(1, 4, 16, 16), torch.empty(8, 4, 3, 3)
        x = channels_last(x) if last else x
        return lambda: conv2d(x, w, padding=1).contiguous()
    assert count(make)["launches"] == 1 + last


@needs_triton
def test_kernels_are_those_of_an_h100_whichever_gpu_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A norm is two kernels; ATen's form would be some ten operators."""
    def make() -> Callable[[], object]:
        x, gamma, beta = channels_last(torch.empty(1, 8, 64, 64)), torch.empty(8), torch.empty(8)
        return lambda: batch_norm_act(x, gamma, beta)
    before = count(make)
    assert before["launches"] <= 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(dispatch, "_device_arch", lambda index: pytest.fail("asked for the GPU that is there"))
    assert count(make) == before


@needs_triton
def test_counting_leaves_everything_as_it_was() -> None:
    def fails() -> Callable[[], object]:
        raise RuntimeError("as a case does that fakes do not know")
    before = dispatch.auto_emulates, dispatch.emulated_arch, rehearsal._arch_to_count
    with pytest.raises(RuntimeError, match="fakes"):
        count(fails)
    assert (dispatch.auto_emulates, dispatch.emulated_arch, rehearsal._arch_to_count) == before
    assert type(torch.empty(1)) is torch.Tensor


def test_without_triton_there_is_nothing_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "HAS_TRITON", False)
    with pytest.raises(RunError, match="triton"):
        count(lambda: torch.empty)
