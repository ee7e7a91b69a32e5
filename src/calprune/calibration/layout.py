"""Layouts: how encoded documents become sequences.

    concatenate   documents one after another, an end-of-text token between them, cut into full sequences
    crop          a random window of each document that is at least as long as the sequence; the others are dropped
    pad           one document a sequence, at its natural length, cut where the sequence ends

Formats of question-answer pairs have a packing of their own (`Pairs`).

Bandari et al. (EMNLP 2024, arXiv:2410.07461) and most papers before crop, and so keep only long documents without
saying so: here that is a named choice, and what it drops is counted.

Examples in context: whole question-answer pairs until the sequence is full (the formats icl and icl_cot).

One begin-of-text a sequence, a separator between pairs, whole pairs only. A sequence that the next pair does not fit is
closed, and that pair begins the next one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

from calprune.base.calls import Registry
from calprune.base.values import rng
from calprune.calibration.provenance import Piece
from calprune.text.encode import Encoded, Marks, encode_text


class Row:
    """One sequence while it is made."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens: list[int] = []
        self.weights: list[float] | None = None  # None: all 1
        self.pieces: list[Piece] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, given: Encoded, first: int = 0, last: int | None = None) -> None:
        """Append tokens [first, last) of a document."""
        tokens = given.tokens[first:last]
        if not tokens:
            return
        weights = given.weights[first:last] if given.weights is not None else None
        if weights is not None and self.weights is None:
            self.weights = [1.0] * len(self)
        if self.weights is not None:
            self.weights.extend(weights if weights is not None else [1.0] * len(tokens))
            if not self.pieces and len(self.weights) > len(tokens):  # a begin-of-text weighs what follows it
                self.weights[0] = self.weights[len(self)]
        self.pieces.append(Piece(self.source, given.document, len(self), len(self) + len(tokens)))
        self.tokens.extend(tokens)

    def mark(self, ids: Sequence[int]) -> None:
        """Append tokens that are no document's; they weigh what the token before them does."""
        self.tokens.extend(ids)
        if self.weights is not None:
            self.weights.extend(self.weights[-1:] * len(ids))

    def cut(self, first: int, length: int) -> None:
        """Keep the window [first, first + length)."""
        last = first + length
        self.tokens = self.tokens[first:last]
        self.weights = None if self.weights is None else self.weights[first:last]
        inside = [p for p in self.pieces if p.first < last and p.last > first]
        self.pieces = [replace(p, first=max(p.first - first, 0), last=min(p.last, last) - first) for p in inside]

    @property
    def counts(self) -> bool:
        """Whether any token weighs anything."""
        return self.weights is None or any(self.weights)


@dataclass
class Making:
    """What a layout needs beside documents and lengths, and where it counts what it drops."""

    source: str  # as pieces name it
    stream: str  # as random streams name it: of a file its contents, so that a copy elsewhere gives the same windows
    tokenizer: Any
    marks: Marks
    seed: int
    dropped: Counter[str] = field(default_factory=Counter)
    _windows: Counter[str] = field(default_factory=Counter)  # how many each document gave

    def begin(self, tokens: Sequence[int]) -> Row:
        """A row with its begin-of-text, unless the tokens that will follow bring one."""
        row = Row(self.source)
        if not self.marks.starts(tokens):
            row.mark([self.marks.begin])  # type: ignore[list-item]
        return row

    def room(self, given: Encoded, length: int) -> int:
        """How many of a document's tokens a sequence of this length holds."""
        return length - (not self.marks.starts(given.tokens))

    def window(self, document: str, last_start: int) -> int:
        """A random start from 0 to `last_start`, the same for this document and seed whatever else is drawn; another
        each time that the document is drawn again."""
        again = f"/{self._windows[document]}" if self._windows[document] else ""
        self._windows[document] += 1
        return rng(self.seed, f"window/{self.stream}/{document.rpartition(':')[2]}{again}").randint(0, last_start)


@runtime_checkable
class Layout(Protocol):
    """A frozen dataclass of its options, called with a source's encoded documents."""

    natural: ClassVar[bool]  # whether sequences may be shorter than asked

    def __call__(self, documents: Iterator[Encoded], lengths: Sequence[int], making: Making) -> Iterator[Row]:
        """A row for each length, until the documents end; what is dropped is counted in `making.dropped`."""
        ...


@dataclass(frozen=True)
class Concatenate:
    """Documents one after another, an end-of-text token between them, cut into full sequences. The last two options are
    quirks of the released code of Bandari et al. (`get_random`, `get_ellipses`), whose texts are of 1,000
    characters."""

    tag: ClassVar[str] = "Concatenate"
    natural: ClassVar[bool] = False
    separator: str | None = None  # text between documents; None: the end-of-text token; "": nothing
    bos_per_document: bool = False  # a begin-of-text before each document, not only before the sequence
    drop_rest: bool = False  # each sequence begins with a new document: what is left of the last is dropped

    def __call__(self, documents: Iterator[Encoded], lengths: Sequence[int], making: Making) -> Iterator[Row]:
        between = [i for i in (making.marks.end,) if i is not None]
        if self.separator is not None:
            between = encode_text(making.tokenizer, self.separator) if self.separator else []
        current, taken = None, 0
        for length in lengths:
            row: Row | None = None
            if self.drop_rest:
                current = None
            while row is None or len(row) < length:
                if current is None:
                    if (current := next(documents, None)) is None:
                        return
                    taken = 0
                if row is None:
                    row = making.begin(current.tokens[taken:])
                elif self.bos_per_document and taken == 0 and not making.marks.starts(current.tokens):
                    row.mark([making.marks.begin])  # type: ignore[list-item]
                last = min(len(current.tokens), taken + length - len(row))
                row.add(current, taken, last)
                taken = last
                if taken == len(current.tokens):
                    row.mark(between[: length - len(row)])
                    current = None
            yield row


