"""Records of a file, one after another: text, JSON lines, JSON, CSV and parquet, plain or compressed.

A kind of file is a class here and its ending in `READERS` (docs/add-a-kind-of-file.md). Reading is streamed: a file is
read once, from front to back, and memory does not grow with it (a `.json` file, which is one value, is the exception).
Whatever is wrong with a file is reported with its name and the line.
"""

import csv
import difflib
import importlib
import io
import itertools
import json
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import zstandard

from calprune.base.values import ConfigError, UserError, did_you_mean
from calprune.base.yamls import parse_json

PASSAGE_CHARACTERS = 4096  # about 1,000 tokens of English
LONGEST_CHARACTERS = 16384  # where a text has no blank lines
PACKED_BYTES = 1 << 16  # taken from the file at once
UNPACKED_BYTES = 1 << 18  # made of them at once
LARGEST = "CALPRUNE_RECORD_MIB"  # the environment variable that says how large a record may be
LOOKED_ON = 10_000  # lines after a broken one in which more are looked for
WHOLE = 16  # times the size of a record: a .json file
BUFFER_BYTES = 1 << 20  # Python's own 8 KiB makes reading lines a third slower

Record = tuple[int, dict[str, Any]]


@runtime_checkable
class Reader(Protocol):
    """A kind of file: a frozen dataclass, its options are its fields."""

    def records(self, path: Path) -> Iterator[Record]:
        """Each record's number, from 1, and its fields. What is wrong with the file is a UserError with the line."""


def read_records(path: str | Path, reader: str = "") -> Iterator[Record]:
    """The records of a file with their numbers: the line of a `.jsonl`, the row of a `.csv` or `.parquet`, from 1.

    `.txt` and `.md` give {"text": passage}: whole paragraphs, as many as make 4,096 characters, cut at a blank line (at
    a line end where none comes within 16,384 characters), numbered by their first line. Only blank lines at a passage's
    ends are lost. All but `.parquet` may end in `.gz` or `.zst`. `reader`: a name of `READERS` or a class of the user's
    own, whatever the file's ending.
    Raises UserError, with file and line, for a file that is absent, of another kind, broken or not UTF-8.
    """
    path = Path(path)
    chosen = find_reader(reader or ending_of(path))
    if not is_there(path):
        raise UserError(no_such_file(path))
    return chosen.records(path)


def is_there(path: str | Path) -> bool:
    """Whether there is such a file; a name that no file can have (too long, a zero byte) is none's."""
    return os.path.isfile(path)


def no_such_file(path: str | Path) -> str:
    """What is said of a file that is not there, with the name beside it that is nearest."""
    folder, near = Path(path).parent, []
    with suppress(OSError, ValueError):  # no folder, none that may be read, a name that none can have
        near = difflib.get_close_matches(Path(path).name, [one.name for one in folder.iterdir() if one.is_file()], n=1)
    return f"{path}: there is no such file" + "".join(f"; did you mean {folder / name}?" for name in near)


def ending_of(path: str | Path) -> str:
    """The ending that says how a file is read ("jsonl" of "a.jsonl.gz"). Raises UserError for an unknown one."""
    endings = Path(path).name.lower().split(".")[1:]
    if endings and f".{endings[-1]}" in _UNPACK:
        endings.pop()
    if not endings or endings[-1] not in READERS:
        raise UserError(f"{path}: cannot tell its kind; a file of records ends in .{', .'.join(READERS)}")
    return endings[-1]


