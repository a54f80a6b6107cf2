"""APNG: every way in which frames come and go, against the specification."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from sgif.engine.apng_frames import draw_apng, parse_apng
from sgif.engine.pictures import with_alpha

from ..corpus.blocks import PNG_HEAD, chunk

RED, GREEN, CLEAR, HALF = (255, 0, 0, 255), (0, 255, 0, 255), (9, 9, 9, 0), (0, 0, 255, 128)
Pixel = tuple[int, int, int, int]


def apng(*frames: tuple[Sequence[Pixel], int, int, int], width: int = 3) -> bytes:
    """One row of pixels; frames are (pixels, left, disposal, blend)."""
    out, number = [PNG_HEAD, chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, 8, 6, 0, 0, 0)),
                   chunk(b"acTL", struct.pack(">II", len(frames), 0))], 0
    for index, (pixels, left, disposal, blend) in enumerate(frames):
        out.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, len(pixels), 1, left, 0, 1, 20, disposal, blend)))
        rows = zlib.compress(b"\0" + bytes(sum(pixels, ())))
        out.append(chunk(b"fdAT", struct.pack(">I", number + 1) + rows) if index else chunk(b"IDAT", rows))
        number += 1 + bool(index)
    return b"".join((*out, chunk(b"IEND", b"")))


def shown(data: bytes) -> list[list[Pixel]]:
    """What is seen after each frame."""
    canvases = draw_apng(parse_apng(data, 99), lambda image: with_alpha(np.asarray(image)))
    return [[tuple(pixel) for pixel in canvas[0].tolist()] for canvas in canvases]


NOTHING = (0, 0, 0, 0)
FIRST = ([RED] * 3, 0, 0, 0)


def test_a_frame_takes_the_place_of_what_is_below_it() -> None:
    assert shown(apng(FIRST, ([CLEAR, HALF], 1, 0, 0)))[1] == [RED, CLEAR, HALF]


def test_a_frame_blends_over_what_is_below_it() -> None:
    assert shown(apng(FIRST, ([CLEAR, GREEN, HALF], 0, 0, 1)))[1] == [RED, GREEN, (127, 0, 128, 255)]


def test_half_over_half_and_half_over_nothing() -> None:
    canvas = shown(apng(([HALF, NOTHING, NOTHING], 0, 0, 0), ([(255, 0, 0, 128)] * 2, 0, 0, 1)))[1]
    alpha = 128 / 255 + 128 / 255 * (1 - 128 / 255)
    assert canvas == [(round(128 / alpha), 0, round(128 * (1 - 128 / 255) / alpha), round(255 * alpha)),
                      (255, 0, 0, 128), NOTHING]


@pytest.mark.parametrize(("disposal", "left_behind"), [(0, GREEN), (1, NOTHING), (2, RED)])
def test_a_frame_goes_as_it_says(disposal: int, left_behind: Pixel) -> None:
    assert shown(apng(FIRST, ([GREEN], 1, disposal, 0), ([HALF], 2, 0, 0)))[2] == [RED, left_behind, HALF]


@pytest.mark.parametrize("disposal", [1, 2])
def test_before_the_first_frame_there_was_nothing(disposal: int) -> None:
    assert shown(apng(([RED] * 3, 0, disposal, 0), ([GREEN], 1, 0, 0)))[1] == [NOTHING, GREEN, NOTHING]


def test_no_more_is_looked_at_than_was_asked_for() -> None:
    data = apng(FIRST, FIRST, FIRST)
    cut = parse_apng(data[:data.rindex(b"fdAT") + 5], 2)
    assert (len(cut.frames), cut.complete) == (2, True)
    with pytest.raises(ValueError, match="cut short"):
        parse_apng(data[:data.rindex(b"fdAT") + 5], 3)


def test_durations_are_those_of_the_file() -> None:
    assert [frame.ms for frame in parse_apng(apng(FIRST, FIRST), 9).frames] == [50, 50]
