"""Answer files: what the page saved is read, anything else is refused by name, in one printable line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgif.engine.study import records
from sgif.engine.study.records import checksum, read_all_answers, read_answers, read_key, shown

from .conftest import Made

Change = Callable[[dict[str, Any]], Any]


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the tests below look at the message)
        read()
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 600
    return said


def test_what_the_page_saved_is_read(made: Made, answer_file: Callable[..., Path]) -> None:
    first, *others = made.truth
    answers = read_answers(answer_file([first]), read_key(made.key))
    assert answers.judged_real == {first: True, **dict.fromkeys(others, False)}
    assert answers.finished


def first_answer(**values: Any) -> Change:
    return lambda record: record["answers"][0].update(values)


@pytest.mark.parametrize(("change", "said"), [
    (lambda record: record.update(participant="../../x"), "participant ../../x"),
    (lambda record: record.update(participant="\x1b[2J" + "0" * 12), "participant '\\x1b[2J"),
    (lambda record: record.update(seed="7"), "seed 7"),
    (lambda record: record.update(finished=1), "finished 1"),
    (lambda record: record.update(finished=False), "finished False with 4 answers to 4 clips"),
    (lambda record: record.update(answers=[]), "no answers"),
    (lambda record: record.update(answers={}), "no answers"),
    (lambda record: record["answers"].pop(), "finished True with 3 answers to 4 clips"),
    (lambda record: record["answers"].append(7), "answer 7"),
    (lambda record: record["answers"].append(record["answers"][0]), "twice"),
    (first_answer(clip="0" * 12), "clip 000000000000, not of the study"),
    (first_answer(clip=["x"]), "clip a list, not of the study"),
    (first_answer(answer="maybe"), "answer maybe"),
    (first_answer(answer=True), "answer True"),
    (first_answer(plays=3), "3 plays of 2"),
    (first_answer(plays=True), "True plays of 2"),
    (first_answer(ms=-1), "-1 ms"),
    (first_answer(ms=0.5), "0.5 ms"),
    (first_answer(name="Ann"), "answer a dict"),
    (lambda record: record.update(name="Ann"), "its fields are others (name)"),
    (lambda record: record.pop("seed"), "its fields are others (seed)"),
    (lambda record: record.update(study="f" * 16), "answers another study, ffffffffffffffff"),
    (lambda record: record.update(study={"a": 1}), "answers another study, a dict"),
    (lambda record: record.update(schema=2), "has schema 2, this sgif reads 1"),
    (lambda record: record.update(schema=True), "has schema True, this sgif reads 1"),
    (lambda record: record.update(format="sgif-run"), "another kind of file"),
    (lambda record: record.update(format=[]), "another kind of file"),
])
def test_refused_although_its_checksum_is_right(change: Change, said: str, made: Made, tmp_path: Path,
                                                answer_record: Callable[..., dict[str, Any]]) -> None:
    record = answer_record()
    change(record)
    record["checksum"] = checksum(record)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(record))
    message = refusal(lambda: read_answers(path, read_key(made.key)))
    assert said in message
    assert str(path) in message


@pytest.mark.parametrize("change", [
    first_answer(answer="real"), first_answer(ms=1), lambda record: record.update(seed=8),
    lambda record: record["answers"].reverse(), lambda record: record.update(checksum="00000000"),
    lambda record: record.update(checksum=None), lambda record: record.update(participant="f" * 16),
])
def test_a_changed_file_is_refused(change: Change, made: Made, answer_file: Callable[..., Path]) -> None:
    path = answer_file()
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    message = refusal(lambda: read_answers(path, read_key(made.key)))
    assert f"{path} was changed after it was saved" in message


@pytest.mark.parametrize(("content", "said"), [
    (b"", "not valid JSON"),
    (b"\xff\xfe\x00", "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"format": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    (b"[]", "another kind of file"),
    (b"NaN", "another kind of file"),
    (b"{}", "another kind of file"),
    (b'{"format": "sgif-study-answers", "schema": NaN}', "has schema nan"),
    (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", "another kind of file"),
    (b'{"format": "sgif-study-answers", "schema": ' + b"[" * 900 + b"]" * 900 + b"}", "has schema a list"),
])
def test_no_bytes_break_reading(content: bytes, said: str, made: Made, tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_bytes(content)
    assert said in refusal(lambda: read_answers(tmp_path / "answers.json", read_key(made.key)))


def test_a_large_file_is_not_read_to_its_end(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 1 << 14)
    (tmp_path / "answers.json").write_bytes(b" " * 20_000 + b"{}")
    assert "has over 16384 bytes" in refusal(lambda: read_answers(tmp_path / "answers.json", read_key(made.key)))


def test_a_hostile_name_is_printed_as_text(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "\x1b]0;x\x07\u202e.json"
    path.write_text("{}")
    assert "\\x1b]0;x\\x07\\u202e.json" in refusal(lambda: read_answers(path, read_key(made.key)))


def test_the_same_visit_twice_is_refused_by_both_names(made: Made, answer_file: Callable[..., Path]) -> None:
    path = answer_file()
    copy = path.with_name("copy.json")
    copy.write_bytes(path.read_bytes())
    message = refusal(lambda: read_all_answers([path, copy], read_key(made.key)))
    assert "copy.json and " in message
    assert path.name in message


def test_a_folder_stands_for_its_answers_without_a_key_in_it(made: Made, answer_file: Callable[..., Path]) -> None:
    folder = [answer_file(), answer_file()][0].parent
    (folder / "study.key.json").write_bytes(made.key.read_bytes())
    (folder / "notes.txt").write_text("none")
    assert len(read_all_answers([folder], read_key(made.key))) == 2


def test_no_answers_are_no_study(made: Made, tmp_path: Path) -> None:
    assert f"no answers in {tmp_path}" in refusal(lambda: read_all_answers([tmp_path], read_key(made.key)))


def test_key_and_answers_are_not_taken_for_each_other(made: Made, answer_file: Callable[..., Path]) -> None:
    path = answer_file()
    assert "expected the key of a study" in refusal(lambda: read_key(path))
    assert "expected answers to a study" in refusal(lambda: read_answers(made.key, read_key(made.key)))
    assert "is not a file" in refusal(lambda: read_key(path.parent))


@pytest.mark.parametrize("change", [
    lambda record: record.update(clips={}), lambda record: record.update(clips=[1]),
    lambda record: record.update(plays="2"), lambda record: record.pop("study"),
    lambda record: next(iter(record["clips"].values())).update(real=1),
])
def test_a_damaged_key_is_refused(change: Change, made: Made, tmp_path: Path) -> None:
    record = json.loads(made.key.read_text())
    change(record)
    (tmp_path / "study.key.json").write_text(json.dumps(record))
    assert "take the key as it was written" in refusal(lambda: read_key(tmp_path / "study.key.json"))


@pytest.mark.parametrize(("value", "text"), [
    ("plain", "plain"), ("\x1b[31m", "'\\x1b[31m'"), ("\u202edrow", "'\\u202edrow'"), ("x" * 100, "x" * 77 + "..."),
    (None, "None"), (3, "3"), ([1], "a list"), ("\ud800", "'\\ud800'"),
])
def test_shown_is_short_and_printable(value: object, text: str) -> None:
    assert shown(value) == text
