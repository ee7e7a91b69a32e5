"""Sources: named origins of documents.

`Source` is what every kind of source offers; `text.find.find` makes one of a name. `RecordSource` is the kind that
reads records and words them (the catalogue, a user's own YAML, the controls), `FileSource` a user's file of records.
Two kinds are elsewhere: the folder of a built set (calibration) and what a model writes (writing).
"""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from calprune.base.values import ConfigError, UserError, did_you_mean, identity
from calprune.text import chat
from calprune.text.controls import MAKERS
from calprune.text.document import Documents, Given
from calprune.text.formats import Format, refuse
from calprune.text.places import comparable, files_hash, local_files, parts, places, read_by_lines, split_files
from calprune.text.read import ending_of, find_reader, is_there, no_such_file, read_records
from calprune.text.records import Place, Row, rows, wording
from calprune.text.wording import Writer, letters

TAGS = ("mixed", "nc", "permissive", "research", "sharealike", "unknown")  # what --exclude-license takes
NOT_STATED = "not stated"  # a licence that nobody wrote down
_DEFAULT_FORMAT = {"text": "plain", "question": "icl", "chat": "chat", "control": "plain"}

# calibration: to prune with; evaluation: to judge a model on; reference: to compare other texts with
Purpose = Literal["calibration", "evaluation", "reference"]


@dataclass(frozen=True)
class Example:
    """A question with its answer, apart: what an evaluation asks and checks."""

    id: str
    prompt: str
    answer: str
    record: dict[str, Any]


_ONE_VALUE = re.compile(r"\s*([\w.]+)\s*==\s*'([^'\\]*)'\s*")  # a condition: a field is this text


@dataclass(frozen=True)
class RowsRead:
    """Which rows a split of a source reads: their contents where they are here, else their place on the hub."""

    contents: str = ""  # the hash of the local files; of a model's own texts, of what they begin with
    hub: Place | None = None  # where they are read from without local files
    at: tuple[Hashable, ...] = ()  # each file that is read, by its contents or its place on the hub
    where: str = ""  # the rows of those files, as a condition; "": all
    parted: tuple[tuple[str, str], ...] = ()  # the conditions that part those files between the source's splits

    @property
    def revision(self) -> str:
        """The hash of the files, or the hub's pinned commit; "" for what is made."""
        return self.contents or ((self.hub.revision or "not pinned") if self.hub else "")

    @property
    def pinned(self) -> str | None:
        """The same; None where the hub's commit is not pinned and for what is made."""
        return self.contents or (self.hub.revision if self.hub else None)

    def overlaps(self, other: "RowsRead") -> bool:
        """Whether both may read a row: they have a file in common, and their conditions are not known to be apart.
        Known are those of two splits of one source, and two values of one field."""
        return bool(set(self.at) & set(other.at)) and not self._apart(other)

    def _apart(self, other: "RowsRead") -> bool:
        if self.where == other.where or not (self.where and other.where):
            return False
        if self.parted and self.parted == other.parted:
            return True
        mine, theirs = (_ONE_VALUE.fullmatch(one.where) for one in (self, other))
        return bool(mine and theirs and mine[1] == theirs[1] and mine[2] != theirs[2])


Domain = Literal["general", "commonsense", "mathematics", "code", "knowledge", "language"]


