"""A recipe's filters: read from text or YAML, and put between a source and the draw."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from calprune.text.document import Document
from calprune.text.encode import batches
from calprune.text.filters.contract import Filter, Opening
from calprune.text.filters.kinds import FILTERS


def filtered(
    documents: Iterable[Document], filters: Sequence[Filter], given: Opening, dropped: Counter[str]
) -> Iterator[Document]:
    """The documents that every filter keeps, in order; `dropped` counts the others by reason. Reads a batch ahead."""
    judges = [one.open(given) for one in filters]
    for batch in batches(documents):
        for judge in judges:
            reasons = judge(batch) if batch else []
            dropped.update(reason for reason in reasons if reason)
            batch = [d for d, reason in zip(batch, reasons, strict=True) if not reason]
        yield from batch


def depends(filters: Sequence[Filter], given: Opening) -> list[Any]:
    """What the filters' answers depend on beside their options: the bytes of evaluation sets, a model, an identifier.

    Opens nothing that is large; raises UserError where something is not there."""
    return [one.depends(given) for one in filters if hasattr(one, "depends")]


def read_filters(given: Any, where: str) -> tuple[Filter, ...]:
    """Filters of plain data: a text, or a list of texts or mappings such as {near_duplicates: {threshold: 0.8}}."""
    listed = list(given or []) if given is None or isinstance(given, (list, tuple)) else [given]
    return tuple(FILTERS.read(one, f"{where}: filters" if where else "filters") for one in listed)
