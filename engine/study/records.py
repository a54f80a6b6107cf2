"""The files of a study: its key, and what visitors send back, which is read as a stranger's file is.

Key:     {"format", "schema", "study", "title", "seconds", "plays", "clips": {name: {"real", "source"}}}
Answers: {"format", "schema", "study", "participant", "seed", "finished",
          "answers": [{"clip", "answer", "plays", "ms"}], "checksum"}

Answers stand in the order in which they were given; `seed` is what the page drew it from, `ms` the time from the clip's
first frame to the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..clip import natural_order

KEY_FORMAT, ANSWERS_FORMAT = "sgif-study-key", "sgif-study-answers"
SCHEMA = 1
MAX_FILE_BYTES = 1 << 22
"""Largest file that is read; the answers to 1000 clips have some 80 kB."""

_WHAT = {KEY_FORMAT: "the key of a study", ANSWERS_FORMAT: "answers to a study"}
_FIELDS = {"format", "schema", "study", "participant", "seed", "finished", "answers", "checksum"}


@dataclass(frozen=True, kw_only=True)
class Key:
    """Which clips of a study are real."""

    study: str
    title: str
    plays: int
    real: dict[str, bool]
    """By clip."""
    sources: dict[str, str]
    """The path of every clip when the study was made."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one visitor answered."""

    participant: str
    finished: bool
    judged_real: dict[str, bool]
    """By clip; those not answered are not there."""


def read_key(path: Path) -> Key:
    """The key that `make_study` wrote. Raises ValueError, one sentence, for any other file."""
    record = _read(path, KEY_FORMAT)
    clips = record.get("clips")
    if not isinstance(clips, dict) or not clips or type(record.get("plays")) is not int \
            or not all(isinstance(record.get(name), str) for name in ("study", "title")) \
            or not all(isinstance(clip, dict) and type(clip.get("real")) is bool and isinstance(clip.get("source"), str)
                       for clip in clips.values()):
        raise ValueError(f"{shown(path)} lacks the clips or the settings of a study: take the key as it was written")
    return Key(study=record["study"], title=record["title"], plays=record["plays"],
               real={name: clip["real"] for name, clip in clips.items()},
               sources={name: clip["source"] for name, clip in clips.items()})


def read_all_answers(paths: Sequence[Path], key: Key) -> list[Answers]:
    """The answers in files, or in folders of `.json` files. Raises ValueError where one is not to be counted: it is
    none, is of another study, was changed, or comes twice."""
    by_participant: dict[str, Path] = {}
    found = []
    for path in answer_files(paths):
        answers = read_answers(path, key)
        first = by_participant.setdefault(answers.participant, path)
        if first is not path:
            raise ValueError(f"{shown(path)} and {shown(first)} are from the same visit, {answers.participant}: leave "
                             "one out")
        found.append(answers)
    if not found:
        raise ValueError(f"no answers in {', '.join(map(shown, paths))}: give the files that visitors saved")
    return found


def answer_files(paths: Sequence[Path]) -> list[Path]:
    """`paths` with every folder replaced by its `.json` files; a key among these is passed over."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.json"), key=lambda file: natural_order(file.name)) if path.is_dir() else [path]
        files += [file for file in inside if file is path or not file.name.endswith(".key.json")]
    return files


def read_answers(path: Path, key: Key) -> Answers:
    """One visitor's answers. Raises ValueError, one sentence with the file's name, where they are not to be counted."""
    record = _read(path, ANSWERS_FORMAT)
    if record.keys() != _FIELDS:
        odd = ", ".join(shown(name) for name in sorted(record.keys() ^ _FIELDS)[:3])
        raise ValueError(f"{shown(path)} was not saved by a study's page, its fields are others ({odd}): leave it out")
    if record["study"] != key.study:
        raise ValueError(f"{shown(path)} answers another study, {shown(record['study'])}, the key is of "
                         f"{shown(key.study)}: leave it out, or give its key")
    if wrong := _wrong(record, key):
        raise ValueError(f"{shown(path)} holds what the page never writes, {wrong}: leave it out")
    if record["checksum"] != checksum(record):
        raise ValueError(f"{shown(path)} was changed after it was saved, its checksum is wrong: ask for the file as "
                         "the page saved it, or leave it out")
    return Answers(participant=record["participant"], finished=record["finished"],
                   judged_real={answer["clip"]: answer["answer"] == "real" for answer in record["answers"]})


def _wrong(record: dict[str, Any], key: Key) -> str:
    """What no page would have written, or nothing."""
    participant, answers = record["participant"], record["answers"]
    if not isinstance(participant, str) or not re.fullmatch(r"[0-9a-f]{16}", participant):
        return f"participant {shown(participant)}"
    if type(record["seed"]) is not int or type(record["finished"]) is not bool:
        return f"seed {shown(record['seed'])}, finished {shown(record['finished'])}"
    if not isinstance(answers, list) or not answers:
        return "no answers"
    seen = set()
    for answer in answers:
        if not isinstance(answer, dict) or answer.keys() != {"clip", "answer", "plays", "ms"}:
            return f"answer {shown(answer)}"
        clip = answer["clip"]
        if not isinstance(clip, str) or clip not in key.real or clip in seen:
            return f"clip {shown(clip)}, {'twice' if isinstance(clip, str) and clip in seen else 'not of the study'}"
        seen.add(clip)
        if answer["answer"] not in ("real", "fake"):
            return f"answer {shown(answer['answer'])}"
        if type(answer["plays"]) is not int or not 1 <= answer["plays"] <= key.plays:
            return f"{shown(answer['plays'])} plays of {key.plays}"
        if type(answer["ms"]) is not int or answer["ms"] < 0:
            return f"{shown(answer['ms'])} ms"
    if record["finished"] != (len(seen) == len(key.real)):
        return f"finished {shown(record['finished'])} with {len(seen)} answers to {len(key.real)} clips"
    return ""


def checksum(record: dict[str, Any]) -> str:
    """FNV-1a, 32 bits, of the record without its checksum, as the page computes it.

    It shows a slip or a careless hand, not a forger, who can compute it as well: the page has no secret to sign with.
    """
    rest = {name: value for name, value in record.items() if name != "checksum"}
    value = 0x811C9DC5
    for byte in json.dumps(rest, separators=(",", ":")).encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def shown(value: object) -> str:
    """A stranger's value, or a path, fit for a terminal: no control characters; of a value at most 80 characters."""
    text = str(value) if isinstance(value, str | Path | int | float | None) else f"a {type(value).__name__}"
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 80 or isinstance(value, Path) else f"{text[:77]}..."


def _read(path: Path, form: str) -> dict[str, Any]:
    """A JSON object of the format `form`. Raises ValueError where the file is anything else."""
    if not path.is_file():
        raise ValueError(f"{shown(path)} is not a file: give {_WHAT[form]}")
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{shown(path)} has over {MAX_FILE_BYTES} bytes, expected {_WHAT[form]}")
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{shown(path)} is not valid JSON, expected {_WHAT[form]}") from None
    if not isinstance(record, dict) or record.get("format") != form:
        raise ValueError(f"{shown(path)} is another kind of file, expected {_WHAT[form]}")
    if type(record.get("schema")) is not int or record["schema"] != SCHEMA:
        raise ValueError(f"{shown(path)} has schema {shown(record.get('schema'))}, this sgif reads {SCHEMA}: take "
                         "the sgif that made the study")
    return record
