"""Reading files of records: every kind gives the same records, memory is bounded, and what is broken is named."""

import csv
import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from calprune.base.values import UserError
from calprune.text.read import LONGEST_CHARACTERS, PASSAGE_CHARACTERS, no_such_file, read_records
from calprune.text.source import FileSource

ROWS = [
    {"text": 'first line\nand a second, with "quotes"', "lang": "en"},
    {"text": "zweite Zeile: ä, ß, 日本", "lang": "de"},
]
KINDS = ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.json.gz", "a.csv", "a.csv.gz", "a.tsv", "A.JSONL.GZ"]


def write(path: Path, data: bytes) -> Path:
    packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix.lower(), bytes)(data)
    path.write_bytes(packed)
    return path


def json_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def csv_bytes(path: Path, delimiter: str) -> bytes:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["text", "lang"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return path.read_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_the_same_records_come_out_of_every_kind_of_file(tmp_path, name):
    kind = name.lower().split(".")[1]
    if kind in ("csv", "tsv"):
        data = csv_bytes(tmp_path / "made", "," if kind == "csv" else "\t")
    else:
        data = json.dumps(ROWS).encode() if kind == "json" else json_lines(ROWS)
    path = write(tmp_path / name, data)
    assert list(read_records(path)) == [(1, ROWS[0]), (2, ROWS[1])]


def test_parquet_rows_are_numbered_across_row_groups(tmp_path):
    rows = [{"text": f"row {i}", "n": i} for i in range(700)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=100)
    assert list(read_records(tmp_path / "a.parquet")) == list(enumerate(rows, 1))


def test_records_are_numbered_by_line_and_empty_lines_are_skipped(tmp_path):
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n\n   \n{"text": "b"}\r\n{"text": "c"}')
    assert list(read_records(path)) == [(1, {"text": "a"}), (4, {"text": "b"}), (5, {"text": "c"})]


def test_two_gzip_members_in_one_file_are_both_read(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json_lines(ROWS[:1])) + gzip.compress(json_lines(ROWS[1:])))
    assert [record for _, record in read_records(tmp_path / "a.jsonl.gz")] == ROWS


def test_a_text_is_cut_at_blank_lines_and_no_paragraph_is_lost(tmp_path):
    paragraphs = [f"Paragraph {i}. " + "word " * 60 + "\nits second line" for i in range(100)]
    path = write(tmp_path / "a.txt", "\n\n".join(paragraphs).encode())
    records = list(read_records(path))
    assert "\n\n".join(record["text"] for _, record in records) == "\n\n".join(paragraphs)
    assert all(abs(len(record["text"]) - PASSAGE_CHARACTERS) <= 400 for _, record in records[:-1])
    lines = path.read_text().split("\n")
    assert all(record["text"].startswith(lines[first - 1]) for first, record in records)


@pytest.mark.parametrize("text", ["word " * 50_000, "line of words\n" * 20_000], ids=["one line", "no blank line"])
def test_a_text_without_paragraphs_still_comes_in_bounded_passages(tmp_path, text):
    found = [record["text"] for _, record in read_records(write(tmp_path / "a.txt", text.encode()))]
    assert max(map(len, found)) <= LONGEST_CHARACTERS + 20
    assert "".join(found).replace("\n", "").replace(" ", "") == text.replace("\n", "").replace(" ", "")


LINE = {"csv": b"%d %d %s\n", "jsonl": b'{"text": "%d %d %s"}\n', "txt": b"%d %d %s\n\n"}


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl.gz", "a.csv", "a.jsonl.zst"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    def peak(count: int) -> int:
        data = b"".join(LINE[name.split(".")[1]] % (i, i * i, b"some words " * 40) for i in range(count))
        data = b"text\n" + data if name == "a.csv" else data
        path = write(tmp_path / name, data)
        del data
        tracemalloc.start()
        for _ in read_records(path):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(6_000), peak(24_000)
    assert large < small * 1.2 + 100_000


