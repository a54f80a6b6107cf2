"""The suite `example`: what it takes to train on the example clip and to sample from the run, preset `draft`.

Training is forecast and gone through for a few steps at every scale, as `sgif profile` does. Samples are made by `sgif
sample`, each in a process of its own: peak memory and time are the whole command's, imports included, and do not hang
on how long the model was trained. Counters are those of an H100. No GPU has run it yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ..engine import Clip, RunError, TrainConfig, preset_config, read_clip, train
from ..engine.profiling.forecast import ScaleForecast, forecast_scale
from ..engine.profiling.profile import ScaleProfile, profile_clip
from ..engine.profiling.rehearsal import counting_for
from ..engine.pyramid import plan_scales
from .counters import COUNTED_ARCH, GPU, require_triton
from .environment import caption, is_there
from .result import NOT_YET, OURS, Case, CaseSet, Result, Row, Settings, dtype_name
from .suite import Suite

CLIP = Path(__file__).resolve().parents[1] / "examples" / "clouds.gif"
STEPS = 1
ITERATIONS = 2  # a scale: of the run that is sampled from
MIB = 2**20


class Sample(NamedTuple):
    """What is asked of `sgif sample`; None: the run's own."""

    frames: int | None = None
    size: tuple[int, int] | None = None
    form: str = "gif"

    def options(self) -> list[str]:
        frames = ["--frames", str(self.frames)] if self.frames else []
        size = ["--size", "x".join(map(str, self.size))] if self.size else []
        return [*frames, *size, "--format", self.form]


LARGE = (Sample(8, (2160, 3840)), Sample(8, (2160, 3840), "mp4"))
SAMPLES: dict[CaseSet, tuple[Sample, ...]] = {
    "small": (Sample(), Sample(200), Sample(2000), Sample(2000, None, "mp4"), Sample(8, (540, 960)),
              Sample(32, (540, 960)), Sample(128, (540, 960), "mp4"), LARGE[0]),
}
SAMPLES["paper"] = SAMPLES["large"] = (*SAMPLES["small"], LARGE[1])


def collect(settings: Settings) -> list[Row]:
    """A row per scale and precision of training, then one per sample.

    Raises:
        RunError: Triton is not installed, or the example clip is not there.
    """
    require_triton()
    if not CLIP.is_file():
        raise RunError("the example clip is part of a checkout, and this sgif is installed without one")
    clip = read_clip(CLIP)
    rows = [row for dtype in settings.dtypes for row in training_rows(clip, dtype, settings)]
    return [*rows, *sample_rows(clip, settings)]


# ---- Training --------------------------------------------------------------------------------------------------------


def training_rows(clip: Clip, dtype: torch.dtype, settings: Settings) -> Iterator[Row]:
    """Counters of each scale, and where the device is there forecast and measured peak. Seconds: see the suite step."""
    threads = torch.get_num_threads()
    config = preset_config("draft", amp=dtype == torch.bfloat16, device=str(settings.device), threads=threads)
    settings.tell(f"example: training, {dtype}")
    scales = counted_scales(clip, config)
    profiles: Sequence[ScaleProfile | None] = [None] * len(scales)
    if settings.timed and is_there(settings.device):
        profiles = profile_clip(clip, config, steps=STEPS).scales
    for counted, profile in zip(scales, profiles, strict=True):
        plan = counted.plan
        case = _case("training", [plan.frames_per_step, *plan.size], dtype=dtype_name(dtype),
                     scale=f"{plan.index}, {plan.kind}")
        peak = counted.peak_bytes - counted.workspace_bytes
        counters = {"launches": counted.launches, "bytes": counted.bytes, "flops": counted.flops, "peak_bytes": peak}
        values: dict[str, float] = {"parameters": sum(counted.parameters.values())}
        measured = profile and profile.measured
        if profile and measured:
            values |= {"forecast_bytes": profile.forecast.peak_bytes, "measured_bytes": measured.peak_bytes}
        yield Row(case=case, way=OURS, counters=counters, values=values, note="" if measured else NOT_YET)


def counted_scales(clip: Clip, config: TrainConfig) -> list[ScaleForecast]:
    """Forecasts of all scales as on an H100."""
    num_frames, height, width, _ = clip.frames.shape
    plans = plan_scales(height, width, num_frames, config)
    with counting_for(COUNTED_ARCH):
        return [forecast_scale(plans, plan.index, num_frames, replace(config, device="cuda"), GPU, fused=False)
                for plan in plans]


