"""A document: what a source gives and a recipe turns into tokens."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice


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
