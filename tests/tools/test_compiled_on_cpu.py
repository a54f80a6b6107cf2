"""Compiled kernels compute on the CPU what they should, and what they must not do is caught by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from .compiled_on_cpu import compiled_on_cpu, load, retarget, run_kernel, run_launch, why_not
from .launches import ARCHES, captured_launches

pytestmark = [pytest.mark.compiled, pytest.mark.skipif(why_not() is not None, reason=why_not() or "")]

C = 32
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@triton.jit
def _scale_kernel(x_ptr, out_ptr, n, alpha, OFFSET: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n, other=0.0).to(tl.float32)
    tl.store(out_ptr + offs + OFFSET, tl.exp(alpha * x), mask=offs < n)


@triton.jit
def _running_sum_kernel(x_ptr, out_ptr, sum_ptr, T, W, BLOCK: tl.constexpr, C: tl.constexpr):
    """out = x summed over time so far, sum = the sum of out over time and place, per program and channel."""
    offs_w = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    offs_c = tl.arange(0, C)
    offs = tl.cast(offs_w, tl.int64)[:, None] * C + offs_c[None, :]
    mask = (offs_w < W)[:, None]
    acc = tl.zeros((BLOCK, C), tl.float32)
    total = tl.zeros((C,), tl.float32)
    for _ in range(T):
        acc += tl.load(x_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        total += tl.sum(acc, 0)
        tl.store(out_ptr + offs, acc, mask=mask)
        offs += tl.cast(W, tl.int64) * C
    tl.store(sum_ptr + tl.program_id(0) * C + offs_c, total)


@triton.jit
def _matmul_kernel(x_ptr, w_ptr, out_ptr, M, BLOCK_M: tl.constexpr, K: tl.constexpr, N: tl.constexpr,
                   PRECISION: tl.constexpr):
    offs_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_k, offs_n = tl.arange(0, K), tl.arange(0, N)
    mask = (offs_m < M)[:, None]
    x = tl.load(x_ptr + offs_m[:, None] * K + offs_k[None, :], mask=mask, other=0.0)
    w = tl.load(w_ptr + offs_k[:, None] * N + offs_n[None, :])
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], tl.dot(x, w, input_precision=PRECISION), mask=mask)


@triton.jit
def _delay_kernel(x_ptr, out_ptr, T, BLOCK: tl.constexpr, ALIAS: tl.constexpr):
    """out[t] = x[t - 2], what comes before x being x[0]."""
    offs = tl.arange(0, BLOCK)
    last = tl.load(x_ptr + offs)
    older = last if ALIAS else last + 0.0
    for t in range(T):
        tl.store(out_ptr + t * BLOCK + offs, older)
        if t < T - 1:
            older, last = last, tl.load(x_ptr + t * BLOCK + offs)


@triton.jit
def _permute_bytes_kernel(selector_ptr, out_ptr, a, b):
    offs = tl.arange(0, 32)
    out = tl.inline_asm_elementwise("prmt.b32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, tl.load(selector_ptr + offs)],
                                    dtype=tl.int32, is_pure=True, pack=1)
    tl.store(out_ptr + offs, out)


def numbers(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def poisoned(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pointwise_kernel_computes_in_every_dtype_for_every_arch(arch: str, dtype: torch.dtype) -> None:
    x, out = numbers(1000, dtype=dtype), poisoned(1000, dtype=dtype)
    with compiled_on_cpu(arch) as traffic:
        _scale_kernel[(4,)](x, out, 1000, 0.5, OFFSET=0, BLOCK=256)
    torch.testing.assert_close(out, torch.exp(0.5 * x.double()).to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=0)
    nbytes = 1000 * x.element_size()
    assert (traffic[0].requested_read, traffic[0].requested_written) == (nbytes, nbytes)
    assert (traffic[0].fewest_read, traffic[0].fewest_written) == (nbytes, nbytes)
    assert nbytes <= traffic[0].moved_read <= nbytes + 64


@pytest.mark.parametrize("arch", ["sm_80", "gfx942"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "unaligned"])
def test_loop_and_reduction_across_lanes_and_warps(arch: str, steps: int, aligned: bool) -> None:
    x = numbers(steps * 45 * C + 1, dtype=torch.bfloat16)[int(not aligned):][:steps * 45 * C].view(steps, 45, C)
    out, total = poisoned(steps, 45, C), poisoned(3, C)
    with compiled_on_cpu(arch):
        _running_sum_kernel[(3,)](x, out, total, steps, 45, BLOCK=16, C=C)
    torch.testing.assert_close(out.double(), x.double().cumsum(0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(total.sum(0).double(), x.double().cumsum(0).sum((0, 1)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("arch", "dtype", "precision", "step"), [
    ("sm_80", torch.float16, "tf32", 2**-24), ("sm_80", torch.bfloat16, "tf32", 2**-24),
    ("sm_80", torch.float32, "tf32", 2**-10), ("sm_80", torch.float32, "ieee", 2**-24),
    ("sm_90", torch.float32, "ieee", 2**-24),
    ("gfx942", torch.float16, "ieee", 2**-24), ("gfx942", torch.bfloat16, "ieee", 2**-24),
    ("gfx942", torch.float32, "ieee", 2**-24),
])
def test_matrix_units_multiply(arch: str, dtype: torch.dtype, precision: str, step: float) -> None:
    x, w, out = numbers(50, 32, dtype=dtype), numbers(32, 64, dtype=dtype, seed=1), poisoned(50, 64)
    with compiled_on_cpu(arch):
        _matmul_kernel[(2,)](x, w, out, 50, BLOCK_M=32, K=32, N=64, PRECISION=precision)
    allowed = 2 * step * (x.double().abs() @ w.double().abs()).max().item()
    torch.testing.assert_close(out.double(), x.double() @ w.double(), rtol=0, atol=allowed)


def test_bytes_are_permuted_as_ptx_says() -> None:
    selectors = torch.tensor([0x3210, 0x7654, 0x0123, 0x7531, 0xFBA8] + 27 * [0], dtype=torch.int32)
    out = torch.empty_like(selectors)
    with compiled_on_cpu("sm_80"):
        _permute_bytes_kernel[(1,)](selectors, out, 0x43A29180, 0x47C645F4)
    assert out[:5].tolist() == [0x43A29180, 0x47C645F4, 0x8091A243 - 2**32, 0x47454391, 0xFFFF]


def test_what_the_front_end_loses_shows() -> None:
    """`older = last` before a loop and reassigned under `if` is not carried by it (triton 3.7.1): silently wrong on a
    GPU, right interpreted. A kernel of this project had it."""
    x, out = numbers(5, 64, dtype=torch.float32), poisoned(5, 64)
    expected = x[[0, 0, 0, 1, 2]]
    with compiled_on_cpu("sm_80"):
        _delay_kernel[(1,)](x, out, 5, BLOCK=64, ALIAS=False)
        assert torch.equal(out, expected)
        _delay_kernel[(1,)](x, out, 5, BLOCK=64, ALIAS=True)
    assert not torch.equal(out, expected)


def test_wgmma_is_not_covered_and_says_so() -> None:
    x, w, out = (numbers(64, 64, dtype=torch.bfloat16, seed=i) for i in range(3))
    with compiled_on_cpu("sm_90"), pytest.raises(NotImplementedError, match="wgmma"):
        _matmul_kernel[(1,)](x, w, out, 64, BLOCK_M=64, K=64, N=64, PRECISION="tf32")


@pytest.mark.parametrize("arch", ["sm_80", "gfx942"])
def test_access_outside_of_every_tensor_raises(arch: str) -> None:
    x, out = numbers(256, dtype=torch.float32), poisoned(256)
    with compiled_on_cpu(arch), pytest.raises(RuntimeError, match=r"_scale_kernel for .*: store .* outside of every"):
        _scale_kernel[(1,)](x, out, 256, 0.5, OFFSET=4, BLOCK=256)
    with compiled_on_cpu(arch), pytest.raises(RuntimeError, match=r"load .* outside of every tensor"):
        _scale_kernel[(2,)](x, poisoned(512), 512, 0.5, OFFSET=0, BLOCK=256)


def test_misaligned_vector_access_raises() -> None:
    """A launcher that promises more alignment than a view has: here by launching what was specialised for another."""
    x = numbers(300, dtype=torch.float32)
    with captured_launches("sm_80") as launches:
        _scale_kernel[(1,)](x[:256], poisoned(256), 256, 0.5, OFFSET=0, BLOCK=256)
    launches[0].arguments["x_ptr"] = x[1:257]
    with pytest.raises(RuntimeError, match="misaligned load of"):
        run_launch(launches[0])


def test_lanes_that_never_meet_raise() -> None:
    ir = """
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
define ptx_kernel void @k(ptr addrspace(1) %0, ptr addrspace(1) %1) {
  %3 = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %4 = icmp ult i32 %3, 7
  br i1 %4, label %wait, label %shuffle
wait:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  ret void
shuffle:
  %5 = call i32 @llvm.nvvm.shfl.sync.bfly.i32(i32 -1, i32 %3, i32 1, i32 31)
  ret void
}
declare i32 @llvm.nvvm.shfl.sync.bfly.i32(i32, i32, i32, i32)
"""
    assert "wait for each other" in run_kernel(load(retarget(ir, "k")), None, (1, 1, 1), 32, 32, None, 0)


def test_unknown_instruction_is_named() -> None:
    ir = ('declare i32 @llvm.nvvm.fancy(i32)\ndefine void @k(ptr %0, ptr %1, ptr %2) {\n'
          '  %4 = call i32 @llvm.nvvm.fancy(i32 1)\n  ret void\n}\n')
    with pytest.raises(NotImplementedError, match="lacks llvm_nvvm_fancy"):
        load(retarget(ir, "k"))
    asm = ir.replace("@llvm.nvvm.fancy(i32 1)", 'asm "fancy.rn.f32 $0, $1;", "=r,r"(i32 1)')
    with pytest.raises(NotImplementedError, match="lacks fancy_rn_f32"):
        load(retarget(asm, "k"))


def test_capture_specialises_as_a_gpu_would() -> None:
    x = numbers(300, dtype=torch.float32)

    def attrs(call: Callable[[], None]) -> tuple[dict[str, str], dict[tuple[int, ...], object]]:
        with captured_launches("sm_90") as launches:
            call()
        return launches[0].signature, launches[0].attrs

    signature, found = attrs(lambda: _scale_kernel[(1,)](x, x[1:], 256, 0.5, OFFSET=0, BLOCK=256))
    assert signature == {"x_ptr": "*fp32", "out_ptr": "*fp32", "n": "i32", "alpha": "fp32", "OFFSET": "constexpr",
                         "BLOCK": "constexpr"}
    assert found[0,] == found[2,] == [["tt.divisibility", 16]]
    assert not found.get((1,))
    signature, _ = attrs(lambda: _scale_kernel[(1,)](x, x, 1, 0.5, OFFSET=0, BLOCK=256))
    assert signature["n"] == "constexpr"
