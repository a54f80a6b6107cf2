"""What config.json and scale.json of a run folder must say. They may come from a stranger: every value that anything
reads is looked at here, once, and a record that makes no sense is refused by file and by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .pyramid import ScalePlan
from .storage import DAMAGED, RunError
from .trouble import are_retries

SCHEMA = 2
"""Version of the run folder. 1: without hashes; read, and its files go unchecked."""
MAX_SIDE_PX = 8192  # the largest max_size_px that a run can have been begun with
MAX_FRAME_MS = 2**31 - 1

_HASHED_NAME = re.compile(r"[a-z_]+\.(safetensors|gif)")  # a file beside the record: no folder, no dot in front
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_run_record(record: Any, path: Path) -> dict[str, Any]:
    """The value of config.json, at `path`, if it is a run's. The settings are not looked at. Raises RunError."""
    if not isinstance(record, dict) or type(record.get("schema")) is not int:
        raise RunError(f"{path} has no schema version: this is not a run folder")
    if not 1 <= record["schema"] <= SCHEMA:
        raise RunError(f"{path} has schema {record['schema']}, this sgif reads 1 to {SCHEMA}: install a newer sgif")
    clip = record.get("clip")
    if not isinstance(clip, dict) or not isinstance(record.get("config"), dict):
        raise RunError(f"{path} lacks the clip or the settings: {DAMAGED}")
    if not isinstance(clip.get("source"), str):
        raise RunError(f"{path}: clip.source is {_shown(clip.get('source'))}, expected the path of the clip: {DAMAGED}")
    for name in ("height", "width"):
        if not _whole(clip.get(name), 1, MAX_SIDE_PX):
            raise RunError(f"{path}: clip.{name} is {_shown(clip.get(name))}, expected 1 to {MAX_SIDE_PX}: {DAMAGED}")
    durations = clip.get("frame_ms")
    if not isinstance(durations, list) or len(durations) < 2 \
            or not all(_whole(ms, 1, MAX_FRAME_MS) for ms in durations):
        raise RunError(f"{path}: clip.frame_ms is {_shown(durations)}, expected two durations or more, each 1 to "
                       f"{MAX_FRAME_MS} ms: {DAMAGED}")
    _check_hashes(record, path, ("clip.safetensors", "z_fixed.safetensors"), required=record["schema"] > 1)
    return record


def check_scale_record(record: Any, plan: ScalePlan, path: Path, *, hashed: bool) -> dict[str, Any]:
    """The value of scale.json, at `path`, if it is that of the scale planned so; `hashed` says whether it must have
    hashes. Raises RunError."""
    if not isinstance(record, dict):
        raise RunError(f"{path} is no record of a scale: {DAMAGED}")
    for name, (expected, allows) in _SCALE_VALUES.items():
        if name not in record or not allows(record[name]):
            raise RunError(f"{path}: {name} is {_shown(record.get(name))}, expected {expected}: {DAMAGED}")
    for name, planned in (("scale", plan.index), ("height", plan.height), ("width", plan.width), ("kind", plan.kind)):
        if record[name] != planned:
            raise RunError(f"{path}: {name} is {_shown(record[name])}, expected {planned} by config.json: {DAMAGED}")
    if not are_retries(record.get("retries", [])):
        raise RunError(f"{path}: retries is {_shown(record['retries'])}, expected further tries of the scale: "
                       f"{DAMAGED}")
    if not _whole(record.get("frames_per_step", 1), 1, plan.frames_per_step):
        raise RunError(f"{path}: frames_per_step is {_shown(record['frames_per_step'])}, expected 1 to "
                       f"{plan.frames_per_step}: {DAMAGED}")
    _check_hashes(record, path, ("generator.safetensors",), required=hashed)
    return record


def _check_hashes(record: Mapping[str, Any], path: Path, needed: tuple[str, ...], *, required: bool) -> None:
    """`sha256` must be hashes in hex by the names of files beside the record; it may lack unless `required`."""
    hashes = record.get("sha256")
    if not isinstance(hashes, dict):
        if hashes is None and not required:
            return
        raise RunError(f"{path} has no sha256 of the files beside it: {DAMAGED}")
    for name, value in hashes.items():
        if not _HASHED_NAME.fullmatch(name):
            raise RunError(f"{path}: sha256 names {_shown(name)}, expected files of a run: {DAMAGED}")
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise RunError(f"{path}: sha256 of {name} is {_shown(value)}, expected 64 hex digits: {DAMAGED}")
    for name in needed:
        if name not in hashes:
            raise RunError(f"{path}: sha256 lacks {name}: {DAMAGED}")


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _amount(value: Any) -> bool:
    return type(value) is float and math.isfinite(value) and value >= 0


# What is printed may be NaN, as a run that went wrong has it; what is computed with may not.
_SCALE_VALUES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "scale": ("a whole number", lambda value: type(value) is int),
    "height": ("a whole number", lambda value: type(value) is int),
    "width": ("a whole number", lambda value: type(value) is int),
    "kind": ("3D or 2D", lambda value: isinstance(value, str)),
    "iterations": ("a whole number above 0", lambda value: _whole(value, 1, 10_000_000)),
    "noise_amp": ("a finite number, 0 or more", _amount),
    "rec_psnr_db": ("a number", _number),
    "seconds": ("a finite number, 0 or more", _amount),
    "losses": ("numbers by name", lambda value: isinstance(value, dict) and all(map(_number, value.values()))),
}


def _shown(value: Any) -> str:
    """A value of unknown length as a sentence can have it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
