"""Which documents of a source a set takes: random, reproducible, read once, and apart from other seeds' draws.

A source's documents have one random order, which neither the seed nor the other sources change. A draw takes a run of
it. Where the whole source fits the memory (HELD characters), the run of seed k begins where that of seed k - 1 would
have ended, so the draws of seeds 0, 1, 2, ... have no document in common until the source is used up; then a new order
begins. Of a larger source a reservoir keeps the run as the file goes by: runs begin at 0, 1/2, 1/4, 3/4, 1/8, ... of
the order.
"""

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from calprune.base.values import rng
from calprune.text.document import Document
from calprune.text.encode import Encoded, batches, encode

HELD = 16_000_000  # characters, fifteen draws of 128 x 2048 tokens of English; Python spends 1 to 4 bytes on each
CIRCLE = 1 << 64  # places in the order
ENTRY = 200  # characters that a document is taken to need beside its text

Take = Callable[[Iterator[Encoded]], bool]  # makes the sequences of a draw; whether there were documents enough


@dataclass(frozen=True)
class Pool:
    """The documents of a source that a draw chooses from, in the order in which they were read."""

    name: str  # of the random order: the source's
    documents: list[Document]
    keys: list[int]  # each one's place in the order, from where this seed's run begins if not `whole`
    size: int  # documents that the source has
    whole: bool  # whether they are all here

    def order(self, epoch: int = 0) -> list[int]:
        """Indices of documents in random order. Of a source that is not all here there is one order."""
        keys = self.keys
        if epoch:
            stream = rng(epoch, f"sampling/{self.name}")
            keys = [stream.getrandbits(64) for _ in keys]
        return sorted(range(len(keys)), key=keys.__getitem__)


def read_pool(name: str, documents: Iterable[Document], seed: int, held: int = HELD) -> Pool:
    """Read a source to its end, keeping about `held` characters: those of the run of this seed."""
    stream = rng(0, f"sampling/{name}")
    start = int(_spread(seed) * CIRCLE)
    heap: list[tuple[int, int, Document]] = []  # the farthest from the run's beginning on top
    size = characters = 0
    for size, document in enumerate(documents, 1):
        place = (stream.getrandbits(64) - start) % CIRCLE
        if characters > held and -place < heap[0][0]:
            continue
        heapq.heappush(heap, (-place, size, document))
        characters += _cost(document)
        while characters > held and len(heap) > 1:
            characters -= _cost(heapq.heappop(heap)[2])
    whole = len(heap) == size
    heap.sort(key=lambda entry: entry[1])
    keys = [(start - place) % CIRCLE if whole else -place for place, _, _ in heap]
    return Pool(name, [entry[2] for entry in heap], keys, size, whole)


class Draws:
    """The encoded documents of a pool, from wherever a draw begins. Each document is encoded once."""

    def __init__(self, pool: Pool, tokenizer: Any) -> None:
        self.pool, self._tokenizer = pool, tokenizer
        self._encoded: dict[int, Encoded] = {}

    def run(self, seed: int, alone: Take, own: Take) -> "Run":
        """The documents of draw number `seed`. `own` makes this draw's sequences; `alone` those of a set that has no
        other source: runs are that far apart where the pool allows, so that a source added to a recipe shortens the
        runs of the others and does not move them. Where the pool is used up, shorter runs go between, and then a new
        random order begins."""
        if not self.pool.whole:
            return self.ordered()
        order = self.pool.order()
        wide = list(islice(self._cut(order, 0, len(order), alone), seed + 1))
        if len(wide) > seed:
            return self.ordered(first=wide[seed][0])
        starts = self._starts(order, alone, own)
        epoch, place = divmod(seed, max(len(starts), 1))
        if epoch and starts:
            starts = self._starts(self.pool.order(epoch), alone, own) or [0]
        return self.ordered(epoch, starts[place % len(starts)]) if starts else self.ordered()

    def ordered(self, epoch: int = 0, first: int = 0) -> "Run":
        """All documents in random order from `first` on."""
        return Run(self._encode(self.pool.order(epoch)[first:]))

    def candidates(self, seed: int, count: int) -> list[Encoded]:
        """`count` documents for a selection to choose among, apart from other seeds' while the pool allows it."""
        if not self.pool.whole:
            return list(islice(self.ordered(), count))
        epoch, place = divmod(seed, max(1, self.pool.size // count))
        return list(islice(self.ordered(epoch, place * count), count))

    def with_replacement(self, seed: int) -> "Run":
        """Documents drawn at random, each any number of times, as the papers' code does. Not for ever: a pool of
        which nothing serves must come to an end."""
        stream, n = rng(seed, f"sampling/{self.pool.name}"), len(self.pool.documents)
        return Run(self._encode(stream.randrange(n) for _ in range(20 * n + 10_000 if n else 0)))

    def _starts(self, order: list[int], alone: Take, own: Take) -> list[int]:
        """Where the draws begin that have no document in common: first the wide ones, then those between."""
        wide = list(self._cut(order, 0, len(order), alone))
        bounds = [*[first for first, _ in wide][1:], len(order)]
        inside = [list(self._cut(order, a, b, own)) for a, b in zip([0, *bounds], bounds, strict=False)]
        return [run[0] for turn in zip_longest(*inside) for run in turn if run]

    def _cut(self, order: list[int], first: int, last: int, take: Take) -> Iterator[tuple[int, int]]:
        """The runs of draws, one after another, within [first, last) of the order."""
        while take(run := Run(self._encode(order[first:last]))):
            yield first, first + run.taken
            first += run.taken

    def _encode(self, order: Iterable[int]) -> Iterator[Encoded]:
        """The documents at these indices, encoded in batches a little ahead."""
        for batch in batches(order):
            missing = [i for i in dict.fromkeys(batch) if i not in self._encoded]
            documents = (self.pool.documents[i] for i in missing)
            for i, encoded in zip(missing, encode(self._tokenizer, documents), strict=True):
                self._encoded[i] = encoded._replace(tokens=array("i", encoded.tokens))
            yield from (self._encoded[i] for i in batch)


class Run(Iterator[Encoded]):
    """Documents of a draw; `taken` counts them."""

    def __init__(self, documents: Iterator[Encoded]) -> None:
        self._documents, self.taken = documents, 0

    def __next__(self) -> Encoded:
        document = next(self._documents)
        self.taken += 1
        return document


class Chosen(Run):
    """Documents that a selection put into order: all of them were looked at, so all count as taken."""

    def __init__(self, documents: list[Encoded]) -> None:
        super().__init__(iter(documents))
        self.taken = len(documents)

    def __next__(self) -> Encoded:
        return next(self._documents)


def _cost(document: Document) -> int:
    return len(document.text) + 4 * len(document.tokens or ()) + ENTRY


def _spread(seed: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, ...: the first so many are nearly as far apart as they can be (van der Corput)."""
    return int(f"{seed:064b}"[::-1][:53], 2) / (1 << 53)
