"""The two ends of what a fleet's processes say to each other, in one process."""

from __future__ import annotations

from typing import Any

import pytest

from sgif.engine.events import ScaleFinished, StepLogged
from sgif.engine.fleet import board
from sgif.engine.fleet.board import Board, Link
from sgif.engine.fleet.news import News, Progressed, Started


def row(iteration: int) -> News:
    return Progressed(name="a", event=StepLogged(
        scale=0, iteration=iteration, losses={}, iterations_per_second=1.0, frames_per_second=1.0,
        seconds_left_scale=0.0, seconds_left_run=0.0, peak_bytes=0))


STARTED = Started(name="a", where="here")
FINISHED = Progressed(name="a", event=ScaleFinished(scale=0, num_scales=1, seconds=1.0, rec_psnr_db=20.0,
                                                    preview=None))  # type: ignore[arg-type]


def test_news_arrive_in_order_and_a_row_of_the_log_only_until_something_newer() -> None:
    middle = Board()
    link = Link(middle.report)
    for news in (STARTED, row(1), row(2), row(3), FINISHED, row(4)):
        link.tell(news)
    assert middle.take(False) == [], "not entered: nothing is passed on"
    with link:
        pass
    assert middle.take(False) == [STARTED, FINISHED, row(4)]
    assert middle.take(False) == []


def test_a_task_hears_that_it_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "EXCHANGE_SECONDS", 0.01)
    middle = Board()
    with Link(middle.report) as link:
        assert not link.should_stop()
        middle.take(True)
        link.tell(STARTED)
        while not link.should_stop():
            pass


def test_what_is_told_last_is_passed_on_before_the_end() -> None:
    middle = Board()
    with Link(middle.report) as link:
        link.tell(STARTED)
        link.tell(row(9))
    assert middle.take(False)[-1] == row(9)


def test_a_board_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [True, None, None]
    with Link(lambda news: answers.pop(0) if answers else None) as link:
        assert link.should_stop(), "the last answer holds"
        link.tell(STARTED)
    assert link.should_stop()
