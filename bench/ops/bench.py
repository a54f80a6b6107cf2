"""A case of the ops suite on a device: its ways, who of them computes the right thing, and their calls."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...kernels import disable_fusion, enable_fusion
from ...kernels.dispatch import Impl
from ...kernels.fusion import fused_functions
from ..cases import CASES, Shape
from ..result import OURS, Case, CaseSet, dtype_name
from ..timing import cache_bytes, copies_past_cache, measuring_stream, rotated
from .gate import Tolerance, Verdict, gate_shape, results_of, tolerance
from .operators import ATEN, ATEN_LAST, COMPILED, OPERATORS, OURS_COMPILED, Draw, Operator, Problem, Way
from .passes import Function, Pass, Run


@dataclass(frozen=True, kw_only=True)
class OpCase:
    """One pass of an operator at a shape [N, C, T, H, W] and a dtype."""

    operator: Operator
    step: Pass
    shape: Shape
    dtype: torch.dtype

    def to_json(self) -> Case:
        """As rows have it."""
        return {"op": self.operator.name, "pass": self.step.name, "shape": list(self.shape),
                "dtype": dtype_name(self.dtype)}

    def problem(self, device: torch.device, shape: Shape | None = None) -> Problem:
        """On drawn inputs, with Triton where the device has it; `shape`: at another one."""
        impl: Impl = "triton" if device.type == "cuda" else "torch"
        return self.operator.problem(shape or self.shape, Draw(device, self.dtype), impl)

    def way_names(self, *, compilers: bool = False) -> list[str]:
        """All ways; `compilers`: with those that need one."""
        tiny = (1, 1, 2, 8, 8)
        problem = self.problem(torch.device("cpu"), tiny)
        names = list(problem.ways())
        return names + [name for name in (OURS_COMPILED, COMPILED) if compilers and self.has_way(problem, name)]

    def has_way(self, problem: Problem, compiler: str) -> bool:
        """Whether OURS_COMPILED or COMPILED is a way; torch.compile has no double backward."""
        return problem.fusable if compiler == OURS_COMPILED else bool(problem.compilable and self.step.order < 3)

    def call_on_fakes(self, way: str) -> Run:
        """A call of a way for `counters.count`: Triton's, where ours has it."""
        problem = self.operator.problem(self.shape, Draw(torch.device("cpu"), self.dtype), "triton")
        return problem.ways()[way].prepare(self.step, problem.constants, self.dtype).run


def op_cases(cases: CaseSet, dtypes: tuple[torch.dtype, ...]) -> Iterator[OpCase]:
    """All of a set: shape by shape, operator by operator, pass by pass."""
    for case in CASES[cases]:
        for dtype in dtypes:
            for operator in OPERATORS:
                for step in operator.passes:
                    yield OpCase(operator=operator, step=step, shape=case.shape, dtype=dtype)