# ---- Samples ---------------------------------------------------------------------------------------------------------


def sample_rows(clip: Clip, settings: Settings) -> Iterator[Row]:
    """Peak resident memory and processor time of `sgif sample`; nothing is known of them without running it."""
    there = settings.timed and is_there(settings.device)
    with tempfile.TemporaryDirectory() as folder:
        config = preset_config("draft", iterations=ITERATIONS, device=str(settings.device), fuse=False,
                               threads=torch.get_num_threads())
        run = train(clip, Path(folder, "run"), config) if there else None
        num_frames, height, width, _ = clip.frames.shape
        plan = plan_scales(height, width, num_frames, config)[-1]
        for sample in SAMPLES[settings.cases]:
            shape = [sample.frames or num_frames, *(sample.size or plan.size)]
            settings.tell(f"example: {sample.form} of {'x'.join(map(str, shape))}")
            values = measure_sample(run.path, sample) if run else {}
            yield Row(case=_case("sample", shape, form=sample.form), way=OURS, values=values,
                      note="" if values else NOT_YET)


# A process begins with the peak of the one that it was forked from, here that of all suites before: so a small one
# stands between.
_LAUNCHER = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss, usage.ru_utime + usage.ru_stime]))
"""


def measure_sample(run: Path, sample: Sample) -> dict[str, float]:
    """Of the whole command. Raises RunError when it fails."""
    command = [sys.executable, "-m", "sgif.cli", "sample", str(run), *sample.options()]
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True, check=True)
    code, peak, seconds = json.loads(done.stdout)
    if code:
        raise RunError(f"{' '.join(command)} ended with {code}: {done.stderr.strip()}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return {"resident_bytes": peak * unit, "cpu_seconds": round(seconds, 2)}


def _case(what: str, shape: list[int], *, dtype: str | None = None, scale: str | None = None,
          form: str | None = None) -> Case:
    return {"what": what, "scale": scale, "shape": shape, "dtype": dtype, "form": form}


# ---- Report ----------------------------------------------------------------------------------------------------------


def table(result: Result) -> str:
    """Training by scale, then samples."""
    training, samples = ([row for row in result.rows if row.case["what"] == what] for what in ("training", "sample"))
    parts = [f"Training, {dtype}, a step of each scale; launches, bytes and GFLOP as on an H100:\n\n"
             + _training_table([row for row in training if row.case["dtype"] == dtype])
             for dtype in dict.fromkeys(row.case["dtype"] for row in training)]
    parts.append("`sgif sample`, the whole command:\n\n" + _samples_table(samples))
    return "\n\n".join([*parts, caption(result)])


def _training_table(rows: Sequence[Row]) -> str:
    lines = ["| scale | T x H x W | parameters | forecast MiB | measured MiB | launches | GB moved | GFLOP |",
             "|---|---|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        v, c = row.values, row.counters
        measured = [f"{v['forecast_bytes'] / MIB:.1f}", f"{v['measured_bytes'] / MIB:.1f}"] \
            if "measured_bytes" in v else [NOT_YET, ""]
        lines.append(f"| {row.case['scale']} | {'x'.join(map(str, row.case['shape']))} | {v['parameters']:,.0f} | "
                     f"{' | '.join(measured)} | {c['launches']} | {c['bytes'] / 1e9:.3g} | {c['flops'] / 1e9:,.1f} |")
    return "\n".join(lines)


def _samples_table(rows: Sequence[Row]) -> str:
    lines = ["| frames | height x width | format | peak resident MiB | CPU s |", "|--:|--:|:--|--:|--:|"]
    for row in rows:
        frames, height, width = row.case["shape"]
        figures = [f"{row.values['resident_bytes'] / MIB:,.0f}", f"{row.values['cpu_seconds']:.3g}"] if row.values \
            else [NOT_YET, ""]
        lines.append(f"| {frames} | {height}x{width} | {row.case['form'].upper()} | {' | '.join(figures)} |")
    return "\n".join(lines)


EXAMPLE = Suite(name="example", summary="what training on the example clip and sampling from it take", collect=collect,
                table=table, document=Path("docs/memory.md"))
