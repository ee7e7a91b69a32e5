"""docs/add-a-kind-of-file.md does what it says, in a folder of the reader's own and with the installed command."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from calprune.calibration.set import CalibrationSet
from calprune.text.find import find, is_file
from calprune.text.read import READERS, find_reader, read_records
from tests.test_recipe import TOKENIZER, tokenizer_folder

PAGE = (Path(__file__).parents[1] / "docs" / "add-a-kind-of-file.md").read_text()
COMMAND = Path(sys.executable).parent / "calprune"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return found


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, language in (("talk.srt", "text"), ("my_readers.py", "python"), ("talk.yaml", "yaml")):
        (tmp_path / name).write_text(block(language))
    return tmp_path


def test_the_pages_example_is_built_and_shown_by_the_installed_command(folder):
    model = tokenizer_folder(folder)
    for line in block("sh").replace("MODEL", model).splitlines():
        words = line.split()
        assert words[0] == "calprune"
        done = subprocess.run([COMMAND, *words[1:]], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "A model is" in done.stdout or "So the text" in done.stdout
    (pieces,) = CalibrationSet.load(folder / "talk").pieces
    assert {piece.document for piece in pieces} <= {"talk.srt:1", "talk.srt:2"}


def test_its_records_are_the_files_and_what_is_broken_is_named_with_its_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = list(read_records("talk.srt", "my_readers:Subtitles"))
    assert [number for number, _ in found] == [1, 2]
    assert found[1][1]["text"] == "So the text that it sees should be chosen with care."
    (folder / "broken.srt").write_text("1\n00:00 --> 00:01\nfine\n\nno number\n\n")
    with pytest.raises(Exception, match=r"broken.srt:5: expected a number, its times and a text; got 'no number'"):
        list(read_records("broken.srt", "my_readers:Subtitles"))


def test_a_reader_that_is_registered_makes_its_ending_a_source_everywhere(folder, monkeypatch):
    """One entry of one table: names, splits, identities and documents follow."""
    monkeypatch.chdir(folder)
    assert not is_file("gone.srt")
    monkeypatch.setitem(READERS, "srt", type(find_reader("my_readers:Subtitles")))
    assert is_file("gone.srt") and is_file("talk.srt.gz")
    source = find("talk.srt")
    assert source.default_format == "plain" and source.rows_read("calibration").contents
    from calprune.calibration.build import make_set

    made = make_set("talk.srt", TOKENIZER, num_samples=1, max_seq_length=8)
    assert made.drawn[0].source == "talk.srt"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cvs", "unknown kind of file 'cvs'; did you mean 'csv'"),
        ("my_readers:Subtitels", "cannot import reader 'my_readers:Subtitels'"),
        ("nowhere:Mine", "cannot import reader 'nowhere:Mine' .No module named 'nowhere'"),
        ("json:JSONDecoder", "is no reader: it has no records"),
    ],
)
def test_what_is_no_reader_is_said(name, said, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(Exception, match=said):
        find_reader(name)


def test_a_file_under_another_ending_is_read_by_a_reader_that_is_there(tmp_path):
    (tmp_path / "notes.md").write_text("one passage\n")
    (tmp_path / "rows.log").write_text(json.dumps({"text": "a"}) + "\n")
    assert list(read_records(tmp_path / "notes.md", "txt")) == [(1, {"text": "one passage"})]
    assert list(read_records(tmp_path / "rows.log", "jsonl")) == [(1, {"text": "a"})]


def test_a_reader_that_raises_its_version_gives_another_set(folder, monkeypatch):
    monkeypatch.chdir(folder)
    ids = []
    for version in (None, 1, 2):
        if version:
            monkeypatch.setattr(type(find_reader("my_readers:Subtitles")), "version", version, raising=False)
        ids.append(find("talk.yaml").identity())
    assert len(set(ids)) == 3
