"""All suites of `sgif bench`, and one run of one of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..engine.config import ConfigError
from ..engine.device import resolve_device
from ..engine.profiling.profile import forecast_device
from .environment import conditions, result
from .example import EXAMPLE
from .memory import MEMORY
from .ops import OPS
from .result import CaseSet, Result, Settings
from .scaling import SCALING
from .step import STEP
from .suite import Suite

SUITES: tuple[Suite, ...] = (
    OPS,
    STEP,
    MEMORY,
    SCALING,
    EXAMPLE,
)
"""In the order of `sgif bench all`."""
ALL = "all"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def chosen(name: str) -> list[Suite]:
    """The suite of that name, or all. Raises ConfigError when there is none."""
    found = [suite for suite in SUITES if name in (suite.name, ALL)]
    if not found:
        raise ConfigError(f"there is no suite {name!r}, expected {', '.join(suite.name for suite in SUITES)} or {ALL}")
    return found


def settings_for(device: str, dtypes: str, cases: CaseSet, *, counters: bool,
                 tell: Callable[[str], None] = lambda line: None) -> Settings:
    """Settings as people type them: "auto" or a device's name, dtypes with commas between.

    A GPU that is not there is counted and predicted, not timed; neither is anything with `counters`.

    Raises:
        ConfigError: the device or a dtype is unknown.
    """
    names = dtypes.split(",")
    if unknown := [name for name in names if name not in DTYPES]:
        raise ConfigError(f"dtype is {unknown[0]!r}, expected {' or '.join(DTYPES)}, or both with a comma between")
    try:
        found, there = resolve_device(device), True
    except ConfigError:
        found, there = forecast_device(device), False
    return Settings(device=found, cases=cases, dtypes=tuple(DTYPES[name] for name in names),
                    timed=there and not counters, tell=tell)


def run_suite(suite: Suite, command: str, settings: Settings) -> Result:
    """Measure or count one suite, with the conditions it ran under. On a CPU it sets one thread."""
    if settings.device.type == "cpu":
        torch.set_num_threads(1)
    before = conditions(settings.device)
    return result(suite.name, command, settings, suite.collect(settings), before)
