# ruff: noqa: E501
"""Names as they are read: a path as its file, options that all evaluations share once; what would be ambiguous stays."""

import pytest

from calprune.pages.names import shared_options, short_names, shorten
from calprune.pages.words import Explained, glossary


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("/home/me/data/my chat.jsonl:chat", "my chat.jsonl:chat"), ("~/texts/a.txt", "a.txt"), ("../a/b.txt*2", "b.txt*2"),
        ("c4*2 + /data/a.jsonl", "c4*2 + a.jsonl"), ("kl(/x/held.jsonl)", "kl(held.jsonl)"), ("a/b.txt", "b.txt"),
        ("kl(runs/start-m/data/a.judge.jsonl, tokens=64)", "kl(a.judge.jsonl, tokens=64)"), ("a/b.csv.gz", "b.csv.gz"),
    ],
)  # fmt: skip
def test_a_local_path_is_read_as_its_files_name(written, read):
    assert short_names([written, "c4"]) == {written: read}


@pytest.mark.parametrize(
    "name",
    [
        "c4",
        "owner/model",
        "50%/matrix",
        "https://a.b/c/d",
        "https://a.b/c/d.txt",
        "owner/model-0.5b",
        "1/2",
        "</script><b>",
    ],
)
def test_what_is_no_local_path_stays(name):
    assert short_names([name]) == {}


def test_two_files_of_one_name_keep_their_folders():
    assert short_names(["/a/x.txt", "/b/x.txt", "/a/y.txt"]) == {"/a/y.txt": "y.txt"}
    assert short_names(["/a/x.txt", "x.txt"]) == {}


def test_options_that_all_evaluations_of_a_kind_share_stand_once():
    texts = [f"{kind}({text}, tokens=64, length=16)" for kind in ("kl", "perplexity") for text in ("a", "b")]
    short, once = shared_options([*texts, "boolq(examples=200)"])
    assert short == {text: text.replace(", tokens=64, length=16", "") for text in texts}
    assert once == "kl and perplexity: tokens=64, length=16"
    assert shared_options(texts)[1] == "tokens=64, length=16"
    assert shared_options(["perplexity(a, length=16)"]) == ({"perplexity(a, length=16)": "perplexity(a)"}, "length=16")


def test_options_that_differ_or_tell_two_apart_stay():
    for texts in (["kl(a, length=16)", "kl(a, length=32)"], ["kl(a, length=16)", "kl(b)"], ["kl(a)", "b('"]):
        assert shared_options(texts) == ({}, "")


def test_the_longest_name_is_replaced_first():
    assert shorten("/a/b.txt and kl(/a/b.txt)", {"/a/b.txt": "b.txt", "kl(/a/b.txt)": "kl"}) == "b.txt and kl"


def test_a_name_is_replaced_where_it_is_whole_and_once():
    names = {"wanda": "activations", "refit(start=wanda)": "refit of wanda", "2:4": "two of four"}
    said = "wanda 2:4, wanda_plus_plus, wanda(a=1) and refit(start=wanda)"
    assert shorten(said, names) == "activations two of four, wanda_plus_plus, wanda(a=1) and refit of wanda"


def test_a_term_is_explained_where_it_first_stands_in_a_section_and_never_within_a_name():
    explained = Explained()
    text = str(explained.mark("<b> draws of a draw: perplexity(c4), random-draw, drawn"))
    assert text.count("<a ") == 1 and text.startswith("&lt;b&gt; <a") and "perplexity(c4)" in text
    assert [word.term for word in explained.words] == ["draw"]
    assert "<a " not in str(explained.mark("draw")) and explained.begin() == "" and "<a " in str(explained.mark("draw"))


def test_the_glossary_is_in_order_and_no_two_terms_explain_one_word():
    words = glossary()
    assert [word.term for word in words] == sorted((word.term for word in words), key=str.lower)
    forms = [form.lower() for word in words for form in word.forms]
    assert len(forms) == len(set(forms)) and all(word.means.endswith((".", "?")) for word in words)
