"""Progress of long work: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL_SECONDS = 15.0


class Display(Protocol):
    """Shows the finished fraction of the work, 0 to 1, the seconds left if known, and the current step.

    `note` shows one line that stays.
    """

    def update(self, fraction: float, seconds_left: float | None, text: str) -> None: ...

    def note(self, line: str) -> None: ...


class PlainLines:
    """One line at the start, then at most one every 15 seconds, and one at the end."""

    def __init__(self, stream: TextIO | None = None, interval: float = PLAIN_INTERVAL_SECONDS):
        self._stream = stream or sys.stderr
        self._interval = interval
        self._last = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, fraction: float, seconds_left: float | None, text: str) -> None:
        now = time.monotonic()
        if now - self._last < self._interval and fraction < 1:
            return
        self._last = now
        print(f"{fraction:4.0%}  {time_left(seconds_left):<18}  {text}", file=self._stream, flush=True)

    def note(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class LiveBar:
    """A bar that stays on one line of the terminal."""

    def __init__(self, console: Console):
        self._progress = Progress(
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]:<18}"),
            TextColumn("{task.description}", markup=False),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=1.0, left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, fraction: float, seconds_left: float | None, text: str) -> None:
        self._progress.update(self._task, completed=fraction, description=text, left=time_left(seconds_left))

    def note(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)


class Silent(PlainLines):
    """Shows nothing; for all but one of several processes that do the same work."""

    def update(self, fraction: float, seconds_left: float | None, text: str) -> None:
        pass

    def note(self, line: str) -> None:
        pass


def display(quiet: bool = False) -> LiveBar | PlainLines:
    """A live bar if standard error is a terminal, else plain lines; nothing if `quiet`."""
    if quiet:
        return Silent()
    console = Console(stderr=True)
    return LiveBar(console) if console.is_terminal else PlainLines()


def time_left(seconds: float | None) -> str:
    """Seconds in the words of a progress line.

    >>> time_left(None), time_left(4.2), time_left(250), time_left(8000)
    ('', '5 s left', '4 min 10 s left', '2 h 13 min left')
    """
    if seconds is None:
        return ""
    return f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """A duration in one or two units, rounded up.

    >>> duration(59.2), duration(600), duration(7200), duration(3e5), duration(1e9)
    ('1 min 0 s', '10 min 0 s', '2 h 0 min', '4 days', '32 years')
    """
    whole = int(-(-seconds // 1))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days = math.ceil(seconds / 86_400)
    return f"{days:,} days" if days < 2 * 365 else f"{math.ceil(days / 365):,} years"
