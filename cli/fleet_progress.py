"""What `sgif fleet` shows while it trains: a table on a terminal, plain lines elsewhere, JSON or nothing on request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..engine.events import RunStarted, ScaleFinished, ScaleStarted, StepLogged
from ..engine.fleet.news import Ended, News, Progressed, Retried, Started
from ..engine.wording import seconds_text
from .progress import OnTerminal, Quiet, is_live
from .text import event_json, printable, rate_text

LINES_BESIDE = 6  # of a terminal, for the table's head, its frame and the line below it


@dataclass
class Row:
    """A clip as far as it has been heard of."""

    state: str = "waiting"
    scale: ScaleStarted | None = None
    logged: StepLogged | None = None
    logged_at: float = 0.0
    psnr_db: float | None = None


class FleetQuiet(Quiet):
    """Shows nothing."""

    def hear(self, news: News) -> None:
        """Take a piece of news."""


class FleetJson(FleetQuiet):
    """One JSON object per piece of news; what training tells has the name of its clip beside it."""

    def hear(self, news: News) -> None:
        print(event_json(news.event, name=news.name) if isinstance(news, Progressed) else event_json(news), flush=True)


class FleetLines(FleetQuiet):
    """A line per clip begun, tried again and ended, and per scale done."""

    def __init__(self, names: list[str]) -> None:
        self.rows = {name: Row() for name in names}

    def say(self, text: str) -> None:
        print(text, flush=True)

    def hear(self, news: News) -> None:
        if line := self.line(news):
            self.say(f"{printable(news.name)}: {line}")

    def line(self, news: News) -> str | None:
        """What is said of a piece of news; the row is changed by it."""
        row = self.rows[news.name]
        match news:
            case Started(where=where):
                row.state = "running"
                return f"training on {where}"
            case Progressed(event=RunStarted(resumed_at=(scale, iteration), sizes=sizes)) if scale < len(sizes):
                return f"going on from scale {scale}, iteration {iteration}"
            case Progressed(event=ScaleStarted() as event):
                row.scale, row.logged = event, None
            case Progressed(event=StepLogged() as event):
                row.logged, row.logged_at = event, time.monotonic()
            case Progressed(event=ScaleFinished() as event):
                row.psnr_db = event.rec_psnr_db
                return (f"scale {event.scale} of 0-{event.num_scales - 1} done in {seconds_text(event.seconds)}, "
                        f"reconstruction {event.rec_psnr_db:.1f} dB")
            case Retried():
                row.state, row.logged = "again", None
                return f"{news.why}; it goes on, retry {news.retry} of {news.retries}"
            case Ended(state=state):
                row.state = state
                return f"{state}; {self.counts()}"
        return None

    def counts(self) -> str:
        """`3 of 8 done, 1 failed, 2 running`."""
        states = Counter(row.state for row in self.rows.values())
        others = [f"{states[state]} {state}" for state in ("failed", "stopped", "running", "again", "waiting")
                  if states[state]]
        return ", ".join([f"{states['done']} of {len(self.rows)} done", *others])


class FleetTable(OnTerminal, FleetLines):
    """The same lines, and below them a table of what is being trained."""

    def __init__(self, names: list[str], console: Console, stopping: Callable[[], bool]) -> None:
        FleetLines.__init__(self, names)
        OnTerminal.__init__(self, console, stopping)

    def __rich__(self) -> RenderableType:
        table = Table(box=SIMPLE, header_style="none", padding=(0, 1))
        table.add_column("clip", no_wrap=True, overflow="ellipsis")
        for title in ("scale", "iteration", "speed", "left", "PSNR, dB"):
            table.add_column(title, justify="right", no_wrap=True)
        active = [(name, row) for name, row in list(self.rows.items()) if row.state in ("running", "again")]
        for name, row in active[:max(1, self.console.height - LINES_BESIDE)]:
            table.add_row(Text(printable(name)), *cells(row))
        last = Text(self.counts())
        if self.stopping():
            last = Text("stopping: runs finish their step and save; Ctrl-C again ends at once", style="yellow")
        return Group(table, last) if active else last


def cells(row: Row) -> list[str]:
    """Scale, iteration, speed, time left, PSNR."""
    scale, logged = row.scale, row.logged
    if scale is None:
        return ["", row.state, "", "", ""]
    done = logged.iteration if logged else scale.start_iteration
    left = seconds_text(logged.seconds_left_run - (time.monotonic() - row.logged_at)) if logged else ""
    return [f"{scale.scale} of 0-{scale.num_scales - 1}", f"{done}/{scale.iterations}",
            rate_text(logged.iterations_per_second) if logged else "", left,
            "" if row.psnr_db is None else f"{row.psnr_db:.1f}"]


def make_fleet_progress(names: list[str], *, quiet: bool, json: bool, stopping: Callable[[], bool]) -> FleetQuiet:
    """The listener for these options and this terminal."""
    if json:
        return FleetJson()
    if quiet:
        return FleetQuiet()
    console = Console()
    return FleetTable(names, console, stopping) if is_live(console) else FleetLines(names)
