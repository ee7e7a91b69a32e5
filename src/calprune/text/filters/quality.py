"""Filters by quality: how much a document repeats itself, and how likely a model finds it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from calprune.base.values import ConfigError, UserError
from calprune.text.document import Document, Given
from calprune.text.encode import encode_text, find_marks
from calprune.text.filters.contract import Judge, reason_if
from calprune.text.words import word_hashes


@dataclass(frozen=True)
class Repetition:
    """Drop documents of whose word n-grams more than `most`, a fraction, are not the first of their kind:
    rep_n = 1 - |unique n-grams| / |n-grams| (Welleck et al. 2020, arXiv:1908.04319)."""

    tag: ClassVar[str] = "Repetition"
    version: ClassVar[int] = 2
    most: float
    ngram: int = 4  # words

    def __post_init__(self) -> None:
        if not 0 <= self.most <= 1:
            raise ConfigError(f"repetition: most is a fraction from 0 to 1, such as 0.3; got {self.most}")
        if self.ngram < 1:
            raise ConfigError(f"repetition: ngram is 1 word or more; got {self.ngram}")

    def open(self, given: Given) -> Judge:
        reason = f"more than {self.most:.0%} repeated {self.ngram}-grams"

        def judge(documents: Sequence[Document]) -> list[str]:
            hashes, bounds = word_hashes([d.text for d in documents])
            return [
                reason_if(repetition(hashes[a:b].tolist(), self.ngram) > self.most, reason) for a, b in pairwise(bounds)
            ]

        return judge


@dataclass(frozen=True)
class PerplexityBand:
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

    def open(self, given: Given) -> Judge:
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
            return reason_if(outside, f"perplexity outside {self.low:g} to {self.high:g}")

        return judge

    def depends(self, given: Given) -> Any:
        return self._model(given).id

    @staticmethod
    def _model(given: Given) -> Any:
        if given.model is None:
            raise UserError("the filter perplexity needs the model's weights, and only its tokenizer was given")
        return given.model


def repetition(tokens: Sequence[int], n: int) -> float:
    """The fraction of n-grams that are not the first of their kind; 0 where there is none."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
