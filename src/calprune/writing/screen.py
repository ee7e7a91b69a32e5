"""Which of the documents that a model wrote are kept: each one dropped has its reason.

Ji et al. (ICLR 2025, arXiv:2410.17711) drop the fifth that the model itself finds least likely: those whose perplexity
is not below the 80th percentile (linear between ranks, as NumPy has it).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from calprune.base.values import ConfigError
from calprune.text.filters.quality import repetition


@dataclass(frozen=True)
class Text:
    """A document as the screen sees it. `tokens` include the start mark; `written` is where the model's part begins."""

    tokens: tuple[int, ...]
    written: int
    ended: bool  # False: cut at max_new_tokens or at the model's window
    refused: str = ""  # why there is none


@dataclass(frozen=True)
class Screen:
    """The filters, in the order in which they look at a document; perplexity's share is of what the others left."""

    tag: ClassVar[str] = "Screen"

    drop_perplexity: float = 0.0  # this fraction, the least likely under the model that wrote them
    perplexity_band: tuple[float, float] | None = None  # keep from the first to the second
    perplexity_of: Literal["all", "written"] = "all"  # the whole document, or what the model wrote of it
    max_repetition: float | None = None  # drop where more than this fraction of the n-grams it wrote came before
    ngram: int = 4  # tokens
    keep_truncated: bool = True  # what did not end by itself

    def __post_init__(self) -> None:
        if not 0 <= self.drop_perplexity < 1:
            raise ConfigError(f"drop_perplexity is a fraction, from 0 to below 1; got {self.drop_perplexity}")
        if self.perplexity_band is not None and not 0 <= self.perplexity_band[0] < self.perplexity_band[1]:
            raise ConfigError(f"perplexity_band is (lowest, highest), such as (2, 50); got {self.perplexity_band}")
        if self.max_repetition is not None and not 0 <= self.max_repetition <= 1:
            raise ConfigError(f"max_repetition is a fraction from 0 to 1, such as 0.5; got {self.max_repetition}")
        if self.ngram < 1:
            raise ConfigError(f"ngram is 1 token or more; got {self.ngram}")

    @property
    def needs_perplexity(self) -> bool:
        return self.drop_perplexity > 0 or self.perplexity_band is not None

    def first_reason(self, text: Text) -> str:
        """Why this document is dropped whatever its perplexity; "" where it stays."""
        if text.refused:
            return text.refused
        if len(text.tokens) <= text.written:
            return "nothing written"
        if not self.keep_truncated and not text.ended:
            return "truncated"
        most = self.max_repetition
        if most is not None and repetition(text.tokens[text.written :], self.ngram) > most:
            return f"more than {most:.0%} repeated {self.ngram}-grams"
        return ""

    def likely(self, perplexities: Sequence[float], dropped: Counter[str]) -> list[bool]:
        """Which stay by their perplexity. NaN (nothing was predicted) goes."""
        values = np.asarray(perplexities, dtype=np.float64)
        keep = np.ones(len(values), dtype=bool)

        def drop(which: np.ndarray, reason: str) -> None:
            if (gone := keep & which).any():
                dropped[reason] += int(gone.sum())
                keep[gone] = False

        drop(np.isnan(values), "too short for a perplexity")
        if self.perplexity_band is not None:
            low, high = self.perplexity_band
            drop((values < low) | (values > high), f"perplexity outside {low:g} to {high:g}")
        if self.drop_perplexity and keep.any():
            threshold = np.percentile(values[keep], 100 * (1 - self.drop_perplexity))
            drop(values >= threshold, f"perplexity in the top {self.drop_perplexity:.0%}")
        return keep.tolist()
