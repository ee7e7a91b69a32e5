"""Examples in context: whole question-answer pairs until the sequence is full (the formats icl and icl_cot).

One begin-of-text a sequence, a separator between pairs, whole pairs only. A sequence that the next pair does not fit is
closed, and that pair begins the next one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from calprune.calibration.encode import Encoded, encode_text
from calprune.calibration.layout import Making, Row


@dataclass(frozen=True)
class Pairs:
    """Whole question-answer pairs until the sequence is full. The last two options are quirks of the released code of
    Bandari et al., which cut the first and the last pair and began each with a begin-of-text."""

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
