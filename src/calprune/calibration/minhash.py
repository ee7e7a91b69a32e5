"""MinHash of a whole text, streamed: how alike two corpora are, in memory that does not grow with them.

The n-grams of words of all documents are one set. Each of `permutations` slots keeps the least of a random order of
them (Broder 1997), so two sets have a slot in common with probability J = |A ∩ B| / |A ∪ B|, and the share of slots in
common estimates J with a standard error of sqrt(J (1 - J) / permutations). The least of a union is the lesser of the
two, so a corpus goes by in batches. Slots: rensa's full-set R-MinHash (Rust). How many distinct n-grams there are is
told by the KEPT least of their 64-bit hashes (Bar-Yossef et al. 2002), within 3 %.

Sets of different sizes cannot be much alike: J <= min(|A|, |B|) / max(|A|, |B|), whatever their texts. `bound` says it.
"""

import math
from collections.abc import Sequence

import numpy as np

from calprune.calibration.overlap import Words
from calprune.uncertainty import Estimate

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
