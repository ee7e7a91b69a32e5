"""Progress for people: a bar in a terminal and in a notebook, nothing where nobody watches."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def wanted(progress: bool | None) -> bool:
    """As it was asked for; None: where somebody watches."""
    return progress if progress is not None else sys.stderr.isatty() or "ipykernel" in sys.modules


def bar(items: Iterable[T], total: int, doing: str, progress: bool | None) -> Iterator[T]:
    """The same items, with a bar."""
    if not wanted(progress):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, doing, total, console=Console(stderr=True), transient=True)


def line(progress: bool | None) -> Callable[[str], None]:
    """What prints a line of progress."""
    if not wanted(progress):
        return lambda text: None
    return lambda text: print(text, file=sys.stderr, flush=True)
