"""What training and sampling show while they run.

Training: a live display on a terminal, plain lines elsewhere, JSON or nothing on request. Each listener is a context
manager that takes the engine's events; `say` prints a line of the command's own. Sampling: a bar, on a terminal only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..engine.events import (
    Event,
    RunFinished,
    RunStarted,
    ScaleFinished,
    ScaleGoesBack,
    ScaleStarted,
    StepDone,
    StepLogged,
)
from ..engine.launch import place
from ..engine.wording import seconds_text
from .text import event_json, head_lines, left_text, losses_text, printable, rate_text, scale_text

if TYPE_CHECKING:
    from torch import Tensor

PLAIN_SECONDS = 10.0  # between plain lines within a scale


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def __call__(self, event: Event) -> None:
        pass


class JsonLines(Quiet):
    """One JSON object per event."""

    def __call__(self, event: Event) -> None:
        print(event_json(event), flush=True)


class PlainLines(Quiet):
    """The head, a line per scale begun and done, and within a scale one every PLAIN_SECONDS."""

    def __init__(self) -> None:
        self.scale: ScaleStarted | None = None
        self.said_at = -math.inf

    def say(self, text: str) -> None:
        print(text, flush=True)

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                for line in head_lines(event):
                    self.say(line)
            case ScaleStarted():
                self.scale, self.said_at = event, time.monotonic()
                self.say(f"{scale_text(event)}, {event.frames_per_step} frames a step, noise {event.noise_amp:.3g}")
            case StepLogged() if self.scale and time.monotonic() - self.said_at >= PLAIN_SECONDS:
                self.said_at = time.monotonic()
                done, speed = f"  {event.iteration}/{self.scale.iterations}", rate_text(event.iterations_per_second)
                self.say("  ".join((done, speed, left_text(event), losses_text(event.losses))))
            case ScaleGoesBack():
                self.say(f"trouble    {event.why} in scale {event.scale} at iteration {event.iteration}: going back to "
                         f"{event.back_to} with {event.change}")
            case ScaleFinished() if self.scale:
                self.say(f"{scale_text(self.scale)}, done in {seconds_text(event.seconds)}, reconstruction"
                         f" {event.rec_psnr_db:.1f} dB: {event.preview}")
            case RunFinished():
                self.say(f"done       {event.run_dir} in {seconds_text(event.seconds)}")
                if event.report:
                    self.say(f"report     {event.report}")
                for note in event.notes:
                    self.say(f"note       {printable(note)}")


class OnTerminal(Quiet):
    """Lines, and below them what `__rich__` shows, four times a second, from a thread of the display's own."""

    def __init__(self, console: Console, stopping: Callable[[], bool]) -> None:
        self.console, self.stopping = console, stopping
        self.live = Live(self, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __rich__(self) -> RenderableType:
        raise NotImplementedError


class LiveDisplay(OnTerminal, PlainLines):
    """The same lines, and below them the current scale: bar, speed, time left, losses."""

    def __init__(self, console: Console, stopping: Callable[[], bool]) -> None:
        PlainLines.__init__(self)
        OnTerminal.__init__(self, console, stopping)
        self.iteration = 0
        self.logged: StepLogged | None = None
        self.logged_at = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case ScaleStarted():
                self.scale, self.iteration, self.logged = event, event.start_iteration, None
            case StepDone():
                self.iteration = event.iteration
            case StepLogged():
                self.logged, self.logged_at = event, time.monotonic()
            case ScaleFinished():
                super().__call__(event)
                self.scale = None
            case _:
                super().__call__(event)

    def __rich__(self) -> RenderableType:
        scale, logged = self.scale, self.logged
        if scale is None:
            return Text()
        lines = scale_lines(scale_text(scale), self.iteration, scale.iterations, logged,
                            time.monotonic() - self.logged_at)
        if self.stopping():
            lines.append(one_line("stopping after this iteration; Ctrl-C again ends at once", "yellow"))
        return Group(*lines)


def scale_lines(title: str, iteration: int, iterations: int, logged: StepLogged | None,
                since: float) -> list[RenderableType]:
    """A scale that is trained: bar, speed, time left `since` seconds after `logged`, losses."""
    lines: list[RenderableType] = [bar_line(Text(title, style="bold"), iteration, iterations,
                                            f"{iteration}/{iterations}")]
    if logged is not None:
        memory = f", {logged.peak_bytes / 2**30:.1f} GiB used" if logged.peak_bytes else ""
        lines.append(one_line(f"{rate_text(logged.iterations_per_second)}, {left_text(logged, since)}{memory}"))
        lines.append(one_line(losses_text(logged.losses), "dim"))
    return lines


def bar_line(title: Text, done: float, total: float, figure: str) -> Table:
    """A bar between words and a figure, as wide as the terminal."""
    bar = Table.grid(padding=(0, 2), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(title, ProgressBar(total, done), figure)
    return bar


def one_line(text: str, style: str = "") -> Text:
    """Text that is cut where the terminal ends."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def make_progress(*, quiet: bool, json: bool, stopping: Callable[[], bool]) -> Quiet:
    """The listener for these options and this terminal."""
    if json:
        return JsonLines()
    if quiet:
        return Quiet()
    console = Console()
    return LiveDisplay(console, stopping) if is_live(console) else PlainLines()


def is_live(console: Console) -> bool:
    """Whether what is shown there can be redrawn."""
    return console.is_terminal and not console.is_dumb_terminal


def counted(parts: Iterator[Tensor], frames: int, name: str) -> Iterator[Tensor]:
    """`parts` [t, ...] of `frames` frames in all; while they are taken, a bar on standard error counts the frames, if
    that is a terminal."""
    done = 0
    with counter(name, "frames") as count:
        count(done, frames)
        for part in parts:
            yield part
            done += len(part)
            count(done, frames)


@contextmanager
def counter(name: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A function that takes how many are done and how many there are; it shows a bar on standard error, if that
    is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
               TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True,
                  disable=not is_live(console) or place().rank > 0) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
