"""What a training step on fake tensors holds, launches and moves: a dispatch mode that sees every operator.

A fake tensor has a shape, a dtype and a device, and no memory. The mode follows its storage from birth to death, as an
allocator would, so that the most that is alive at once is the peak of a step that nobody ran.

An operator of the project shows only its results to a fake. So what computes it is run here: on a CPU the torch form,
operator by operator; on a GPU its launcher, where buffers count and kernels are counted instead of launched.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ...kernels.dispatch import op_implementations
from .flops import operator_flops

CUDA_BLOCK_BYTES = 512  # CUDA's caching allocator rounds up to it

aten = torch.ops.aten
_CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)


@dataclass
class PhaseCost:
    """What a phase of a step costs."""

    launches: int = 0
    """Operators that reach the device: those that write. Views and empty tensors are free."""
    bytes: int = 0
    """Inputs read and outputs written, each once per operator."""
    flops: int = 0
    """Of convolutions and products, two per multiply-add (`flops.py`)."""
    peak_bytes: int = 0
    """Most memory alive on the device at once."""


class StepMeter(TorchDispatchMode):
    """Counts while entered, inside a FakeTensorMode.

    Args:
        on_gpu: a GPU is pretended, whose allocator rounds up.
        launchers: what is inside the project's operators can be run; else only their results count.
    """

    def __init__(self, *, on_gpu: bool, launchers: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_gpu, self.launchers = on_gpu, launchers
        self.block_bytes = CUDA_BLOCK_BYTES if on_gpu else 1
        self.live_bytes = 0
        self.hidden = False  # what runs is neither followed nor counted
        self.phases: dict[str, PhaseCost] = defaultdict(PhaseCost)  # by name, in the order of their first operator
        self.phase = "other"
        self._in_operator = False  # of the project, whose arithmetic is that of the operator
        self._sizes: dict[int, int] = {}  # bytes of living storages by address

    @contextmanager
    def in_phase(self, name: str) -> Iterator[None]:
        """Count what runs inside for a phase."""
        before, self.phase = self.phase, name
        try:
            yield
        finally:
            self.phase = before

    @property
    def peak_bytes(self) -> int:
        """Most memory alive on the device at once, in any phase."""
        return max((cost.peak_bytes for cost in self.phases.values()), default=0)

    def count(self, *tensors: Tensor | None) -> None:
        """One launch that reads or writes `tensors`."""
        cost = self.phases[self.phase]
        cost.launches += 1
        cost.bytes += sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes())
                          for t in tensors if t is not None)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        if func is aten._local_scalar_dense.default:  # a fake has no value; the step reads none but the window's place
            return 0
        if func.namespace == "sgif":
            result = self._run_op(func, args, kwargs)
            self._count_flops(func, args, kwargs, result)
            return result
        if func is aten.mkldnn_convolution.default:  # the same convolution, which fakes do not know by this name
            x, weight, bias, padding, stride, dilation, groups = args
            func, args = aten.convolution.default, (x, weight, bias, stride, padding, dilation, False,
                                                    [0] * len(padding), groups)
        result = func(*args, **kwargs)
        if func in _CONVOLUTIONS and args[0].stride(1) == 1:
            result = tree_map(_channels_innermost, result)
        if self.hidden:
            return result
        self._count_flops(func, args, kwargs, result)
        results = _tensors(result)
        news = [self._follow(tensor) for tensor in results]
        writes = func.namespace == "aten" and "empty" not in func._schema.name
        if writes and (any(news) or func._schema.is_mutable):
            self.count(*_tensors((args, kwargs)), *results)
        return result

    def _count_flops(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if not self._in_operator and (flops := operator_flops(func, args, kwargs, result)):
            self.phases[self.phase].flops += flops

    def _run_op(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.launchers:
            around, self._in_operator = self._in_operator, True
            try:
                with self:
                    return op_implementations[func._schema.name.removeprefix("sgif::")](*args, **kwargs)
            finally:
                self._in_operator = around
        result = func(*args, **kwargs)
        self._results_of_one_launch(args, result)
        return result

    def run_compiled(self, plain: Callable[..., Any], *args: Tensor) -> Any:
        """A function that torch.compile has made one piece of: of its tensors only results exist."""
        self.hidden = True
        try:
            result = plain(*args)
        finally:
            self.hidden = False
        self._results_of_one_launch(args, result)
        return result

    def _results_of_one_launch(self, args: tuple[Any, ...], result: Any) -> None:
        results = _tensors(result)
        for tensor in results:
            self._follow(tensor)
        self.count(*_tensors(args), *results)

    def _follow(self, tensor: Tensor) -> bool:
        """Whether `tensor` is in new memory, which counts from now to its end."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._sizes:
            return False
        size = -(-storage.nbytes() // self.block_bytes) * self.block_bytes
        self._sizes[address] = size
        self.live_bytes += size
        cost = self.phases[self.phase]
        cost.peak_bytes = max(cost.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._forget, address).atexit = False
        return True

    def _forget(self, address: int) -> None:
        self.live_bytes -= self._sizes.pop(address)


def _channels_innermost(x: Tensor | None) -> Tensor | None:
    """As oneDNN and cuDNN give results whose inputs are so; fakes choose planes for a single clip."""
    if x is None or x.dim() < 4:
        return x
    return torch.empty_like(x, memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]
