"""Two texts, word by word: what they have in common, on draws of one size.

Both measures depend on how much text there is (more text has more distinct n-grams, of which a smaller share is in the
other), so they are taken on draws of equally many words, and compare only where that number is the same.
"""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from calprune.calibration.words import gram_hashes, word_hashes

LONGEST = 1000  # words of a document that count: a book is one voice among others


class Words(NamedTuple):
    """Texts as the 64-bit hashes of their words, one text after another; where each begins, and where the last ends."""

    hashes: np.ndarray
    bounds: Sequence[int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Words":
        return cls(*word_hashes(texts))

    def ngrams(self, n: int) -> np.ndarray:
        """The 64-bit hashes of the n-grams of words, those that occur again too; none spans two texts."""
        grams = gram_hashes(self.hashes, n)
        ends = np.asarray(self.bounds[1:-1], dtype=np.int64)
        across = (ends[:, None] - np.arange(1, n)).ravel()  # where those begin that do
        keep = np.ones(len(grams), dtype=bool)
        keep[across[(across >= 0) & (across < len(grams))]] = False
        return _mixed(grams[keep])

    def stretches(self, stream: random.Random) -> "Words":
        """The same, of a text of more than LONGEST words a random run of so many."""
        parts = []
        for first, last in pairwise(self.bounds):
            if last - first > LONGEST:
                first += stream.randrange(last - first - LONGEST + 1)
            parts.append(self.hashes[first : min(last, first + LONGEST)])
        bounds = np.cumsum([0, *map(len, parts)]).tolist()
        return Words(np.concatenate([self.hashes[:0], *parts]), bounds)

    def draws(self, size: int, count: int) -> list["Words"]:
        """`count` draws of `size` words each, one after another: no word is in two of them."""
        assert size * count <= len(self.hashes), f"{len(self.hashes)} words are fewer than {count} draws of {size}"
        cuts = range(0, size * count + 1, size)
        return [
            Words(self.hashes[a:b], [0, *(c - a for c in self.bounds if a < c < b), size]) for a, b in pairwise(cuts)
        ]


def jaccard(a: Words, b: Words, n: int = 3) -> float:
    """|A ∩ B| / |A ∪ B| of the sets of word n-grams: exact, but for equal hashes of 64 bits. 0 where there are none."""
    grams_a, grams_b = np.unique(a.ngrams(n)), np.unique(b.ngrams(n))
    both = len(np.intersect1d(grams_a, grams_b, assume_unique=True))
    either = len(grams_a) + len(grams_b) - both
    return both / either if either else 0.0


def unigram_divergence(a: Words, b: Words, smoothing: float = 0.5) -> float:
    """(KL(p ‖ q) + KL(q ‖ p)) / 2 of the words' frequencies, in nats.

    `smoothing` is added to the count of every word that either text has, so that none has probability 0.
    """
    vocabulary, which = np.unique(np.concatenate([a.hashes, b.hashes]), return_inverse=True)
    places = (which[: len(a.hashes)], which[len(a.hashes) :])
    counts = [np.bincount(place, minlength=len(vocabulary)) + smoothing for place in places]
    p, q = (count / count.sum() for count in counts)
    return float(((p - q) * (np.log(p) - np.log(q))).sum() / 2)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """The same, every bit depending on all (the finaliser of MurmurHash3): their order is then random."""
    mixed = hashes.copy()
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed ^= mixed >> np.uint64(33)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(33)
    return mixed
