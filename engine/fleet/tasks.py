"""Jobs on Ray: one task each, which trains in a process of its own and is tried again when that is lost.

The driver reads a clip and hands its pixels over, for another machine may not have the file. The runs are in a folder
that all machines share, and so a run goes on wherever it is tried again.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from ..clip import Clip
from ..config import ConfigError
from ..explain import explain
from .attempt import attempt, here
from .board import Board, Link
from .news import Ended, News, Retried, Started, Tell
from .on_ray import Cluster, first_line
from .plan import Job
from .resources import Forecasts

POLL_SECONDS = 0.25


def train_on(cluster: Cluster, jobs: Sequence[Job], read: Callable[[Job], Clip], forecasts: Forecasts, *, tell: Tell,
             should_stop: Callable[[], bool], retries: int) -> Iterator[Ended]:
    """Train all jobs, as many at a time as there is room for; how each ended, as they end. A job whose process is lost
    is tried again up to `retries` times.

    Raises:
        ConfigError: the cluster is lost.
    """
    tasks = _Tasks(cluster, jobs, read, forecasts, tell, retries)
    try:
        while tasks.waiting or tasks.running:
            if not tasks.stopping and should_stop():
                yield from tasks.stop()
            yield from tasks.submit()
            yield from tasks.collect()
    except cluster.ray.exceptions.RayError as error:
        raise ConfigError(f"the Ray cluster is gone ({first_line(error)}); run the same again to go on") from error


class _Tasks:
    """What is waiting, what is running, and what came of it."""

    def __init__(self, cluster: Cluster, jobs: Sequence[Job], read: Callable[[Job], Clip], forecasts: Forecasts,
                 tell: Tell, retries: int) -> None:
        self.cluster, self.ray = cluster, cluster.ray
        self.read, self.forecasts, self.tell, self.retries = read, forecasts, tell, retries
        self.board = self.ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board).remote()
        self.waiting, self.running = deque(jobs), dict[Any, Job]()
        self.started: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.stopping = False
        # A queued clip takes its pixels of memory: no more of them than keep every CPU busy.
        self.most = 2 * max(1, int(sum(node["Resources"].get("CPU", 0) for node in cluster.nodes())))

    def submit(self) -> Iterator[Ended]:
        """Hand over as many jobs as may be queued; the end of those whose clip cannot be read."""
        while self.waiting and len(self.running) < self.most:
            job = self.waiting.popleft()
            try:
                clip = self.read(job)
            except Exception as error:
                sentence, bug = explain(error)
                yield Ended(name=job.name, state="failed", sentence=sentence, bug=bug)
            else:
                self.running[self._task(job, clip)] = job

    def stop(self) -> Iterator[Ended]:
        """Begin nothing more; what runs is told by the board."""
        self.stopping = True
        yield from (Ended(name=job.name, state="stopped") for job in self.waiting)
        self.waiting.clear()
        for ref, job in self.running.items():
            if job.name not in self.started:
                self.ray.cancel(ref)

    def collect(self) -> Iterator[Ended]:
        """Wait a moment; pass news on, and how jobs ended."""
        if not self.running:
            return
        ready, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=POLL_SECONDS)
        for news in self.ray.get(self.board.take.remote(self.stopping)):
            if isinstance(news, Started):
                self.started.add(news.name)
            self.tell(news)
        for ref in ready:
            job = self.running.pop(ref)
            outcome = self._outcome(job, ref)
            ended = self._lost(job, outcome) if isinstance(outcome, str) else outcome
            if ended is not None:
                yield ended

    def _task(self, job: Job, clip: Clip) -> Any:
        """A task for a job. It gets a process of its own, whose memory is free when it ends."""
        need = self.forecasts(job)
        options = {"num_cpus": need.cpus, "num_gpus": need.gpus, "max_calls": 1, "max_retries": 0,
                   "memory": min(need.memory_bytes, int(self.cluster.most("memory")))}
        about = {field.name: getattr(clip, field.name) for field in fields(clip) if field.name != "frames"}
        task = self.ray.remote(**options)(train_job)
        return task.remote(replace(job, config=need.config), clip.frames.numpy(), about, os.getcwd(), self.board)

    def _outcome(self, job: Job, ref: Any) -> Ended | str:
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
            return Ended(name=job.name, state="failed", sentence=f"Ray could not run it ({first_line(error)})")

    def _lost(self, job: Job, why: str) -> Ended | None:
        """Try a job again whose process was lost; None, or its end where there were enough tries."""
        self.started.discard(job.name)
        self.lost[job.name] += 1
        if self.stopping:
            return Ended(name=job.name, state="stopped")
        if self.lost[job.name] > self.retries:
            return Ended(name=job.name, state="failed", sentence=f"{why}, {self.lost[job.name]} times in all; what was "
                         "saved goes on when the same is run again")
        self.tell(Retried(name=job.name, retry=self.lost[job.name], retries=self.retries, why=why))
        self.waiting.appendleft(job)
        return None


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
