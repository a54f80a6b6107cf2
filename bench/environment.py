"""What every result has beside its figures: the machine and its state before and after, the versions, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..engine.device import available_cores
from ..engine.run_folder import package_version
from .result import Result, Row, Settings

NO_GPU = "no GPU"
SYSTEM = Path("/")  # where the system tells about itself


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What holds before anything is measured; `result` adds what holds afterwards."""

    commit: str
    device: dict[str, Any]
    versions: dict[str, str]


def conditions(device: torch.device) -> Conditions:
    """The conditions now, to be taken before a measurement: sources may change while it runs."""
    return Conditions(commit=commit(), device=describe(device), versions=versions())


def result(suite: str, command: str, settings: Settings, rows: Sequence[Row], before: Conditions) -> Result:
    """The rows with the conditions before them and the machine's state now, after them."""
    described = {**before.device, "after": state(settings.device)}
    return Result(suite=suite, command=command, commit=before.commit, device=described, versions=before.versions,
                  cases=settings.cases, rows=tuple(rows))


# ---- Sources and versions --------------------------------------------------------------------------------------------


def commit() -> str:
    """The commit of these sources, with "+changes" when tracked files differ from it; "unknown" outside git."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    if not (root / ".git").exists():  # installed: a repository around it would be another one
        return "unknown"
    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions() -> dict[str, str]:
    """Of what computes: sgif, torch, triton and Python."""
    found = {"sgif": package_version("sgif"), "torch": torch.__version__, "triton": package_version("triton"),
             "python": platform.python_version()}
    return {name: version for name, version in found.items() if version != "unknown" or name == "sgif"}


# ---- The machine -----------------------------------------------------------------------------------------------------


def describe(device: torch.device) -> dict[str, Any]:
    """The processor, the GPU if `device` is one, and the state "before"; a GPU that is not there has only its kind."""
    cpu = {"kind": device.type, "cpu": cpu_model(), "cores": available_cores(), "threads": torch.get_num_threads(),
           "capability": torch.backends.cpu.get_cpu_capability(),
           "onednn_bfloat16": onednn_bfloat16(),
           **known(memory_bytes=memory_bytes(), governor=governor())}
    return {**cpu, **(_gpu(device) if device.type == "cuda" else {}), "before": state(device)}


def state(device: torch.device) -> dict[str, Any]:
    """What changes while one measures: load average of a minute, MHz of the processor; of a GPU clocks in MHz, degrees
    Celsius, watts, how busy it is and how many other processes compute on it."""
    now = known(load=load(), cpu_mhz=cpu_mhz())
    return {**now, **_nvml(device, STATE)[0]} if is_there(device) and device.type == "cuda" else now


def is_timed(dtype: torch.dtype, settings: Settings) -> bool:
    """Whether steps are timed: where the device is there, and on a CPU in bfloat16 only where oneDNN has it. ATen
    emulates it, times slower."""
    if not settings.timed or not is_there(settings.device):
        return False
    return settings.device.type == "cuda" or dtype != torch.bfloat16 or onednn_bfloat16()


def onednn_bfloat16() -> bool:
    """Whether oneDNN computes in bfloat16 on this CPU."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def is_there(device: torch.device) -> bool:
    """Whether this machine has the device."""
    return device.type == "cpu" or (device.index or 0) < torch.cuda.device_count()


