"""One clip trained once, whatever comes of it: here or in a process of Ray's."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Callable

from ..clip import Clip
from ..events import Event, StepDone
from ..explain import explain
from ..scale_session import TrainingStopped
from ..trainer import train
from .news import Ended, Progressed, Tell
from .plan import Job


def attempt(job: Job, clip: Callable[[], Clip], tell: Tell, should_stop: Callable[[], bool]) -> Ended:
    """Train, or go on with, the run of a job. An error of this clip is its end and nobody else's."""
    def on_event(event: Event) -> None:
        if not isinstance(event, StepDone):
            tell(Progressed(name=job.name, event=event))

    try:
        train(clip(), job.run_dir, job.config, on_event=on_event, should_stop=should_stop)
    except TrainingStopped:
        return Ended(name=job.name, state="stopped")
    except Exception as error:
        sentence, bug = explain(error)
        return Ended(name=job.name, state="failed", sentence=sentence, bug=bug, traceback=traceback.format_exc())
    return Ended(name=job.name, state="done")


def here() -> str:
    """Where this is, for `Started`."""
    return f"{platform.node()}, process {os.getpid()}"
