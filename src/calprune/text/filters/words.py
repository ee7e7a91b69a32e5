"""Filters by words: how many a document has, and which it may not have."""

from dataclasses import dataclass
from typing import ClassVar

from calprune.base.values import ConfigError
from calprune.text.document import Document, Given
from calprune.text.filters.contract import Judge, reason_if
from calprune.text.words import words


@dataclass(frozen=True)
class MinWords:
    """Drop documents of fewer words."""

    tag: ClassVar[str] = "MinWords"
    version: ClassVar[int] = 2
    words: int

    def open(self, given: Given) -> Judge:
        return lambda documents: [reason_if(len(words(d.text)) < self.words, f"fewer than {self.words} words")
                                  for d in documents]  # fmt: skip


@dataclass(frozen=True)
class MaxWords:
    """Drop documents of more words."""

    tag: ClassVar[str] = "MaxWords"
    version: ClassVar[int] = 2
    words: int

    def open(self, given: Given) -> Judge:
        return lambda documents: [reason_if(len(words(d.text)) > self.words, f"more than {self.words} words")
                                  for d in documents]  # fmt: skip


@dataclass(frozen=True)
class BlockedWords:
    """Drop documents that have one of these words or phrases, whatever its case, as whole words."""

    tag: ClassVar[str] = "BlockedWords"
    version: ClassVar[int] = 2
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words or not all(words(phrase) for phrase in self.words):
            raise ConfigError("blocked_words needs words; write blocked_words([casino, 'free spins'])")

    def open(self, given: Given) -> Judge:
        phrases = [(phrase, f" {' '.join(words(phrase))} ") for phrase in self.words]

        def reason(document: Document) -> str:
            text = f" {' '.join(words(document.text))} "
            return next((f"blocked word {phrase!r}" for phrase, within in phrases if within in text), "")

        return lambda documents: [reason(d) for d in documents]
