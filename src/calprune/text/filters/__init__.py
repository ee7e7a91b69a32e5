"""Filters: which documents of a source may be drawn. Each one dropped has its reason, and the reasons are counted.

    min_words(50)   max_words(2000)   language(en)   exact_duplicates   near_duplicates(threshold=0.8)
    repetition(0.3)   perplexity(low=2, high=200)   blocked_words([casino, poker])   contamination([gsm8k, arc_easy])

A recipe's filters look at each source's documents before the draw, in the order in which they are written: what one
drops the next does not see. They look at the document as its format writes it. Sources that are made and never run out
are not filtered. One kind of filter is one file, with what it needs (`contract`); it is known by its name here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from calprune.base.calls import Registry
from calprune.text.document import Document, Documents, Given
from calprune.text.encode import batches
from calprune.text.filters.contamination import Contamination
from calprune.text.filters.contract import Filter
from calprune.text.filters.duplicates import ExactDuplicates, NearDuplicates
from calprune.text.filters.language import Language
from calprune.text.filters.quality import PerplexityBand, Repetition
from calprune.text.filters.words import BlockedWords, MaxWords, MinWords

FILTERS = Registry(
    "filter",
    {
        "blocked_words": BlockedWords,
        "contamination": Contamination,
        "exact_duplicates": ExactDuplicates,
        "language": Language,
        "max_words": MaxWords,
        "min_words": MinWords,
        "near_duplicates": NearDuplicates,
        "perplexity": PerplexityBand,
        "repetition": Repetition,
    },
    '"min_words(50)" or "language(en)"',
    Filter,
)


def filtered(documents: Documents, filters: Sequence[Filter], given: Given) -> Documents:
    """The documents that every filter keeps, in order, read a batch ahead. What is dropped is counted beside what the
    source skipped, by reason."""
    notes = list(documents.notes)
    kept = _kept(documents, filters, replace(given, report=notes.append), documents.skipped)
    return Documents(kept, documents.skipped, notes)


def _kept(documents: Documents, filters: Sequence[Filter], given: Given, dropped: Counter[str]) -> Iterator[Document]:
    judges = [one.open(given) for one in filters]
    for batch in batches(documents):
        for judge in judges:
            reasons = judge(batch) if batch else []
            dropped.update(reason for reason in reasons if reason)
            batch = [d for d, reason in zip(batch, reasons, strict=True) if not reason]
        yield from batch


def depends(filters: Sequence[Filter], given: Given) -> list[Any]:
    """What the filters' answers depend on beside their options: the bytes of evaluation sets, a model, an identifier.

    Opens nothing that is large; raises UserError where something is not there."""
    return [one.depends(given) for one in filters if hasattr(one, "depends")]


def use_model(filters: Sequence[Filter]) -> bool:
    """Whether one of them needs a model's weights."""
    return any(getattr(one, "uses_model", False) for one in filters)


def read_filters(given: Any, where: str) -> tuple[Filter, ...]:
    """Filters of plain data: a text, or a list of texts or mappings such as {near_duplicates: {threshold: 0.8}}."""
    listed = list(given or []) if given is None or isinstance(given, (list, tuple)) else [given]
    return tuple(FILTERS.read(one, f"{where}: filters" if where else "filters") for one in listed)
