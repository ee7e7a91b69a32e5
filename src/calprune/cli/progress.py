"""Progress on stderr with an estimate of what is left; nothing on stdout, which holds results."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def following(blocks: Iterable[T], model: Any, doing: str) -> Iterator[T]:
    """The same blocks, with a bar that says how many of the model's are done and how long the rest may take."""
    from calprune.linears import find_blocks

    name, modules = find_blocks(model)
    return tracking(blocks, len(modules), f"{doing} {name}")


def tracking(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(doing, total=total)
        for item in items:
            yield item
            progress.advance(task)
