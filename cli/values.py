"""Values as people type them, one function per form; each refuses with what came and what was expected."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

from ..engine.config import ALL_SCALES

Size = tuple[int, int]  # height, width


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None


def frame_count(text: str) -> int:
    if (value := positive(text)) > 10_000_000:
        raise ArgumentTypeError(f"{text!r} is too large, expected 1 to 10000000")
    return value


def positive(text: str) -> int:
    if (value := whole(text)) < 1:
        raise ArgumentTypeError(f"{text!r} is too small, expected 1 or more")
    return value


def non_negative(text: str) -> int:
    if (value := whole(text)) < 0:
        raise ArgumentTypeError(f"{text!r} is too small, expected 0 or more")
    return value


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number") from None


def positive_number(text: str) -> float:
    if not 0 < (value := number(text)) < 1e6:
        raise ArgumentTypeError(f"{text!r} is not above 0, or too large, expected a number of seconds as 2 or 0.5")
    return value


def whole_numbers(text: str) -> list[int]:
    """`0,5` -> [0, 5]."""
    return sorted({non_negative(part) for part in text.split(",")})


def positive_numbers(text: str) -> list[float]:
    """`8,12.5` -> [8.0, 12.5]."""
    numbers = [number(part) for part in text.split(",")]
    if not all(0 < value < 1e6 for value in numbers):
        raise ArgumentTypeError(f"{text!r} has a number that is not above 0, expected some, as in 8,12.5")
    return numbers


def frame_range(text: str) -> tuple[int, int]:
    """`16:8` -> (16, 8)."""
    match = _match(r"(\d+):(\d+)", text, "two whole numbers A:B, as in 16:8")
    return int(match[1]), int(match[2])


def count_or_range(text: str) -> tuple[int, int]:
    """`600:150` -> (600, 150), `400` -> (400, 400)."""
    match = _match(r"(\d+)(?::(\d+))?", text, "one whole number or two as A:B: 400 or 600:150")
    return int(match[1]), int(match[2] or match[1])


def scale_count(text: str) -> int:
    """`4` -> 4, `all` -> ALL_SCALES."""
    if text == "all":
        return ALL_SCALES
    return int(_match(r"\d+", text, "a whole number or 'all'")[0])


def size(text: str) -> Size:
    """`90x160` -> (90, 160)."""
    match = _match(r"(\d+)[xX](\d+)", text, "HEIGHTxWIDTH, as in 90x160")
    return positive(match[1]), positive(match[2])


def factors(text: str) -> tuple[float, float]:
    """`1.5x1` -> (1.5, 1.0) for height and width, `2` -> (2.0, 2.0)."""
    decimal = r"(\d+(?:\.\d*)?|\.\d+)"
    match = _match(rf"{decimal}(?:[xX]{decimal})?", text, "one factor, or two as HEIGHTxWIDTH: 2 or 1.5x1")
    height, width = float(match[1]), float(match[2] or match[1])
    if not (height * width > 0 and max(height, width) < 1e5):
        raise ArgumentTypeError(f"{text!r} has a factor of 0 or above 100000, expected one between")
    return height, width


def crop(text: str) -> tuple[int, int, int, int]:
    """`0,40,90x160` -> (0, 40, 90, 160): top, left, height, width."""
    match = _match(r"(\d+),(\d+),(\d+)[xX](\d+)", text, "TOP,LEFT,HEIGHTxWIDTH in pixels, as in 0,40,90x160")
    return int(match[1]), int(match[2]), positive(match[3]), positive(match[4])


def _match(pattern: str, text: str, expected: str) -> re.Match[str]:
    match = re.fullmatch(pattern, text, re.ASCII)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not {expected}")
    return match
