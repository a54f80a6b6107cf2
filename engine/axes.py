"""Round values along an axis."""

from __future__ import annotations

import math


def round_ticks(low: float, high: float, steps: int = 4) -> list[float]:
    """Some `steps` + 1 round values at equal distances, from `low` or less to `high` or more; `low` < `high`."""
    coarsest = (high - low) / steps
    exponent = 10.0 ** math.floor(math.log10(coarsest))
    step = next(factor * exponent for factor in (1, 2, 2.5, 5, 10) if factor * exponent >= coarsest * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]