def find_reader(name: str) -> Reader:
    """The reader of an ending ("csv"), or a user's own: "my_readers:Subtitles", of the current folder or installed.

    Raises ConfigError for one that there is not."""
    module, colon, called = name.partition(":")
    if not colon:
        if name not in READERS:
            raise ConfigError(f"unknown kind of file {name!r}{did_you_mean(name, READERS)}")
        return READERS[name]()
    sys.path.insert(0, os.getcwd())  # an installed command has not the current folder
    try:
        made = getattr(importlib.import_module(module), called)()
    except Exception as e:  # whatever a user's module does when it is imported
        raise ConfigError(f'cannot import reader {name!r} ({e}); write it like "my_readers:Subtitles"') from e
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(made, Reader):
        raise ConfigError(f"{name!r} is no reader: it has no records (docs/add-a-kind-of-file.md)")
    return made


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file, plain or compressed, with their numbers from 1 and without their ends."""
    at = Position(path)
    with opened(path, at) as stream:
        for at.line, line in _bounded(io.TextIOWrapper(stream, encoding="utf-8-sig"), path):
            yield at.line, line.rstrip("\n")


@dataclass(frozen=True)
class JsonLinesFile:
    """An object a line; blank lines are passed over."""

    def records(self, path: Path) -> Iterator[Record]:
        at = Position(path)
        with opened(path, at) as stream:
            lines = _bounded(stream, path)
            for at.line, line in lines:
                if at.line == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                try:
                    record = self._object(line, at)
                except UserError as e:
                    raise UserError(f"{e}{self._also_broken(lines, at)}") from None
                yield at.line, record

    def _object(self, line: bytes, at: "Position") -> dict[str, Any]:
        record = _json(line.rstrip(), at)
        if not isinstance(record, dict):
            raise UserError(f'{at}: expected an object like {{"text": "..."}}; got {line[:60].decode()!r}')
        return record

    def _also_broken(self, lines: Iterator[tuple[int, bytes]], at: "Position") -> str:
        """Which of the lines that follow are broken, too, so that a file is mended in one go."""
        broken = []
        with suppress(Exception):  # a file that cannot be read further is told when this is mended
            for at.line, line in itertools.islice(lines, LOOKED_ON):
                try:
                    if line.strip():
                        self._object(line, at)
                except (UserError, UnicodeDecodeError):
                    broken.append(f"{at.line:,}")
        shown = broken if len(broken) <= 6 else [*broken[:5], f"{len(broken) - 5:,} more"]
        return f" (broken, too: {', '.join(shown)})" if broken else ""


@dataclass(frozen=True)
class JsonFile:
    """One list of objects, or one object; it is read whole."""

    def records(self, path: Path) -> Iterator[Record]:
        at = Position(path, 1)
        with opened(path, at) as stream:
            most = WHOLE * largest_record()
            if len(read := stream.read(most + 1)) > most:
                raise UserError(f"{path}: it is longer than {most / 2**20:g} MiB, and is read whole; make it .jsonl, "
                                f"a record a line, or set {LARGEST}=MIB higher")  # fmt: skip
            value = _json(read.decode("utf-8-sig"), at)
        rows = value if isinstance(value, list) else [value]
        for number, record in enumerate(rows, 1):
            if not isinstance(record, dict):
                raise UserError(f"{path}: record {number}: expected an object; got {str(record)[:60]!r}")
            yield number, record


@dataclass(frozen=True)
class TextFile:
    """Passages of whole paragraphs (`read_records`)."""

    def records(self, path: Path) -> Iterator[Record]:
        at = Position(path)
        with opened(path, at) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig")
            passage: list[str] = []
            length = first = 0
            for at.line, line in _lines_of(text):
                blank = not line.strip()
                if not passage and blank:
                    continue
                first = first if passage else at.line
                passage.append(line)
                length += len(line)
                if length >= (PASSAGE_CHARACTERS if blank else LONGEST_CHARACTERS):
                    yield first, {"text": "".join(passage).rstrip()}
                    passage, length = [], 0
            if passage:
                yield first, {"text": "".join(passage).rstrip()}


@dataclass(frozen=True)
class CsvFile:
    """A table whose first line names the fields."""

    delimiter: str = ","

    def records(self, path: Path) -> Iterator[Record]:
        at = Position(path)
        with opened(path, at) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            csv.field_size_limit(min(largest_record(), 1 << 30))
            lines = (line for at.line, line in _bounded(text, path))
            rows = csv.DictReader(lines, delimiter=self.delimiter, strict=True)
            try:
                if twice := [one for one, n in Counter(rows.fieldnames or ()).items() if n > 1]:
                    raise UserError(f"{path}:1: two fields are called {twice[0]!r}; give one of them another name")
                for number, row in enumerate(rows, 1):
                    at.line = rows.line_num
                    if None in row or None in row.values():
                        raise UserError(f"{at}: expected {len(rows.fieldnames or ())} fields as in the first line")
                    yield number, row
            except csv.Error as e:
                raise UserError(f"{path}:{at.line + 1}: broken CSV: {e}") from None


@dataclass(frozen=True)
class TsvFile(CsvFile):
    """The same between tabs."""

    delimiter: str = "\t"


@dataclass(frozen=True)
class ParquetFile:
    """A table; its row groups are read as they are needed."""

    def records(self, path: Path) -> Iterator[Record]:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise UserError(f"{path}: reading parquet needs pyarrow: pip install 'calprune[parquet]'") from None
        try:
            file = pyarrow.parquet.ParquetFile(path)
            batches = file.iter_batches(batch_size=_rows_at_once(file.metadata))
            yield from enumerate((record for batch in batches for record in batch.to_pylist()), 1)
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError) as e:
            if isinstance(e, UserError):
                raise
            first = (str(e).strip().splitlines() or [type(e).__name__])[0]
            raise UserError(f"{path}: not a readable parquet file: {first}") from e


def _rows_at_once(metadata: Any) -> int:
    """Of a parquet file: as many as stay within memory, by the sizes that it states. Raises UserError where one row
    does not."""
    rows, most = 256, largest_record()
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        each = group.total_byte_size / max(1, group.num_rows)
        if each > most:
            raise UserError(f"row group {i + 1} has rows of {each / 2**20:.0f} MiB; {_how_to_raise(most)}")
        rows = min(rows, max(1, int(4 * most / max(1.0, each))))
    return rows


READERS: dict[str, Callable[[], Reader]] = {  # by the file's ending
    "csv": CsvFile,
    "json": JsonFile,
    "jsonl": JsonLinesFile,
    "md": TextFile,
    "parquet": ParquetFile,
    "tsv": TsvFile,
    "txt": TextFile,
}


def _json(text: str | bytes, at: "Position") -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as e:
        line = at.line + min(e.lineno - 1, e.doc.strip().count("\n"))
        raise UserError(f"{at.path}:{line}: broken JSON: {e.msg.removesuffix(' at')} at column {e.colno}; mend the "
                        "line, or take it out") from None  # fmt: skip
    except UnicodeDecodeError:
        raise
    except ValueError as e:
        raise UserError(f"{at}: broken JSON: {e}") from None


def largest_record() -> int:
    """Bytes of a record, at most: CALPRUNE_RECORD_MIB, else 16 MiB. What is made of one takes up to 80 times as much
    memory. Raises ConfigError for what is no number above 0."""
    text = os.environ.get(LARGEST) or "16"
    try:
        if 0 < (found := float(text)) < 2**20:
            return int(found * 2**20)
    except ValueError:
        pass
    raise ConfigError(f"{LARGEST}: expected MiB of a record, a number above 0; got {text!r}")


def _how_to_raise(most: int) -> str:
    return f"a record has at most {most / 2**20:g} MiB; split it into documents, or set {LARGEST}=MIB"


def _bounded(stream: Any, path: Path) -> Iterator[tuple[int, Any]]:
    """Lines with their numbers from 1. Raises UserError for one that is longer than a record may be."""
    most = largest_record()
    for number in itertools.count(1):
        if not (line := stream.readline(most + 1)):
            return
        if len(line) > most:
            raise UserError(f"{path}:{number}: a line that is too long: {_how_to_raise(most)}")
        yield number, line


def _lines_of(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one longer than LONGEST_CHARACTERS comes in parts that have the same number."""
    number = 1
    while line := text.readline(LONGEST_CHARACTERS):
        yield number, line
        number += line.endswith("\n")