class Source(ABC):
    """What a name stands for."""

    name: str
    named_by: Literal["name", "contents"] = "name"  # what its random streams and its place in an identity are named by
    made: str = ""  # what makes its documents where they are not read from records: a maker, "self" or "set"
    licence_tags: tuple[str, ...] = ("unknown",)
    citation: str = ""
    stand_in: str = ""  # what the local files are, where they are not the data set of that name
    begins_with: tuple[str, ...] = ()  # names of sources whose text its documents begin with, if it has none of its own
    endless: bool = False  # whether documents never run out: fill sequences with them in order, do not choose or pack
    root: Path | None = None  # of a user's YAML, which may be edited: the folder that its files are relative to

    @property
    @abstractmethod
    def formats(self) -> tuple[str, ...]:
        """The formats that its wordings allow."""

    @property
    @abstractmethod
    def default_format(self) -> str:
        """What its bare name means."""

    @abstractmethod
    def licence_of(self, given: Given) -> str:
        """Its licence in words."""

    @abstractmethod
    def identity(self, given: Given = Given()) -> str:
        """The hash of what its documents depend on beside the rows that are read."""

    @abstractmethod
    def split_for(self, purpose: Purpose, given: Given = Given(), allow_evaluation_split: bool = False) -> str:
        """The split to take. Raises UserError where the source has none for this purpose."""

    @abstractmethod
    def rows_read(self, split: str, given: Given = Given(), seed: int = 0) -> RowsRead:
        """Which rows a split reads. Opens nothing that is large."""

    @abstractmethod
    def documents(self, format: Format, split: str = "calibration", given: Given = Given(), seed: int = 0) -> Documents:
        """The documents of a split in a format, streamed. `seed` matters to what is drawn at random."""

    @abstractmethod
    def rows(self, split: str, given: Given, skipped: Counter[str]) -> Iterator[Row]:
        """The records of a split: where each is, and its fields. Raises UserError where there are none."""


