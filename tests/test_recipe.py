"""Recipes: how they are written, what is drawn for which seed, how shares come out, and what the set says of it."""

import gzip
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from calprune.base.values import ConfigError, UserError
from calprune.calibration.build import build, identify, make_set
from calprune.calibration.draw import read_pool
from calprune.calibration.layout import Crop, Pad, Pairs
from calprune.calibration.recipe import Recipe, RecipePart, parse_spec, read_recipe, write_recipe
from calprune.calibration.set import CalibrationSet
from calprune.cli.app import main
from calprune.text.document import Document, Given
from calprune.text.encode import tokenizer_hash
from calprune.text.find import is_file
from tests.tiny import toy_tokenizer

TOKENIZER = toy_tokenizer()


def write(path: Path, count: int, size: int = 30, letter: str = "a") -> str:
    """A file of `count` documents of `size` characters, each of them different."""
    texts = [f"{letter}{i:04}" + letter * (size - 5) for i in range(count)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def made(spec: str, **options):
    return build(parse_spec(spec, **{"num_samples": 4, "max_seq_length": 31, "layout": "pad"} | options), TOKENIZER)


def tokenizer_folder(folder: Path) -> str:
    """A model's folder without its weights: enough to build a set."""
    TOKENIZER.save_pretrained(folder / "model")
    LlamaConfig(vocab_size=len(TOKENIZER)).save_pretrained(folder / "model")
    return str(folder / "model")


def drawn(spec: str, source: str | None = None, **options) -> list[str]:
    pieces = itertools.chain(*made(spec, **options).pieces)
    return list(dict.fromkeys(p.document for p in pieces if source in (None, p.source)))


# how a recipe is written ----------------------------------------------------------------------------------------------


def test_a_recipe_as_text_has_sources_formats_and_shares():
    recipe = parse_spec("c4*2 + gsm8k:icl(pairs=5) + my_chat.jsonl:chat(responses, prompt_weight=0.2)*0.5", seed=3)
    assert recipe.parts == (
        RecipePart("c4", None, 2.0),
        RecipePart("gsm8k", "icl(pairs=5)", 1.0),
        RecipePart("my_chat.jsonl", "chat(responses, prompt_weight=0.2)", 0.5),
    )
    assert (recipe.num_samples, recipe.max_seq_length, recipe.seed) == (128, 2048, 3)


RECIPES = [
    Recipe((RecipePart("c4"),)),
    Recipe(
        (RecipePart("c4", None, 2.0), RecipePart("gsm8k", "icl")), 16, 512, 3, Crop(), lengths=((128, 1.0), (512, 3.0))
    ),
    Recipe((RecipePart("gsm8k", "icl"),), layout=Pad(whole=True), pairs=Pairs(separator="", bos_per_pair=True),
           with_replacement=True, count_padding=True, begin_of_text="always", skip_first=4, first=100),
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_read_as_it_was_written(recipe):
    assert read_recipe(json.loads(json.dumps(write_recipe(recipe))), "test") == recipe


def test_a_yaml_file_says_the_same_as_text_and_options_go_before_it(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("parts:\n- c4*2\n- {source: gsm8k, format: icl}\nnum_samples: 16\nlayout: crop\n")
    assert parse_spec(str(path)) == parse_spec("c4*2 + gsm8k:icl", num_samples=16, layout="crop")
    assert parse_spec(str(path), num_samples=8).num_samples == 8


BAD = {
    "c4*0": "share of c4 must be a number above 0; got 0",
    "c4*-1": "share of c4 must be a number above 0",
    "c4*nan": "share of c4 must be a number above 0",
    "c4*x": "share of c4 must be a number; got 'x'; write it like",
    "c4:iicl": "did you mean 'icl'",
    "c4:": "cannot read 'c4:'",
    "": "cannot read ''",
    "c4 + c4": "same source and format twice",
}


@pytest.mark.parametrize("spec", BAD)
def test_what_cannot_be_read_is_said(spec):
    with pytest.raises(ConfigError) as caught:
        parse_spec(spec)
    assert BAD[spec] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("option", "expected"), [
    ({"num_samples": 0}, "num_samples must be at least 1; got 0"), ({"layout": "cropp"}, "did you mean 'crop'"),
    ({"max_seq_length": 1}, "at least 2"), ({"skip_first": 2048}, "below max_seq_length"), ({"sed": 1}, "'seed'"),
    ({"lengths": [[4096, 1]]}, "tokens from 2 to max_seq_length 2048"),
    ({"lengths": [[128, math.inf]]}, "a share above 0"), ({"num_samples": "8"}, "num_samples"),
    ({"begin_of_text": "yes"}, "begin_of_text"), ({"seed": -1}, "seed must be at least 0"),
])  # fmt: skip
def test_an_option_that_is_wrong_is_named(option, expected):
    with pytest.raises(ConfigError, match=expected):
        parse_spec("c4", **option)


# what is drawn --------------------------------------------------------------------------------------------------------


def test_the_same_recipe_gives_the_same_tokens_and_another_seed_gives_others(tmp_path):
    path = write(tmp_path / "a.jsonl", 40)
    one, again, other = made(path), made(path), made(path, seed=1)
    assert torch.equal(one.tokens, again.tokens) and one.id == again.id
    assert not torch.equal(one.tokens, other.tokens) and one.id != other.id


@pytest.mark.parametrize("layout", ["pad", "crop", "concatenate"])
@pytest.mark.parametrize(("documents", "samples"), [(40, 4), (30, 10), (21, 4)])
def test_draws_are_disjoint_while_the_pool_allows_it(tmp_path, layout, documents, samples):
    path = write(tmp_path / "a.jsonl", documents)
    length = 32 if layout == "concatenate" else 31  # a document, its begin-of-text and, concatenated, its end
    draws = [drawn(path, seed=seed, num_samples=samples, layout=layout, max_seq_length=length)
             for seed in range(documents // samples)]  # fmt: skip
    everything = list(itertools.chain(*draws))
    assert len(set(everything)) == len(everything) == samples * (documents // samples)


def test_when_the_pool_is_used_up_new_draws_are_random_and_not_the_old_ones_again(tmp_path):
    path = write(tmp_path / "a.jsonl", 12)
    draws = [frozenset(drawn(path, seed=seed)) for seed in range(12)]
    assert all(len(d) == 4 for d in draws)
    assert len(set(draws)) > 9
    for first in range(0, 12, 3):  # each three seeds use the pool once
        assert frozenset.union(*draws[first : first + 3]) == frozenset.union(*draws[:3])


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_adding_a_source_never_changes_what_another_draws(tmp_path, seed):
    a, b, c = (write(tmp_path / f"{name}.jsonl", 100, letter=name) for name in "abc")
    alone = drawn(a, seed=seed, num_samples=12)
    both = drawn(f"{a} + {b}", a, seed=seed, num_samples=12)
    three = drawn(f"{c} + {a} + {b}", a, seed=seed, num_samples=12)
    assert len(both) == 6 and both == alone[:6]
    assert len(three) == 4 and three == alone[:4]


def test_a_mixture_from_a_small_pool_uses_all_of_it_before_draws_meet(tmp_path):
    a, b = (write(tmp_path / f"{name}.jsonl", 20, letter=name) for name in "ab")
    draws = [drawn(f"{a} + {b}", a, seed=seed, num_samples=10) for seed in range(4)]  # 5 documents of each
    assert len(set(itertools.chain(*draws))) == 20


def test_a_random_draw_is_of_the_whole_file_not_of_its_beginning(tmp_path):
    path = write(tmp_path / "a.jsonl", 400)
    lines = [int(d.split(":")[1]) for seed in range(5) for d in drawn(path, seed=seed, num_samples=20)]
    expected, spread = 200.5, 400 / 12**0.5 / 100**0.5
    assert abs(sum(lines) / 100 - expected) < 4 * spread


@given(st.integers(0, 40), st.integers(1, 5))
def test_a_reservoir_holds_the_run_of_its_seed_whatever_it_may_hold(seed, times):
    """What a larger reservoir gives first, a smaller one gives too: the file is only read, never the memory asked."""
    documents = [Document("x" * 100, str(i)) for i in range(200)]
    small = read_pool("s", iter(documents), seed, held=3_000)
    large = read_pool("s", iter(documents), seed, held=3_000 * times)
    first = [small.documents[i].id for i in small.order()]
    assert not small.whole and 3 <= len(first) <= 12
    if not large.whole:
        assert [large.documents[i].id for i in large.order()][: len(first)] == first


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_source_that_fits_is_held_whole_and_in_one_order_for_every_seed(seed):
    documents = [Document("x" * 100, str(i)) for i in range(400)]
    pool, first = read_pool("s", iter(documents), seed), read_pool("s", iter(documents), 0)
    assert pool.whole and pool.size == 400 and pool.documents == documents and pool.order() == first.order()


def test_runs_of_a_file_too_large_to_hold_are_apart(monkeypatch, tmp_path):
    monkeypatch.setattr("calprune.calibration.build.HELD", 6_000)
    path = write(tmp_path / "a.jsonl", 1_000)
    draws = [drawn(path, seed=seed, num_samples=8) for seed in range(8)]
    assert len(set(itertools.chain(*draws))) == 8 * 8


def test_a_reservoir_that_turns_out_too_small_is_filled_again(monkeypatch, tmp_path):
    monkeypatch.setattr("calprune.calibration.build.HELD", 2_000)
    assert len(drawn(write(tmp_path / "a.jsonl", 400), num_samples=100)) == 100


def test_with_replacement_a_document_may_come_again(tmp_path):
    path = write(tmp_path / "a.jsonl", 3)
    found = made(path, num_samples=40, with_replacement=True)
    assert len(found.tokens) == 40 and found.drawn[0].used == 3


def test_a_document_that_comes_again_gives_another_window(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": " ".join(map(str, range(i, i + 900)))}) + "\n" for i in range(2)))
    found = made(str(path), num_samples=40, layout="crop", with_replacement=True)
    assert len({tuple(row.tolist()) for row in found.tokens}) > 35  # of 40 random starts among thousands


@pytest.mark.parametrize(("first", "second"), [("pydoc_topics", "pydoc_topics:plain"), ("{0}", "{1}")])
def test_one_source_written_in_two_ways_is_refused(tmp_path, monkeypatch, first, second):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", 40)
    spec = " + ".join((first, second)).format("a.jsonl", "./a.jsonl")
    with pytest.raises(ConfigError, match="the same source in one format"):
        made(spec)
    with pytest.raises(ConfigError, match="the same source in one format"):
        identify(parse_spec(spec), tokenizer_hash(TOKENIZER))


def test_padding_that_counts_is_part_of_what_the_set_is(tmp_path):
    path, other = write(tmp_path / "a.jsonl", 10, 9), toy_tokenizer()
    other.pad_token = other.eos_token if other.pad_token != other.eos_token else other.bos_token
    assert tokenizer_hash(other) == tokenizer_hash(TOKENIZER) and other.pad_token_id != TOKENIZER.pad_token_id
    for counted in (True, False):
        recipe = parse_spec(path, num_samples=4, max_seq_length=31, layout="pad", count_padding=counted)
        one, two = (build(recipe, tokenizer) for tokenizer in (TOKENIZER, other))
        assert (one.id == two.id) != counted
        assert one.id == identify(recipe, tokenizer_hash(TOKENIZER), Given(tokenizer=TOKENIZER))


def test_the_first_tokens_that_do_not_count_are_those_after_the_padding(tmp_path):
    found = made(write(tmp_path / "a.jsonl", 10, 9), count_padding=True, skip_first=3, max_seq_length=20)
    for weights in found.weights:  # ten of padding, begin-of-text and nine letters
        assert weights.nonzero().flatten().tolist() == [*range(10), *range(13, 20)]


def test_an_edited_file_is_another_set_and_a_copy_elsewhere_is_the_same(tmp_path):
    path = Path(write(tmp_path / "a.jsonl", 40))
    first = made(str(path), layout="crop", max_seq_length=20)
    (tmp_path / "sub").mkdir()
    copy = tmp_path / "sub" / "b.jsonl"
    copy.write_bytes(path.read_bytes())
    other = made(str(copy), layout="crop", max_seq_length=20)
    assert other.id == first.id and torch.equal(other.tokens, first.tokens)
    path.write_text(path.read_text().replace("a0039", "a0040"))
    assert made(str(path), layout="crop", max_seq_length=20).id != first.id


def own_source(folder: Path, name: str = "mine", field: str = "text") -> str:
    folder.mkdir()
    write(folder / "own.jsonl", 40)
    (folder / f"{name}.yaml").write_text(f"kind: text\nlocal: own.jsonl\ntext: '{{{{ {field} }}}} .'\n")
    return str(folder / f"{name}.yaml")


def test_a_users_yaml_is_named_by_what_it_says_wherever_it_lies(monkeypatch, tmp_path):
    here, there = (made(own_source(tmp_path / folder)) for folder in ("here", "there"))
    assert here.id == there.id and torch.equal(here.tokens, there.tokens)
    monkeypatch.chdir(tmp_path / "here")
    assert made("mine.yaml").id == here.id
    assert made(own_source(tmp_path / "third", "other")).id != here.id


@pytest.fixture
def pydoc_folder(monkeypatch, tmp_path) -> Path:
    """A built set in a folder that is called like a source."""
    monkeypatch.chdir(tmp_path)
    made(write(tmp_path / "own.jsonl", 40)).save("pydoc_topics")
    return tmp_path / "pydoc_topics"


def test_a_folder_called_like_a_source_is_not_taken_for_it(pydoc_folder):
    with pytest.raises(UserError, match=r"write ./pydoc_topics for the set .* pydoc_topics:plain for the source"):
        make_set("pydoc_topics", TOKENIZER)
    assert make_set("./pydoc_topics", TOKENIZER).id == CalibrationSet.load(pydoc_folder).id
    for spec in ("pydoc_topics:plain", "pydoc_topics + own.jsonl"):
        assert make_set(spec, TOKENIZER, num_samples=4, max_seq_length=31).drawn[0].source == "pydoc_topics"


def test_building_from_a_source_minds_no_folder_and_no_file_of_its_name(pydoc_folder, monkeypatch, capsys):
    model = tokenizer_folder(pydoc_folder.parent)
    words = ["calprune", "calib", "build", "pydoc_topics", "--model", model, "--num-samples", "2", "--out", "set"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, capsys.readouterr().err
    assert CalibrationSet.load("set").drawn[0].source == "pydoc_topics"
    Path("c4").write_text("not the source")
    assert not is_file("c4") and is_file("./c4")


def test_another_tokenizer_makes_another_set(tmp_path):
    path = write(tmp_path / "a.jsonl", 10)
    recipe = parse_spec(path, num_samples=2, max_seq_length=8)
    assert build(recipe, TOKENIZER).id != build(recipe, toy_tokenizer(adds_begin=False)).id


# shares, lengths, weights ---------------------------------------------------------------------------------------------


def test_shares_are_of_tokens_though_sequences_differ_in_length(tmp_path):
    long, short = write(tmp_path / "a.jsonl", 300, 119), write(tmp_path / "b.jsonl", 300, 29, "b")
    built = made(f"{long}*3 + {short}", num_samples=70, max_seq_length=120)
    tokens = {part.source: part.tokens for part in built.drawn}
    assert sum(part.sequences for part in built.drawn) == 70  # 30 of 120 tokens, 40 of 30
    assert tokens == {long: 30 * 120, short: 40 * 30}
    assert [part.share for part in built.drawn] == [0.75, 0.25]


def test_sequences_of_full_length_are_shared_by_largest_remainder(tmp_path):
    paths = [write(tmp_path / f"{name}.jsonl", 100, letter=name) for name in "abc"]
    built = made(" + ".join(paths), num_samples=128, layout="concatenate", max_seq_length=16)
    assert [part.sequences for part in built.drawn] == [43, 43, 42]


def test_a_share_of_less_than_a_sequence_is_refused_not_lost(tmp_path):
    a, b = write(tmp_path / "a.jsonl", 50), write(tmp_path / "b.jsonl", 50, letter="b")
    with pytest.raises(UserError, match="less than one of 4 sequences"):
        made(f"{a}*100 + {b}")


def test_a_mixture_of_lengths_has_each_length_as_often_as_asked(tmp_path):
    path = write(tmp_path / "a.jsonl", 200)
    built = made(path, num_samples=10, layout="concatenate", max_seq_length=64, lengths=[[16, 3], [64, 2]])
    assert sorted(built.lengths.tolist()) == [16] * 6 + [64] * 4
    assert built.counts["padding"] == 6 * 48


def test_the_first_tokens_of_a_sequence_weigh_nothing_where_asked(tmp_path):
    built = made(write(tmp_path / "a.jsonl", 10, 9), skip_first=3, max_seq_length=20)
    assert built.weights.shape == (4, 10) and torch.equal(built.weights, torch.tensor([[0.0] * 3 + [1.0] * 7] * 4))


def test_only_responses_count_where_asked(tmp_path):
    path = tmp_path / "chat.jsonl"
    said = [(f"ask {i}", "reply " + "x" * i) for i in range(1, 10)]
    rows = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b in said]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    built = made(f"{path}:chat(responses)", max_seq_length=99)
    for tokens, weights, length in zip(built.tokens, built.weights, built.lengths.tolist(), strict=True):
        counted = TOKENIZER.decode(tokens[:length][weights[:length] == 1])
        assert counted.startswith("reply ") and "ask" not in counted
        assert set(weights.tolist()) == {0.0, 1.0} and not weights[length:].any()
        assert TOKENIZER.bos_token_id not in tokens[:length]  # the template writes what there is to write


def test_padding_is_counted_on_the_left_as_the_papers_do_only_where_asked(tmp_path):
    path = write(tmp_path / "a.jsonl", 10, 9)
    plain, padded = made(path, max_seq_length=20), made(path, max_seq_length=20, count_padding=True)
    assert plain.tokens.shape == (4, 10) and plain.lengths.tolist() == [10] * 4
    assert padded.tokens.shape == (4, 20) and padded.lengths.tolist() == [20] * 4
    assert torch.equal(padded.tokens[:, 10:], plain.tokens)
    for row, pieces in zip(padded.tokens, padded.pieces, strict=True):
        assert TOKENIZER.decode(row[pieces[0].first : pieces[0].last]).startswith("a0")


def test_padding_that_counts_can_be_masked_from_attention_and_such_a_set_is_another(tmp_path):
    path = write(tmp_path / "a.jsonl", 10, 9)
    attended = made(path, max_seq_length=20, count_padding=True)
    masked = made(path, max_seq_length=20, count_padding="masked")
    assert torch.equal(masked.tokens, attended.tokens) and torch.equal(masked.lengths, attended.lengths)
    assert masked.masked.tolist() == [10] * 4 and attended.masked is None and masked.id != attended.id
    masked.save(tmp_path / "set")
    assert CalibrationSet.load(tmp_path / "set").masked.tolist() == [10] * 4
    with pytest.raises(UserError, match="count_padding"):
        made(path, max_seq_length=20, count_padding="half")


# what the set says ----------------------------------------------------------------------------------------------------


def test_every_document_is_accounted_for(tmp_path):
    path = tmp_path / "a.jsonl"
    texts = ["x" * (40 if i % 2 else 10) for i in range(30)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    built = made(str(path), layout="crop", num_samples=8, max_seq_length=31)
    part = built.drawn[0]
    assert part.pool == 30 and part.used == 8 and part.read == part.used + sum(part.dropped.values())
    assert built.counts == {"documents read": part.read, "documents used": 8, "sequences": 8, "tokens": 248,
                            "dropped: shorter than the sequence": part.read - 8, "padding": 0}  # fmt: skip


def test_the_pieces_name_the_document_of_each_token(tmp_path):
    path = Path(write(tmp_path / "a.jsonl", 40))
    lines = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    for layout in ("concatenate", "crop", "pad"):
        built = made(str(path), layout=layout, num_samples=6, max_seq_length=20)
        for row, pieces in zip(built.tokens, built.pieces, strict=True):
            for piece in pieces:
                name, _, line = piece.document.rpartition(":")
                found = TOKENIZER.decode(row[piece.first : piece.last])
                assert name == "a.jsonl" and found and found in lines[int(line) - 1]
            assert sum(p.last - p.first for p in pieces) + sum(i in (0, 1) for i in row.tolist()) == 20


def test_a_pool_of_few_draws_is_told(tmp_path):
    few, many = write(tmp_path / "a.jsonl", 39), write(tmp_path / "b.jsonl", 40, letter="b")
    assert "from the 10th seed on draws share documents" in made(few).notes[0]
    assert made(many).notes == ()


def test_a_pool_that_is_not_held_whole_is_told_of_from_the_seed_whose_run_is_too_near(tmp_path, monkeypatch):
    path, said, drawn = write(tmp_path / "a.jsonl", 1900), [], []
    monkeypatch.setattr("calprune.calibration.build.HELD", 70_000)
    for seed in range(9):
        found = made(path, seed=seed, num_samples=200)
        said += found.notes
        drawn.append({piece.document for row in found.pieces for piece in row})
    assert all("from the 9th seed on draws share documents" in note for note in said) and len(said) == 9
    assert all(a.isdisjoint(b) for i, a in enumerate(drawn[:8]) for b in drawn[:i])
    assert not all(drawn[8].isdisjoint(one) for one in drawn[:8])


def test_too_few_documents_are_told_with_how_many_there_were_and_why(tmp_path):
    with pytest.raises(UserError) as caught:
        made(write(tmp_path / "a.jsonl", 9, 12), layout="crop")
    message = str(caught.value)
    assert "9 gave 0 of 4 sequences of 31 tokens (dropped: 9 shorter than the sequence)" in message
    assert "--num-samples" in message and "--layout concatenate" in message and "\n" not in message


@pytest.mark.parametrize("text", ["", "\n\n", "too short"])
def test_an_empty_or_too_short_text_is_one_line(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match=r"a\.txt"):
        make_set(str(tmp_path / "a.txt"), TOKENIZER)


def test_a_broken_file_is_told_with_its_line(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n{"text": \n'))
    with pytest.raises(UserError, match=r"a\.jsonl\.gz:2: broken JSON"):
        made(str(path))


# a process of its own -------------------------------------------------------------------------------------------------

BUILD = """
import sys
from calprune.cli import main
print("ready", flush=True)
try:
    main()
finally:
    print("model classes:", "transformers.modeling_utils" in sys.modules)
"""
NO_CLASSES = "model classes: False\n"  # only the tokenizer is needed


def reading(folder: Path, process: int) -> bool:
    with suppress(FileNotFoundError):  # files are closed while they are looked at
        return any("own.jsonl" in os.readlink(file) for file in Path(f"/proc/{process}/fd").iterdir())
    return False


def writing(folder: Path, process: int) -> bool:
    return any(folder.glob(".set*"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="sees in /proc when a process reads")
@pytest.mark.parametrize(("moment", "documents", "sequences"), [(reading, 200_000, 128), (writing, 10_000, 20_000)])
def test_ctrl_c_leaves_a_set_whole_or_absent_and_says_so_in_one_line(tmp_path, moment, documents, sequences):
    write(tmp_path / "own.jsonl", documents, 300)
    words = ["calib", "build", "own.jsonl", "--model", tokenizer_folder(tmp_path), "--num-samples", sequences,
             "--max-seq-length", 64, "--out", "set"]  # fmt: skip
    running = subprocess.Popen([sys.executable, "-c", BUILD, *map(str, words)], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert running.stdout.readline() == "ready\n"
    while running.poll() is None and not moment(tmp_path, running.pid):
        time.sleep(0.001)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    left = sorted(p.name for p in tmp_path.iterdir())
    if running.returncode:
        assert (running.returncode, out) == (130, NO_CLASSES)
        assert err == "calprune: interrupted; nothing half-written was left\n"
        assert left == ["model", "own.jsonl"]
    else:  # it was done before the signal came
        assert left == ["model", "own.jsonl", "set"] and len(CalibrationSet.load(tmp_path / "set").tokens) == sequences


def test_the_controls_never_run_out_and_differ_by_seed():
    one, other = made("random_tokens", layout=None), made("random_tokens", layout=None, seed=1)
    assert one.drawn[0].pool is None and one.notes == ()
    assert not torch.equal(one.tokens, other.tokens)
    assert (one.tokens[:, 1:] >= 3).all()  # no special token but the begin-of-text
    dots = made("ellipses", layout=None, num_samples=2, max_seq_length=1500)
    assert set(TOKENIZER.decode(dots.tokens[0, 1:])) == {"."}


@pytest.mark.skipif(not os.environ.get("CALPRUNE_DATA"), reason="needs data sets on disk: set CALPRUNE_DATA")
def test_real_sources_mix():
    built = build(parse_spec("c4*2 + gsm8k:icl", num_samples=12, max_seq_length=256), TOKENIZER)
    tokens = [part.tokens for part in built.drawn]
    assert 0.55 < tokens[0] / sum(tokens) < 0.75 and all(part.licence for part in built.drawn)
