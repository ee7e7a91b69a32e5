"""Records of a file, one after another: text, JSON lines, JSON, CSV and parquet, plain or compressed.

Reading is streamed: a file is read once, from front to back, and memory does not grow with it (a `.json` file, which
is one value, is the exception). Whatever is wrong with a file is said with its name and the line.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from calprune.calibration.streams import Position, opened
from calprune.config import UserError

PASSAGE_CHARACTERS = 4096  # about 1,000 tokens of English
LONGEST_CHARACTERS = 16384  # where a text has no blank lines

Record = tuple[int, dict[str, Any]]


def read_records(path: str | Path) -> Iterator[Record]:
    """The records of a file with their numbers: the line of a `.jsonl`, the row of a `.csv` or `.parquet`, from 1.

    `.txt` gives {"text": passage}: whole paragraphs, as many as make 4,096 characters, cut at a blank line (at a line
    end where none comes within 16,384 characters), numbered by their first line. Only blank lines at a passage's ends
    are lost. `.txt`, `.jsonl`, `.json`, `.csv` and `.tsv` may end in `.gz` or `.zst`.
    Raises UserError, with file and line, for a file that is absent, of another kind, broken or not UTF-8.
    """
    path = Path(path)
    kind = reader_name(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    return READERS[kind](path)


def reader_name(path: str | Path) -> str:
    """The ending that says how a file is read ("jsonl" of "a.jsonl.gz"). Raises UserError for an unknown one."""
    endings = Path(path).name.lower().split(".")[1:]
    if endings and endings[-1] in ("gz", "zst"):
        endings.pop()
    if not endings or endings[-1] not in READERS:
        raise UserError(f"{path}: cannot tell its kind; a file of records ends in .{', .'.join(READERS)}")
    return endings[-1]


def _read_lines(path: Path) -> Iterator[Record]:
    at = Position(path)
    with opened(path, at) as stream:
        for at.line, line in enumerate(stream, 1):
            if at.line == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            record = json.loads(line)
            if not isinstance(record, dict):
                raise UserError(f'{at}: expected an object like {{"text": "..."}}; got {line[:60].decode()!r}')
            yield at.line, record


def _read_json(path: Path) -> Iterator[Record]:
    at = Position(path, 1)
    with opened(path, at) as stream:
        value = json.loads(stream.read().decode("utf-8-sig"))
    rows = value if isinstance(value, list) else [value]
    for number, record in enumerate(rows, 1):
        if not isinstance(record, dict):
            raise UserError(f"{path}: record {number}: expected an object; got {str(record)[:60]!r}")
        yield number, record


def _read_text(path: Path) -> Iterator[Record]:
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


def _lines_of(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one longer than LONGEST_CHARACTERS comes in parts that have the same number."""
    number = 1
    while line := text.readline(LONGEST_CHARACTERS):
        yield number, line
        number += line.endswith("\n")


def _read_csv(path: Path) -> Iterator[Record]:
    at = Position(path)
    with opened(path, at) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        csv.field_size_limit(1 << 30)
        rows = csv.DictReader(text, delimiter="\t" if reader_name(path) == "tsv" else ",", strict=True)
        number = 0
        for number, row in enumerate(rows, 1):
            at.line = rows.line_num
            if None in row or None in row.values():
                raise UserError(f"{at}: expected {len(rows.fieldnames or ())} fields as in the first line")
            yield number, row


def _read_parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        batches = file.iter_batches(batch_size=256)  # row groups are read as they are needed
        yield from enumerate((record for batch in batches for record in batch.to_pylist()), 1)
    except (pyarrow.ArrowException, OSError) as e:
        raise UserError(f"{path}: not a readable parquet file: {_first_line(e)}") from e


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "csv": _read_csv,
    "json": _read_json,
    "jsonl": _read_lines,
    "parquet": _read_parquet,
    "tsv": _read_csv,
    "txt": _read_text,
}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