@dataclass(frozen=True)
class RecordSource(Source):
    """One entry of the catalogue: a YAML file has these fields (docs/add-a-source.md), its name is the file's."""

    name: str
    kind: Literal["text", "question", "chat", "control"]
    title: str = ""
    domain: Domain = "general"  # what a model shows that is judged on it
    language: str = ""  # ISO 639-1: en, zh; many; empty: of none, or not stated
    about: str = ""
    licence: str = NOT_STATED
    licence_tags: tuple[str, ...] = ("unknown",)
    citation: str = ""
    stand_in: str = ""  # what the local copy is, where it is not the data set of that name
    local: Place | None = None
    hub: Place | None = None
    made: str = ""  # a name of MAKERS: made, not read
    text: str = "{{ text }}"  # kind text: the wording of a document (`records.wording`)
    prompt: str = ""  # kind question: ends where the answer begins, the space before it included
    answer: str = ""
    rationale: str = ""  # the reasoning alone, one step a line
    cot: str = "{{ rationale }} So the answer is {{ answer }}."  # what follows the prompt in cot and icl_cot
    user: str = ""  # chat: the user's turn, where it is not the prompt
    carry: dict[str, str] = field(default_factory=dict)  # fields that filters may ask for: licence, lang, url
    distinct: bool = False  # leave out calibration records whose prompt is also in the evaluation split
    default_format: str = ""
    root: Path | None = None  # of a user's own source: the folder that its files are relative to

    def __post_init__(self) -> None:
        if unknown := [tag for tag in self.licence_tags if tag not in TAGS]:
            raise ConfigError(f"licence_tags: unknown tag {unknown[0]!r}{did_you_mean(unknown[0], TAGS)}")
        if self.kind == "question" and not (self.prompt and self.answer):
            raise ConfigError("a source of kind question needs the wordings prompt and answer")
        if self.made and self.made not in MAKERS:
            raise ConfigError(f"made: unknown maker {self.made!r}{did_you_mean(self.made, MAKERS)}")
        if not (self.made or self.local or self.hub):
            raise ConfigError("a source needs a place: local, hub or made")
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "endless", self.kind == "control")
        if not self.default_format:
            object.__setattr__(self, "default_format", _DEFAULT_FORMAT[self.kind])

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """The formats that its wordings allow."""
        if self.kind in ("text", "control"):
            return ("plain",)
        pairs = ("zero", "single", "icl") if self.prompt else ()
        return pairs + (("cot", "icl_cot") if self.rationale else ()) + ("chat",)

    def licence_of(self, given: Given) -> str:
        return self.licence

    def identity(self, given: Given = Given()) -> str:
        """The hash of places and wordings."""
        names = ("name", "made", "text", "prompt", "answer", "rationale", "cot", "user", "carry", "distinct")
        where = [dataclasses.replace(p, tried=False) if p else None for p in (self.local, self.hub)]
        own = [p.reader for p in where if p and ":" in p.reader]  # classes of the user's own, by their versions too
        versions = [v for name in own if (v := getattr(find_reader(name), "version", None)) is not None]
        files = local_files(self, "calibration", given.data_root) if self.kind == "chat" and not self.prompt else []
        more = [_MORE] if files and self.local and _holds_more(files, self.local.reader) else []
        if (at := self.local) and any(read_by_lines(at, file) for split in at.splits for file in at.files(split)):
            more.append(_LINES)
        return identity([where, [getattr(self, name) for name in names], *versions, *more])

    def split_for(self, purpose: Purpose, given: Given = Given(), allow_evaluation_split: bool = False) -> str:
        """evaluation: always its evaluation split. calibration: the split of that name; with `allow_evaluation_split`
        the evaluation split where there is no other. reference: the evaluation split where it is here, so that what
        is compared with it shares none of its rows."""
        if purpose == "evaluation":
            return "evaluation"
        if purpose == "reference" and local_files(self, "evaluation", given.data_root):
            return "evaluation"
        return self._calibration_split(allow_evaluation_split or purpose == "reference", given.data_root)

    def _calibration_split(self, allow_evaluation_split: bool, data_root: Path | None) -> str:
        if self.made or local_files(self, "calibration", data_root):
            return "calibration"
        if allow_evaluation_split and local_files(self, "evaluation", data_root):
            return "evaluation"
        if any(place and place.files("calibration") for place in (self.hub, self.local)):
            return "calibration"
        if allow_evaluation_split:
            return "evaluation"
        raise UserError(f"source {self.name} only evaluates, it has no calibration split; calibrate on another source "
                        "or allow it with allow_evaluation_split")  # fmt: skip

    def rows_read(self, split: str, given: Given = Given(), seed: int = 0) -> RowsRead:
        files = local_files(self, split, given.data_root)
        contents = files_hash(files) if files else ""
        hub = None if files or self.made else self.hub
        if self.made:
            return RowsRead(contents, at=((self.made, split),))  # each split is made of other pieces
        found = places(self, split, given.data_root)
        if not found:
            return RowsRead(contents, hub)
        place = found[0]
        parting = place.where if isinstance(place.where, dict) else {}
        where = parting.get(split, "") if isinstance(place.where, dict) else place.where
        at: tuple[Hashable, ...] = tuple((place.path, place.config, name) for name in place.files(split))
        if place is self.local:
            at = tuple(files_hash([path]) for path in split_files(self, split, given.data_root))
        return RowsRead(contents, hub, at, where, tuple(sorted(parting.items())))

    def documents(self, format: Format, split: str = "calibration", given: Given = Given(), seed: int = 0) -> Documents:
        """`given.tokenizer` is needed by the format chat and by random_tokens. Ids are "file:record" or
        "file:record.part"."""
        if not format.suits(self.formats):
            raise refuse(format, self.name, self.formats)
        if self.made:
            return Documents(MAKERS[self.made](seed, split, given.tokenizer))
        seen: set[str] = set()
        if self.distinct and split == "calibration" and comparable(self, given.data_root):
            seen = {letters(example.prompt) for example in self.examples("evaluation", given)}
        write, skipped = Writer(self, format, given.tokenizer, seen), Counter[str]()
        return Documents(write(self._rows(split, given, skipped, format.rationales), skipped), skipped)

    def examples(self, split: str = "evaluation", given: Given = Given()) -> Iterator[Example]:
        """The questions of a split with their answers apart, for sources of kind question."""
        if not self.prompt:
            raise UserError(f"source {self.name} has no questions: it is of kind {self.kind}")
        prompt, answer = wording(self.prompt), wording(self.answer)
        for at, record in self.rows(split, given, Counter()):
            yield Example(at, prompt(record, at), answer(record, at), record)

    def rows(self, split: str, given: Given, skipped: Counter[str]) -> Iterator[Row]:
        if self.made:
            raise UserError(f"source {self.name} is made: it has no records")
        return self._rows(split, given, skipped, rationales=False)

    def _rows(self, split: str, given: Given, skipped: Counter[str], rationales: bool) -> Iterator[Row]:
        """Raises UserError at once where there is no such split; `rationales`: with the fields of another file."""
        return _joined(parts(self, split, given.data_root, joins=rationales), split, skipped)


