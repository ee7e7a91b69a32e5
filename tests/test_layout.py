"""Layouts: what becomes of each token of each document, counted by eye with a tokenizer whose tokens are bytes."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calprune.base.values import ConfigError, UserError
from calprune.calibration.layout import LAYOUTS, Concatenate, Crop, Making, Pad, Pairs, Row, allocate
from calprune.text.document import Document
from calprune.text.encode import encode, find_marks
from tests.tiny import toy_tokenizer

TOKENIZER = toy_tokenizer()
WITHOUT_BEGIN = toy_tokenizer(adds_begin=False)
BEGIN, END = "<s>", "<|endoftext|>"


def documents(texts) -> Iterator[Document]:
    return (Document(text, f"file:{i}") for i, text in enumerate(texts, 1))


def lay(layout, texts, lengths, tokenizer=TOKENIZER, begin="auto") -> tuple[list[Row], Making]:
    making = Making("source", "source", tokenizer, find_marks(tokenizer, begin), seed=0)
    given = texts if isinstance(texts, Iterator) else documents(texts)
    return list(layout(encode(tokenizer, given), lengths, making)), making


def text(row: Row, tokenizer=TOKENIZER) -> str:
    return tokenizer.decode(row.tokens)


def test_concatenated_sequences_are_the_documents_with_end_of_text_between_them():
    rows, _ = lay(Concatenate(), ["aaaa", "bb", "ccccccccc"], [6, 6, 6])
    assert [text(row) for row in rows] == [BEGIN + "aaaa" + END, BEGIN + "bb" + END + "cc", BEGIN + "ccccc"]
    assert [(p.document, p.first, p.last) for p in rows[1].pieces] == [("file:2", 1, 3), ("file:3", 4, 6)]


@given(st.lists(st.text("ab", max_size=9), min_size=1, max_size=12), st.integers(2, 7))
def test_concatenating_loses_and_repeats_no_token(texts, length):
    size = sum(len(t) for t in texts)
    rows, _ = lay(Concatenate(separator=""), texts, [length] * (size // length), WITHOUT_BEGIN)
    assert "".join(text(row) for row in rows) == "".join(texts)[: length * (size // length)]


def test_a_begin_of_text_may_stand_before_each_document_and_each_sequence_begin_with_a_new_one():
    """As the released code of Bandari et al. has the controls: texts of 1,000 characters until there are too many."""
    quirks = Concatenate(separator="", bos_per_document=True, drop_rest=True)
    rows, _ = lay(quirks, ["aaaa", "bb", "cccc", "dddd", "ee"], [9, 7])
    assert [text(row) for row in rows] == [f"{BEGIN}aaaa{BEGIN}bb{BEGIN}", f"{BEGIN}dddd{BEGIN}e"]
    rows, _ = lay(Concatenate(separator="", bos_per_document=True), ["aaaa", "bb"], [3, 4])
    assert [text(row) for row in rows] == [f"{BEGIN}aa", f"{BEGIN}aa{BEGIN}"], "what goes on has the sequence's alone"
    rows, _ = lay(quirks, ["aaaa", "bb"], [6], WITHOUT_BEGIN)
    assert [text(row, WITHOUT_BEGIN) for row in rows] == ["aaaabb"], "a tokenizer that adds none has none"


def test_concatenate_stops_when_documents_run_out_and_makes_no_short_sequence():
    rows, _ = lay(Concatenate(), ["aaaa", "bbb"], [6] * 5)
    assert [len(row) for row in rows] == [6]


@pytest.mark.parametrize(("separator", "between"), [(None, END), ("", ""), ("\n", "\n"), ("<|end|>", "<|end|>")])
def test_the_separator_is_an_option(separator, between):
    length = 5 + (0 if not between else 1)
    rows, _ = lay(Concatenate(separator), ["aa", "bb"], [length])
    assert text(rows[0]) == BEGIN + "aa" + between + "bb"


def test_crop_takes_a_window_of_long_documents_and_counts_the_short_ones():
    long = "".join(chr(97 + i % 26) for i in range(40))
    rows, making = lay(Crop(), ["short", long, "12345678", long.upper()], [9, 9])
    assert [len(row) for row in rows] == [9, 9]
    assert text(rows[0]).removeprefix(BEGIN) in long
    assert text(rows[1]) == BEGIN + "12345678"  # exactly as long as the sequence is long enough
    assert making.dropped == {"shorter than the sequence": 1}


def test_crop_starts_everywhere_equally_often():
    starts = []
    for seed in range(800):
        making = Making("s", "s", WITHOUT_BEGIN, find_marks(WITHOUT_BEGIN), seed)
        (row,) = Crop()(encode(WITHOUT_BEGIN, documents(["0123456789"])), [7], making)
        starts.append(text(row)[0])
    counts = [starts.count(start) for start in "0123"]
    assert sum(counts) == 800 and all(abs(count - 200) < 5 * 200**0.5 for count in counts)


def test_pad_keeps_a_document_a_sequence_at_its_own_length():
    rows, making = lay(Pad(), ["abc", "", "abcdefghij", "x"], [6, 6, 6])
    assert [text(row) for row in rows] == [BEGIN + "abc", BEGIN + "abcde", BEGIN + "x"]
    assert making.dropped == {"no tokens": 1}


def test_pad_drops_long_documents_where_only_whole_ones_are_wanted():
    rows, making = lay(Pad(whole=True), ["abcdef", "abcde"], [6, 6])
    assert [text(row) for row in rows] == [BEGIN + "abcde"]
    assert making.dropped == {"longer than the sequence": 1}


def test_pairs_are_whole_with_one_begin_of_text_and_separators_between_them():
    rows, making = lay(Pairs(), ["Q1 A1", "Q2 A2", "x" * 99, "Q3 A3", "Q4 A4", "Q5 A5"], [15, 14])
    assert [text(row) for row in rows] == [BEGIN + "Q1 A1\n\nQ2 A2", BEGIN + "Q3 A3\n\nQ4 A4"]
    assert making.dropped == {"longer than the sequence": 1}


@given(st.lists(st.text("pqr", min_size=1, max_size=30), max_size=40), st.integers(8, 40))
def test_pairs_are_never_cut_repeated_or_out_of_order(texts, length):
    rows, making = lay(Pairs(), texts, [length] * 50)
    found = [pair for row in rows for pair in text(row).removeprefix(BEGIN).split("\n\n")]
    fitting = [t for t in texts if len(t) + 1 <= length]
    assert found == fitting[: len(found)]
    assert all(len(row) <= length for row in rows)
    for row, after in pairwise(rows):  # a sequence is closed only when the next pair does not fit
        assert len(row) + 2 + len(text(after).removeprefix(BEGIN).split("\n\n")[0]) > length
    assert making.dropped["longer than the sequence"] <= len(texts) - len(fitting)


def test_a_number_of_pairs_is_kept_to_and_what_does_not_fit_together_is_dropped():
    rows, making = lay(Pairs(count=2), ["aa", "bb", "c" * 8, "d" * 8, "ee", "ff"], [14, 14])
    assert [text(row) for row in rows] == [BEGIN + "aa\n\nbb", BEGIN + "d" * 8 + "\n\nee"]
    assert making.dropped == {"2 pairs are longer than the sequence": 1}


def test_the_papers_windows_are_cut_out_of_pairs_that_each_have_a_begin_of_text():
    quirks = Pairs(separator="", bos_per_pair=True, random_window=True)
    rows, _ = lay(quirks, [f"pair{i:02}" for i in range(60)], [40, 40])
    everything = "".join(BEGIN + f"pair{i:02}" for i in range(60))
    assert [len(row) for row in rows] == [40, 40]
    assert all(text(row) in everything and text(row).count(BEGIN) >= 5 for row in rows)
    for row in rows:
        for piece in row.pieces:
            told = TOKENIZER.decode(row.tokens[piece.first : piece.last])
            assert told and told in f"pair{int(piece.document[5:]) - 1:02}"


@pytest.mark.parametrize("layout", [Concatenate(), Crop(), Pad(), Pairs()])
@pytest.mark.parametrize(("tokenizer", "begin", "expected"), [
    (TOKENIZER, "auto", 1), (TOKENIZER, "never", 0), (WITHOUT_BEGIN, "auto", 0), (WITHOUT_BEGIN, "always", 1),
])  # fmt: skip
def test_a_begin_of_text_comes_once_a_sequence_where_the_tokenizer_adds_one(layout, tokenizer, begin, expected):
    rows, _ = lay(layout, ["some words here", "and some more words"] * 4, [12, 12], tokenizer, begin)
    if not rows:  # both texts are too long to be whole pairs
        rows, _ = lay(layout, ["ab", "cd"] * 9, [12, 12], tokenizer, begin)
    assert [row.tokens.count(tokenizer.bos_token_id) for row in rows] == [expected] * 2
    assert all((row.tokens[0] == tokenizer.bos_token_id) == bool(expected) for row in rows)


def test_a_begin_of_text_that_a_text_brings_itself_is_not_doubled():
    rows, _ = lay(Pad(), [BEGIN + "abc"], [6])
    assert text(rows[0]) == BEGIN + "abc"


def test_end_of_text_separates_documents_where_the_end_of_sequence_ends_turns():
    assert TOKENIZER.eos_token == "<|end|>"
    assert find_marks(TOKENIZER).end == TOKENIZER.convert_tokens_to_ids(END)


def test_weights_of_characters_become_weights_of_tokens():
    spanned = Document("ab café cd", "f:1", spans=((0, 3, 0.0), (3, 7, 0.5)))
    (found,) = encode(TOKENIZER, iter([spanned]))
    pieces = [TOKENIZER.decode([i]) for i in found.tokens]
    assert pieces[:7] == list("ab caf") + pieces[6:7] and len(pieces) == 11  # é is two bytes
    assert found.weights == [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1, 1]


def test_a_token_with_a_leading_space_weighs_what_its_word_does():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"Answer:": 0, "Ġ42": 1, "?": 2}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.ByteLevel(False, use_regex=False)])  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    (found,) = encode(tokenizer, iter([Document("Answer: 42", "f:1", spans=((0, 8, 0.0),))]))
    assert list(found.tokens) == [0, 1] and found.weights == [0.0, 1.0]


@pytest.mark.parametrize("layout", [Concatenate(), Pad(), Pairs(), Crop()])
def test_marks_weigh_what_their_neighbours_do(layout):
    texts = iter([Document("aaaa", "f:1", ((0, 4, 0.25),)), Document("bbbb", "f:2"), Document("c" * 9, "f:3")])
    rows, _ = lay(layout, texts, [5, 5])
    for row in rows:
        weights = row.weights or [1.0] * len(row)
        assert len(weights) == len(row)
        assert weights[0] == weights[1]
        letters = text(row)[len(BEGIN) :]
        assert all((w == 0.25) == (letter == "a") for w, letter in zip(weights[1:], letters, strict=False))


def test_a_document_that_is_tokens_already_is_left_as_it_is():
    rows, _ = lay(Concatenate(""), iter([Document("", "t:1", tokens=(7, 8, 9)), Document("a", "t:2")]), [5])
    assert rows[0].tokens == [0, 7, 8, 9, *TOKENIZER("a", add_special_tokens=False)["input_ids"]]


@given(st.integers(0, 500), st.lists(st.floats(0.001, 1000), min_size=1, max_size=9))
def test_largest_remainder_loses_nothing_and_is_never_off_by_one_or_more(total, shares):
    counts = allocate(total, shares)
    assert sum(counts) == total
    assert all(abs(n - total * share / sum(shares)) < 1 for n, share in zip(counts, shares, strict=True))


@pytest.mark.parametrize("layout", [Concatenate(), Concatenate(separator="\n"), Crop(), Pad(whole=True)])
def test_a_layout_is_written_as_it_is_read(layout):
    assert LAYOUTS.make(LAYOUTS.write(layout)) == layout


def test_what_cannot_be_laid_out_is_said():
    with pytest.raises(ConfigError, match="did you mean 'concatenate'"):
        LAYOUTS.make("concat")
    with pytest.raises(ConfigError, match="write auto or never"):
        bare = toy_tokenizer(adds_begin=False)
        bare.bos_token = None
        find_marks(bare, "always")
    with pytest.raises(UserError, match="fast tokenizer"):
        next(encode(Slow(), iter([Document("a", "f:1", spans=((0, 1, 0.5),))])))


class Slow:
    is_fast = False
