"""The filter of documents that share wording with what will judge the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from calprune.base.values import ConfigError
from calprune.text.document import Document, Given
from calprune.text.filters.contract import Judge
from calprune.text.filters.shared_wording import Evaluations, contents_of
from calprune.text.words import LONGEST

SHOWN = 3  # matches that are reported


@dataclass(frozen=True)
class Contamination:
    """Drop a document that has `ngram` words in a row in common with a set in `against`: names of the catalogue, each
    in its evaluation split, or files. `short`: for evaluation texts of fewer than `ngram` words."""

    tag: ClassVar[str] = "Contamination"
    version: ClassVar[int] = 2
    against: tuple[str, ...]
    ngram: int = 13  # words
    short: int = 8  # words

    def __post_init__(self) -> None:
        if not self.against:
            raise ConfigError("contamination needs evaluation sets; write contamination(against=[gsm8k, arc_easy])")
        if not 1 <= self.short <= self.ngram <= LONGEST:
            raise ConfigError(f"contamination: expected 1 <= short <= ngram <= {LONGEST} words; "
                              f"got {self.short} and {self.ngram}")  # fmt: skip

    def open(self, given: Given) -> Judge:
        """Reads the evaluation sets; the first matches are reported."""
        left = iter(range(SHOWN))
        known = Evaluations(self.against, given, self.ngram, self.short)

        def judge(documents: Sequence[Document]) -> list[str]:
            return [reason(document) for document in documents]

        def reason(document: Document) -> str:
            match = next(iter(known.matches(document.text)), None)
            if match is None:
                return ""
            if next(left, None) is not None:
                given.report(f'{document.id} was dropped: it shares "{match.words}" with {match.evaluation} '
                             f"{match.example}")  # fmt: skip
            return f"shares wording with {match.evaluation}"

        return judge

    def depends(self, given: Given) -> Any:
        """The contents of the evaluation sets."""
        return [contents_of(name, given) for name in self.against]
