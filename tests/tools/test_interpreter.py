"""The interpreter's bfloat16 is torch's, bit for bit, and the count of bytes is what a kernel's masks say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from .interpreter import bfloat16_bits, float_of_bits, language_patched_once, recorded_traffic
from .pinned import PINNED
from .traffic import Traffic

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="kernels run compiled here")
BF16 = torch.bfloat16


@triton.jit
def _binary_kernel(x_ptr, y_ptr, out_ptr, OP: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + offs), tl.load(y_ptr + offs)
    if OP == "add":
        out = x + y
    elif OP == "subtract":
        out = x - y
    elif OP == "multiply":
        out = x * y
    elif OP == "divide":
        out = x / y
    elif OP == "negate":
        out = -x
    elif OP == "halve":
        out = 0.5 * x
    elif OP == "less":
        out = tl.where(x < y, x, y)
    elif OP == "maximum":
        out = tl.maximum(x, y).to(tl.bfloat16)
    elif OP == "constant":
        out = x + tl.full((BLOCK,), -0.3, tl.bfloat16)
    elif OP == "absolute":
        out = tl.abs(x)
    else:
        out = tl.fma(x, y, x)
    tl.store(out_ptr + offs, out)


@triton.jit
def _twice(x):
    return x + x


@triton.jit
def _by_helper_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    tl.store(out_ptr + offs, _twice(_twice(tl.load(x_ptr + offs))))


@triton.jit
def _cast_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    tl.store(out_ptr + offs, tl.load(x_ptr + offs).to(out_ptr.dtype.element_ty))


@triton.jit
def _reduce_kernel(x_ptr, out_ptr, OP: tl.constexpr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    if OP == "sum":
        out = tl.sum(x)
    elif OP == "max":
        out = tl.max(x)
    else:
        out = tl.min(x)
    tl.store(out_ptr, out)


@triton.jit
def _dot_kernel(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(out_ptr + offs, tl.dot(tl.load(x_ptr + offs), tl.load(y_ptr + offs)))


@triton.jit
def _every_second_kernel(x_ptr, out_ptr, n, TIMES: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = (offs < n) & (offs % 2 == 0)
    x = tl.load(x_ptr + offs, mask=mask, other=0.0)
    for _ in range(TIMES - 1):
        x += tl.load(x_ptr + offs, mask=mask, other=0.0)
    tl.store(out_ptr + offs, x, mask=mask)


def numbers(n: int = 1024, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


EXPECTED = {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y, "negate": lambda x, y: -x, "halve": lambda x, y: 0.5 * x,
    "less": torch.minimum, "maximum": torch.maximum, "constant": lambda x, y: x + torch.tensor(-0.3, dtype=BF16),
    "absolute": lambda x, y: x.abs(), "fma": lambda x, y: (x.double() * y.double() + x.double()).to(BF16),
}


@pytest.mark.parametrize("op", EXPECTED)
def test_bfloat16_arithmetic_is_torchs_bit_for_bit(op: str) -> None:
    x, y = numbers(seed=1).to(BF16), numbers(seed=2).to(BF16)
    out = torch.full_like(x, float("nan"))
    _binary_kernel[(1,)](x, y, out, OP=op, BLOCK=x.numel())
    assert torch.equal(out, EXPECTED[op](x, y))


@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.int32])
def test_cast_to_bfloat16_rounds_to_nearest_even(source: torch.dtype) -> None:
    x = (100 * numbers()).to(source)
    if source == torch.float32:
        specials = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 3.4e38, 1e-40, 1 + 2**-8, 1 + 3 * 2**-8]
        x[: len(specials)] = torch.tensor(specials)
    out = torch.empty(x.shape, dtype=BF16)
    _cast_kernel[(1,)](x, out, BLOCK=x.numel())
    assert torch.equal(out.isnan(), x.isnan())
    assert torch.equal(out.nan_to_num(7.0), x.to(BF16).nan_to_num(7.0))


@pytest.mark.parametrize("target", [torch.float32, torch.float16, torch.int32])
def test_cast_from_bfloat16_is_torchs(target: torch.dtype) -> None:
    x = (100 * numbers()).to(BF16)
    out = torch.empty(x.shape, dtype=target)
    _cast_kernel[(1,)](x, out, BLOCK=x.numel())
    assert torch.equal(out, x.to(target))


@pytest.mark.parametrize("op", ["sum", "max", "min"])
def test_reduction_of_bfloat16_is_that_of_its_values(op: str) -> None:
    x = numbers(256).to(BF16)
    out = torch.empty(1, dtype=BF16)
    _reduce_kernel[(1,)](x, out, OP=op, BLOCK=x.numel())
    assert torch.equal(out[0], getattr(x.double(), op)().to(BF16))


def test_dot_of_bfloat16_sums_in_float32() -> None:
    x, y = numbers(seed=1).to(BF16).view(32, 32), numbers(seed=2).to(BF16).view(32, 32)
    out = torch.empty(32, 32)
    _dot_kernel[(1,)](x, y, out, N=32)
    torch.testing.assert_close(out, (x.double() @ y.double()).float(), rtol=0, atol=32 * 2**-22)


def test_every_bfloat16_survives_the_way_through_float32() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    finite = np.isfinite(float_of_bits(bits))
    assert np.array_equal(bfloat16_bits(float_of_bits(bits))[finite], bits[finite])


def test_traffic_counts_requested_bytes_and_distinct_sectors() -> None:
    x, out = torch.zeros(1000), torch.zeros(1000)
    assert x.data_ptr() % 32 == out.data_ptr() % 32 == 0
    with recorded_traffic() as launches:
        _every_second_kernel[(4,)](x, out, 1000, TIMES=3, BLOCK=256)
    [traffic] = launches
    assert traffic == Traffic(
        "_every_second_kernel",
        requested_read=3 * 500 * 4, requested_written=500 * 4,
        moved_read=4000, moved_written=4000,  # every sector of 8 numbers has 4 that are asked for
        fewest_read=4000, fewest_written=4000)
    assert (traffic.moved_over_fewest, traffic.requested_over_fewest) == (1, 1)


def test_fewest_bytes_of_an_expanded_tensor_are_those_of_its_elements() -> None:
    x, out = torch.zeros(256), torch.zeros(256)
    with recorded_traffic() as launches:
        _every_second_kernel[(1,)](x.expand(7, 256), out, 256, TIMES=1, BLOCK=256)
    assert (launches[0].fewest_read, launches[0].fewest_written) == (1024, 1024)


def test_counting_ends_with_its_block() -> None:
    x, out = torch.zeros(256), torch.zeros(256)
    with recorded_traffic() as launches:
        pass
    _every_second_kernel[(1,)](x, out, 256, TIMES=1, BLOCK=256)
    assert launches == []


def test_language_is_patched_once_per_launch_inside_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    patch, patched = interpreter._patch_lang, []

    def counted(kernel: Callable[..., object]) -> object:
        patched.append(kernel.__name__)
        return patch(kernel)

    monkeypatch.setattr(interpreter, "_patch_lang", counted)
    x, out = torch.arange(16.0), torch.zeros(16)
    with language_patched_once():
        for _ in range(2):
            _by_helper_kernel[(1,)](x, out, BLOCK=16)
            assert torch.equal(out, 4 * x)
    assert patched == ["_by_helper_kernel"] * 2
    _by_helper_kernel[(1,)](x, out, BLOCK=16)
    assert patched[2:] == ["_by_helper_kernel", "_twice", "_twice"]


def test_tools_hold_for_the_triton_of_constraints() -> None:
    constraints = Path(__file__).parents[2] / "constraints.txt"
    assert re.search(rf"^triton=={re.escape(PINNED)}\b", constraints.read_text(), re.MULTILINE)
