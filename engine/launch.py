"""The processes that `torchrun` starts for one command: which of them this one is. Nothing here imports torch."""

from __future__ import annotations

import os
from typing import NamedTuple

from .config import ConfigError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class Place(NamedTuple):
    """Where a process stands among all, and among those on its machine."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    local_ranks: int = 1


def place() -> Place:
    """This process's place, from the variables that `torchrun` sets; without WORLD_SIZE, or if that is 1, it is alone.

    Raises:
        ConfigError: the variables are no launcher's.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Place()
    given = [os.environ.get(name) for name in VARIABLES]
    try:
        rank, ranks, local_rank, local_ranks = (int(value or "") for value in given)
        sound = 0 <= rank < ranks and 0 <= local_rank < local_ranks <= ranks
    except ValueError:
        sound = False
    if not sound:
        said = ", ".join(f"{name} {value or 'is not set'}" for name, value in zip(VARIABLES, given, strict=True))
        raise ConfigError(f"{said}: expected all four as torchrun sets them, or no WORLD_SIZE for one process")
    return Place(rank, ranks, local_rank, local_ranks)


def share(number: int) -> tuple[range, bool]:
    """Which of `number` things this process makes, and whether the others make them with it: each every so many-th, or,
    where there are fewer things than processes, all of them all."""
    here = place()
    together = number < here.ranks
    return (range(number), True) if together else (range(here.rank, number, here.ranks), False)
