"""The figures of a finished training run: one small JSON with its conditions, and the README's table made from it.

    python -m sgif.bench.training_run runs/demo -o bench/results/demo-cpu.json --command "make demo"
    python -m sgif.bench.training_run bench/results/demo-cpu.json --readme README.md

Run the first on the machine and at the commit that trained: the run folder knows neither.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..engine import Run, RunError, load_run
from ..engine.device import available_cores, resolve_device, set_threads
from ..engine.storage import read_json, write_bytes, write_json
from .documents import fill_between
from .environment import commit, cpu_model, machine_and_versions

Result = dict[str, Any]

SCHEMA = 1
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
REPEATS = 5  # samples that are timed


def collect(run: Run, command: str) -> Result:
    """Everything that is published of `run`, as JSON values.

    Seconds of a scale are wall time, iterations per second the median and p20-p80 over the rows of stats.jsonl;
    `sample_seconds` is measured here: one clip of the trained size from noise, weights read from disk each time.

    Raises:
        RunError: the run is not finished.
    """
    if not run.finished:
        raise RunError(f"{run.path} has {run.scales_done} of {len(run.plans)} scales: expected a finished run")
    rows = read_rows(run.path / "stats.jsonl")
    scales = [scale_figures(record, [row for row in rows if row["scale"] == record["scale"]])
              for record in run.scale_info()]
    source = Path(run.source)
    return {
        "schema": SCHEMA,
        "command": command,
        "commit": commit(),
        "device": device_description(run),
        "versions": {**run.record["versions"], "python": platform.python_version()},
        "clip": {"source": source.name if source.is_absolute() else run.source, "frames": run.num_frames,
                 "height": run.sizes[-1][0], "width": run.sizes[-1][1], "digest": run.record["clip"].get("digest")},
        "config": run.config.to_json(),
        "scales": scales,
        "totals": {"iterations": sum(scale["iterations"] for scale in scales),
                   "seconds": round(sum(scale["seconds"] for scale in scales), 3),
                   "peak_bytes": max((row["peak_bytes"] for row in rows), default=0)},
        "sample_seconds": quantiles(sample_seconds(run)),
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's log. Raises RunError when it is missing."""
    if not path.is_file():
        raise RunError(f"{path} is missing: the run folder is incomplete")
    return [json.loads(line) for line in path.read_text().splitlines()]


def scale_figures(record: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Result:
    """One scale: what its scale.json says, its speed, and its seconds per phase."""
    phases: dict[str, float] = defaultdict(float)
    for row in rows:
        for phase, seconds in row["phase_seconds"].items():
            phases[phase] += seconds
    kept = ("scale", "height", "width", "kind", "iterations", "seconds", "rec_psnr_db", "noise_amp", "losses")
    return {**{name: record[name] for name in kept},
            "iterations_per_second": quantiles([row["iterations_per_second"] for row in rows]),
            "phase_seconds": {phase: round(seconds, 3) for phase, seconds in phases.items()}}


def sample_seconds(run: Run) -> list[float]:
    """Seconds of each of `REPEATS` samples, after one that does not count."""
    set_threads(run.config.threads)
    seconds = []
    for index in range(1 + REPEATS):
        begin = time.perf_counter()
        run.sample(first=index)
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, p20 and p80; the only value there is stands for all three."""
    cuts = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return {"median": round(cuts[4], 4), "p20": round(cuts[1], 4), "p80": round(cuts[7], 4)}


def read_result(path: Path, schema: int) -> Result:
    """A result that a measurement wrote. Raises RunError when it is none of `schema`."""
    result = read_json(path)
    if not isinstance(result, dict) or result.get("schema") != schema:
        raise RunError(f"{path} is no result of schema {schema}: measure again")
    return result


def device_description(run: Run) -> Result:
    """This machine as the run uses it: model, cores, threads, and its GPU if it trains on one."""
    cores = available_cores()
    device = resolve_device(run.config.device)
    found: Result = {"kind": device.type, "cpu": cpu_model(), "cores": cores, "threads": run.config.threads or cores}
    return {**found, "gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else found


def markdown_table(result: Result) -> str:
    """The README's table: a row per scale, the sum, and the conditions under it."""
    titles = ("scale", "height x width", "generator", "iterations", "iterations/s (p20-p80)", "minutes", "PSNR, dB")
    lines = [f"| {' | '.join(titles)} |", "|--:|--:|:--|--:|--:|--:|--:|"]
    for scale in result["scales"]:
        rate = scale["iterations_per_second"]
        cells = (scale["scale"], f"{scale['height']}x{scale['width']}", scale["kind"], scale["iterations"],
                 f"{rate['median']:.3g} ({rate['p20']:.3g}-{rate['p80']:.3g})", f"{scale['seconds'] / 60:.1f}",
                 f"{scale['rec_psnr_db']:.1f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    totals = result["totals"]
    lines.append(f"| all | | | {totals['iterations']} | | {totals['seconds'] / 60:.1f} | |")
    return "\n".join([*lines, "", conditions(result)])


def conditions(result: Result) -> str:
    """Under which the figures hold, and the two that are no row: the time of a sample and the memory."""
    clip, config, sample = (result[name] for name in ("clip", "config", "sample_seconds"))
    precision = "bfloat16" if config["amp"] else "float32"
    return (f"`{result['command']}`, preset `{config['preset']}`, seed {config['seed']}, {precision}. "
            f"Clip: `{clip['source']}`, {clip['frames']} frames of {clip['height']}x{clip['width']}. "
            f"A new clip of that size takes {sample['median']:.2g} s (p20-p80 {sample['p20']:.2g}-{sample['p80']:.2g}, "
            f"{REPEATS} samples); peak memory of training {result['totals']['peak_bytes'] / 2**30:.2g} GiB. "
            f"{machine_and_versions(result['device'], result['versions'], result['commit'])}")


def fill_readme(text: str, result: Result) -> str:
    """`text` with the table between its markers. Raises ValueError when it does not have one pair of them."""
    return fill_between(text, BEGIN, END, markdown_table(result))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of a finished run, or a result that -o wrote")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the result here as JSON")
    parser.add_argument("--command", help="what trained the run; needed with a run")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the table between this file's markers")
    args = parser.parse_args(argv)
    if args.source.is_dir():
        if args.command is None:
            parser.error("a run folder does not know what trained it: give --command")
        result = collect(load_run(args.source), args.command)
    else:
        result = read_result(args.source, SCHEMA)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output, result)
    if args.readme:
        write_bytes(args.readme, fill_readme(args.readme.read_text(encoding="utf-8"), result).encode())
    print(markdown_table(result))


if __name__ == "__main__":
    main()
