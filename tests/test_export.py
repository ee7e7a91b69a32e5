"""Export: what other tools read back is the set, token for token, and a target is whole or absent."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import DataCollatorWithPadding, default_data_collator
from typer.testing import CliRunner

from calprune.base.values import UserError
from calprune.calibration import export as exporting
from calprune.calibration.export import export
from calprune.calibration.provenance import Drawn, Piece
from calprune.calibration.set import CalibrationSet
from calprune.cli import app
from calprune.text.encode import tokenizer_hash
from tests.tiny import toy_tokenizer

datasets = pytest.importorskip("datasets")
TEXTS = ["A heron waits by the weir.\n\nThen it flies.", "Größe: 3 µm"]


@pytest.fixture
def tokenizer():
    return toy_tokenizer()


@pytest.fixture
def given(tokenizer):
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    made = CalibrationSet.from_tokens(ids)
    pieces = tuple((Piece("birds", f"birds.jsonl:{i + 1}", 1, len(row)),) for i, row in enumerate(ids))
    drawn = (Drawn("birds", "plain", 1.0, "CC0", 2, 2, 2, 2, sum(map(len, ids))),)
    return replace(made, pieces=pieces, drawn=drawn, tokenizer=tokenizer_hash(tokenizer))


def rows(given: CalibrationSet) -> list[list[int]]:
    return [tokens[:n].tolist() for tokens, n in zip(given.tokens, given.lengths, strict=True)]


def weighted(given: CalibrationSet) -> CalibrationSet:
    weights = torch.ones(given.tokens.shape)
    weights[0, :3] = 0.5
    return replace(given, weights=weights)


def test_json_lines_hold_ids_without_padding_text_weights_and_what_each_sequence_is_made_of(given, tokenizer, tmp_path):
    given = weighted(given)
    assert export(given, tokenizer, "jsonl", tmp_path / "set.jsonl") == []
    read = datasets.load_dataset("json", data_files=str(tmp_path / "set.jsonl"), split="train", cache_dir=tmp_path)
    assert read["input_ids"] == rows(given)
    assert [sum(mask) for mask in read["attention_mask"]] == given.lengths.tolist()
    assert list(read["decoded"]) == ["<s>" + text for text in TEXTS]
    assert read[0]["weights"][:5] == [0.5, 0.5, 0.5, 1.0, 1.0] and len(read[1]["weights"]) == given.lengths[1]
    last = int(given.lengths[1])
    assert read[1]["pieces"] == [{"source": "birds", "document": "birds.jsonl:2", "first": 1, "last": last}]


def test_padding_that_no_token_attends_to_has_a_mask_of_zeros_and_is_named(given, tokenizer, tmp_path):
    masked = torch.zeros(len(given.tokens), dtype=torch.long)
    masked[0] = 2
    given = replace(given, masked=masked)
    for to in ("jsonl", "hf"):
        (lost,) = export(given, tokenizer, to, tmp_path / to)
        assert "attention_mask of 0" in lost
    line = json.loads((tmp_path / "jsonl").read_text().splitlines()[0])
    read = datasets.load_from_disk(str(tmp_path / "hf"))
    assert line["attention_mask"] == read[0]["attention_mask"] == [0, 0] + [1] * (int(given.lengths[0]) - 2)


def test_a_datasets_folder_has_the_ids_and_nothing_that_a_tool_would_tokenise_anew(given, tokenizer, tmp_path):
    assert export(given, tokenizer, "hf", tmp_path / "set") == []
    read = datasets.load_from_disk(str(tmp_path / "set"))
    assert read.column_names == ["input_ids", "attention_mask"]  # GPTQModel takes `text` before `input_ids`
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in read["input_ids"]] == TEXTS
    assert read["input_ids"] == rows(given)
    assert "CC0" in (tmp_path / "set" / "README.md").read_text()


def test_the_collators_of_llm_compressor_make_batches_of_a_datasets_folder(given, tokenizer, tmp_path):
    export(given, tokenizer, "hf", tmp_path / "set")
    read = datasets.load_from_disk(str(tmp_path / "set"))
    assert default_data_collator([read[0]])["input_ids"].tolist() == rows(given)[:1]
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "right"
    batch = DataCollatorWithPadding(tokenizer)([read[0], read[1]])
    assert batch["attention_mask"].sum(1).tolist() == given.lengths.tolist()
    assert torch.equal(batch["input_ids"] * batch["attention_mask"], given.tokens * given.real)


def test_plain_text_holds_each_sequence_without_begin_of_text(given, tokenizer, tmp_path):
    lost = export(given, tokenizer, "txt", tmp_path / "set.txt")
    assert (tmp_path / "set.txt").read_text() == "\n\n".join(TEXTS) + "\n"
    assert len(lost) == 1 and "boundaries of sequences" in lost[0]


@pytest.mark.parametrize("mark", ["pad_token", "bos_token"])
def test_plain_text_keeps_documents_apart_where_their_end_is_also_padding_or_begin_of_text(tokenizer, tmp_path, mark):
    setattr(tokenizer, mark, "<|endoftext|>")
    end, first = tokenizer.convert_tokens_to_ids("<|endoftext|>"), getattr(tokenizer, f"{mark}_id")
    one, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS)
    made = CalibrationSet.from_tokens([[first, first, *one, end, *other]])  # as counted padding stands
    lost = export(made, tokenizer, "txt", tmp_path / "set.txt")
    assert (tmp_path / "set.txt").read_text() == "<|endoftext|>".join(TEXTS) + "\n"
    assert any("--parse-special" in note for note in lost)


def test_plain_text_of_a_chat_keeps_its_special_tokens_and_says_how_they_are_read(tokenizer, tmp_path):
    turn = "<s>[user] Name a river.<|end|>\n"
    made = CalibrationSet.from_tokens([tokenizer(turn, add_special_tokens=False)["input_ids"]])
    made = replace(made, drawn=(Drawn("talk", "chat(responses)", 1.0, "", 1, 1, 1, 1, 9),))
    lost = export(made, tokenizer, "txt", tmp_path / "set.txt")
    assert (tmp_path / "set.txt").read_text() == turn + "\n"
    assert any("--parse-special" in note for note in lost)


@pytest.mark.parametrize("to, said", [("hf", 1), ("txt", 1), ("jsonl", 0)])
def test_weights_that_a_format_cannot_carry_are_said_to_be_lost(given, tokenizer, tmp_path, to, said):
    assert sum("weights" in note for note in export(weighted(given), tokenizer, to, tmp_path / "set")) == said


@pytest.mark.parametrize("to", exporting.FORMATS)
def test_a_target_that_is_there_is_left_as_it_is(given, tokenizer, tmp_path, to):
    target = tmp_path / "mine"
    target.write_text("my notes")
    with pytest.raises(UserError, match="mine"):
        export(given, tokenizer, to, target)
    assert target.read_text() == "my notes"


@pytest.mark.parametrize("to", exporting.FORMATS)
def test_an_export_that_breaks_off_leaves_nothing(given, tokenizer, tmp_path, to, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("calprune.base.store.os.rename", full)
    monkeypatch.setattr("calprune.base.store.os.replace", full)
    with pytest.raises(UserError, match="disk is full"):
        export(given, tokenizer, to, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_another_models_tokenizer_is_refused(given, tmp_path):
    with pytest.raises(UserError, match="another tokenizer"):
        export(given, toy_tokenizer(adds_begin=False), "jsonl", tmp_path / "set.jsonl")


def test_an_unknown_format_is_named_with_what_is_near(given, tokenizer, tmp_path):
    with pytest.raises(UserError, match="unknown format 'json'; did you mean 'jsonl'"):
        export(given, tokenizer, "json", tmp_path / "set")


def test_the_command_writes_what_it_says(given, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{}")
    given.save(tmp_path / "set")
    asked = ["calib", "export", str(tmp_path / "set"), "--to", "jsonl", str(tmp_path / "out.jsonl")]
    said = CliRunner().invoke(app, [*asked, "--model", str(tmp_path / "model"), "--json"], catch_exceptions=False)
    told = json.loads(said.stdout)
    assert (told["sequences"], told["tokens"], told["licences"]) == (2, int(given.lengths.sum()), {"birds": "CC0"})
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    weighted(given).save(tmp_path / "weighted")
    asked = ["calib", "export", str(tmp_path / "weighted"), "--to", "txt", str(tmp_path / "out.txt")]
    said = CliRunner().invoke(app, [*asked, "--model", str(tmp_path / "model")], catch_exceptions=False)
    assert "weights" in said.stderr and "note:" not in said.stdout