class Position:
    """Where reading is, for the message if it fails."""

    def __init__(self, path: Path, line: int = 0) -> None:
        self.path, self.line = path, line

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@contextmanager
def opened(path: Path, at: Position) -> Iterator[Any]:
    """The file's bytes, without their compression (.gz, .zst). What fails inside is reported with the place that `at`
    has reached; all that came before a broken place was given out."""
    with path.open("rb") as raw:
        try:
            unpack = _UNPACK.get(path.suffix.lower())
            yield io.BufferedReader(_Unpacked(raw, unpack), BUFFER_BYTES) if unpack else raw
        except UnicodeDecodeError as e:
            raise UserError(f"{path}:{max(at.line, 1)}: not UTF-8 text: byte 0x{e.object[e.start]:02x}") from None
        except (EOFError, zlib.error, zstandard.ZstdError) as e:
            raise UserError(f"{path}:{at.line + 1}: broken compression: {e}") from e
        except OSError as e:
            raise UserError(f"{path}: cannot be read: {e.strerror or e}") from e
        except MemoryError:
            raise UserError(f"{path}:{at.line + 1}: it does not fit into memory") from None


class _Zstd:
    """zstandard's decompressor with the interface of zlib's."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()

    def decompress(self, packed: bytes, most: int) -> bytes:
        """Up to 4 KiB at once, for what comes of it is not bounded (128 KiB of text may be packed into 10 bytes)."""
        data = self._inner.decompress(packed[:4096])
        self.unconsumed_tail = b"" if self._inner.eof else packed[4096:]
        self.eof = self._inner.eof
        self.unused_data = self._inner.unused_data + packed[4096:] if self.eof else b""
        return data


_UNPACK: dict[str, Callable[[], Any]] = {".gz": lambda: zlib.decompressobj(wbits=31), ".zst": _Zstd}


class _Unpacked(io.RawIOBase):
    """A compressed stream, of one member or several. Unlike gzip.GzipFile, it gives all that can be read before it
    fails, so that the line of the failure is known; and it notices a zstd stream that was cut."""

    def __init__(self, raw: io.BufferedIOBase, unpack: Callable[[], Any]) -> None:
        self._raw, self._new, self._unpack = raw, unpack, unpack()
        self._packed, self._ready = b"", memoryview(b"")
        self._begun = False  # whether the current member has had any bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._raw.read(PACKED_BYTES)
            if not self._packed:
                if self._begun:
                    raise EOFError("the file ends within its compressed data")
                return 0
            self._begun = True
            self._ready = memoryview(self._unpack.decompress(self._packed, UNPACKED_BYTES))
            self._packed = self._unpack.unconsumed_tail
            if self._unpack.eof:
                self._packed = self._unpack.unused_data.lstrip(b"\0")  # some writers pad with zeros
                self._unpack, self._begun = self._new(), False
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size
