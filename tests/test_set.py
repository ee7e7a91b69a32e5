"""The calibration set as a folder: whole or absent, the same bytes each time, and read back as it was written."""

import dataclasses
import errno
import html
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from calprune.base.values import UserError
from calprune.calibration.build import build
from calprune.calibration.describe import describe, stretches, texts
from calprune.calibration.part import check_part
from calprune.calibration.provenance import Piece
from calprune.calibration.recipe import RecipePart, parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.calibration.set_source import SetSource
from calprune.cli import app
from calprune.text.encode import tokenizer_hash
from calprune.text.formats import parse_format
from tests.tiny import toy_tokenizer

TOKENIZER = toy_tokenizer()
CHAT = "chat(responses, prompt_weight=0.25)"
FILES = {"README.md", "counts.json", "pieces.jsonl", "recipe.yaml", "tokens.safetensors"}


@pytest.fixture
def built(tmp_path) -> CalibrationSet:
    """Six sequences of chat, of which the responses count, with text that HTML would take for its own."""
    path = tmp_path / "chat.jsonl"
    rows = [{"prompt": f"ask <b>{i}</b> & co", "response": f"<script>reply {i}</script>" + "!" * i} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build(parse_spec(f"{path}:{CHAT}", num_samples=6, max_seq_length=120), TOKENIZER)


# the object -----------------------------------------------------------------------------------------------------------


def test_a_set_of_tokens_is_named_by_them():
    tokens = torch.randint(0, 99, (4, 8))
    one = CalibrationSet.from_tokens(tokens)
    for same in (tokens.int(), tokens.tolist()):
        assert CalibrationSet.from_tokens(same).id == one.id
    changed = tokens.clone()
    changed[3, 7] += 1
    others = [CalibrationSet.from_tokens(changed), CalibrationSet.from_tokens(tokens, torch.tensor([8, 8, 8, 7])),
              CalibrationSet.from_tokens(tokens, weights=torch.full((4, 8), 0.5)),
              CalibrationSet.from_tokens(tokens.reshape(8, 4))]  # fmt: skip
    assert len({one.id, *(other.id for other in others)}) == 5


def test_lists_of_several_lengths_are_padded_and_the_padding_is_told():
    made = CalibrationSet.from_tokens([[5, 6, 7], [8], [9, 10]])
    assert made.lengths.tolist() == [3, 1, 2] and made.tokens.shape == (3, 3)
    assert made.tokens[made.real].tolist() == [5, 6, 7, 8, 9, 10]


WRONG = {
    "no sequence": (lambda: CalibrationSet.from_tokens([]), "at least one sequence"),
    "no tokens": (lambda: CalibrationSet.from_tokens(torch.zeros(3, 0, dtype=torch.long)), "at least one token"),
    "fractions": (lambda: CalibrationSet.from_tokens(torch.ones(2, 2)), "expected integers"),
    "one row": (lambda: CalibrationSet.from_tokens(torch.ones(2, dtype=torch.long)), "expected integers"),
    "negative": (lambda: CalibrationSet.from_tokens([[1, -100]]), "expected ids from 0; got -100"),
    "too long": (lambda: CalibrationSet.from_tokens([[1, 2]], [3]), "each from 1 to 2; got"),
    "empty row": (lambda: CalibrationSet.from_tokens([[1, 2], []]), "each from 1 to 2"),
    "lengths": (lambda: CalibrationSet.from_tokens([[1, 2]], [1, 2]), "expected 1 of them"),
    "nan": (lambda: CalibrationSet.from_tokens([[1, 2]], weights=torch.tensor([[1.0, float("nan")]])), "finite"),
    "all zero": (lambda: CalibrationSet.from_tokens([[1, 2]], [1], torch.tensor([[0.0, 1.0]])), "every token weighs 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_tokens_that_are_no_calibration_set_are_refused(case):
    make, expected = WRONG[case]
    with pytest.raises(UserError, match=expected):
        make()


def test_a_tokenizer_is_known_by_its_contents_however_it_was_used(tmp_path):
    given = toy_tokenizer()
    given.pad_token = given.eos_token
    before = tokenizer_hash(given)
    given(["a", "bcd"], padding=True, truncation=True, max_length=2)
    given.save_pretrained(tmp_path / "copy")
    from transformers import AutoTokenizer

    assert tokenizer_hash(given) == before == tokenizer_hash(AutoTokenizer.from_pretrained(tmp_path / "copy"))
    given.add_tokens(["<new>"])
    assert tokenizer_hash(given) != before != tokenizer_hash(toy_tokenizer(adds_begin=False))


def test_a_set_of_another_tokenizer_is_noticed(built):
    built.check_tokenizer(toy_tokenizer())
    CalibrationSet.from_tokens([[1, 2]]).check_tokenizer(toy_tokenizer(adds_begin=False))  # nobody knows whose it is
    with pytest.raises(UserError, match="built with another tokenizer"):
        built.check_tokenizer(toy_tokenizer(adds_begin=False))


# the folder -----------------------------------------------------------------------------------------------------------


def test_a_saved_set_is_read_back_as_it_was(built, tmp_path):
    built.save(tmp_path / "set")
    assert {path.name for path in (tmp_path / "set").iterdir()} == FILES
    read = CalibrationSet.load(tmp_path / "set")
    for field in dataclasses.fields(CalibrationSet):
        one, other = getattr(built, field.name), getattr(read, field.name)
        same = torch.equal(one, other) and one.dtype == other.dtype if isinstance(one, torch.Tensor) else one == other
        assert same, field.name


def test_built_twice_every_file_has_the_same_bytes(built, tmp_path):
    again = build(parse_spec(f"{tmp_path}/chat.jsonl:{CHAT}", num_samples=6, max_seq_length=120), TOKENIZER)
    built.save(tmp_path / "one")
    again.save(tmp_path / "two")
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@given(st.lists(st.lists(st.integers(0, 200_000), min_size=1, max_size=9), min_size=1, max_size=5), st.booleans())
def test_any_tokens_survive_the_disk(tmp_path_factory, rows, weighted):
    made = CalibrationSet.from_tokens(rows)
    if weighted:
        made = CalibrationSet.from_tokens(made.tokens, made.lengths, torch.rand(made.tokens.shape) + 0.1)
    folder = tmp_path_factory.mktemp("any") / "set"
    made.save(folder)
    read = CalibrationSet.load(folder)
    assert torch.equal(read.tokens, made.tokens) and torch.equal(read.lengths, made.lengths) and read.id == made.id
    assert torch.equal(read.weights, made.weights) if weighted else read.weights is None


def test_a_folder_with_the_same_set_is_left_and_one_with_anything_else_is_refused(built, tmp_path):
    built.save(tmp_path / "set")
    stamp = (tmp_path / "set" / "counts.json").stat().st_mtime_ns
    built.save(tmp_path / "set")
    assert (tmp_path / "set" / "counts.json").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="holds something else"):
        CalibrationSet.from_tokens([[1, 2]]).save(tmp_path / "set")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds something else"):
        built.save(tmp_path / "other")
    assert (tmp_path / "other" / "mine.txt").read_text() == "keep"


def test_a_disk_that_fills_up_leaves_nothing(built, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full"):
        built.save(tmp_path / "new" / "set")
    assert [path.name for path in (tmp_path / "new").iterdir()] == []


@pytest.mark.parametrize(("ending", "name"), [(".txt", "my texts"), (".md", "notes"), (".jsonl", "chats")])
def test_a_folder_of_texts_is_told_how_they_become_one_file(tmp_path, monkeypatch, ending, name):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    for i in range(3):
        (Path(name) / f"{i}{ending}").write_text('{"text": "a"}\n')
    for asked in (
        lambda: CalibrationSet.load(name),
        lambda: SetSource(name).documents(parse_format("plain")),
        lambda: check_part(RecipePart(name)),
    ):
        with pytest.raises(UserError, match=f"is a folder of {ending} files, not a calibration set") as refused:
            asked()
    subprocess.run(str(refused.value).partition("which this makes: ")[2], shell=True, check=True)
    assert Path(name + ending).read_text().count("text") == 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


DAMAGE = {
    "no such folder": (shutil.rmtree, "there is no such folder"),
    "no counts": (lambda folder: (folder / "counts.json").unlink(), "not a set or not whole"),
    "counts cut": (lambda folder: cut(folder / "counts.json"), "counts.json is damaged"),
    "no tokens": (lambda folder: (folder / "tokens.safetensors").unlink(), "incomplete or damaged"),
    "tokens cut": (lambda folder: cut(folder / "tokens.safetensors"), "tokens.safetensors is damaged or was edited"),
    "pieces edited": (lambda folder: cut(folder / "pieces.jsonl"), "pieces.jsonl is damaged or was edited"),
    "recipe edited": (lambda folder: cut(folder / "recipe.yaml"), "recipe.yaml is damaged or was edited"),
    "newer": (lambda folder: (folder / "counts.json").write_text('{"format": 2}'), "has format 2, this calprune reads"),
    "a list": (lambda folder: (folder / "counts.json").write_text("[]"), "has format None, this calprune reads"),
    "less in it": (lambda folder: (folder / "counts.json").write_text('{"format": 1}'), "incomplete or damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_one_line(built, tmp_path, case):
    damage, expected = DAMAGE[case]
    built.save(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(UserError) as caught:
        CalibrationSet.load(tmp_path / "set")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["no tokens", "tokens cut", "pieces edited", "recipe edited"])
def test_a_damaged_set_is_mended_when_it_is_saved_again(built, tmp_path, case):
    damage, _ = DAMAGE[case]
    built.save(tmp_path / "set")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    damage(tmp_path / "set")
    built.save(tmp_path / "set")
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == whole


def test_another_set_is_not_written_over_be_it_whole_or_damaged(built, tmp_path):
    other = CalibrationSet.from_tokens([[1, 2, 3]])
    other.save(tmp_path / "set")
    for damage in (lambda folder: None, DAMAGE["tokens cut"][0], DAMAGE["counts cut"][0]):
        damage(tmp_path / "set")
        before = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
        with pytest.raises(UserError):
            built.save(tmp_path / "set")
        assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == before


# what is shown --------------------------------------------------------------------------------------------------------


def test_what_is_told_of_a_set_agrees_with_its_tokens():
    made = CalibrationSet.from_tokens([[5, 6, 7, 8, 5, 6, 7, 8], [9, 9, 9]])
    told = describe(made, TOKENIZER).record()
    assert (told["sequences"], told["tokens"], told["padding"], told["weight"]) == (2, 11, 5, 11.0)
    assert told["vocabulary"] == {"distinct": 5, "share": 5 / len(TOKENIZER)}
    assert told["repetition"] == pytest.approx(1 / 5)  # 5678 comes twice among the five 4-grams
    lengths = told["lengths"]
    assert (lengths["min"], lengths["max"], lengths["mean"]) == (3, 8, 5.5)
    assert [(b["to"], b["sequences"]) for b in lengths["histogram"] if b["sequences"]] == [(3, 1), (8, 1)]
    assert describe(CalibrationSet.from_tokens([[1, 2]])).repetition is None


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_every_sequence_is_in_one_bar_of_the_histogram(lengths):
    width = max(lengths)
    made = CalibrationSet.from_tokens(torch.zeros(len(lengths), width, dtype=torch.long), lengths)
    bars = describe(made).record()["lengths"]["histogram"]
    assert sum(bar["sequences"] for bar in bars) == len(lengths)
    assert bars[0]["from"] == 1 and bars[-1]["to"] == width


def test_texts_are_told_with_the_weights_of_their_tokens(built):
    for i in range(6):
        found = stretches(built, i, TOKENIZER)
        assert [s.weight for s in found] == [0.25, 1.0, 0.25] or [s.weight for s in found] == [0.25, 1.0]
        assert "".join(s.text for s in found) == TOKENIZER.decode(built.tokens[i, : built.lengths[i]])
        assert "reply" in found[1].text and "ask" in found[0].text


def test_the_page_stands_alone_and_lets_no_text_be_markup(built):
    page = describe(built, TOKENIZER, 6).html()
    assert "&lt;script&gt;reply" in page and "&lt;b&gt;" in page and "&amp; co" in page
    assert page.count("<script") == 1 and "<b>" not in page  # the page's own
    assert not any(mark in page for mark in ("http:", "https:", " src=", "<link", "@import", "url("))
    assert "rgba(var(--weight), 0.09)" in page and "rgba(var(--weight), 0.35)" in page
    bars = [int(found) for found in re.findall(r'<div title="[^"]*: (\d+) sequences?">', page)]
    assert len(bars) > 3 and sum(bars) == len(built.tokens)


def test_texts_are_of_all_sources_in_turn():
    pieces = [(Piece(source, "1", 0, 4),) for source in "aaab"]
    made = dataclasses.replace(CalibrationSet.from_tokens(torch.full((4, 4), 70)), pieces=tuple(pieces))
    told = [(text.sequence, text.source, text.tokens) for text in texts(made, 3, TOKENIZER)]
    assert told == [(1, "a", 4), (4, "b", 4), (2, "a", 4)]


# the commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path) -> str:
    """A folder with the toy tokenizer: all that building a set needs of a model."""
    TOKENIZER.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def call(*words):
    return CliRunner().invoke(app, ["calib", *map(str, words)])


def page_part(folder: Path) -> str:
    """What a page says to reproduce it."""
    return (folder / "page.html").read_text().partition('<section id="again"')[2].partition("</section>")[0]


def test_a_user_builds_a_set_and_looks_at_it(tmp_path, model, monkeypatch):
    (tmp_path / "my.txt").write_text("\n\n".join(f"Paragraph {i}: " + "words and more words " * 30 for i in range(60)))
    out = tmp_path / "mine"
    size = ("--num-samples", 3, "--max-seq-length", 64)
    done = call("build", tmp_path / "my.txt", "--model", model, *size, "--out", out)
    assert done.exit_code == 0, done.output
    assert "3 sequences of up to 64 tokens: 192 tokens counted" in done.output
    shown = call("show", out, "--texts", 2)
    assert "--- sequence 2" in shown.output and "words and more words" in shown.output
    told = json.loads(call("show", out, "--json").output)
    assert told["tokens"] == 192 and told["sources"][0]["licence"] == "not stated" and told["sources"][0]["pool"] > 3
    assert call("show", out, "--html", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>") and "of my.txt, without a stated licence." in page
    again = call("build", out / "recipe.yaml", "--model", model, "--out", tmp_path / "again", "--json")
    assert json.loads(again.output)["id"] == told["id"]
    recipe, command = (html.unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", page_part(tmp_path), re.DOTALL))
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(recipe)
    program, *words = shlex.split(command)
    assert program == "calprune" and CliRunner().invoke(app, words).exit_code == 0
    assert json.loads(call("show", words[-1], "--json").output)["id"] == told["id"]


def test_what_a_user_can_mend_leaves_nothing_behind(tmp_path, model):
    (tmp_path / "my.txt").write_text("too short")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("keep")
    before = sorted(tmp_path.rglob("*"))
    asked = [
        (("build", tmp_path / "my.txt", "--model", model, "--out", tmp_path / "x"), "too few documents"),
        (("build", "c44", "--model", model, "--out", tmp_path / "x"), "did you mean 'c4'"),
        (("build", f"{tmp_path}/my.txt*0", "--model", model, "--out", tmp_path / "x"), "above 0"),
        (("build", tmp_path / "my.txt", "--model", model, "--out", tmp_path / "full"), "holds something else"),
        (("build", "alpaca", "--model", model, "--exclude-license", "nc", "--out", tmp_path / "x"), "you excluded"),
        (("build", "c4", "--model", model, "--exclude-license", "cc", "--out", tmp_path / "x"), "unknown tag 'cc'"),
        (
            ("build", "self:respond(of=alpaca)", "--model", model, "--exclude-license", "nc", "--out", tmp_path / "x"),
            "source alpaca has the licence",
        ),
        (("show", tmp_path / "full"), "not a set"),
        (("show", tmp_path / "none"), "there is no such folder"),
    ]
    for words, expected in asked:
        done = call(*words)
        assert isinstance(done.exception, UserError) and expected in str(done.exception)
    assert sorted(tmp_path.rglob("*")) == before
