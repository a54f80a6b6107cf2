"""Floating point operations against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import conv2d, conv3d

from sgif.engine.config import TrainConfig
from sgif.engine.profiling.flops import COUNTED_IN_BYTES, OPERATORS
from sgif.engine.profiling.rehearsal import pretended_device, rehearse
from sgif.engine.profiling.step_meter import StepMeter
from sgif.engine.pyramid import ScalePlan
from sgif.kernels import depthwise_pair3d, dispatch, separable_conv3d, separable_conv3d_reference

MakeConfig = Callable[..., TrainConfig]
GPU = torch.device("cuda")
needs_triton = pytest.mark.skipif(not dispatch.HAS_TRITON, reason="needs Triton")


def flops(run: Callable[[], Any], *, on_gpu: bool = False) -> int:
    meter = StepMeter(on_gpu=on_gpu, launchers=True)
    with pretended_device(GPU if on_gpu else torch.device("cpu"), meter), FakeTensorMode(), meter:
        run()
    return meter.phases["other"].flops


@pytest.mark.parametrize(("run", "expected"), [
    (lambda: conv3d(torch.empty(2, 3, 4, 5, 6), torch.empty(7, 3, 3, 3, 3), padding=1), 2 * 2 * 7 * 120 * 3 * 27),
    (lambda: conv3d(torch.empty(1, 8, 4, 5, 6), torch.empty(8, 1, 1, 3, 3), groups=8), 2 * 8 * 4 * 3 * 4 * 9),
    (lambda: torch.conv_transpose2d(torch.empty(1, 3, 4, 5), torch.empty(3, 2, 3, 3)), 2 * 3 * 20 * 2 * 9),
    (lambda: torch.empty(5, 6) @ torch.empty(6, 7), 2 * 5 * 6 * 7),
    (lambda: torch.empty(3, 5, 6) @ torch.empty(3, 6, 7), 2 * 3 * 5 * 6 * 7),
    (lambda: torch.addmm(torch.empty(7), torch.empty(5, 6), torch.empty(6, 7)), 2 * 5 * 6 * 7),
    (lambda: torch.empty(5, 6) @ torch.empty(6), 2 * 5 * 6),
    (lambda: torch.empty(9).relu().sum(), 0),
], ids=["dense", "depthwise", "transposed", "mm", "bmm", "addmm", "mv", "elementwise"])
def test_of_aten(run: Callable[[], Any], expected: int) -> None:
    assert flops(run) == expected


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_each_gradient_of_a_convolution_takes_what_it_takes(groups: int, wanted: tuple[bool, bool]) -> None:
    forward = 2 * 2 * 8 * 30 * 4 // groups * 9

    def run() -> None:
        x = torch.empty(2, 4, 5, 6, requires_grad=wanted[0])
        w = torch.empty(8, 4 // groups, 3, 3, requires_grad=wanted[1])
        conv2d(x, w, padding=1, groups=groups).sum().backward()
    assert flops(run) == (1 + sum(wanted)) * forward


def filters(channels: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty(channels, 3, 3), torch.empty(channels, 3), torch.empty(outputs, channels)


@needs_triton
@pytest.mark.parametrize("pads", [("zeros", "zeros"), ("none", "none"), ("reflect", "replicate")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_separable_convolution_takes_what_its_three_parts_take(dtype: torch.dtype, pads: tuple[Any, Any]) -> None:
    def ours() -> Tensor:
        return separable_conv3d(torch.empty(2, 8, 4, 6, 7, dtype=dtype), *filters(8, 16), pad_space=pads[0],
                                pad_time=pads[1])

    def parts() -> Tensor:
        return separable_conv3d_reference(torch.empty(2, 8, 4, 6, 7), *filters(8, 16), pad_space=pads[0],
                                          pad_time=pads[1])
    assert flops(ours, on_gpu=True) == flops(parts) > 0


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_of_the_separable_convolution(dtype: torch.dtype) -> None:
    """dv; dx by 12 taps; those of the depthwise filters by 27; v again, and the pointwise filter's."""
    places, c, o = 2 * 4 * 6 * 7, 8, 16
    by_hand = places * c * (o + 12 + 27 + 12 + o)

    def run() -> None:
        x, *weights = (t.requires_grad_() for t in (torch.empty(2, c, 4, 6, 7, dtype=dtype), *filters(c, o)))
        y = separable_conv3d(x, *weights)
        y.sum().backward()
    assert flops(run, on_gpu=True) == 2 * (places * c * (12 + o) + by_hand)


@needs_triton
def test_gradients_of_the_depthwise_pair() -> None:
    def run() -> None:
        x, spatial, temporal = (t.requires_grad_() for t in (torch.empty(1, 8, 4, 6, 7), *filters(8, 8)[:2]))
        depthwise_pair3d(x, spatial, temporal).sum().backward()
    assert flops(run, on_gpu=True) == 2 * 8 * 4 * 6 * 7 * (12 + 12 + 27)


def test_a_dense_step_takes_what_its_convolutions_take(tiny_config: MakeConfig) -> None:
    """Of one clip and the reconstruction; first layers have no input gradient, critics none in the score's last."""
    c, places = 8, 4 * 6 * 7
    plan = ScalePlan(index=0, height=6, width=7, kind="3D", channels=c, frames_per_step=4, iterations=10)
    phases = rehearse([plan], 0, 4, tiny_config(separable="dense"), GPU, fused=False).phases
    first, body = 27 * 3 * c, 27 * c * c  # multiply-adds per place; the tail's are the first layer's
    generator = 2 * places * (first + 3 * body + first)
    assert phases["G/forward"].flops == 2 * generator
    assert phases["G/backward"].flops == 2 * (2 * generator - 2 * places * first)
    critic = 2 * places * (first + 3 * body)
    combined = 2 * c * 27 * 27 + 3 * 2 * c * 27  # convolution_mean: weights there and back; scores and both gradients
    assert phases["D/video"].flops == 2 * (critic + critic + (critic - 2 * places * first) + combined)


def test_every_operator_of_the_project_is_in_the_table() -> None:
    assert dispatch.op_implementations.keys() == OPERATORS | COUNTED_IN_BYTES
    assert not OPERATORS & COUNTED_IN_BYTES
