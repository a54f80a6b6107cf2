"""A generator over frames of any size, a window at a time: activations are what a device cannot hold, not clips.

An activation has 16 to 128 channels where a clip has three. Five convolutions of filter 3 reach 5 pixels, so a window
is computed together with the 5 pixels around it, as far as the picture goes, and what is around it is cut off. Where
the picture ends the window ends too, so padding counts there and only there: the result is that of the whole picture.
Several processes that make a clip together take turns at the windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import torch
from torch import Tensor

from .generator import NUM_CONVS, Generator
from .ranks import ALONE, Ranks

MAX_VALUES = 1 << 25
"""Most numbers in one activation, frames x height x width x channels: 128 MiB in float32. A few exist at a time."""
MIN_SIDE_PX = 16  # with 5 pixels around it 2.6 times the work; smaller ones would be worse


def windowed_residual(generator: Generator, pieces: Sequence[Tensor], context: tuple[int, int] = (0, 0), *,
                      max_values: int = MAX_VALUES, ranks: Ranks = ALONE) -> Tensor:
    """`generator(torch.cat(pieces, 2), context)`, within rounding, with no activation of more than `max_values` numbers
    (but in windows of at least MIN_SIDE_PX).

    Args:
        pieces: consecutive frames of the generator's input, [1, 3, t, H, W] each.
        context: how many frames at the start and at the end are there to be seen only.
        ranks: who computes a part of the windows each; all of them get the result.

    Returns:
        [1, 3, T, H, W] without the frames of `context`.
    """
    height, width = pieces[0].shape[3:]
    frames = sum(piece.shape[2] for piece in pieces)
    kept = frames - sum(context)
    values_per_pixel = generator.width * (frames if generator.is_3d else kept)
    if values_per_pixel * height * width <= max_values:
        residual: Tensor = generator(torch.cat(tuple(pieces), 2), context)
        return residual
    side = max(MIN_SIDE_PX, int((max_values / values_per_pixel) ** 0.5) - 2 * NUM_CONVS)
    residual = pieces[0].new_zeros((1, 3, kept, height, width))
    windows = list(product(spans(height, side), spans(width, side)))
    for (top, bottom), (left, right) in windows[ranks.index::ranks.count]:
        y, x = max(0, top - NUM_CONVS), max(0, left - NUM_CONVS)
        window = [piece[..., y:bottom + NUM_CONVS, x:right + NUM_CONVS] for piece in pieces]
        around = generator(torch.cat(window, 2), context)
        residual[..., top:bottom, left:right] = around[..., top - y:bottom - y, left - x:right - x]
    ranks.add(residual)  # to the zeros in the windows of others
    return residual


def spans(length: int, longest: int) -> list[tuple[int, int]]:
    """0 to `length` cut into as few ranges of at most `longest` as there can be, even in size."""
    count = -(-length // longest)
    return list(pairwise(length * i // count for i in range(count + 1)))
