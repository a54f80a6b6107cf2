"""What the system, torch and NVML tell, all three faked where this machine may not tell it."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from sgif.bench import environment
from sgif.bench.environment import caption, conditions, describe, file_name, result, state
from sgif.bench.result import Result, Row, Settings, load_result, write_result

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def system(tmp_path):
    for name, text in {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast Chip 3000\ncpu MHz\t\t: 2600.5\n\nmodel name\t: other\n",
        "proc/meminfo": "MemTotal:       2048 kB\nMemFree:   1 kB\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_processor_and_memory_are_read_where_the_system_tells(system):
    assert environment.cpu_model(system) == "Fast Chip 3000"
    assert environment.cpu_mhz(system) == 2600.5
    assert environment.memory_bytes(system) == 2 << 20
    assert environment.governor(system) is None


def test_a_governed_frequency_goes_before_the_reported_one(system):
    folder = system / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("performance\n")
    (folder / "scaling_cur_freq").write_text("3100000\n")
    assert environment.governor(system) == "performance"
    assert environment.cpu_mhz(system) == 3100


def test_where_the_system_tells_nothing_there_are_no_fields(tmp_path):
    assert environment.cpu_model(tmp_path)
    assert environment.cpu_mhz(tmp_path) is environment.memory_bytes(tmp_path) is environment.governor(tmp_path) is None
    assert environment.known(a=None, b=0) == {"b": 0}


def test_a_result_has_the_state_before_and_after(monkeypatch, tmp_path):
    loads = iter((0.5, 1.25))
    monkeypatch.setattr(environment, "load", lambda: next(loads))
    before = conditions(CPU)
    found = result("ops", "sgif bench ops", Settings(device=CPU, cases="paper"), [Row(case={"op": "x"}, way="sgif")],
                   before)
    assert (found.device["before"]["load"], found.device["after"]["load"]) == (0.5, 1.25)
    assert found.versions.keys() - {"triton"} == {"sgif", "torch", "python"}
    assert (found.suite, found.cases, found.rows[0].case) == ("ops", "paper", {"op": "x"})
    write_result(tmp_path / "a.json", found)
    assert load_result(tmp_path / "a.json") == found
    assert file_name(found) == "ops-cpu.json"
    said = caption(found)
    for words in ("`sgif bench ops`. ", found.device["cpu"], f"{torch.get_num_threads()} thread", "load 0.5 to 1.25",
                  f"torch {torch.__version__}", f"commit {found.commit[:10]}"):
        assert words in said


# ---- GPUs ------------------------------------------------------------------------------------------------------------


class NVMLError(Exception):
    pass


def fake_nvml(**changes):
    """A pynvml whose GPU runs this process and another one."""
    processes = [SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=-1)]
    functions = {
        "nvmlInit": lambda: None, "nvmlShutdown": lambda: None, "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetHandleByUUID": {"GPU-12ab": "handle"}.__getitem__,
        "nvmlDeviceGetClockInfo": lambda gpu, clock: {"sm": 1410, "memory": 2619}[clock],
        "nvmlDeviceGetMaxClockInfo": lambda gpu, clock: {"sm": 1980, "memory": 2619}[clock],
        "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: 700_000, "nvmlDeviceGetPowerUsage": lambda gpu: 123_400,
        "nvmlDeviceGetTemperature": lambda gpu, sensor: 41,
        "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=7),
        "nvmlDeviceGetComputeRunningProcesses": lambda gpu: processes,
    }
    return SimpleNamespace(NVMLError=NVMLError, NVML_CLOCK_SM="sm", NVML_CLOCK_MEM="memory", NVML_TEMPERATURE_GPU=0,
                           **{**functions, **changes})


def unsupported(*_):
    raise NVMLError("Not Supported")


@pytest.fixture
def gpu(monkeypatch):
    """A function that puts an NVML in place of the machine's, beside a torch that sees one GPU."""
    properties = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=80 << 30, major=9, minor=0,
                                 multi_processor_count=132, uuid="12ab")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return lambda nvml: monkeypatch.setitem(sys.modules, "pynvml", nvml)


def test_a_gpu_has_clocks_limits_and_who_else_uses_it(gpu):
    gpu(fake_nvml())
    found = describe(GPU)
    expected = {"kind": "cuda", "gpu": "NVIDIA H100 80GB HBM3", "gpu_memory_bytes": 80 << 30, "driver": "580.1",
                "compute_capability": "9.0", "max_sm_mhz": 1980, "max_memory_mhz": 2619, "power_limit_w": 700}
    assert {name: found[name] for name in expected} == expected
    now = {"sm_mhz": 1410, "memory_mhz": 2619, "temperature_c": 41, "power_w": 123.4, "busy_percent": 7,
           "other_processes": 1}
    assert {name: found["before"][name] for name in now} == now
    assert "notes" not in found


def test_a_query_that_fails_costs_its_field_alone(gpu):
    gpu(fake_nvml(nvmlDeviceGetEnforcedPowerLimit=unsupported, nvmlDeviceGetTemperature=unsupported))
    found = describe(GPU)
    assert found["notes"] == ["power_limit_w is unknown: Not Supported"]
    assert "power_limit_w" not in found
    assert found["max_sm_mhz"] == 1980
    assert "temperature_c" not in found["before"]
    assert found["before"]["sm_mhz"] == 1410


@pytest.mark.parametrize(("nvml", "why"), [
    (None, "nvidia-ml-py is not installed"),
    (fake_nvml(nvmlInit=unsupported), "Not Supported"),
    (fake_nvml(nvmlDeviceGetHandleByUUID=unsupported), "Not Supported"),
], ids=["absent", "no driver", "no such GPU"])
def test_without_nvml_a_note_says_so(nvml, why, gpu):
    gpu(nvml)
    found = describe(GPU)
    assert found["gpu"] == "NVIDIA H100 80GB HBM3"
    assert "driver" not in found
    assert found["notes"] == [f"clocks, power limit, temperature and driver are unknown: {why}"]
    assert "sm_mhz" not in state(GPU)


def test_a_gpu_that_is_not_there_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    found = describe(GPU)
    assert found["gpu"] == "no GPU"
    assert found["notes"] == ["cuda is not there: counted and predicted, not measured"]


def test_files_and_captions_are_named_after_the_gpu():
    device = {"kind": "cuda", "gpu": "NVIDIA H100 80GB HBM3", "driver": "580.1", "cuda": "13.0", "cpu": "Chip",
              "cores": 2, "threads": 1}
    found = Result(suite="ops", command="sgif bench", commit="0123456789abcdef+changes", device=device,
                   versions={"sgif": "1", "python": "3"}, cases="small", rows=())
    assert file_name(found) == "ops-nvidia-h100-80gb-hbm3.json"
    assert caption(found) == ("`sgif bench`. NVIDIA H100 80GB HBM3, driver 580.1, CUDA 13.0; Chip, 2 cores, 1 thread; "
                              "sgif 1, Python 3; commit 0123456789 with changes.")
