"""recipes/bandari2024: the paper's thirteen sources and two controls, with the quirks of its code, are built."""

import os
from collections import Counter
from pathlib import Path

import pytest

from calprune.calibration.build import build
from calprune.calibration.recipe import parse_spec, read_recipe, write_recipe
from calprune.models.load import load_tokenizer
from calprune.text.encode import find_marks
from calprune.text.formats import parse_format
from tests.tiny import toy_tokenizer

FOLDER = Path(__file__).parents[1] / "recipes" / "bandari2024"
PRE_TRAINING = {"c4", "oscar", "redpajama", "pile"}
DOWNSTREAM = {"gsm8k", "svamp", "mawps", "esnli", "anli_r1", "anli_r3", "commonsense_qa", "race", "winogrande"}
CONTROLS = {"ellipses", "random_characters"}
PADDING = {  # what becomes of padding in the released code (8cd1b10, lib/data.py and lib/prune.py), source by source
    "gsm8k": True,  # `get_gsm8k` names no padding token, so the mask is of ones: attended to and counted
    "svamp": "masked",  # these name it: masked in attention, counted in the sums
    "mawps": "masked",
    "esnli": "masked",
    "anli_r1": "masked",
    "anli_r3": "masked",
    "commonsense_qa": "masked",
    "race": "masked",
    "winogrande": "masked",
}
ENDLESS = DOWNSTREAM - {"gsm8k", "esnli"}  # their loaders have no branch for "zero" and never end
STOPS = {"anli_r1", "anli_r3", "esnli"}  # their "single" is not padded, so it does not fit where it is put
FILES = sorted(FOLDER.glob("*.yaml"))
needs_data = pytest.mark.skipif(not os.environ.get("CALPRUNE_DATA"), reason="needs data sets: set CALPRUNE_DATA")


def recipe(name: str, **options):
    return parse_spec(str(FOLDER / f"{name}.yaml"), **options)


@pytest.fixture(scope="module")
def demo_tokenizer():
    return load_tokenizer("demo")


def test_there_is_a_recipe_for_each_of_the_papers_thirteen_sources_and_two_controls():
    own = {path.stem for path in FILES if parse_spec(str(path)).parts[0].source == path.stem}
    assert own == PRE_TRAINING | DOWNSTREAM | CONTROLS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_asks_for_what_the_paper_had_and_can_be_written_again(path):
    asked = parse_spec(str(path))
    assert (asked.num_samples, asked.max_seq_length) == (128, 2048)
    assert read_recipe(write_recipe(asked), "written") == asked
    kind, name = parse_format(asked.parts[0].format).name, asked.parts[0].source
    assert asked.with_replacement == (name not in CONTROLS)
    assert asked.count_padding == (PADDING[name] if kind in ("zero", "single", "cot") else False)
    assert asked.pairs.bos_per_pair == asked.pairs.random_window == (kind in ("icl", "icl_cot"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_says_what_becomes_of_padding_and_where_the_released_code_has_no_such_set(path):
    asked, head = parse_spec(str(path)), path.read_text().split("parts:")[0]
    kind, name = parse_format(asked.parts[0].format).name, asked.parts[0].source
    assert ("counted, not attended to" in head) == (asked.count_padding == "masked")
    assert ("attended to and counted" in head) == (asked.count_padding is True)
    assert ("never ends" in head) == (kind == "zero" and name in ENDLESS)
    assert ("stops with an error" in head) == (kind in ("single", "cot") and name in STOPS)


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_each_text_of_a_control_has_a_begin_of_text_as_published(name):
    tokenizer = toy_tokenizer(chat=False)
    built = build(recipe(name, num_samples=2, max_seq_length=2500), tokenizer)
    for row in built.tokens.tolist():
        assert [i for i, token in enumerate(row) if token == tokenizer.bos_token_id] == [0, 1001, 2002]


@pytest.mark.parametrize("name", ["anli_r1_cot", "anli_r3_icl_cot", "esnli_cot", "esnli_icl_cot"])
def test_rationales_are_not_stripped_as_published(name):
    assert parse_format(recipe(name).parts[0].format).keep_spaces


@needs_data
@pytest.mark.demo
@pytest.mark.data
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_of_the_papers_sets_is_built_for_the_demo_model(path, demo_tokenizer):
    asked = parse_spec(str(path), first=200, num_samples=3, max_seq_length=768 if "race" in path.stem else 128)
    built = build(asked, demo_tokenizer)
    length = asked.max_seq_length
    assert built.tokens.shape == (3, length)
    assert built.lengths.tolist() == [length] * 3, "the paper's sequences are all of the full length"
    assert {piece.source for row in built.pieces for piece in row} == {asked.parts[0].source}
    if asked.count_padding:
        pad = find_marks(demo_tokenizer).pad
        for tokens, row in zip(built.tokens, built.pieces, strict=True):
            assert (tokens[: row[0].first] == pad).all() and row[-1].last == length, "padding stands on the left"
    if asked.count_padding == "masked":
        assert built.masked.tolist() == [row[0].first for row in built.pieces], "what is masked is the padding"
    else:
        assert built.masked is None


@needs_data
@pytest.mark.data
def test_every_pair_of_the_papers_icl_has_a_begin_of_text_and_windows_cut_pairs():
    tokenizer = toy_tokenizer(chat=False)
    built = build(recipe("gsm8k", num_samples=4, max_seq_length=1500), tokenizer)
    begins = Counter(built.tokens[built.tokens == tokenizer.bos_token_id].tolist())[tokenizer.bos_token_id]
    inner = sum(len(row) - 1 for row in built.pieces)
    assert inner <= begins <= inner + 4
    assert any(tokenizer.decode(row[row.nonzero()[0] :])[:9] != "Question:" for row in built.tokens)


@needs_data
@pytest.mark.data
def test_sixty_three_documents_serve_a_hundred_sequences_since_they_may_be_drawn_again():
    built = build(recipe("oscar", num_samples=100, max_seq_length=64), toy_tokenizer(chat=False))
    assert len(built.tokens) == 100 > built.drawn[0].used
