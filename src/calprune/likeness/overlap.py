"""MinHash of a whole text, streamed: how alike two corpora are, in memory that does not grow with them.

The n-grams of words of all documents are one set. Each of `permutations` slots keeps the least of a random order of
them (Broder 1997), so two sets have a slot in common with probability J = |A ∩ B| / |A ∪ B|, and the share of slots in
common estimates J with a standard error of sqrt(J (1 - J) / permutations). The least of a union is the lesser of the
two, so a corpus goes by in batches. Slots: rensa's full-set R-MinHash (Rust). How many distinct n-grams there are is
told by the KEPT least of their 64-bit hashes (Bar-Yossef et al. 2002), within 3 %.

Sets of different sizes cannot be much alike: J <= min(|A|, |B|) / max(|A|, |B|), whatever their texts. `bound` says it.

Two texts, word by word: what they have in common, on draws of one size.

Both measures depend on how much text there is (more text has more distinct n-grams, of which a smaller share is in the
other), so they are taken on draws of equally many words, and compare only where that number is the same.
"""

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from calprune.text.words import gram_hashes, word_hashes
from calprune.uncertainty.estimate import Estimate

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


SEED = 42  # of the permutations: signatures are compared only with those of the same


KEPT = 1024


UNEQUAL = 0.5  # a bound below it is warned of


_Z = 1.959964  # of a 95 % interval


class Signature:
    """The MinHash signature of the n-grams of every text that was added."""

    def __init__(self, ngram: int = 3, permutations: int = 128) -> None:
        self.ngram, self.permutations = ngram, permutations
        self.slots = np.full(permutations, np.iinfo(np.uint32).max, dtype=np.uint32)
        self.least = np.empty(0, dtype=np.uint64)  # the KEPT least hashes, rising
        self.documents = self.words = 0

    def add(self, texts: Sequence[str]) -> None:
        """Add a batch of texts; no n-gram spans two of them. Larger batches are faster (encode.BATCH)."""
        from rensa import RMinHash

        given = Words.of(texts)
        self.documents += len(texts)
        self.words += len(given.hashes)
        hashes = given.ngrams(self.ngram)
        if not len(hashes):
            return
        rows = RMinHash.digest_matrix_from_flat_token_hashes(hashes, [0, len(hashes)], self.permutations, SEED)
        self.slots = np.minimum(self.slots, np.array(rows.to_rows()[0], dtype=np.uint32))
        few = len(self.least) < KEPT
        self.least = np.union1d(self.least, hashes if few else hashes[hashes < self.least[-1]])[:KEPT]

    @property
    def distinct(self) -> int:
        """How many distinct n-grams there are: exact below KEPT, else within 3 % (one standard error)."""
        n = len(self.least)
        return n if n < KEPT else round((KEPT - 1) / (float(self.least[-1]) + 1) * 2.0**64)

    def jaccard(self, other: "Signature") -> Estimate:
        """The estimated Jaccard index, with Wilson's interval for the share of slots in common."""
        assert (self.ngram, self.permutations) == (other.ngram, other.permutations), "signatures of two kinds"
        if not (len(self.least) and len(other.least)):  # a text without n-grams has nothing in common
            return Estimate(0.0, None, None, 0)
        n = self.permutations
        share = float((self.slots == other.slots).mean())
        centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2)
        return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), n)

    def bound(self, other: "Signature") -> float:
        """The largest Jaccard index that sets of these sizes can have."""
        small, large = sorted((self.distinct, other.distinct))
        return small / large if large else 0.0
