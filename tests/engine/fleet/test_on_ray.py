"""A fleet on a Ray of this machine: its runs are those of one clip after another, bit for bit, whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgif.engine.events import RunStarted, ScaleStarted
from sgif.engine.fleet.news import Ended, News, Progressed, Retried, Started
from sgif.engine.fleet.on_ray import Cluster
from sgif.engine.fleet.train import Fleet

from ..test_resume import assert_same_run
from .conftest import MakeAsked

pytest.importorskip("ray")

LONG = {"iterations": (2, 40), "save_seconds": 0.0}  # 2, 9 and 40: after the first scale it goes on for some time


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    """One for all tests: it takes seconds to start."""
    with Cluster(None) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def in_turn(make_asked: MakeAsked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a and b, one after the other, undisturbed."""
    asked = make_asked(tmp_path_factory.mktemp("turn"), LONG)
    with Fleet(make_asked(asked.folder, LONG, sources=asked.sources[:2])) as fleet:
        fleet.train()
    return asked.folder


def in_the_middle(news: News, name: str) -> bool:
    return news.name == name and isinstance(news, Progressed) and isinstance(news.event, ScaleStarted) \
        and news.event.scale == 1


def resumed_at(told: list[News], name: str) -> list[tuple[int, int] | None]:
    return [news.event.resumed_at for news in told if isinstance(news, Progressed) and news.name == name
            and isinstance(news.event, RunStarted)]


def process_of(told: list[News], name: str) -> int:
    return int([news.where for news in told if isinstance(news, Started) and news.name == name][-1].split()[-1])


@pytest.mark.slow
def test_a_process_killed_is_replaced_by_one_that_goes_on_and_a_failure_stops_nobody(
        ray: Cluster, in_turn: Path, make_asked: MakeAsked, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/mine.txt").touch()
    told: list[News] = []

    def tell(news: News) -> None:
        told.append(news)
        if in_the_middle(news, "a") and not any(isinstance(news, Retried) for news in told):
            os.kill(process_of(told, "a"), signal.SIGKILL)

    with Fleet(make_asked(tmp_path, LONG, ray=True)) as fleet:
        a, b, c = fleet.train(tell)
    assert (a.state, b.state, c.state) == ("done", "done", "failed")
    assert "not a run folder" in c.sentence
    assert [news for news in told if isinstance(news, Retried)] == [
        Retried(name="a", retry=1, retries=3, why="its process died")]
    first, second = resumed_at(told, "a")
    assert first is None
    assert second is not None
    assert second >= (1, 0), "the second process went on"
    assert process_of(told, "a") not in (os.getpid(), process_of(told, "b"))
    for name in "ab":
        assert_same_run(tmp_path / name, in_turn / name)


@pytest.mark.slow
def test_asked_to_stop_tasks_save_and_the_same_again_goes_on(ray: Cluster, in_turn: Path, clips: list[str],
                                                             make_asked: MakeAsked, tmp_path: Path) -> None:
    told: list[News] = []
    asked = make_asked(tmp_path, {**LONG, "save_seconds": 1000.0}, ray=True, sources=clips[:2])
    with Fleet(asked) as fleet:
        ended = fleet.train(told.append, lambda: any(in_the_middle(news, "b") for news in told))
    assert ended[1] == Ended(name="b", state="stopped")
    assert (tmp_path / "b/state.safetensors").is_file(), "saved though no saving was due"
    told.clear()
    with Fleet(asked) as fleet:
        assert [end.state for end in fleet.train(told.append)] == ["done", "done"]
    assert resumed_at(told, "b") != [None]
    for name in "ab":
        assert_same_run(tmp_path / name, in_turn / name)


@pytest.mark.slow
def test_processes_that_die_again_and_again_are_given_up(ray: Cluster, clips: list[str], make_asked: MakeAsked,
                                                         tmp_path: Path) -> None:
    told: list[News] = []

    def tell(news: News) -> None:
        told.append(news)
        if isinstance(news, Started):
            os.kill(process_of(told, news.name), signal.SIGKILL)

    with Fleet(make_asked(tmp_path, LONG, ray=True, sources=clips[:2], retries=0)) as fleet:
        ended = fleet.train(tell)
    assert [end.state for end in ended] == ["failed", "failed"]
    assert ended[0].sentence.startswith("its process died, 1 times in all")


def test_clips_gone_since_they_were_planned_fail_alone(ray: Cluster, clips: list[str], make_asked: MakeAsked,
                                                       tmp_path: Path) -> None:
    copies = [shutil.copy(clip, tmp_path) for clip in clips[:2]]
    with Fleet(make_asked(tmp_path / "runs", ray=True, sources=copies)) as fleet:
        for copy in copies:
            Path(copy).unlink()
        ended = fleet.train()
    assert [end.state for end in ended] == ["failed", "failed"]
    assert all("does not exist" in end.sentence for end in ended)
