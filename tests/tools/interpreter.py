"""Triton's interpreter, with correct bfloat16, a count of the bytes that each kernel moves, and less to wait for.

Out of the box (triton 3.7.1) the interpreter keeps bfloat16 as its bits in uint16 and forgets it: casts truncate,
arithmetic, comparisons and reductions work on the bits, `tl.dot` returns about 1e10 (triton-lang/triton#11584).
Here every operation on bfloat16 computes in float32 and rounds to nearest even, which is exact rounding for one
addition, product, quotient or root, since 24 bits are more than twice 8 and two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder, ReduceScanOpInterface, TensorHandle

from .pinned import require_pinned_triton
from .traffic import SECTOR_BYTES, Traffic, distinct_bytes, extent

Bits = np.ndarray
COMPARISONS = {np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal}


# --- bfloat16 -------------------------------------------------------------------------------------------------------

def bfloat16_bits(x: np.ndarray) -> Bits:
    """`x` rounded to the nearest bfloat16, ties to even, as uint16."""
    u = np.asarray(x, dtype=np.float32).view(np.uint32)
    rounded = (u + (((u >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    return np.where((u & 0x7FFFFFFF) > 0x7F800000, np.uint32(0x7FC0), rounded).astype(np.uint16)


def float_of_bits(bits: Bits) -> np.ndarray:
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def _is_bfloat16(x: Any) -> bool:
    return bool(x.dtype.scalar == tl.bfloat16)


def _widen(handle: TensorHandle) -> TensorHandle:
    return TensorHandle(float_of_bits(handle.data), tl.float32) if _is_bfloat16(handle) else handle


def _narrow(handle: TensorHandle) -> TensorHandle:
    return TensorHandle(bfloat16_bits(handle.data), tl.bfloat16)


def _cast(original: Callable[..., Any], self: Any, src: TensorHandle, dst_type: Any, *rounding: Any) -> TensorHandle:
    if tl.bfloat16 not in (src.dtype.scalar, dst_type.scalar) or src.dtype.scalar == dst_type.scalar:
        return original(self, src, dst_type, *rounding)
    if dst_type.scalar != tl.bfloat16:
        return self.cast_impl(_widen(src), dst_type)
    assert not rounding or rounding[0] in (None, interpreter._ir.ROUNDING_MODE.RTNE), "only to nearest even"
    return _narrow(src)


def _binary_op(original: Callable[..., Any], self: Any, lhs: TensorHandle, rhs: TensorHandle, op: Any) -> TensorHandle:
    if not _is_bfloat16(lhs):
        return original(self, lhs, rhs, op)
    with np.errstate(all="ignore"):
        value = op(float_of_bits(lhs.data), float_of_bits(rhs.data))
    return TensorHandle(value, tl.int1) if op in COMPARISONS else _narrow(TensorHandle(value, tl.float32))


def _in_float32(original: Callable[..., Any], self: Any, *args: Any) -> TensorHandle:
    """For operations of float arguments whose result has their type."""
    if not any(isinstance(arg, TensorHandle) and _is_bfloat16(arg) for arg in args):
        return original(self, *args)
    return _narrow(original(self, *(_widen(arg) if isinstance(arg, TensorHandle) else arg for arg in args)))


def _dot(original: Callable[..., Any], self: Any, a: TensorHandle, b: TensorHandle, *rest: Any) -> TensorHandle:
    return original(self, _widen(a), _widen(b), *rest)


def _reduce(original: Callable[..., Any], self: Any, inputs: Any) -> Any:
    """The interpreter calls it with one tensor or a tuple of them; sums are rounded once, at the end."""
    if not isinstance(inputs, tuple):
        return self.apply((inputs,))[0]
    if not any(_is_bfloat16(x) for x in inputs):
        return original(self, inputs)
    wide = tuple(self.to_tensor(float_of_bits(x.handle.data), tl.float32) if _is_bfloat16(x) else x for x in inputs)
    return tuple(tl.tensor(_narrow(y.handle), tl.block_type(tl.bfloat16, y.shape) if y.shape else tl.bfloat16)
                 if y.dtype == tl.float32 else y for y in original(self, wide))


def _bfloat16_constant(self: Any, value: float) -> TensorHandle:
    return TensorHandle(bfloat16_bits(np.array([value])), tl.bfloat16)


@functools.cache
def install_bfloat16_semantics() -> None:
    """Make the interpreter of this process compute bfloat16 as a GPU does. A second call does nothing."""
    require_pinned_triton("the interpreter's bfloat16")

    def replace(owner: type, name: str, by: Callable[..., Any]) -> None:
        setattr(owner, name, functools.partialmethod(_call, by, getattr(owner, name)))

    for name in ("cast_impl", "create_fp_to_fp"):
        replace(InterpreterBuilder, name, _cast)
    replace(InterpreterBuilder, "binary_op", _binary_op)
    for name in ("unary_op", "create_clampf", "create_fma", "create_erf", "create_rsqrt"):
        replace(InterpreterBuilder, name, _in_float32)
    replace(InterpreterBuilder, "create_dot", _dot)
    replace(ReduceScanOpInterface, "apply", _reduce)
    InterpreterBuilder.get_bf16 = _bfloat16_constant  # absent: tl.full(shape, 0.5, tl.bfloat16) would fail


def _call(self: Any, by: Callable[..., Any], original: Callable[..., Any], *args: Any) -> Any:
    return by(original, self, *args)


# --- bytes ----------------------------------------------------------------------------------------------------------

@dataclass
class _Counter:
    """Bytes requested and sectors touched so far, of one launch in one direction."""

    requested: int = 0
    sectors: set[int] = field(default_factory=set)

    def add(self, addresses: np.ndarray, item_bytes: int) -> None:
        self.requested += addresses.size * item_bytes
        ends = np.concatenate([addresses, addresses + np.uint64(item_bytes - 1)])
        self.sectors.update(np.unique(ends // np.uint64(SECTOR_BYTES)).tolist())

    @property
    def moved(self) -> int:
        return SECTOR_BYTES * len(self.sectors)

    def fewest(self, tensors: Iterable[torch.Tensor]) -> int:
        return sum(distinct_bytes(x) for x in tensors if self._touched(x))

    def _touched(self, x: torch.Tensor) -> bool:
        first, end = extent(x)
        return any(first <= sector * SECTOR_BYTES + SECTOR_BYTES - 1 and sector * SECTOR_BYTES < end
                   for sector in self.sectors)


@contextmanager
def recorded_traffic() -> Iterator[list[Traffic]]:
    """Collect the traffic of every kernel that is interpreted inside, one entry per launch, in order."""
    require_pinned_triton("the count of bytes")
    launches: list[Traffic] = []
    reads, writes = _Counter(), _Counter()
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store
    execute = GridExecutor.__call__

    def count(counter: _Counter, pointers: TensorHandle, mask: TensorHandle) -> None:
        item_bytes = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        addresses, taken = np.broadcast_arrays(pointers.data, mask.data)
        counter.add(addresses[taken.astype(bool)], item_bytes)

    def recording_load(self: Any, pointers: TensorHandle, mask: TensorHandle, *rest: Any) -> TensorHandle:
        count(reads, pointers, mask)
        return load(self, pointers, mask, *rest)

    def recording_store(self: Any, pointers: TensorHandle, value: TensorHandle, mask: TensorHandle, *rest: Any) -> Any:
        count(writes, pointers, mask)
        return store(self, pointers, value, mask, *rest)

    def recording_execute(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal reads, writes
        reads, writes = _Counter(), _Counter()
        execute(self, *args, **kwargs)
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        tensors = {(x.data_ptr(), x.shape): x for x in given}.values()
        launches.append(Traffic(self.fn.__name__, reads.requested, writes.requested, reads.moved, writes.moved,
                                reads.fewest(tensors), writes.fewest(tensors)))

    InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = recording_load, recording_store
    GridExecutor.__call__ = recording_execute
    try:
        yield launches
    finally:
        InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = load, store
        GridExecutor.__call__ = execute


# --- speed ----------------------------------------------------------------------------------------------------------

@contextmanager
def language_patched_once() -> Iterator[None]:
    """Inside, the interpreter patches triton.language once per launch. Else it does so anew at every call of a helper
    (triton 3.7.1), which takes half of the time of kernels made of helpers."""
    require_pinned_triton("patching once")
    patch, launch = interpreter._patch_lang, GridExecutor.__call__
    patched: set[int] = set()

    def patch_once(kernel: Callable[..., Any]) -> Any:
        module = id(kernel.__globals__)
        if module in patched:
            return None
        patched.add(module)
        return patch(kernel)

    def launch_afresh(self: Any, *args: Any, **kwargs: Any) -> None:
        patched.clear()
        launch(self, *args, **kwargs)

    interpreter._patch_lang, GridExecutor.__call__ = patch_once, launch_afresh
    try:
        yield
    finally:
        interpreter._patch_lang, GridExecutor.__call__ = patch, launch
