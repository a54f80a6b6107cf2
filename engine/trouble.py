"""What goes wrong while a scale is trained, and how it is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .config import ConfigError
from .seeding import hashed

LOSS_LIMIT = 1e5
"""A loss has run away beyond this. The largest of `draft` on examples/clouds.gif was 22 (D/video_gp, in 1,079
iterations)."""
GOOD_STATES = 10
"""How many times in a scale the state is kept that a try goes back to. By iterations, not by the clock: so it is the
same one in a run that was killed in between."""
LR_FACTORS = (1.0, 0.3, 0.1)
"""Of the learning rate, for each further try of a scale; all have another seed, the last begins the scale anew."""


class Diverged(Exception):
    """A loss or a weight is not finite, or a loss is beyond LOSS_LIMIT."""


class UntrainableError(ConfigError):
    """A scale that cannot be trained with these settings on this device; what was learned before it is kept."""


class LossWatch:
    """The largest absolute value that each loss has had. It stays on the device and is read by `check` alone; what is
    NaN once stays so."""

    def __init__(self) -> None:
        self.worst: Tensor | None = None
        self.names: tuple[str, ...] = ()

    def see(self, losses: Mapping[str, Tensor]) -> None:
        """Take in the losses of a step; they may be overwritten afterwards, as those of a CUDA graph are."""
        values = torch.stack([*losses.values()]).abs()
        self.worst = values if self.worst is None else torch.maximum(self.worst, values)
        self.names = tuple(losses)

    def check(self) -> None:
        """Forget what was seen. Raises Diverged when it was too much; waits for the device."""
        seen = () if self.worst is None else self.worst.tolist()
        self.worst = None
        for name, value in zip(self.names, seen, strict=bool(seen)):
            if not value <= LOSS_LIMIT:  # so that NaN counts
                raise Diverged(f"{name} reached {value:.3g}")


def check_finite_state(tensors: Mapping[str, Tensor]) -> None:
    """Raises Diverged that names a tensor of which a number is not finite."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise Diverged(f"{name} has numbers that are not finite")


def next_try(seed: int, lr: float, scale: int, number: int, good_iteration: int) -> dict[str, Any] | None:
    """What try `number` of a scale, counted from 1 behind the first, does otherwise; None where there is none left.

    Returns:
        from_iteration: where it goes on, `good_iteration` or 0; seed and lr: its own.
    """
    if number > len(LR_FACTORS):
        return None
    return {"from_iteration": 0 if number == len(LR_FACTORS) else good_iteration,
            "seed": hashed(seed, "retry", scale, number), "lr": lr * LR_FACTORS[number - 1]}


def is_retry(value: Any) -> bool:
    """Whether a value from a file may be one of `next_try`."""
    return isinstance(value, dict) and value.keys() == {"from_iteration", "seed", "lr"} \
        and type(value["from_iteration"]) is int and 0 <= value["from_iteration"] <= 10_000_000 \
        and type(value["seed"]) is int and 0 <= value["seed"] < 2**63 \
        and type(value["lr"]) is float and 0 <= value["lr"] <= 1


def are_retries(value: Any) -> bool:
    """Whether a value from a file may be those of one scale, in order."""
    return isinstance(value, list) and len(value) <= len(LR_FACTORS) and all(map(is_retry, value))


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an allocation failed, on a GPU or on a CPU, where torch has no class for it; also behind an error that
    followed from it, as when it ends the capture of a CUDA graph."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) \
                or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