def known(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def cpu_model(system: Path = SYSTEM) -> str:
    """The processor's name where the system tells it."""
    return _field(system / "proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def cpu_mhz(system: Path = SYSTEM) -> float | None:
    """The first core's frequency now: as its governor has it, else as the processor reports it."""
    governed = _text(system / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")  # kHz
    reported = _field(system / "proc/cpuinfo", "cpu MHz")
    return float(governed) / 1000 if governed else float(reported) if reported else None


def governor(system: Path = SYSTEM) -> str | None:
    """What decides on the first core's frequency, such as "performance"."""
    return _text(system / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def memory_bytes(system: Path = SYSTEM) -> int | None:
    """The machine's memory; a container may be allowed less."""
    total = _field(system / "proc/meminfo", "MemTotal")  # "24684084 kB"
    return int(total.split()[0]) * 1024 if total else None


def load() -> float | None:
    """Processes that ran or waited for a core, on average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _field(path: Path, name: str) -> str | None:
    """The value of the first line `name: value`."""
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


# ---- A GPU, through torch and NVML -----------------------------------------------------------------------------------

Query = Callable[[Any, Any], Any]  # of pynvml and the device's handle

CONSTANT: dict[str, Query] = {
    "driver": lambda nvml, gpu: str(nvml.nvmlSystemGetDriverVersion()),
    "max_sm_mhz": lambda nvml, gpu: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
    "max_memory_mhz": lambda nvml, gpu: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_MEM),
    "power_limit_w": lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
}
STATE: dict[str, Query] = {
    "sm_mhz": lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
    "memory_mhz": lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
    "temperature_c": lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    "power_w": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    "busy_percent": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    "other_processes": lambda nvml, gpu: sum(process.pid != os.getpid()
                                             for process in nvml.nvmlDeviceGetComputeRunningProcesses(gpu)),
}


def _gpu(device: torch.device) -> dict[str, Any]:
    if not is_there(device):
        return {"gpu": NO_GPU, "notes": [f"{device} is not there: counted and predicted, not measured"]}
    properties = torch.cuda.get_device_properties(device)
    found, notes = _nvml(device, CONSTANT)
    return {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            **known(cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version()), **found,
            **({"notes": notes} if notes else {})}


def _nvml(device: torch.device, queries: Mapping[str, Query]) -> tuple[dict[str, Any], list[str]]:
    """What NVML knows, and what it does not: a missing library or an unsupported query costs its fields alone."""
    try:
        import pynvml as nvml
    except ImportError:
        return {}, ["clocks, power limit, temperature and driver are unknown: nvidia-ml-py is not installed"]
    found: dict[str, Any] = {}
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return {}, [f"clocks, power limit, temperature and driver are unknown: {error}"]
    try:  # by its UUID: CUDA_VISIBLE_DEVICES renumbers what torch sees, not what NVML does
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        missing = {}
        for name, query in queries.items():
            try:
                found[name] = query(nvml, handle)
            except nvml.NVMLError as error:
                missing[name] = str(error)
        return found, [f"{name} is unknown: {error}" for name, error in missing.items()]
    except nvml.NVMLError as error:
        return {}, [f"clocks, power limit, temperature and driver are unknown: {error}"]
    finally:
        nvml.nvmlShutdown()


# ---- In words --------------------------------------------------------------------------------------------------------


def caption(result: Result) -> str:
    """Under a table: the command, the machine, versions, commit."""
    return f"`{result.command}`. {machine_and_versions(result.device, result.versions, result.commit)}"


def machine_and_versions(device: Mapping[str, Any], versions: Mapping[str, str], commit: str) -> str:
    """The end of a caption: GPU, processor, cores, threads, load, versions, commit."""
    machine = f"{device['cpu']}, {counted(device['cores'], 'core')}, {counted(device['threads'], 'thread')}"
    loads = [f"{device[when]['load']:g}" for when in ("before", "after") if "load" in device.get(when, {})]
    machine += f", load {' to '.join(loads)}" if loads else ""
    if "gpu" in device:
        gpu = [device["gpu"], *(f"{word} {device[name]}" for word, name in (("driver", "driver"), ("CUDA", "cuda"))
                                if name in device)]
        machine = f"{', '.join(gpu)}; {machine}"
    programs = ", ".join(f"{'Python' if name == 'python' else name} {version}" for name, version in versions.items())
    commit, _, changes = commit.partition("+")
    return f"{machine}; {programs}; commit {commit[:10]}{f' with {changes}' if changes else ''}."


def counted(number: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def digits(value: float, significant: int = 3) -> str:
    """So many digits, or all of those before the point: `0.0123`, `1,234`."""
    return f"{value:,.0f}" if value >= 10 ** (significant - 1) else f"{value:.{significant}g}"


def file_name(result: Result) -> str:
    """`ops-cpu.json`, `ops-nvidia-h100-80gb-hbm3.json`."""
    where = result.device.get("gpu", "cpu").lower()
    return f"{result.suite}-{''.join(c if c.isalnum() else '-' for c in where)}.json"
