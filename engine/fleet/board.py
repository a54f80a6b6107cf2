"""What the processes of a fleet say to each other: an actor in the middle, and a task's end of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from ..events import StepLogged
from .news import News, Progressed

EXCHANGE_SECONDS = 0.5


class Board:
    """What tasks tell and whether they are to stop; in a process of its own."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.stop = False

    def report(self, news: list[News]) -> bool:
        """Of a task: add its news; whether to stop."""
        self.news += news
        return self.stop

    def take(self, stop: bool) -> list[News]:
        """Of the driver: the news since it last asked; from now on tasks are to stop, or not."""
        self.stop = stop
        news, self.news = self.news, []
        return news


class Link:
    """A task's end, while entered: passes news on and asks whether to stop, at once and every EXCHANGE_SECONDS; of rows
    of the log only the last.

    `report` is the board's; it returns None where nobody answers. It is called in a thread: a task whose main thread
    waits for an answer lends its CPU to others, and Ray would begin one task more than there are CPUs.
    """

    def __init__(self, report: Callable[[list[News]], bool | None]) -> None:
        self.report = report
        self.news: list[News] = []
        self.stop = self.closed = False
        self.lock, self.wake, self.answered = threading.Lock(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._exchange, daemon=True)

    def __enter__(self) -> Self:
        self.wake.set()
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True
        self.wake.set()
        self.thread.join()

    def tell(self, news: News) -> None:
        """Pass news on."""
        with self.lock:
            if self.news and _is_row(self.news[-1]):
                self.news.pop()
            self.news.append(news)
        if not _is_row(news):
            self.wake.set()

    def should_stop(self) -> bool:
        """Whether the driver has said so; before the first answer it waits for that."""
        self.answered.wait(timeout=10)
        return self.stop

    def _exchange(self) -> None:
        closed = False
        while not closed:
            self.wake.wait(EXCHANGE_SECONDS)
            self.wake.clear()
            closed = self.closed  # before the last news are taken
            with self.lock:
                news, self.news = self.news, []
            if (answer := self.report(news)) is not None:
                self.stop = answer
                self.answered.set()


def _is_row(news: News) -> bool:
    return isinstance(news, Progressed) and isinstance(news.event, StepLogged)
