"""The operators' torch forms, which CPUs run, beside what ATen offers for the same: one thread, one run.

    python -m sgif.bench.torch_forms -o bench/results/torch-forms-cpu.json --document docs/kernels.md
    python -m sgif.bench.torch_forms bench/results/torch-forms-cpu.json --document docs/kernels.md

ATen's way is the composition that one would write first, with autograd's derivatives; where layout matters, once with
planes and once with channels innermost, and the faster one is what a torch form is held against. All ways take turns,
call by call, so that a busy machine slows all of them. Time is that of the thread's processor, not the clock's.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, interpolate

from ..kernels import (
    PhiloxNoise,
    batch_norm_act,
    batch_norm_act_reference,
    channels_last,
    convolution,
    disable_fusion,
    enable_fusion,
    frame_color_statistics,
    separable_conv3d,
    separable_conv3d_reference,
    upsample_add_noise,
    upsample_tanh_residual,
    weight_gradients_disabled,
)
from .conditions import Result, machine_and_versions, one_cpu_thread, quantiles, report_command

SCHEMA = 1
BEGIN, END = "<!-- torch-forms:begin -->", "<!-- torch-forms:end -->"
SHAPES = ((2, 16, 8, 12, 20), (2, 16, 6, 28, 47), (2, 32, 4, 67, 112))
"""[N, C, T, H, W] of `draft`: its coarsest scale, its finest 3D one, its finest with twice its channels."""
DTYPES = (torch.float32, torch.bfloat16)
ROUNDS = 60
SECONDS = 2.0  # of a case's rounds; at least MIN_ROUNDS of them
MIN_ROUNDS = 5

OURS, COMPILED, ATEN, ATEN_LAST = "torch form", "torch form, compiled", "ATen", "ATen, channels last"
AMPLITUDE = 0.1

Shape = tuple[int, ...]
Run = Callable[[], object]
Ways = dict[str, Run]


class Case(NamedTuple):
    """One operator, one of its passes, and who computes it."""

    op: str
    computes: str
    ways: Ways
    compilable: bool = False
    """The torch form has parts that `enable_fusion` compiles."""
    same_values: bool = True
    """Not so where each draws noise of its own."""


# ---- Passes ----------------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """An operator by two functions of the same tensors, `inputs`."""

    ours: Callable[..., Tensor]
    aten: Callable[..., Tensor]
    inputs: Mapping[str, Tensor]
    layouts: bool = True
    """ATen is measured with channels innermost too."""


def ways(problem: Problem, prepare: Callable[[Callable[..., Tensor], dict[str, Tensor]], Run]) -> Ways:
    planes = {name: x.clone() for name, x in problem.inputs.items()}
    innermost = {name: channels_last(x) if x.dim() in (4, 5) and name == "x" else x.clone()
                 for name, x in problem.inputs.items()}
    made = {OURS: prepare(problem.ours, innermost if problem.layouts else planes), ATEN: prepare(problem.aten, planes)}
    return {**made, ATEN_LAST: prepare(problem.aten, innermost)} if problem.layouts else made


def forward(function: Callable[..., Tensor], inputs: dict[str, Tensor]) -> Run:
    """Recorded for a backward pass, as in training."""
    leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs.values()]
    return lambda: function(*leaves)


def gradients(function: Callable[..., Tensor], inputs: dict[str, Tensor], *, wanted: Sequence[str]) -> Run:
    leaves = {name: x.detach().requires_grad_(name in wanted) for name, x in inputs.items()}
    y = function(*leaves.values())
    dy = seeded_like(y)
    return lambda: torch.autograd.grad(y, [leaves[name] for name in wanted], dy, retain_graph=True)


def double_backward(function: Callable[..., Tensor], inputs: dict[str, Tensor], *, wanted: Sequence[str]) -> Run:
    """From what arrives at dx to the gradients of dy and `wanted`: the gradient penalty's second pass."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    y = function(*leaves.values())
    dy = seeded_like(y).requires_grad_()
    with weight_gradients_disabled():
        dx, = torch.autograd.grad(y, leaves["x"], dy, create_graph=True)
    v = seeded_like(dx)
    return lambda: torch.autograd.grad(dx, [dy, *(leaves[name] for name in wanted)], v, retain_graph=True)


def seeded_like(x: Tensor) -> Tensor:
    """Normal, the same for every layout of `x`, in the layout of `x`."""
    values = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return torch.empty_like(x).copy_(values)


# ---- Operators -------------------------------------------------------------------------------------------------------