class OpBench:
    """A device, set up for measuring: use it inside `ready`.

    Args:
        compiled: whether torch.compile takes part, where there is a compiler.
    """

    def __init__(self, device: torch.device, *, compiled: bool = True) -> None:
        self.device = device
        self.cache_bytes = cache_bytes(device)
        self.compiled = compiled and (device.type == "cuda" or bool(shutil.which("g++") or shutil.which("clang++")))
        self._fused: dict[torch.dtype, dict[Any, Any] | None] = {}  # the compiled forms of the fused functions

    @contextmanager
    def ready(self) -> Iterator[None]:
        """One CPU thread; on a GPU cuDNN tries its algorithms, without TF32, and nothing runs on the default stream."""
        cudnn, matmul, threads = torch.backends.cudnn, torch.backends.cuda.matmul, torch.get_num_threads()
        before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
        with ExitStack() as stack:
            # A compiled way keeps its code for every shape; `retain_graph` forbids giving buffers back.
            stack.enter_context(torch._dynamo.config.patch(recompile_limit=10_000, accumulated_recompile_limit=100_000))
            stack.enter_context(torch._functorch.config.patch(donated_buffer=False))
            stack.enter_context(measuring_stream(self.device))
            cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
            if self.device.type == "cpu":
                torch.set_num_threads(1)
            try:
                yield
            finally:
                cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
                torch.set_num_threads(threads)

    def ways(self, case: OpCase, problem: Problem) -> dict[str, Way]:
        """All ways of a case here, by name."""
        found = problem.ways()
        ours = found.pop(OURS)
        ways = {OURS: ours}
        fused = self._fused_forms(case.dtype) if case.has_way(problem, OURS_COMPILED) else None
        if fused:
            ways[OURS_COMPILED] = replace(ours, name=OURS_COMPILED, wrapped=lambda run: _with_forms(run, fused))
        ways |= found
        if problem.compilable and self.compiled and case.has_way(problem, COMPILED):
            ways[COMPILED] = replace(found[ATEN], name=COMPILED, function=_compiled(problem.compilable))
        return {name: replace(way, note=self._note(way)) for name, way in ways.items()}

    def verdicts(self, case: OpCase, names: Container[str] | None = None) -> dict[str, Verdict | str]:
        """What float64 says of each way, or why it did not run; at `gate_shape`. `names`: of these alone."""
        problem = case.problem(self.device, gate_shape(case.shape))
        tolerances: dict[Function, Tolerance] = {}
        found: dict[str, Verdict | str] = {}
        for name, way in self.ways(case, problem).items():
            if names is not None and name not in names:
                continue
            if way.plain not in tolerances:
                tolerances[way.plain] = tolerance(problem, way.plain, way.inputs, case.step, case.dtype)
            try:
                results = results_of(way.prepare(case.step, problem.constants, case.dtype).run)
            except Exception as error:
                if name != COMPILED:
                    raise
                found[name] = f"torch.compile failed ({type(error).__name__})"  # whatever its stack raises
                continue
            found[name] = tolerances[way.plain].judge(results)
        return found

    def call(self, case: OpCase, problem: Problem, way: Way) -> Run:
        """A call of `way`, each on the next of so many copies of its inputs that none is still in the cache."""
        first = way.prepare(case.step, problem.constants, case.dtype)
        copies = copies_past_cache(first.call_bytes, self.cache_bytes)
        return rotated([first.run, *(way.prepare(case.step, problem.constants, case.dtype, copy=True).run
                                     for _ in range(copies - 1))])

    def _fused_forms(self, dtype: torch.dtype) -> dict[Any, Any] | None:
        """What `enable_fusion` compiles, which the engine uses on CPUs; None where it cannot."""
        if self.device.type != "cpu" or not self.compiled:
            return None
        if dtype not in self._fused:
            trouble = enable_fusion(self.device, dtype)
            self._fused[dtype] = None if trouble else {function: function.active for function in fused_functions()}
            disable_fusion()
        return self._fused[dtype]

    def _note(self, way: Way) -> str:
        notes = [way.note] if way.note else []
        if way.name in (ATEN, ATEN_LAST):
            if self.device.type == "cuda":
                notes.append("cuDNN tries its algorithms, TF32 is off")
            elif slow := _slow_filters(way):
                notes.append(f"ATen picks slow_conv3d for {', '.join(slow)}")
        return "; ".join(notes)


def _compiled(function: Function) -> Function:
    compiled: Function = torch.compile(function, dynamic=False, fullgraph=True)
    return compiled


def _with_forms(run: Run, forms: dict[Any, Any]) -> Run:
    def call() -> object:
        for function, form in forms.items():
            function.active = form
        try:
            return run()
        finally:
            for function in forms:
                function.active = function.plain
    return call


def _slow_filters(way: Way) -> list[str]:
    """The sizes of the filters in `way` that ATen convolves with by its own `slow_conv3d` and not by oneDNN. 1x1x1 is
    none of them: there it is a matrix product."""
    with _SlowConvolutions() as seen, torch.no_grad():
        way.function(*way.inputs.values())
    return sorted(seen.filters - {"1x1x1"})


class _SlowConvolutions(TorchFunctionMode):
    """Asks ATen what it chooses for each 3D convolution of stride 1."""

    def __init__(self) -> None:
        super().__init__()
        self.filters: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv3d:
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            given = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
            size, padding = given["weight"].shape[2:], given.get("padding", 0)
            pads = [taps // 2 for taps in size] if padding == "same" else [padding] * 3
            ones = [1, 1, 1]
            backend = torch._C._select_conv_backend(given["input"], given["weight"], given.get("bias"), ones, pads,
                                                    ones, False, [0, 0, 0], given.get("groups", 1))
            if backend.name == "Slow3d":
                self.filters.add("x".join(map(str, size)))
        return func(*args, **(kwargs or {}))
