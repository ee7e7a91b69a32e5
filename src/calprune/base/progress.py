"""Progress of long work: silent in the library, on stderr where a command or a notebook shows it.

Library code reports to a `Progress` that it is given, or to `current()`, which says nothing unless a caller shows it:

    with showing(Bars()):
        calprune.prune(...)
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import TextIOBase
from typing import Any, TypeVar

T = TypeVar("T")
HORIZON = 300.0  # seconds: how fast steps were done longer ago hardly counts in the estimate of what is left
BETWEEN_LINES = 30.0  # seconds between two lines where no bar can be drawn


def _ignore(steps: "Steps") -> None:
    pass


class Steps:
    """How far one piece of work is: steps done of `total`, and what else is counted on the way."""

    def __init__(self, doing: str, total: int, counted: str = "", changed: Callable[["Steps"], None] = _ignore) -> None:
        """counted: the plural of what `count` counts, whose speed is shown. changed: called after every change."""
        self.doing, self.total, self.counted, self.changed = doing, total, counted, changed
        self.done = self.count_so_far = 0
        self.began = self.last = time.monotonic()
        self._steps = self._seconds = 0.0  # of steps that were done now and not found, the older the lighter

    def advance(self, *, found: bool = False) -> None:
        """One more step is done. found: it was done before, so that its time says nothing of those to come."""
        now = time.monotonic()
        if not found:
            lighter = math.exp((self.last - now) / HORIZON)
            self._steps, self._seconds = self._steps * lighter + 1, self._seconds * lighter + now - self.last
        self.last = now
        self.done += 1
        self.changed(self)

    def count(self, more: int) -> None:
        """So many more of what is counted."""
        self.count_so_far += more
        self.changed(self)

    @property
    def left(self) -> float | None:
        """Seconds that the rest may take, by the pace of the last minutes; None: no step was done yet."""
        return (self.total - self.done) * self._seconds / self._steps if self._steps else None

    @property
    def pace(self) -> str:
        """What is counted, a second, and the time left; empty while nothing is known."""
        seconds = time.monotonic() - self.began
        parts = [f"{self.count_so_far / seconds:.0f} {self.counted}/s"] if self.counted and seconds > 0 else []
        if self.left is not None and self.done < self.total:
            parts.append(f"about {duration(self.left)} left")
        return ", ".join(parts)

    def __str__(self) -> str:
        return ", ".join(part for part in (f"{self.doing}: {self.done} of {self.total}", self.pace) if part)


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


class Progress:
    """Where progress is reported. This one shows nothing."""

    @contextmanager
    def steps(self, doing: str, total: int, counted: str = "") -> Iterator[Steps]:
        """A piece of work of `total` steps, shown until the block ends."""
        yield Steps(doing, total, counted)

    def say(self, line: str) -> None:
        """One line that a person should read now."""

    def note(self, line: str) -> None:
        """One line on what holds for the whole work: said once, however often it is noted."""
        noted: set[str] = self.__dict__.setdefault("_noted", set())
        if line not in noted:
            noted.add(line)
            self.say(f"note: {line}")

    def track(self, items: Iterable[T], total: int, doing: str) -> Iterator[T]:
        """The same items; each is a step, which is done when the next is asked for."""
        with self.steps(doing, total) as steps:
            for item in items:
                yield item
                steps.advance()


SILENT = Progress()
_current: ContextVar[Progress] = ContextVar("progress", default=SILENT)


def current() -> Progress:
    """Where work reports that was given no Progress of its own."""
    return _current.get()


@contextmanager
def showing(progress: Progress) -> Iterator[None]:
    """Inside the block, `current()` is `progress`."""
    before = _current.set(progress)
    try:
        yield
    finally:
        _current.reset(before)


def tracking(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """The same items, reported to the current progress."""
    return current().track(items, total, doing)


class ProgressBars(Progress):
    """Bars on stderr or in a notebook; where neither can draw them, a line every BETWEEN_LINES seconds."""

    def __init__(self, stream: TextIOBase | None = None) -> None:
        self.stream: Any = stream
        self._live: Any = None  # the rich Progress, while any work is shown: one display for all
        self._open = 0

    @contextmanager
    def steps(self, doing: str, total: int, counted: str = "") -> Iterator[Steps]:
        if (console := self._console()) is None:
            yield Steps(doing, total, counted, _Lines(self.say))
            return
        live = self._live = self._live or _bars(console)
        if not self._open:
            live.start()
        self._open += 1
        task = live.add_task(doing, total=total, pace="")
        try:
            yield Steps(doing, total, counted, lambda s: live.update(task, completed=s.done, pace=s.pace))
        finally:
            live.remove_task(task)
            self._open -= 1
            if not self._open:
                live.stop()
                self._live = None

    def say(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.stream or sys.stderr, flush=True)

    def _console(self) -> Any:
        """Where bars are drawn; None where they cannot be."""
        from rich.console import Console

        console = Console(file=self.stream, stderr=self.stream is None)
        if console.is_jupyter:
            from importlib.util import find_spec

            return console if find_spec("ipywidgets") else None
        return console if console.is_terminal else None


class _Lines:
    """Says now and then how far a piece of work is."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.last = say, time.monotonic()

    def __call__(self, steps: Steps) -> None:
        now = time.monotonic()
        if now - self.last >= BETWEEN_LINES and steps.done < steps.total:
            self.last = now
            self.say(str(steps))


def _bars(console: Any) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bar(*columns, TextColumn("{task.fields[pace]}"), console=console, transient=True)
