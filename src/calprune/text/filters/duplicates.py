"""Filters of duplicates: the same text again, and a document much of whose wording an earlier one has.

Duplicates are sought within a source, so that adding a source never changes what another gives.

The similarity of two documents is the Jaccard index of their sets of word n-grams, |A ∩ B| / |A ∪ B|, estimated by
MinHash (Broder 1997): each of `permutations` random orders of all n-grams gives a set its first, and two sets have the
same first with probability J. So the estimate's standard error is sqrt(J (1 - J) / permutations), 0.035 at 0.8.
Which pairs are compared at all is found by banding (Indyk, Motwani 1998): signatures cut into `bands` equal bands; a
pair with an equal band is a candidate, with probability 1 - (1 - J^rows)^bands. MinHash, index: rensa (Rust).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from calprune.base.values import ConfigError
from calprune.text.document import Document, Given
from calprune.text.filters.contract import Judge, reason_if
from calprune.text.words import gram_hashes, word_hashes

SEED = 42  # of the permutations: which documents go must not depend on a recipe's seed


@dataclass(frozen=True)
class ExactDuplicates:
    """Drop a document whose text an earlier one of its source has, but for the white space. 16 bytes of hash each."""

    tag: ClassVar[str] = "ExactDuplicates"
    version: ClassVar[int] = 1

    def open(self, given: Given) -> Judge:
        seen: set[bytes] = set()

        def reason(document: Document) -> str:
            text = " ".join(document.text.split())
            name = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            known = name in seen
            seen.add(name)
            return reason_if(known, "exact duplicate")

        return lambda documents: [reason(d) for d in documents]


@dataclass(frozen=True)
class NearDuplicates:
    """Drop a document whose estimated similarity to an earlier, kept one of its source is `threshold` or more.

    Memory grows with the documents kept: see benchmarks/near_duplicates.md. A document of fewer than `ngram` words is
    one n-gram.
    """

    tag: ClassVar[str] = "NearDuplicates"
    version: ClassVar[int] = 4  # of 1 and 3 the n-grams had other hashes, of 2 words were other ones beyond ASCII
    threshold: float = 0.8  # of the Jaccard index; usual for text
    ngram: int = 5  # words
    permutations: int = 128
    bands: int = 16  # of 8 rows each: a pair at 0.8 is compared with probability 0.95, at 0.9 with 0.9999

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"near_duplicates: threshold is a fraction above 0, such as 0.8; got {self.threshold}")
        if self.ngram < 1:
            raise ConfigError(f"near_duplicates: ngram is 1 word or more; got {self.ngram}")
        if not 1 <= self.bands <= self.permutations or self.permutations % self.bands:
            raise ConfigError(f"near_duplicates: permutations have to be a multiple of bands, such as 128 and 16; "
                              f"got {self.permutations} and {self.bands}")  # fmt: skip

    def open(self, given: Given) -> Judge:
        """Judges documents in the order of the stream; the first of a cluster stays."""
        from rensa import RMinHashDeduplicator

        index = RMinHashDeduplicator(threshold=self.threshold, num_perm=self.permutations, use_lsh=True,
                                     num_bands=self.bands, seed=SEED)  # fmt: skip
        reason = f"near duplicate (Jaccard {self.threshold:g} or more)"
        seen = 0

        def judge(documents: Sequence[Document]) -> list[str]:
            nonlocal seen
            cut = shingles([document.text for document in documents], self.ngram)
            pairs = [(str(number), grams) for number, grams in enumerate(cut, seen)]
            seen += len(pairs)
            return ["" if new else reason for new in index.add_pairs(pairs)]

        return judge


def shingles(texts: Sequence[str], n: int) -> list[list[bytes]]:
    """The n-grams of the words of each text, as 8 bytes each; one for all of a text of fewer words."""
    hashes, bounds = word_hashes(texts)
    grams = gram_hashes(hashes, n).view("V8").tolist()
    return [grams[a : b - n + 1] if b - a >= n else [hashes[a:b].tobytes()] for a, b in pairwise(bounds)]
