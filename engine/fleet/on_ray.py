"""Jobs on Ray: one task each, which trains in a process of its own and is tried again when that is lost.

The driver reads a clip and hands its pixels over, for another machine may not have the file. The runs are in a folder
that all machines share, and so a run goes on wherever it is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import torch

from ..clip import Clip
from ..config import ConfigError
from ..run_folder import package_version
from .attempt import attempt, here
from .board import Board, Link
from .news import Ended, News, Retried, Started, Tell
from .plan import Job
from .resources import Forecasts, Machine, this_machine

INSTALL = "pip install 'sgif[ray]'"
POLL_SECONDS = 0.25
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
                raise ConfigError(f"no Ray cluster answers at {self.address} ({_first_line(error)}); expected auto, "
                                  "HOST:PORT or ray://HOST:PORT of one that 'ray start --head' began") from error
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
            answers = {node["NodeManagerHostname"]: self._ask(node, token) for node in self._nodes()}
        finally:
            token.unlink()
        ours = {name: package_version(name) for name in SAME_VERSIONS}
        self.notes = tuple(
            f"{host} has {name} {answer[name]} and this machine {ours[name]}: results may differ in their last bits"
            for host, answer in answers.items() for name in SAME_VERSIONS if answer[name] != ours[name])
        memory = [answer["gpu_bytes"] for answer in answers.values() if answer["gpu_bytes"]]
        return Machine(cpus=int(self._most("CPU")), memory_bytes=int(self._most("memory")),
                       gpu_bytes=min(memory) if memory and gpus else None)

    def train(self, jobs: Sequence[Job], read: Callable[[Job], Clip], forecasts: Forecasts, *, tell: Tell,
              should_stop: Callable[[], bool], retries: int) -> Iterator[Ended]:
        """Train all jobs, as many at a time as there is room for; how each ended, as they end."""
        board = self.ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board).remote()
        waiting, running = deque(jobs), dict[Any, Job]()
        started: set[str] = set()
        lost: Counter[str] = Counter()
        most = 2 * max(1, int(sum(node["Resources"].get("CPU", 0) for node in self._nodes())))
        stopping = False
        while waiting or running:
            if not stopping and should_stop():
                stopping = True
                yield from (Ended(name=job.name, state="stopped") for job in waiting)
                waiting.clear()
                for ref in [ref for ref, job in running.items() if job.name not in started]:
                    self.ray.cancel(ref)
            while waiting and len(running) < most:  # a queued clip takes its pixels of memory
                job = waiting.popleft()
                try:
                    ref = self._submit(job, read(job), forecasts, board)
                except Exception as error:  # of reading: it could be read when all was planned
                    yield Ended(name=job.name, state="failed", sentence=_first_line(error))
                else:
                    running[ref] = job
            ready, _ = self.ray.wait(list(running), num_returns=len(running), timeout=POLL_SECONDS) \
                if running else ([], [])
            for news in self.ray.get(board.take.remote(stopping)):
                started |= {news.name} if isinstance(news, Started) else set()
                tell(news)
            for ref in ready:
                job = running.pop(ref)
                ended = self._ended(job, ref)
                if isinstance(ended, Ended):
                    yield ended
                    continue
                lost[job.name] += 1
                started.discard(job.name)
                if stopping:
                    yield Ended(name=job.name, state="stopped")
                elif lost[job.name] > retries:
                    yield Ended(name=job.name, state="failed", sentence=f"{ended}, {lost[job.name]} times; what was "
                                "saved goes on when the same is asked again")
                else:
                    tell(Retried(name=job.name, retry=lost[job.name], retries=retries, why=ended))
                    waiting.appendleft(job)

    def _submit(self, job: Job, clip: Clip, forecasts: Forecasts, board: Any) -> Any:
        """A task for a job. It gets a process of its own, whose memory is free when it ends."""
        need = forecasts(job)
        options = {"num_cpus": need.cpus, "num_gpus": need.gpus, "max_calls": 1, "max_retries": 0,
                   "memory": min(need.memory_bytes, int(self._most("memory")))}
        about = {field.name: getattr(clip, field.name) for field in fields(clip) if field.name != "frames"}
        task = self.ray.remote(**options)(train_job)
        return task.remote(replace(job, config=need.config), clip.frames.numpy(), about, os.getcwd(), board)

    def _ended(self, job: Job, ref: Any) -> Ended | str:
        """How a task ended, or why its process was lost."""
        errors = self.ray.exceptions
        try:
            ended: Ended = self.ray.get(ref)
            return ended
        except errors.TaskCancelledError:
            return Ended(name=job.name, state="stopped")
        except errors.OutOfMemoryError:
            return "its machine ran out of memory"
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError):
            return "its process died"
        except errors.RayError as error:
            return Ended(name=job.name, state="failed", sentence=f"Ray could not run it ({_first_line(error)})")

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def _most(self, resource: str) -> float:
        """Of a resource, what the machine has that has most of it."""
        return max(float(node["Resources"].get(resource, 0)) for node in self._nodes())

    def _ask(self, node: dict[str, Any], token: Path) -> dict[str, Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        host = node["NodeManagerHostname"]
        here_only = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        gpus = 0.01 if node["Resources"].get("GPU") else 0
        task = self.ray.remote(num_cpus=0, num_gpus=gpus, max_calls=1, scheduling_strategy=here_only)(probe)
        try:
            answer: dict[str, Any] = self.ray.get(task.remote(os.getcwd(), str(token)), timeout=PROBE_SECONDS)
        except self.ray.exceptions.RayError as error:
            raise ConfigError(f"{host} of the cluster cannot train ({_first_line(error)}); expected this sgif on every "
                              "machine") from error
        if not answer["shares"]:
            raise ConfigError(f"{host} of the cluster does not see {token.parent.resolve()}; expected a folder for the "
                              "runs that all machines share, at the same path")
        return answer


def train_job(job: Job, frames: Any, about: dict[str, Any], folder: str, board: Any) -> Ended:
    """The task: train in this process, in the driver's working folder, which the paths of a job start from."""
    import ray

    def report(news: list[News]) -> bool | None:
        with contextlib.suppress(ray.exceptions.RayError):
            return bool(ray.get(board.report.remote(news)))
        return None

    os.chdir(folder)
    clip = Clip(frames=torch.from_numpy(frames.copy()), **about)  # what Ray hands over may not be written to
    with Link(report) as link:
        link.tell(Started(name=job.name, where=here()))
        if link.should_stop():
            return Ended(name=job.name, state="stopped")
        return attempt(job, lambda: clip, link.tell, link.should_stop)


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
            signal.signal(number, handler)


def quiet(ray: Any) -> None:
    """Keep Ray from printing of its own that a process died: the fleet says it."""
    with contextlib.suppress(AttributeError):
        ray._private.worker._worker_logs_enabled = False


def _first_line(error: Exception) -> str:
    """What an error says, of a task's what it says last."""
    cause = getattr(error, "cause", None) or error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
