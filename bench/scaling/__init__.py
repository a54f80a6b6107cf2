"""The suite `scaling`: how a step's cost grows with pixels, frames and channels; hybrid against dense."""

from .suite import SCALING

__all__ = ["SCALING"]
