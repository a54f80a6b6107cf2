"""What a launch of a kernel moves, against the fewest bytes it could."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

SECTOR_BYTES = 32  # what L2 and DRAM of an NVIDIA GPU hand out at least


@dataclass(frozen=True)
class Traffic:
    """Bytes of one launch.

    `requested` counts an address as often as it is asked for, what L1 sees. `moved` counts each distinct sector once:
    what comes from DRAM if the caches catch every repetition. `fewest` counts each tensor once: read if the launch
    read it anywhere, and written if it wrote it.
    """

    kernel: str
    requested_read: int
    requested_written: int
    moved_read: int
    moved_written: int
    fewest_read: int
    fewest_written: int

    @property
    def moved_over_fewest(self) -> float:
        return (self.moved_read + self.moved_written) / max(1, self.fewest_read + self.fewest_written)

    @property
    def requested_over_fewest(self) -> float:
        return (self.requested_read + self.requested_written) / max(1, self.fewest_read + self.fewest_written)


def distinct_bytes(x: Tensor) -> int:
    """Bytes of a tensor's elements; those that an expanded tensor repeats count once."""
    elements = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        elements *= size if stride else min(size, 1)
    return elements * x.element_size()


def extent(x: Tensor) -> tuple[int, int]:
    """First byte address of a tensor, and the first behind it."""
    if not x.numel():
        return x.data_ptr(), x.data_ptr()
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()
