"""A document: what a source gives and a recipe turns into tokens; and what it takes to open sources: `Given`."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Document:
    """One text of a source, or one prompt with its answer, before it is tokenised."""

    text: str
    id: str  # unique within its source and stable between runs: "train.jsonl.gz:17", counted from 1
    spans: tuple[tuple[int, int, float], ...] = ()  # (first, last, weight) in characters; weight 1 elsewhere
    tokens: tuple[int, ...] | None = None  # of what is made as tokens; its text then counts for nothing
    token_weights: tuple[float, ...] | None = None  # beside `tokens`, one each; None: all 1
    fields: tuple[tuple[str, str], ...] = ()  # what filters may ask for: lang, licence, url, ...


class Documents(Iterator[Document]):
    """Documents in order, read once. Both accounts belong to this reading alone, and are complete when it ends."""

    def __init__(
        self, documents: Iterator[Document], skipped: Counter[str] | None = None, notes: list[str] | None = None
    ) -> None:
        self._documents = documents
        self.skipped: Counter[str] = Counter() if skipped is None else skipped  # records that gave none, by reason
        self.notes: list[str] = [] if notes is None else notes  # what a reader of the set should see

    def __next__(self) -> Document:
        return next(self._documents)

    def first(self, count: int | None) -> "Documents":
        """At most so many of them, with the same accounts; None: all."""
        return Documents(islice(self, count), self.skipped, self.notes)


def ignore(line: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Given:
    """What sources, filters, strategies and selections need beside their own options, as one object."""

    model: Any = None  # a loaded models.Model; None: not loaded
    tokenizer: Any = None  # None: the model's
    data_root: Path | None = None  # None: the folder that CALPRUNE_DATA names
    report: Callable[[str], None] = ignore  # called with one line, a note for a reader of the results

    def __post_init__(self) -> None:
        if self.tokenizer is None and self.model is not None:
            object.__setattr__(self, "tokenizer", self.model.tokenizer)
