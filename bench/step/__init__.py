"""The suite `step`: a whole training step beside plain ones, and where its time goes."""

from .suite import STEP

__all__ = ["STEP"]