def broken_gzip() -> bytes:
    whole = gzip.compress(b"".join(json_lines([{"text": f"{i * i} {i % 7}"}]) for i in range(20_000)))
    return whole[: len(whole) // 2]


BROKEN = {
    "json": ("a.jsonl", b'{"text": "a"}\n{"text": }\n', "a.jsonl:2: broken JSON"),
    "json_cut": (
        "a.jsonl",
        b'{"text": "a"}\n{"text": "b\n',
        "a.jsonl:2: broken JSON: Unterminated string starting at column 10; mend the line, or take it out",
    ),
    "json_in_gzip": ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n{"text": "b"\n'), "a.jsonl.gz:2: broken JSON"),
    "not_an_object": ("a.jsonl", b'{"text": "a"}\n["b"]\n', "a.jsonl:2: expected an object"),
    "gzip_cut": ("a.jsonl.gz", broken_gzip(), "broken compression"),
    "not_gzip": ("a.jsonl.gz", b'{"text": "a"}\n', "a.jsonl.gz:1: broken compression"),
    "gzip_damaged": ("a.jsonl.gz", gzip.compress(json_lines(ROWS))[:-8] + b"12345678", "broken compression"),
    "zstd_cut": ("a.jsonl.zst", zstandard.compress(json_lines(ROWS))[:-1], "a.jsonl.zst:1: broken compression"),
    "not_zstd": ("a.jsonl.zst", b'{"text": "a"}\n', "broken compression"),
    "not_utf8": ("a.jsonl", b'{"text": "a"}\n{"text": "\xff\xfe"}\n', "a.jsonl:2: not UTF-8 text: byte 0xff"),
    "text_not_utf8": ("a.txt", b"abc \xff\xfe", "a.txt:1: not UTF-8"),
    "csv_twice": ("a.csv", b"text,text\na,b\n", "a.csv:1: two fields are called 'text'"),
    "csv_ragged": ("a.csv", b"text,lang\na,en\nb\n", "a.csv:3: expected 2 fields"),
    "not_parquet": ("a.parquet", b"PAR1 not really", "not a readable parquet file"),
    "json_list_of_text": ("a.json", b'["a"]', "record 1: expected an object"),
    "unknown_kind": ("a.docx", b"", "cannot tell its kind; a file of records ends in .csv"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_said_in_one_line_with_file_and_line(tmp_path, case):
    name, data, expected = BROKEN[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        list(read_records(tmp_path / name))
    message = str(caught.value)
    assert expected in message and str(tmp_path) in message and "\n" not in message


def test_a_broken_line_is_told_with_those_after_it(tmp_path):
    path = tmp_path / "a.jsonl"
    good, bad = b'{"text": "a"}\n', [b"x\n", b'["a"]\n', b'{"text": "\xff"}\n', b'{"text": \n']
    path.write_bytes(good + bad[0] + good + bad[1] + b"\n" + bad[2])
    with pytest.raises(UserError, match=r"a\.jsonl:2: broken JSON: .*\(broken, too: 4, 6\)$"):
        list(read_records(path))
    path.write_bytes(good + b"".join(bad) * 5)
    with pytest.raises(UserError, match=r"a\.jsonl:2: .*\(broken, too: 3, 4, 5, 6, 7, 14 more\)$"):
        list(read_records(path))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(good + bad[0] + good * 50_000)[:-100])
    with pytest.raises(UserError, match=r"a\.jsonl\.gz:2: broken JSON: [^(]*$"):  # what breaks off is told later
        list(read_records(tmp_path / "a.jsonl.gz"))


def test_a_gzip_that_breaks_off_is_told_at_the_line_that_was_reached(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(broken_gzip())
    read = []
    with pytest.raises(UserError) as caught:
        for number, _ in read_records(tmp_path / "a.jsonl.gz"):
            read.append(number)
    assert f"a.jsonl.gz:{read[-1] + 1}:" in str(caught.value) and len(read) > 1000


def test_an_absent_file_is_told_at_once(tmp_path):
    with pytest.raises(UserError, match=r"there is no such file$"):
        read_records(tmp_path / "a.jsonl")


def test_an_absent_file_is_told_with_the_name_beside_it_that_is_near(tmp_path):
    (tmp_path / "licences.txt").write_text("a")
    for refused in (read_records, lambda path: FileSource(str(path)).rows_read("calibration")):
        with pytest.raises(UserError, match=rf"no such file; did you mean {tmp_path / 'licences.txt'}\?$"):
            refused(tmp_path / "licenses.txt")
    assert no_such_file("nowhere/at/all.txt") == "nowhere/at/all.txt: there is no such file"


def test_markdown_is_read_as_text(tmp_path):
    for name in ("a.md", "a.txt"):
        (tmp_path / name).write_text("# Head\n\n" + "one passage\n\n" * 1000)
    records = list(read_records(tmp_path / "a.md"))
    assert records == list(read_records(tmp_path / "a.txt")) and len(records) > 1