_LINES = "begins at lines"  # in the identity of documents that begin at a line of plain text, once at a passage
_MORE = "tools, system, history"  # in the identity of conversations that have these fields, which once were left out


def _holds_more(files: Sequence[Path], reader: str) -> bool:
    """Whether a file holds conversations with fields that once were left out. Reads to the first such record."""
    return any(_file_holds_more(path, path.stat().st_size, path.stat().st_mtime_ns, reader) for path in files)


@lru_cache(maxsize=1024)
def _file_holds_more(path: Path, size: int, changed: int, reader: str) -> bool:
    with suppress(UserError):  # a record that cannot be read is named when it is reached
        for number, (_, record) in enumerate(read_records(path, reader)):
            if chat.kind_of(record) is None and number == 0:
                return False
            if chat.holds_more(record):
                return True
    return False


def _joined(found: Iterator, split: str, skipped: Counter[str]) -> Iterator[Row]:
    for part in found:
        for at, record in rows(part.records, part.name, part.place, split, skipped):
            if part.joined is not None:
                nothing = dict.fromkeys(part.place.join.take, "")
                record = record | part.joined.get(record.get(part.place.join.by), nothing)
            yield at, record


@dataclass(frozen=True)
class FileSource(Source):
    """A user's own file: texts (a field `text`, or a .txt), or conversations (`chat.SHAPES`). It counts by its bytes,
    wherever it lies. The first record tells which it holds, and is read when that is asked."""

    name: str  # its path

    named_by = "contents"

    @property
    def path(self) -> Path:
        return Path(self.name)

    @cached_property
    def formats(self) -> tuple[str, ...]:
        return self.records.formats

    @cached_property
    def default_format(self) -> str:
        return self.records.default_format

    def licence_of(self, given: Given) -> str:
        return NOT_STATED

    def identity(self, given: Given = Given()) -> str:
        """How its bytes are read; the rows count by `rows_read`. JSON lines, the usual, go without a word."""
        ending = ending_of(self.path)
        named = "file" if ending == "jsonl" else f"file/{'txt' if ending == 'md' else ending}"
        return f"{named}/{_MORE}" if is_there(self.path) and _holds_more([self.path], "") else named

    def split_for(self, purpose: Purpose, given: Given = Given(), allow_evaluation_split: bool = False) -> str:
        """A file has one split, whatever it is for."""
        return "calibration"

    def rows_read(self, split: str, given: Given = Given(), seed: int = 0) -> RowsRead:
        if not is_there(self.path):
            raise UserError(no_such_file(self.path))
        contents = files_hash([self.path])
        return RowsRead(contents, at=(contents,))

    def documents(self, format: Format, split: str = "calibration", given: Given = Given(), seed: int = 0) -> Documents:
        return self.records.documents(format, split, given, seed)

    def rows(self, split: str, given: Given, skipped: Counter[str]) -> Iterator[Row]:
        return self.records.rows(split, given, skipped)

    @cached_property
    def records(self) -> RecordSource:
        """The file as a source of records. A record of another kind than the first is an error that names it."""
        first = next(iter(read_records(self.path)), None)
        if first is None:
            raise UserError(f"{self.path} has no records")
        record = first[1]
        kind = chat.kind_of(record)
        if kind is None and "text" not in record:
            raise UserError(f"{self.path}: record {first[0]} has neither a field 'text' nor those of a conversation "
                            f"({'; '.join(chat.SHAPES.values())}); its fields: {', '.join(record)}; "
                            "a YAML can say what its fields are (docs/add-a-source.md)")  # fmt: skip
        if kind == "prompt" and "text" in record and "response" not in record:
            kind = None  # a text, and what it was written for
        return RecordSource(
            name=str(self.path), title=self.path.name, kind="chat" if kind else "text", about="a file of the user",
            local=Place(calibration=self.path.name), root=self.path.parent,
        )  # fmt: skip
