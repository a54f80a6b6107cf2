"""A fleet without Ray: one clip after another, failures that stop nobody, the same again goes on."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sgif.engine import ConfigError, RunError, read_clip, train
from sgif.engine.events import RunStarted, ScaleFinished, ScaleStarted
from sgif.engine.fleet import on_ray
from sgif.engine.fleet import train as door
from sgif.engine.fleet.news import Ended, News, Progressed, Started
from sgif.engine.fleet.resources import Machine
from sgif.engine.fleet.train import Fleet

from ..test_resume import assert_same_run
from .conftest import MakeAsked


@pytest.fixture(scope="module")
def short() -> dict[str, Any]:
    return {"iterations": (2, 2)}


def test_every_clip_becomes_the_run_that_train_makes_of_it(clips: list[str], make_asked: MakeAsked, tiny_config: Any,
                                                           short: dict[str, Any], tmp_path: Path) -> None:
    told: list[News] = []
    with Fleet(make_asked(tmp_path / "fleet", short, sources=clips[:2])) as fleet:
        assert fleet.why_in_turn == "as asked"
        ended = fleet.train(told.append)
    assert ended == [Ended(name="a", state="done"), Ended(name="b", state="done")]
    train(read_clip(clips[1]), tmp_path / "b", tiny_config(**short))
    assert_same_run(tmp_path / "fleet/b", tmp_path / "b")
    assert [news.name for news in told] == sorted(news.name for news in told), "one after another"
    of_b = [type(news.event) for news in told if isinstance(news, Progressed) and news.name == "b"]
    assert of_b.count(ScaleFinished) == 3
    assert isinstance(told[0], Started)
    assert told[-1] == ended[1]


def test_a_failure_is_its_clip_s_alone_and_the_same_again_trains_what_is_left(
        clips: list[str], make_asked: MakeAsked, short: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "runs/b").mkdir(parents=True)
    (tmp_path / "runs/b/mine.txt").touch()
    sources = [str(tmp_path / "no.gif"), *clips]
    with Fleet(make_asked(tmp_path / "runs", short, sources=sources)) as fleet:
        no, a, b, c = fleet.train()
    assert (no.name, no.state, a.state, b.state, c.state) == (sources[0], "failed", "done", "failed", "done")
    assert "does not exist" in no.sentence
    assert "not a run folder" in b.sentence
    assert not b.bug

    (tmp_path / "runs/b/mine.txt").unlink()
    told: list[News] = []
    with Fleet(make_asked(tmp_path / "runs", short)) as fleet:
        assert [end.state for end in fleet.train(told.append)] == ["done"] * 3
    begun = {news.name for news in told if isinstance(news, Progressed) and isinstance(news.event, ScaleStarted)}
    assert begun == {"b"}, "what was finished is not trained again"


def test_other_settings_than_a_finished_run_s_are_refused_for_that_clip(
        clips: list[str], make_asked: MakeAsked, short: dict[str, Any], tmp_path: Path) -> None:
    for changes, state in (({}, "done"), ({"lr": 0.1}, "failed")):
        with Fleet(make_asked(tmp_path, {**short, **changes}, sources=clips[:1])) as fleet:
            (ended,) = fleet.train()
            assert ended.state == state
    assert "begun with other settings (lr" in ended.sentence


def test_a_refused_clip_is_never_taken_for_a_run_of_its_name(
        clips: list[str], make_asked: MakeAsked, short: dict[str, Any], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Fleet(make_asked(tmp_path / "runs", short, sources=["a", clips[0]])) as fleet:
        assert [(end.name, end.state) for end in fleet.train()] == [("./a", "failed"), ("a", "done")]


def test_asked_to_stop_the_run_saves_and_the_rest_is_not_begun(clips: list[str], make_asked: MakeAsked,
                                                               short: dict[str, Any], tmp_path: Path) -> None:
    told: list[News] = []

    def should_stop() -> bool:
        return any(isinstance(news, Progressed) and isinstance(news.event, ScaleStarted) for news in told)

    with Fleet(make_asked(tmp_path, short)) as fleet:
        assert [end.state for end in fleet.train(told.append, should_stop)] == ["stopped"] * 3
    assert (tmp_path / "a/state.safetensors").is_file()
    assert not (tmp_path / "b").exists()
    told.clear()
    with Fleet(make_asked(tmp_path, short)) as fleet:
        assert [end.state for end in fleet.train(told.append)] == ["done"] * 3
    (resumed,) = [news.event.resumed_at for news in told if isinstance(news, Progressed) and news.name == "a"
                  and isinstance(news.event, RunStarted)]
    assert resumed == (0, 1)


def test_a_second_fleet_in_the_folder_is_refused_while_the_first_is_at_work(
        clips: list[str], make_asked: MakeAsked, short: dict[str, Any], tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(news: News) -> None:
        if isinstance(news, Started):
            with Fleet(make_asked(tmp_path, short, sources=clips[1:2])) as second, pytest.raises(RunError) as error:
                second.train()
            refused.append(str(error.value))

    with Fleet(make_asked(tmp_path, short, sources=clips[:1])) as fleet:
        assert [end.state for end in fleet.train(meanwhile)] == ["done"]
    assert refused == [f"another fleet is at work in {tmp_path}; wait until it is done or stop it, or give this one "
                       "another folder"]
    assert {file.name for file in tmp_path.iterdir()} == {"a", "index.html"}


def test_a_bug_has_its_traceback(make_asked: MakeAsked, clips: list[str], tmp_path: Path) -> None:
    reads = iter((read_clip(clips[0]),))
    with Fleet(make_asked(tmp_path, read=lambda path: next(reads), sources=clips[:1])) as fleet:
        (ended,) = fleet.train()
    assert (ended.state, ended.bug) == ("failed", True)
    assert "StopIteration" in ended.traceback


@pytest.mark.parametrize(("ray", "clips_given", "installed", "why"), [
    (False, 3, True, "as asked"),
    (True, 1, True, "there is no more than one to train"),
    (True, 3, False, "Ray is not installed (pip install 'sgif[ray]')"),
    (True, 3, True, None),
])
def test_ray_is_used_for_several_clips_where_it_is_installed(
        ray: bool, clips_given: int, installed: bool, why: str | None, clips: list[str], make_asked: MakeAsked,
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "find_spec", lambda name: object() if installed else None)
    with Fleet(make_asked(tmp_path, ray=ray, sources=clips[:clips_given])) as fleet:
        assert fleet.why_in_turn == why


def test_with_ray_a_gpu_of_one_s_own_choice_is_refused(make_asked: MakeAsked, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "this_machine", lambda device: Machine(cpus=2, memory_bytes=1 << 30, gpu_bytes=1 << 34))
    with pytest.raises(ConfigError, match=r"^device is 'cuda:1' and Ray chooses the GPU; expected auto, cpu or cuda$"):
        Fleet(make_asked(tmp_path, {"device": "cuda:1"}, ray=True))


def test_an_address_without_ray_names_what_to_install(make_asked: MakeAsked, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^--address needs Ray: pip install 'sgif\[ray\]'$"):
        Fleet(make_asked(tmp_path, address="auto"))


def test_an_address_where_nobody_answers_is_one_sentence(make_asked: MakeAsked, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**settings: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nSee the manual.")

    monkeypatch.setattr(on_ray, "import_ray", lambda: SimpleNamespace(is_initialized=lambda: False, init=init))
    with pytest.raises(ConfigError, match=r"^no Ray cluster answers at auto \(Could not find any running Ray instance"
                                          r"\.\); expected auto, HOST:PORT or ray://HOST:PORT of one that"):
        Fleet(make_asked(tmp_path, address="auto"))


def test_the_forecast_of_a_fleet_is_plain_values(make_asked: MakeAsked, clips: list[str], tmp_path: Path) -> None:
    with Fleet(make_asked(tmp_path, sources=[clips[0], "no.gif"])) as fleet:
        row, refused = fleet.forecast()
    assert row["run"] == str(tmp_path / "a")
    assert row.keys() == {"clip", "run", "frames", "sizes", "finished", "peak_bytes", "cpus", "gpus", "memory_bytes"}
    assert refused.keys() == {"clip", "refused"}
    assert not list(tmp_path.iterdir()), "nothing is written"
