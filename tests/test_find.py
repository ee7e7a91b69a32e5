"""A name becomes a source in one place, and what is read of it is accounted for by that reading alone."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from calprune.base.values import ConfigError, UserError
from calprune.calibration.part import OpenPart, open_part, open_source
from calprune.calibration.recipe import RecipePart, parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.text import KINDS, SourceKind, register
from calprune.text.document import Given
from calprune.text.find import catalogue, find, refuse_licences
from calprune.text.source import FileSource, RecordSource, Source
from tests.test_recipe import TOKENIZER


def lines(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def two_splits(folder: Path) -> str:
    """A user's source with both splits, other texts in each."""
    lines(folder / "to prune.jsonl", ["to prune one", "to prune two", ""])
    lines(folder / "to judge.jsonl", ["to judge"])
    (folder / "own.yaml").write_text(
        "title: Own\nkind: text\nlocal: {calibration: to prune.jsonl, evaluation: to judge.jsonl}\n"
    )
    return str(folder / "own.yaml")


def built_set(folder: Path) -> str:
    CalibrationSet.from_tokens([[5, 6, 7], [8, 9]]).save(folder)
    return str(folder)


def test_every_kind_of_name_is_found(tmp_path):
    found = {
        "c4": find("c4"),
        "file": find(lines(tmp_path / "a.jsonl", ["x"])),
        "yaml": find(two_splits(tmp_path)),
        "set": find(built_set(tmp_path / "set")),
        "self": find("self"),
        "strategy": find("self:prefixes(of=c4)"),
    }
    assert all(isinstance(source, Source) for source in found.values())
    assert {name: source.made for name, source in found.items()} == {
        "c4": "", "file": "", "yaml": "", "set": "set", "self": "self", "strategy": "self",
    }  # fmt: skip
    assert isinstance(found["c4"], RecordSource) and isinstance(found["file"], FileSource)
    assert found["strategy"].begins_with == ("c4",) and found["self"].begins_with == ()


@pytest.mark.parametrize("name", ["wikipdia", "self:bso", "self:prefixes"])
def test_a_name_of_nothing_is_an_error(name):
    with pytest.raises(ConfigError):
        find(name)


def test_finding_a_file_does_not_read_it():
    source = find("not there.jsonl")
    with pytest.raises(UserError, match="no such file"):
        source.default_format  # noqa: B018
    with pytest.raises(UserError, match="no such file"):
        source.rows_read("calibration")