def cases(shape: Shape, dtype: torch.dtype) -> Iterator[Case]:
    """All of them for activations of `shape` and, for the operators on clips, three channels of its size."""
    n, c, t, h, w = shape
    random = torch.Generator().manual_seed(0)

    def normal(*size: int, of: torch.dtype = dtype) -> Tensor:
        return torch.randn(size, generator=random).to(of)

    # As the generators pad: mirrored in space, copied in time.
    separable = Problem(partial(separable_conv3d, pad_space="reflect", pad_time="replicate", impl="torch"),
                        partial(separable_conv3d_reference, pad_space="reflect", pad_time="replicate"),
                        {"x": normal(*shape), "spatial": normal(c, 3, 3) / 3, "temporal": normal(c, 3) / 2,
                         "pointwise": normal(c, c) / c**0.5})
    yield Case("separable_conv3d", "forward", ways(separable, forward))
    yield Case("separable_conv3d", "input gradient", ways(separable, partial(gradients, wanted=["x"])))
    yield Case("separable_conv3d", "weight gradients",
               ways(separable, partial(gradients, wanted=["spatial", "temporal", "pointwise"])))

    dense = Problem(convolution, partial(conv3d, padding=1),
                    {"x": normal(*shape), "weight": normal(c, c, 3, 3, 3) / (27 * c)**0.5})
    frames = Problem(convolution, partial(conv2d, padding=1),
                     {"x": normal(n * t, c, h, w), "weight": normal(c, c, 3, 3) / (9 * c)**0.5})
    for name, problem in (("convolution 3x3x3", dense), ("convolution 3x3, single frames", frames)):
        yield Case(name, "forward", ways(problem, forward))
        yield Case(name, "input gradient", ways(problem, partial(gradients, wanted=["x"])))
        yield Case(name, "weight gradient", ways(problem, partial(gradients, wanted=["weight"])))
        yield Case(name, "double backward", ways(problem, partial(double_backward, wanted=["weight"])))

    norm = Problem(lambda *tensors: batch_norm_act(*tensors, impl="torch")[0], batch_norm_act_reference,
                   {"x": normal(*shape), "gamma": 1 + normal(c, of=torch.float32) / 4,
                    "beta": normal(c, of=torch.float32) / 4})
    yield Case("batch_norm_act", "forward", ways(norm, forward), compilable=True)
    yield Case("batch_norm_act", "backward", ways(norm, partial(gradients, wanted=["x", "gamma", "beta"])),
               compilable=True)
    yield Case("batch_norm_act", "double backward", ways(norm, partial(double_backward, wanted=["x", "gamma"])),
               compilable=True)

    size = h, w
    coarser, clip = normal(n, 3, t, math.ceil(h * 0.75), math.ceil(w * 0.75)), normal(n, 3, t, h, w)
    noisy = Problem(lambda x, z: upsample_add_noise(x, size, z, AMPLITUDE, impl="torch"),
                    lambda x, z: enlarged(x, size) + AMPLITUDE * z, {"x": coarser, "z": clip}, layouts=False)
    yield Case("upsample_add_noise", "forward, given noise", ways(noisy, forward))
    seed = torch.tensor([3])
    drawn = Problem(lambda x: upsample_add_noise(x, size, PhiloxNoise(seed=seed), AMPLITUDE, impl="torch"),
                    lambda x: enlarged(x, size) + AMPLITUDE * torch.randn(n, 3, t, h, w).to(x.dtype), {"x": coarser},
                    layouts=False)
    yield Case("upsample_add_noise", "forward, noise drawn", ways(drawn, forward), same_values=False)

    residual = Problem(lambda g, x: upsample_tanh_residual(x, size, g, impl="torch"),
                       lambda g, x: enlarged(x, size) + torch.tanh(g), {"g": clip, "x": coarser}, layouts=False)
    yield Case("upsample_tanh_residual", "forward", ways(residual, forward))
    yield Case("upsample_tanh_residual", "residual's gradient", ways(residual, partial(gradients, wanted=["g"])))

    colors = Problem(lambda x: flat(*frame_color_statistics(x, impl="torch")), color_statistics_by_cov, {"x": clip},
                     layouts=False)
    yield Case("frame_color_statistics", "forward", ways(colors, forward))
    yield Case("frame_color_statistics", "backward", ways(colors, partial(gradients, wanted=["x"])))


def enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The clip at `size`: trilinear, which keeps the number of frames and so is bilinear."""
    return interpolate(x, size=(x.shape[2], *size), mode="trilinear", align_corners=False)


def color_statistics_by_cov(x: Tensor) -> Tensor:
    frames = [frame.flatten(1).float() for clip in x for frame in clip.unbind(1)]
    mean = torch.stack([frame.mean(1) for frame in frames])
    return flat(mean, torch.stack([torch.cov(frame, correction=0) for frame in frames]))


def flat(mean: Tensor, cov: Tensor) -> Tensor:
    """Both statistics as one tensor, which takes one gradient."""
    return torch.cat((mean.reshape(-1, 3), cov.reshape(-1, 9)), 1)


# ---- Measurement -----------------------------------------------------------------------------------------------------


def measure(case: Case, dtype: torch.dtype, *, compiled: bool, seconds: float) -> dict[str, Result]:
    """Milliseconds of processor time of each way, which take turns; one round that does not count."""
    runs = dict(case.ways)
    if compiled and case.compilable:
        runs[COMPILED] = case.ways[OURS]
    took: dict[str, list[float]] = {name: [] for name in runs}
    began = time.perf_counter()
    while True:
        for name, run in runs.items():
            if COMPILED in runs:
                set_fusion(name == COMPILED, dtype)
            began_way = time.thread_time()
            run()
            took[name].append(1000 * (time.thread_time() - began_way))
        rounds = len(took[OURS]) - 1
        if rounds >= ROUNDS or (rounds >= MIN_ROUNDS and time.perf_counter() - began > seconds):
            break
    disable_fusion()
    return {name: {"fastest": round(min(values[1:]), 4), **quantiles(values[1:])} for name, values in took.items()}


def set_fusion(on: bool, dtype: torch.dtype) -> None:
    """Compiled once per dtype; afterwards torch finds the code."""
    disable_fusion()
    trouble = enable_fusion(torch.device("cpu"), dtype) if on else None
    if trouble:
        raise RuntimeError(trouble)


def collect(command: str, *, shapes: Sequence[Shape] = SHAPES, dtypes: Sequence[torch.dtype] = DTYPES,
            compiled: bool = True, seconds: float = SECONDS) -> Result:
    """The figures and their conditions, as JSON values; sets one thread.

    A row has milliseconds by way: fastest, median, p20 and p80.
    """
    conditions = one_cpu_thread(command, SCHEMA)  # now: the sources may change while this runs
    rows = []
    for dtype in dtypes:
        for shape in shapes:
            for case in cases(shape, dtype):
                cpu_ms = measure(case, dtype, compiled=compiled, seconds=seconds)
                rows.append({"op": case.op, "computes": case.computes, "shape": list(shape), "dtype": name_of(dtype),
                             "cpu_ms": cpu_ms})
                print(f"{len(rows)}: {case.op}, {case.computes}, {shape}, {name_of(dtype)}", file=sys.stderr)
    return {**conditions, "rows": rows}


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- Report ----------------------------------------------------------------------------------------------------------


def markdown_table(result: Result) -> str:
    """A line per operator, pass and torch form; each cell its fastest milliseconds / those of ATen's faster way,
    bold where ATen's are fewer by more than a tenth."""
    cells: dict[tuple[str, str, str], dict[tuple[str, str], str]] = {}
    for row in result["rows"]:
        by_aten = min(row["cpu_ms"][name]["fastest"] for name in (ATEN, ATEN_LAST) if name in row["cpu_ms"])
        for form in (OURS, COMPILED):
            if form in row["cpu_ms"]:
                ours = row["cpu_ms"][form]["fastest"]
                mark = "**" if ours > 1.1 * by_aten else ""
                line = cells.setdefault((row["op"], row["computes"], form), {})
                line[row["dtype"], "x".join(map(str, row["shape"]))] = f"{mark}{ours:.3g} / {by_aten:.3g}{mark}"
    columns = sorted({column for line in cells.values() for column in line},
                     key=lambda column: (column[0] != "float32", math.prod(map(int, column[1].split("x")))))
    titles = [f"{dtype} {shape}" for dtype, shape in columns]
    table = [f"| operator | pass | {' | '.join(titles)} |", f"|---|---|{'--:|' * len(columns)}"]
    for (op, computes, form), line in cells.items():
        passes = f"{computes}{', compiled' if form == COMPILED else ''}"
        table.append(f"| {op} | {passes} | {' | '.join(line.get(column, '') for column in columns)} |")
    return "\n".join([*table, "", f"`{result['command']}`. {machine_and_versions(result)}"])


def main(argv: Sequence[str] | None = None) -> None:
    report_command(argv, "torch_forms", __doc__ or "", SCHEMA, collect, markdown_table, (BEGIN, END))


if __name__ == "__main__":
    main()
