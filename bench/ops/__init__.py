"""The suite `ops`: each operator of `kernels/`, pass by pass, beside what else computes it."""

from .suite import OPS

__all__ = ["OPS"]
