"""The door to a fleet: what is asked for, who does it, and the page that is written as runs end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from ..clip import Clip, read_clip
from ..config import ConfigError, TrainConfig
from ..one_process import one_process
from .attempt import attempt, here
from .news import RETRIES, Ended, Started, Tell
from .on_ray import INSTALL, Cluster
from .page import FleetPage
from .plan import Job, Plan, Read, Refused, plan_fleet
from .resources import Forecasts, Machine, check_possible, this_machine
from .tasks import train_on

LOCK = ".fleet.lock"
"""Held by the fleet that writes the folder's page."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a fleet is to do."""

    sources: Sequence[str]
    """Paths of the clips."""
    folder: Path
    """For the runs and the page."""
    config: TrainConfig
    read: Read = read_clip
    command: str = ""
    """Shown on the page."""
    ray: bool = True
    """Whether Ray may be used where it is installed and there is more than one clip."""
    address: str | None = None
    """Of a cluster: auto, HOST:PORT or ray://HOST:PORT; None for one of this machine's own, which lasts as long."""
    retries: int = RETRIES
    """How often a clip is tried again whose process was lost."""


class Fleet:
    """Clips planned and, on `train`, trained. A context: with an address it holds the connection.

    Raises:
        ConfigError: the cluster does not answer or cannot serve, the settings cannot be used, or a clip is given twice.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.open = ExitStack()
        self.cluster: Cluster | None = None
        with ExitStack() as opened:
            if asked.address is not None:
                self.cluster = opened.enter_context(Cluster(asked.address))
            self.machine = self._machine()
            check_possible(asked.config, self.machine)
            self.plan: Plan = plan_fleet(asked.sources, asked.read, asked.folder, asked.config)
            self.why_in_turn = self._why_in_turn()
            """Why one clip is trained after another; None where Ray is used."""
            if self.why_in_turn is None and ":" in asked.config.device:
                raise ConfigError(f"device is {asked.config.device!r} and Ray chooses the GPU; expected auto, cpu or "
                                  "cuda")
            self.open = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.open.close()

    @property
    def jobs(self) -> list[Job]:
        """The clips that can be trained."""
        return [job for job in self.plan if isinstance(job, Job)]

    @property
    def notes(self) -> tuple[str, ...]:
        """What one should know beforehand, one clause each."""
        return self.cluster.notes if self.cluster else ()

    @property
    def page(self) -> Path:
        """Where `train` writes the page."""
        return self.asked.folder / "index.html"

    def forecast(self) -> list[dict[str, Any]]:
        """What would be trained and what each run takes, as plain JSON values; seconds for each size of clips."""
        forecasts = Forecasts(self.machine)
        return [{"clip": clip.source, "refused": clip.sentence} if isinstance(clip, Refused) else
                {"clip": clip.source, "run": str(clip.run_dir), "frames": clip.frames, "sizes": clip.sizes,
                 "finished": clip.finished, **forecasts(clip).to_json()} for clip in self.plan]

    def train(self, tell: Tell = lambda news: None, should_stop: Callable[[], bool] = lambda: False) -> list[Ended]:
        """Train what is not trained yet; how each clip ended, in the order given. What failed or was stopped goes on
        when the same is asked again.

        Args:
            tell: called with every piece of news, from this thread.
            should_stop: asked several times a second. Once it says so, runs finish their step and save.

        Raises:
            RunError: another fleet is at work in the folder, whose page this one would overwrite.
        """
        folder = self.asked.folder
        folder.mkdir(parents=True, exist_ok=True)
        page = FleetPage(self.page, self.plan, self.asked.command)
        ended: dict[str, Ended] = {}
        with one_process(folder / LOCK, f"another fleet is at work in {folder}; wait until it is done or stop it, or "
                         "give this one another folder"):
            for news in self._ends(tell, should_stop):
                tell(news)
                ended[news.name] = news
                page.write(ended)
        return [ended[clip.name] for clip in self.plan]

    def _ends(self, tell: Tell, should_stop: Callable[[], bool]) -> Iterator[Ended]:
        for clip in self.plan:
            if isinstance(clip, Refused):
                yield Ended(name=clip.name, state="failed", sentence=clip.sentence, bug=clip.bug)
            elif clip.finished:  # answers at once, or says that the settings are others
                yield self._attempt(clip, tell, lambda: False)
        if self.why_in_turn is None:
            with self.cluster or Cluster(None) as cluster:
                yield from train_on(cluster, self._unfinished(), self._read, Forecasts(self.machine), tell=tell,
                                    should_stop=should_stop, retries=self.asked.retries)
        else:
            for job in self._unfinished():
                if should_stop():
                    yield Ended(name=job.name, state="stopped")
                else:
                    tell(Started(name=job.name, where=here()))
                    yield self._attempt(job, tell, should_stop)

    def _attempt(self, job: Job, tell: Tell, should_stop: Callable[[], bool]) -> Ended:
        return attempt(job, partial(self._read, job), tell, should_stop)

    def _read(self, job: Job) -> Clip:
        return self.asked.read(job.source)

    def _unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not job.finished]

    def _machine(self) -> Machine:
        device = self.asked.config.device
        if self.cluster is None:
            return this_machine(device)
        return self.cluster.machine(self.asked.folder, gpus=device != "cpu")

    def _why_in_turn(self) -> str | None:
        if self.cluster is not None:
            return None
        if not self.asked.ray:
            return "as asked"
        if len(self._unfinished()) < 2:
            return "there is no more than one to train"
        return None if find_spec("ray") else f"Ray is not installed ({INSTALL})"