@dataclass(frozen=True)
class Crop:
    """A random window of each document that is at least as long as the sequence; the others are dropped."""

    tag: ClassVar[str] = "Crop"
    natural: ClassVar[bool] = False

    def __call__(self, documents: Iterator[Encoded], lengths: Sequence[int], making: Making) -> Iterator[Row]:
        for length in lengths:
            for document in documents:
                spare = len(document.tokens) - making.room(document, length)
                if spare < 0:
                    making.dropped["shorter than the sequence"] += 1
                    continue
                first = making.window(document.document, spare)
                row = making.begin(document.tokens[first:])
                row.add(document, first, first + length - len(row))
                yield row
                break
            else:
                return


@dataclass(frozen=True)
class Pad:
    """One document a sequence, at its natural length."""

    tag: ClassVar[str] = "Pad"
    natural: ClassVar[bool] = True
    whole: bool = False  # drop documents that are longer than the sequence instead of cutting them

    def __call__(self, documents: Iterator[Encoded], lengths: Sequence[int], making: Making) -> Iterator[Row]:
        for length in lengths:
            for document in documents:
                room = making.room(document, length)
                if not document.tokens:
                    making.dropped["no tokens"] += 1
                elif self.whole and len(document.tokens) > room:
                    making.dropped["longer than the sequence"] += 1
                else:
                    row = making.begin(document.tokens)
                    row.add(document, 0, room)
                    if row.counts:
                        yield row
                        break
                    making.dropped["every token weighs 0"] += 1
            else:
                return


LAYOUTS = Registry(
    "layout", {"concatenate": Concatenate, "crop": Crop, "pad": Pad}, '"crop" or "pad(whole=true)"', Layout
)


def allocate(total: int, shares: Sequence[float]) -> list[int]:
    """Split `total` into whole numbers by shares, none lost: largest remainder, the earlier first where they tie."""
    whole = sum(shares)
    exact = [total * share / whole for share in shares]
    counts = [int(x) for x in exact]
    behind = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in behind[: total - sum(counts)]:
        counts[i] += 1
    return counts


@dataclass(frozen=True)
class Pairs:
    """Whole question-answer pairs until the sequence is full. The last two options are quirks of the released code of
    Bandari et al., which cut the first and the last pair and began each with a begin-of-text."""

    tag: ClassVar[str] = "Pairs"
    natural: ClassVar[bool] = True
    separator: str = "\n\n"  # text between pairs, tokenised by itself
    count: int | None = None  # exactly so many pairs a sequence (icl(pairs=5)); None: as many as it holds
    bos_per_pair: bool = False  # a begin-of-text before each pair, not only before the sequence
    random_window: bool = False  # pairs until there are too many tokens, then a random window of the exact length

    def __call__(self, documents: Iterator[Encoded], lengths: Sequence[int], making: Making) -> Iterator[Row]:
        between = encode_text(making.tokenizer, self.separator) if self.separator else []
        if self.bos_per_pair and making.marks.begin is not None:
            between = [*between, making.marks.begin]
        pairs = _Returnable(documents)
        for length in lengths:
            row = self._row(pairs, length, between, making)
            if row is None:
                return
            if self.random_window and self.count is None:
                row.cut(making.window(row.pieces[0].document, len(row) - length - 1), length)
            yield row

    def _row(self, pairs: "_Returnable", length: int, between: list[int], making: Making) -> Row | None:
        row: Row | None = None
        windows = self.random_window and self.count is None
        for pair in pairs:
            if not pair.tokens:
                making.dropped["no tokens"] += 1
                continue
            if len(pair.tokens) > making.room(pair, length) and not windows:
                making.dropped["longer than the sequence"] += 1
                continue
            if row is None:
                row = making.begin(pair.tokens)
            elif windows or len(row) + len(between) + len(pair.tokens) <= length:
                row.mark(between)
            else:
                pairs.give_back(pair)
                if self.count is None:
                    return row
                making.dropped[f"{self.count} pairs are longer than the sequence"] += len(row.pieces)
                row = None
                continue
            row.add(pair)
            if len(row.pieces) == self.count or (windows and len(row) > length):
                return row
        return None


class _Returnable(Iterator[Encoded]):
    """An iterator that takes one back."""

    def __init__(self, documents: Iterator[Encoded]) -> None:
        self._documents = documents
        self._back: list[Encoded] = []

    def give_back(self, document: Encoded) -> None:
        self._back.append(document)

    def __next__(self) -> Encoded:
        return self._back.pop() if self._back else next(self._documents)
