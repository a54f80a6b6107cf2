"""What a fleet tells whoever listens: plain data, a class per kind of news, all with the name of the clip's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..events import Event

RETRIES = 3
"""How often a clip is tried again whose process was lost, unless asked otherwise."""

State = Literal["done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process has begun to train a clip, or to go on with it."""

    name: str
    where: str                          # "machine, process 4711"


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """What training itself tells, but for single steps."""

    name: str
    event: Event


@dataclass(frozen=True, kw_only=True)
class Retried:
    """The process was lost, and another one will go on from the last save."""

    name: str
    retry: int                          # 1 for the first
    retries: int                        # how many there may be
    why: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Sent once for every clip, last."""

    name: str
    state: State
    sentence: str = ""                  # what went wrong, where it failed
    bug: bool = False                   # of sgif, and then `traceback` says where
    traceback: str = ""


News = Started | Progressed | Retried | Ended
Tell = Callable[[News], None]
