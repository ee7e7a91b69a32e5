"""Progress on stderr with an estimate of what is left; nothing on stdout, which holds results."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
QUIET = 30.0  # seconds between two lines where nobody watches a bar


def following(blocks: Iterable[T], model: Any, doing: str) -> Iterator[T]:
    """The same blocks, with a bar that says how many of the model's are done and how long the rest may take."""
    from calprune.layers.linears import find_blocks

    name, modules = find_blocks(model)
    return tracking(blocks, len(modules), f"{doing} {name}")


def tracking(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """The same items with a bar; where stderr is no terminal, with a line every QUIET seconds."""
    console = Console(stderr=True)
    return _barred(items, total, doing, console) if console.is_terminal else _told(items, total, doing)


def _barred(items: Iterable[T], total: int, doing: str, console: Console) -> Iterator[T]:
    said = TextColumn("{task.description}")
    columns = (said, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(doing, total=total)
        for item in items:
            yield item
            progress.advance(task)


def _told(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    began = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= QUIET and done < total:
            said = now
            left = (now - began) / done * (total - done)
            print(f"{doing}: {done} of {total}, about {left:.0f} s left", file=sys.stderr, flush=True)
