"""A Ray cluster: begun or found, and asked what it can do."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch

from ..config import ConfigError
from ..run_folder import package_version
from .resources import Machine, this_machine

INSTALL = "pip install 'sgif[ray]'"
PROBE_SECONDS = 120.0
SAME_VERSIONS = ("sgif", "torch")


def import_ray() -> Any:
    """The library. Raises ConfigError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it tells its makers how it is used
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a task without a GPU sees none
    try:
        import ray
    except ImportError:
        raise ConfigError(f"--address needs Ray: {INSTALL}") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


class Cluster:
    """A connection to Ray while it is entered.

    Args:
        address: auto, HOST:PORT or ray://HOST:PORT; None starts a cluster on this machine, which ends on exit.

    Raises:
        ConfigError: Ray is not installed, or nobody answers.
    """

    def __init__(self, address: str | None) -> None:
        self.address, self.ray = address, import_ray()
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self.owned = not self.ray.is_initialized()  # else somebody's who calls us from Python
        if self.owned:
            own = {"num_cpus": this_machine("cpu").cpus, "include_dashboard": False} if self.address is None else {}
            try:
                with own_signals():
                    self.ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR, **own)
            except Exception as error:  # ConnectionError, ValueError, RuntimeError, ImportError: of grpc for ray://
                if self.address is None:
                    raise
                raise ConfigError(f"no Ray cluster answers at {self.address} ({first_line(error)}); expected auto, "
                                  "HOST:PORT or ray://HOST:PORT of one that 'ray start --head' began, with "
                                  "RAY_AUTH_MODE=token where it asks for one") from error
        quiet(self.ray)
        return self

    def __exit__(self, *error: object) -> None:
        if self.owned:
            self.ray.shutdown()

    def machine(self, folder: Path, *, gpus: bool) -> Machine:
        """What a task can be given at most, after every machine of the cluster was asked whether it can take part.

        Raises:
            ConfigError: one lacks sgif or the folder of the runs, or does not answer.
        """
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / f".fleet-{uuid.uuid4().hex}.tmp"
        token.touch()
        try:
            answers = {node["NodeManagerHostname"]: self._ask(node, token) for node in self.nodes()}
        finally:
            token.unlink()
        ours = {name: package_version(name) for name in SAME_VERSIONS}
        self.notes = tuple(
            f"{host} has {name} {answer[name]} and this machine {ours[name]}: results may differ in their last bits"
            for host, answer in answers.items() for name in SAME_VERSIONS if answer[name] != ours[name])
        memory = [answer["gpu_bytes"] for answer in answers.values() if answer["gpu_bytes"]]
        return Machine(cpus=int(self.most("CPU")), memory_bytes=int(self.most("memory")),
                       gpu_bytes=min(memory) if memory and gpus else None)

    def nodes(self) -> list[dict[str, Any]]:
        """The machines that are there, as Ray describes them."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    def most(self, resource: str) -> float:
        """Of a resource, what the machine has that has most of it."""
        return max(float(node["Resources"].get(resource, 0)) for node in self.nodes())

    def _ask(self, node: dict[str, Any], token: Path) -> dict[str, Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        host = node["NodeManagerHostname"]
        here_only = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        gpus = 0.01 if node["Resources"].get("GPU") else 0
        task = self.ray.remote(num_cpus=0, num_gpus=gpus, max_calls=1, scheduling_strategy=here_only)(probe)
        try:
            answer: dict[str, Any] = self.ray.get(task.remote(os.getcwd(), str(token)), timeout=PROBE_SECONDS)
        except self.ray.exceptions.RayError as error:
            raise ConfigError(f"{host} of the cluster cannot train ({first_line(error)}); expected this sgif on every "
                              "machine") from error
        if not answer["shares"]:
            raise ConfigError(f"{host} of the cluster does not see {token.parent.resolve()}; expected a folder for the "
                              "runs that all machines share, at the same path")
        return answer


def probe(folder: str, token: str) -> dict[str, Any]:
    """A machine of the cluster: whether it has the driver's folder with `token` in it, its versions, its GPU."""
    gpu = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    return {"shares": Path(folder, token).exists(), "gpu_bytes": gpu,
            **{name: package_version(name) for name in SAME_VERSIONS}}


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Put back what is done on Ctrl-C and SIGTERM, which Ray takes for itself when it starts."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:  # of a program around this one, not Python's
                signal.signal(number, handler)


def quiet(ray: Any) -> None:
    """Keep Ray from printing of its own that a process died: the fleet says it."""
    with contextlib.suppress(AttributeError):
        ray._private.worker._worker_logs_enabled = False


def first_line(error: Exception) -> str:
    """What an error says, of a task's what it says last."""
    cause = getattr(error, "cause", None) or error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
