"""A document: what a source gives and a recipe turns into tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text of a source, or one prompt with its answer, before it is tokenised."""

    text: str
    id: str  # unique within its source and stable between runs: "train.jsonl.gz:17", counted from 1
    spans: tuple[tuple[int, int, float], ...] = ()  # (first, last, weight) in characters; weight 1 elsewhere
    tokens: tuple[int, ...] | None = None  # of what is made as tokens; its text then counts for nothing
    token_weights: tuple[float, ...] | None = None  # beside `tokens`, one each; None: all 1
    fields: tuple[tuple[str, str], ...] = ()  # what filters may ask for: lang, licence, url, ...
