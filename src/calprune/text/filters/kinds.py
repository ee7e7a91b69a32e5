"""Filters: which documents of a source may be drawn. Each one dropped has its reason, and the reasons are counted.

    min_words(50)   max_words(2000)   language(en)   exact_duplicates   near_duplicates(threshold=0.8)
    repetition(0.3)   perplexity(low=2, high=200)   blocked_words([casino, poker])   contamination([gsm8k, arc_easy])

A recipe's filters look at each source's documents before the draw, in the order in which they are written: what one
drops the next does not see. They look at the document as its format writes it. Duplicates are sought within a source,
so that adding a source never changes what another gives. Sources that are made and never run out are not filtered.

A filter's `version` is in the identity of a set: it is raised when the same options drop other documents.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from calprune.base.calls import Registry
from calprune.base.values import ConfigError, UserError
from calprune.text.document import Document
from calprune.text.encode import encode_text, find_marks
from calprune.text.filters.contamination import Contamination
from calprune.text.filters.contract import Filter, Judge, Opening
from calprune.text.filters.duplicates import NearDuplicates
from calprune.text.filters.language import identifier, identifier_version
from calprune.text.words import word_hashes, words
from calprune.writing.screen import repetition


@dataclass(frozen=True)
class MinWords:
    """Drop documents of fewer words."""

    tag: ClassVar[str] = "MinWords"
    version: ClassVar[int] = 1
    words: int

    def open(self, given: Opening) -> Judge:
        return lambda documents: [_if(len(words(d.text)) < self.words, f"fewer than {self.words} words")
                                  for d in documents]  # fmt: skip


@dataclass(frozen=True)
class MaxWords:
    """Drop documents of more words."""

    tag: ClassVar[str] = "MaxWords"
    version: ClassVar[int] = 1
    words: int

    def open(self, given: Opening) -> Judge:
        return lambda documents: [_if(len(words(d.text)) > self.words, f"more than {self.words} words")
                                  for d in documents]  # fmt: skip


@dataclass(frozen=True)
class Language:
    """Drop documents that py3langid finds in another language than these ("en", "de", ...)."""

    tag: ClassVar[str] = "Language"
    version: ClassVar[int] = 1
    codes: tuple[str, ...]

    def open(self, given: Opening) -> Judge:
        language_of, reason = identifier("the filter language", self.codes), f"not in {' or '.join(self.codes)}"
        return lambda documents: [_if(language_of(d.text) not in self.codes, reason) for d in documents]

    def depends(self, given: Opening) -> Any:
        return identifier_version()


@dataclass(frozen=True)
class ExactDuplicates:
    """Drop a document whose text an earlier one of its source has, but for the white space. 16 bytes of hash each."""

    tag: ClassVar[str] = "ExactDuplicates"
    version: ClassVar[int] = 1

    def open(self, given: Opening) -> Judge:
        seen: set[bytes] = set()

        def reason(document: Document) -> str:
            text = " ".join(document.text.split())
            name = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            known = name in seen
            seen.add(name)
            return _if(known, "exact duplicate")

        return lambda documents: [reason(d) for d in documents]


@dataclass(frozen=True)
class Repetition:
    """Drop documents of whose word n-grams more than `most`, a fraction, are not the first of their kind:
    rep_n = 1 - |unique n-grams| / |n-grams| (Welleck et al. 2020, arXiv:1908.04319)."""

    tag: ClassVar[str] = "Repetition"
    version: ClassVar[int] = 1
    most: float
    ngram: int = 4  # words

    def __post_init__(self) -> None:
        if not 0 <= self.most <= 1:
            raise ConfigError(f"repetition: most is a fraction from 0 to 1, such as 0.3; got {self.most}")
        if self.ngram < 1:
            raise ConfigError(f"repetition: ngram is 1 word or more; got {self.ngram}")

    def open(self, given: Opening) -> Judge:
        reason = f"more than {self.most:.0%} repeated {self.ngram}-grams"

        def judge(documents: Sequence[Document]) -> list[str]:
            hashes, bounds = word_hashes([d.text for d in documents])
            return [_if(repetition(hashes[a:b].tolist(), self.ngram) > self.most, reason) for a, b in pairwise(bounds)]

        return judge


@dataclass(frozen=True)
class Perplexity:
    """Keep documents whose perplexity under the model is from `low` to `high`: exp of the mean of -log p over their
    first `tokens` tokens, begun as the model's sequences are."""

    tag: ClassVar[str] = "Perplexity"
    version: ClassVar[int] = 1
    uses_model: ClassVar[bool] = True
    low: float = 0.0
    high: float = math.inf
    tokens: int = 512

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ConfigError(f"perplexity goes from low to high, such as low=2, high=200; got {self.low}, {self.high}")
        if self.tokens < 2:
            raise ConfigError(f"perplexity: tokens is 2 or more; got {self.tokens}")

    def open(self, given: Opening) -> Judge:
        from calprune.models.likelihood import token_nats

        model, tokenizer = self._model(given), given.tokenizer
        begin = [i for i in (find_marks(tokenizer).begin,) if i is not None]

        def judge(documents: Sequence[Document]) -> list[str]:
            rows = [(begin + encode_text(tokenizer, d.text))[: self.tokens] for d in documents]
            return [reason(nats) for nats in token_nats(model.model, rows)]

        def reason(nats: Any) -> str:
            if not len(nats):
                return "too short for a perplexity"
            outside = not self.low <= math.exp(float(nats.double().mean())) <= self.high
            return _if(outside, f"perplexity outside {self.low:g} to {self.high:g}")

        return judge

    def depends(self, given: Opening) -> Any:
        return self._model(given).id

    @staticmethod
    def _model(given: Opening) -> Any:
        if given.model is None:
            raise UserError("the filter perplexity needs the model's weights, and only its tokenizer was given")
        return given.model


@dataclass(frozen=True)
class BlockedWords:
    """Drop documents that have one of these words or phrases, whatever its case, as whole words."""

    tag: ClassVar[str] = "BlockedWords"
    version: ClassVar[int] = 1
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words or not all(words(phrase) for phrase in self.words):
            raise ConfigError("blocked_words needs words; write blocked_words([casino, 'free spins'])")

    def open(self, given: Opening) -> Judge:
        phrases = [(phrase, f" {' '.join(words(phrase))} ") for phrase in self.words]

        def reason(document: Document) -> str:
            text = f" {' '.join(words(document.text))} "
            return next((f"blocked word {phrase!r}" for phrase, within in phrases if within in text), "")

        return lambda documents: [reason(d) for d in documents]


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
        "perplexity": Perplexity,
        "repetition": Repetition,
    },
    '"min_words(50)" or "language(en)"',
    Filter,
)


def _if(true: bool, reason: str) -> str:
    return reason if true else ""