def test_kinds_from_other_rooms_are_known_without_importing_them_or_torch():
    """`text` imports neither room: the package registers both."""
    code = ("import sys; from calprune.text import KINDS; assert set(KINDS) == {'set', 'self'}, KINDS; "
            "assert not {'torch', 'transformers', 'calprune.text.find'} & set(sys.modules)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_users_own_kind_of_source_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr("calprune.text.KINDS", KINDS)  # put back what is registered here
    before = dict(KINDS)
    register(SourceKind("mail", lambda name: name.startswith("mail:"), lambda name: catalogue()["pydoc_topics"]))
    try:
        assert find("mail:inbox").name == "pydoc_topics" and find("c4").name == "c4"
    finally:
        KINDS.clear()
        KINDS.update(before)


# an opened part does not change ---------------------------------------------------------------------------------------


def test_a_reference_is_named_by_the_rows_that_it_reads(tmp_path):
    """Once the split was changed after the calibration split's files had been hashed, so the identity lied."""
    spec, given = two_splits(tmp_path), Given()
    part, recipe = RecipePart(spec), parse_spec(spec)
    calibration, reference = (open_part(part, recipe, given, purpose) for purpose in ("calibration", "reference"))
    assert [d.text for d in reference.documents()] == ["to judge"]
    assert [calibration.split, reference.split] == ["calibration", "evaluation"]
    assert calibration.rows != reference.rows and calibration.identity[1:3] != reference.identity[1:3]
    before = reference.identity
    lines(tmp_path / "to prune.jsonl", ["another text"])
    assert open_part(part, recipe, given, "reference").identity == before
    lines(tmp_path / "to judge.jsonl", ["another text"])
    assert open_part(part, recipe, given, "reference").identity != before


def test_nothing_of_an_opened_part_can_be_changed(tmp_path):
    opened = open_source(two_splits(tmp_path), Given(), "calibration")
    for field in dataclasses.fields(OpenPart):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(opened, field.name, getattr(opened, field.name))


def test_each_reading_has_an_account_of_its_own(tmp_path):
    """Once a second reading emptied the first one's counts and notes."""
    exam = lines(tmp_path / "exam.jsonl", ["prune one"])
    filters = ["blocked_words([two])", f"contamination('{exam}', ngram=2, short=2)"]
    recipe = parse_spec(two_splits(tmp_path), filters=filters)
    opened = open_part(recipe.parts[0], recipe, Given())
    first = opened.documents()
    assert list(first) == []
    account = {"empty text": 1, "blocked word 'two'": 1, f"shares wording with {exam}": 1}
    assert first.skipped == account and len(first.notes) == 1
    second = opened.documents()
    assert not second.skipped and not second.notes and first.skipped == account and len(first.notes) == 1
    list(second)
    assert second.skipped == account and second.notes == first.notes


# texts ----------------------------------------------------------------------------------------------------------------


def test_the_purpose_decides_the_split(tmp_path):
    own, file, built = two_splits(tmp_path), lines(tmp_path / "a.jsonl", ["x"]), built_set(tmp_path / "set")
    found = {
        name: [find(name).split_for(purpose) for purpose in ("calibration", "evaluation", "reference")]
        for name in (own, file, built, "self")
    }
    assert found == {
        own: ["calibration", "evaluation", "evaluation"],
        file: ["calibration"] * 3,
        built: ["set", "sequences", "set"],
        "self": ["calibration", "evaluation", "calibration"],
    }


def test_a_built_set_is_a_text_and_no_part_of_a_recipe(tmp_path):
    folder = built_set(tmp_path / "set")
    judged = open_source(folder, Given(tokenizer=TOKENIZER), "evaluation")
    assert [document.tokens for document in judged.documents()] == [(5, 6, 7), (8, 9)]
    assert judged.held == "calibration text" and judged.text_identity == ["set", CalibrationSet.load(folder).id]
    with pytest.raises(ConfigError, match="no part of a recipe"):
        open_part(RecipePart(folder), parse_spec("c4"), Given())


@pytest.mark.parametrize("name", ["sets/gone", "./gone", "sets/gone/", "sets/qwen2.5-0.5b"])
def test_a_set_that_is_gone_is_known_by_its_path_and_refused_when_it_is_read(name):
    part = open_source(name, Given(tokenizer=TOKENIZER), "evaluation")  # so that results of it can be read
    assert part.source.made == "set"
    with pytest.raises(
        UserError, match="there is no such folder, and no source is called so; make a set with: calprune"
    ):
        part.documents()
    with pytest.raises(ConfigError, match="unknown source"):
        open_part(RecipePart(name), parse_spec("c4"), Given())


def test_a_file_without_an_ending_is_not_taken_for_a_set(tmp_path):
    (tmp_path / "corpus").write_text("text")
    assert isinstance(find(str(tmp_path / "corpus")), FileSource)


@pytest.mark.parametrize("purpose", ["calibration", "evaluation", "reference"])
def test_one_source_is_opened_at_a_time(purpose):
    with pytest.raises(ConfigError, match="is a mixture: name one source at a time"):
        open_source("c4 + gsm8k", Given(), purpose)


def test_a_folder_of_data_that_is_called_like_a_source_is_not_taken_for_a_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c4").mkdir()
    assert open_source("c4", Given(), "evaluation").source.name == "c4"
    built_set(tmp_path / "c4")
    with pytest.raises(UserError, match="is a source and a folder here"):
        open_source("c4", Given(), "evaluation")
    assert open_source("./c4", Given(), "evaluation").source.made == "set"


def test_what_a_model_writes_has_the_licence_of_what_it_begins_with():
    nc = next(name for name, source in catalogue().items() if "nc" in source.licence_tags)
    refuse_licences(["self", "self:bos", "c4"], ["nc"])
    for name in (nc, f"self:prefixes(of={nc})"):
        with pytest.raises(UserError, match=f"source {nc} has the licence"):
            refuse_licences(["c4", name], ["nc"])


def test_rows_overlap_where_a_file_is_read_by_both_and_no_condition_is_known_to_part_them():
    from calprune.text.source import RowsRead

    everything, one, other = (RowsRead(at=("file",), where=where) for where in ("", "row <= 300", "row <= 290"))
    assert everything.overlaps(one) and one.overlaps(everything) and one.overlaps(one)
    assert one.overlaps(other) and other.overlaps(one), "290 rows are in both"
    assert not RowsRead().overlaps(RowsRead()) and not one.overlaps(RowsRead(at=("another",), where="row <= 300"))
    assert RowsRead(at=("a", "b")).overlaps(RowsRead(at=("b", "c"))), "b is in both"
    law, code = (RowsRead(at=("file",), where=f"meta.kind == '{kind}'") for kind in ("law", "code"))
    assert not law.overlaps(code), "a field has one value"


def test_a_source_of_several_files_overlaps_each_of_them_and_no_other(tmp_path):
    a, b, c = (lines(tmp_path / f"{name}.jsonl", [name]) for name in "abc")
    (tmp_path / "both.yaml").write_text("kind: text\nlocal: {calibration: [a.jsonl, b.jsonl]}\n")
    both = find(str(tmp_path / "both.yaml")).rows_read("calibration")
    assert [both.overlaps(find(one).rows_read("calibration")) for one in (a, b, c)] == [True, True, False]


def test_splits_of_one_file_by_one_mapping_are_apart_and_of_two_sources_are_not(tmp_path):
    lines(tmp_path / "a.jsonl", ["x", "y"])
    place = "calibration: a.jsonl, evaluation: a.jsonl"
    for name, last in (("own", 1), ("other", 2)):
        (tmp_path / f"{name}.yaml").write_text(
            f"kind: text\nlocal: {{{place}, where: {{calibration: row <= {last}, evaluation: row > {last}}}}}\n"
        )
    own, other = (find(str(tmp_path / f"{name}.yaml")) for name in ("own", "other"))
    assert not own.rows_read("calibration").overlaps(own.rows_read("evaluation"))
    assert other.rows_read("calibration").overlaps(own.rows_read("evaluation")), "row 2 is in both"
