"""The folder of a built set as a source of text: for judging, its sequences; for comparing, its documents' texts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.text.document import Document, Documents, Given
from calprune.text.formats import Format
from calprune.text.records import Row
from calprune.text.source import Purpose, RowsRead, Source

SEQUENCES, DOCUMENTS = "sequences", "set"  # its two splits: every sequence as it is, and each document's part of it


@dataclass(frozen=True)
class SetSource(Source):
    """A built set by its folder."""

    name: str  # the folder, as it was named

    made = "set"
    named_by = "contents"
    formats = ("plain",)
    default_format = "plain"

    @cached_property
    def built(self) -> CalibrationSet:
        """The set. Raises UserError where the folder holds none."""
        return CalibrationSet.load(self.name)

    def licence_of(self, given: Given) -> str:
        return ", ".join(sorted(set(self.built.licences.values()))) or "not stated"

    def identity(self, given: Given = Given()) -> str:
        return self.built.id

    def split_for(self, purpose: Purpose, given: Given = Given(), allow_evaluation_split: bool = False) -> str:
        """A model is judged on its sequences; its documents are what other texts are compared with."""
        return SEQUENCES if purpose == "evaluation" else DOCUMENTS

    def rows_read(self, split: str, given: Given = Given(), seed: int = 0) -> RowsRead:
        return RowsRead(self.built.id, at=(("set", self.built.id),))

    def documents(self, format: Format, split: str = DOCUMENTS, given: Given = Given(), seed: int = 0) -> Documents:
        """Raises UserError where `given.tokenizer` is not the one that made the set."""
        built = self.built  # a folder that holds no set is told of first
        if given.tokenizer is None:
            raise UserError(f"{self.name} is the folder of a built set, of tokens: say with --model whose, to have its "
                            "text")  # fmt: skip
        built.check_tokenizer(given.tokenizer)
        return Documents(self._sequences() if split == SEQUENCES else self._parts())

    def rows(self, split: str, given: Given, skipped: Counter[str]) -> Iterator[Row]:
        raise UserError(f"{self.name} is the folder of a built set: it has no records")

    def _sequences(self) -> Iterator[Document]:
        masked = self.built.masked.tolist() if self.built.masked is not None else [0] * len(self.built.tokens)
        rows = zip(self.built.tokens.tolist(), masked, self.built.lengths.tolist(), strict=True)
        for i, (row, first, last) in enumerate(rows):
            yield Document("", str(i), tokens=tuple(row[first:last]))

    def _parts(self) -> Iterator[Document]:
        for i, length in enumerate(self.built.lengths.tolist()):
            pieces = self.built.pieces[i] if self.built.pieces else ()
            for first, last in [(piece.first, piece.last) for piece in pieces] or [(0, length)]:
                yield Document("", f"{i}.{first}", tokens=tuple(self.built.tokens[i, first:last].tolist()))


def find_set(folder: str) -> Source:
    """The set in a folder; it is read when it is asked for."""
    return SetSource(folder)
