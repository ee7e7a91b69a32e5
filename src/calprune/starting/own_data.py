"""A file of the user in two parts, a record in one of them: what is calibrated on, and what is judged on."""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from calprune.base.store import file_digest, write_whole
from calprune.base.values import UserError
from calprune.text.document import Given
from calprune.text.encode import encode_text
from calprune.text.formats import parse_format
from calprune.text.read import PASSAGE_CHARACTERS, ending_of, no_such_file, read_records
from calprune.text.source import FileSource

EVERY = 5  # every fifth record is judged on
FEWEST, MOST_RECORDS = 10, 20_000
SHORT, LONG = 128, 512  # tokens of a window: the shortest, and the usual one
FEWEST_WINDOWS = 4
MOST_TOKENS = 4096  # of the text that is judged on
MOST_COUNTED = 400_000  # tokens of a file that are counted: more than the largest set takes
SURE = 0.6  # of the tokens counted go into sequences: documents differ in length


@dataclass(frozen=True)
class OwnFile:
    """A file as it was looked at."""

    path: Path
    digest: str
    records: int
    held_out: int  # of them
    is_chat: bool
    tokens: int  # of what is held out, MOST_TOKENS at most
    to_calibrate: int  # tokens that surely go into sequences

    @property
    def length(self) -> int:
        """Tokens of the windows that are judged."""
        return LONG if self.tokens >= FEWEST_WINDOWS * LONG else SHORT

    @property
    def summary(self) -> str:
        what = "conversations" if self.is_chat else "texts"
        return (f"{self.path.name}: {self.records:,} {what}, {self.records - self.held_out:,} to calibrate on, "
                f"{self.held_out:,} to judge on")  # fmt: skip

    def holds(self, num_samples: float, max_seq_length: int) -> bool:
        """Whether it suffices for a set of this size: a conversation is a sequence of its own, texts are cut."""
        if self.is_chat:
            return num_samples <= self.records - self.held_out
        return num_samples * max_seq_length <= self.to_calibrate

    def parts(self, folder: Path) -> tuple[Path, Path]:
        """Where `divide` writes what is calibrated on, and what is judged on."""
        stem = stem_of(self.path)
        return folder / f"{stem}.calibrate.jsonl", folder / f"{stem}.judge.jsonl"

    def divide(self, folder: Path) -> None:
        """Write both parts, if they are not there."""
        files = self.parts(folder)
        if not all(file.is_file() for file in files):
            for file, records in zip(files, halves(self.path), strict=True):
                write_whole(file, "".join(json.dumps(one, default=str) + "\n" for one in records))


def stem_of(path: Path) -> str:
    """Its name without what says how it is read: "chat.2024" of "chat.2024.jsonl.gz"."""
    return path.name[: path.name.lower().rindex(f".{ending_of(path)}")]


def open_own(path: Path, tokenizer: Any) -> OwnFile:
    """Look at a file. Raises UserError where it is absent or broken, holds no texts, or too few of them."""
    source = FileSource(str(path))
    format = parse_format(source.default_format)  # reads the first record, and says what is wrong with it
    tokens = 0
    for one in islice(source.documents(format, given=Given(tokenizer=tokenizer)), MOST_RECORDS):
        if (tokens := tokens + len(encode_text(tokenizer, one.text.strip()))) >= MOST_COUNTED:
            break
    if not tokens:
        raise UserError(f"--data {path}: none of its records holds text; expected a field text, or conversations")
    calibrate, judge = halves(path)
    if (records := len(calibrate) + len(judge)) < FEWEST:
        what = f"passages of about {PASSAGE_CHARACTERS:,} characters" if ending_of(path) in ("txt", "md") else "records"
        raise UserError(f"--data {path}: it has {records} different {what}; {FEWEST} or more are needed, to calibrate "
                        "on some and to judge on others")  # fmt: skip
    held_out = min(MOST_TOKENS, int(0.8 * tokens / EVERY))
    if held_out < FEWEST_WINDOWS * SHORT:
        raise UserError(f"--data {path}: every {EVERY}th record is judged on, about {held_out} tokens in all; "
                        f"{FEWEST_WINDOWS * SHORT} or more are needed: give a larger file")  # fmt: skip
    is_chat, rest = source.records.kind == "chat", int(SURE * tokens * (1 - 1 / EVERY))
    return OwnFile(path, file_digest(path), records, len(judge), is_chat, held_out, rest)


def check_file(path: Path) -> None:
    """Raises UserError where it is no file, with what was meant."""
    if path.is_file():
        return
    if path.is_dir():
        raise UserError(f"--data {path}: a folder; give the files in it, each with a --data of its own")
    file, colon, format = str(path).partition(":")
    if colon and Path(file).is_file():
        raise UserError(f"--data {path}: give the file alone, --data {file}; conversations are known by their fields, "
                        f"so the format {format!r} is not written here")  # fmt: skip
    raise UserError(f"--data {no_such_file(path)}")


def halves(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records to calibrate on, and those to judge on: of those that differ every EVERY-th, so that none is in both;
    of a large file the first MOST_RECORDS."""
    read = islice(read_records(path), MOST_RECORDS)
    different = {json.dumps(record, sort_keys=True, default=str): record for _, record in read}
    parts: tuple[list, list] = ([], [])
    for i, record in enumerate(different.values(), 1):
        parts[i % EVERY == 0].append(record)
    return parts
