"""How long the rest of a run takes, and how much of it is done, from the speed at one scale."""

from __future__ import annotations

from collections.abc import Sequence

from .pyramid import ScalePlan

LAUNCH_VOXELS = 4000
"""An iteration costs its voxels, and as much again as so many of them for its launches (16 channels, 2 cores)."""


def scale_costs(plans: Sequence[ScalePlan]) -> list[int]:
    """What all iterations of each scale cost, in a unit that the scales share."""
    return [plan.iterations * _step_cost(plan) for plan in plans]


def seconds_left(plans: Sequence[ScalePlan], scale: int, iteration: int,
                 seconds_per_iteration: float) -> tuple[float, float]:
    """For the scale and for the run, after `iteration` iterations of `scale` at that speed."""
    left = (plans[scale].iterations - iteration) * seconds_per_iteration
    return left, left + seconds_per_iteration / _step_cost(plans[scale]) * sum(scale_costs(plans)[scale + 1:])


def share_done(plans: Sequence[ScalePlan], scale: int, iteration: int) -> float:
    """The part of the run's time, 0 to 1, that is behind after `iteration` iterations of `scale`; `scale` may be the
    number of scales."""
    costs = scale_costs(plans)
    begun = costs[scale] * iteration / plans[scale].iterations if scale < len(plans) else 0.0
    return (sum(costs[:scale]) + begun) / sum(costs)


def _step_cost(plan: ScalePlan) -> int:
    return (LAUNCH_VOXELS + plan.height * plan.width * plan.frames_made) * plan.channels
