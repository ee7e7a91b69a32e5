"""Progress of long work: silent in the library, on stderr where a command or a notebook shows it.

Library code reports to a `Progress` that it is given, or to `current()`, which says nothing unless a caller shows it:

    with showing(Bars()):
        calprune.prune(...)
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from io import TextIOBase
from typing import Any, TypeVar

from calprune.base.pace import Left, TimeLeft

T = TypeVar("T")
FIRST_LINE = 5.0  # seconds after which a piece of work has a line where no bar can be drawn
BETWEEN_LINES = 30.0  # seconds between two of its lines then

_whole: ContextVar[Left | None] = ContextVar("whole", default=None)


@contextmanager
def whole(left: Left) -> Iterator[None]:
    """Inside the block, pieces of work are phases of one whole, each by its name, and the time left that they show is
    the whole's. Within another whole, it is that one's still."""
    before = _whole.set(_whole.get() or left)
    try:
        yield
    finally:
        _whole.reset(before)


def _ignore(steps: "Steps") -> None:
    pass


class Steps:
    """How far one piece of work is: steps done of `total`, and what else is counted on the way."""

    def __init__(self, doing: str, total: int, counted: str = "", changed: Callable[["Steps"], None] = _ignore) -> None:
        """counted: the plural of what `count` counts, whose speed is shown. changed: called after every change."""
        self.doing, self.total, self.counted, self.changed = doing, total, counted, changed
        self.done = self.count_so_far = 0
        self.began = time.monotonic()
        self._of = _whole.get() or TimeLeft({doing: float(total)})
        self._of.begin(doing)

    def advance(self, *, found: bool = False) -> None:
        """One more step is done. found: it was done before, so that its time says nothing of those to come."""
        self.done += 1
        self._of.reach(self.doing, self.done / self.total, found=found)
        self.changed(self)

    def count(self, more: int) -> None:
        """So many more of what is counted."""
        self.count_so_far += more
        self.changed(self)

    @property
    def left(self) -> float | None:
        """Seconds that the rest may take, of the whole that this is a phase of; None: nothing was done yet."""
        return self._of.seconds()

    @property
    def pace(self) -> str:
        """What is counted, a second, and the time left; empty while nothing is known."""
        seconds = time.monotonic() - self.began
        parts = [f"{self.count_so_far / seconds:.0f} {self.counted}/s"] if self.counted and seconds > 0 else []
        if (left := self.left) is not None and left > 0:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def __str__(self) -> str:
        done = f": {self.done} of {self.total}" if self.total > 1 else ""
        return ", ".join(part for part in (self.doing + done, self.pace) if part)


def duration(seconds: float, *, up: bool = False) -> str:
    """ "45 s", "12 min", "1 h 05 min". up: never less than it is, so that who gives as much has enough."""
    whole_of = math.ceil if up else round
    if whole_of(seconds) < 60:
        return f"{whole_of(seconds)} s"
    minutes = whole_of(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


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

    @contextmanager
    def waiting(self, doing: str) -> Iterator[None]:
        """A piece of work of one step."""
        with self.steps(doing, 1) as steps:
            yield
            steps.advance()

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


@contextmanager
def waiting(doing: str) -> Iterator[None]:
    """What may take a while and has no steps, reported to the current progress."""
    with current().waiting(doing):
        yield


def followed(doing: str) -> Callable[[Sequence[T]], Iterator[T]]:
    """What is given all items of a piece of work and gives them one after another, reported."""
    return lambda items: tracking(items, len(items), doing)


def tracking(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """The same items, reported to the current progress."""
    return current().track(items, total, doing)


class ProgressBars(Progress):
    """Bars on stderr or in a notebook; where neither can draw them, a line after FIRST_LINE seconds, and every
    BETWEEN_LINES."""

    def __init__(self, stream: TextIOBase | None = None) -> None:
        self.stream: Any = stream
        self._live: Any = None  # the rich Progress, while any work is shown: one display for all
        self._open = 0
        self._silence: threading.Timer | None = None  # runs until something is reported

    @contextmanager
    def until_first(self, line: str) -> Iterator[None]:
        """Say `line` once the block has taken a while in which nothing was reported, where a person waits: in a
        terminal."""
        if (self.stream or sys.stderr).isatty():
            self._silence = _after_a_while(lambda: self.say(line))
        try:
            yield
        finally:
            self._break_silence()

    @contextmanager
    def steps(self, doing: str, total: int, counted: str = "") -> Iterator[Steps]:
        self._break_silence()
        if (console := self._console()) is None:
            lines = _Lines(self.say)
            steps = Steps(doing, total, counted, lines)
            with lines.begun(steps):
                yield steps
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
        self._break_silence()
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.stream or sys.stderr, flush=True)

    def _break_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()

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

    @contextmanager
    def begun(self, steps: Steps) -> Iterator[None]:
        """Say what is done while the block goes on, once it has taken a while."""
        timer = _after_a_while(lambda: self.say(str(steps)))
        try:
            yield
        finally:
            timer.cancel()

    def __call__(self, steps: Steps) -> None:
        now = time.monotonic()
        if now - self.last >= BETWEEN_LINES and steps.done < steps.total:
            self.last = now
            self.say(str(steps))


def _after_a_while(say: Callable[[], None]) -> threading.Timer:
    """Calls it after FIRST_LINE seconds, unless it is cancelled before."""
    timer = threading.Timer(FIRST_LINE, say)
    timer.daemon = True
    timer.start()
    return timer


def _bars(console: Any) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bar(*columns, TextColumn("{task.fields[pace]}"), console=console, transient=True)
