"""Filters: each drops what it says, for the reason it says; near duplicates are held to exact Jaccard."""

import gzip
import json
import math
from collections import Counter
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from calprune.base.values import ConfigError, UserError, identity, rng
from calprune.calibration.build import build
from calprune.calibration.recipe import parse_spec, read_recipe, write_recipe
from calprune.models.load import Model
from calprune.text.document import Document, Documents, Given
from calprune.text.filters import FILTERS, filtered, read_filters
from calprune.text.filters.duplicates import NearDuplicates, shingles
from calprune.text.filters.language import Language
from calprune.text.filters.quality import PerplexityBand, Repetition
from calprune.text.filters.words import MaxWords, MinWords
from calprune.text.words import gram_hashes, word_hashes, words
from tests.tiny import toy_tokenizer

CALM = "the boat left the harbour at noon and nobody on the quay waved to it"
EXAMPLES = [  # each filter, a document that it drops, and one that it keeps
    ("min_words(5)", "four words are here", "five words are just here"),
    ("max_words(4)", "five words are just here", "four words are here"),
    ("language(en)", "Der Hafen war leer, und niemand winkte dem kleinen Boot nach, als es ablegte.", CALM),
    ("repetition(0.5)", "again and again " * 20, CALM),
    ("blocked_words([casino, 'free spins'])", "You get FREE  spins, today!", "you are free. A spinster came"),
    ("blocked_words(casino)", "the Casino.", "the casinos"),
]
WRITTEN = {  # filters that need an option
    "min_words": "min_words(5)",
    "max_words": "max_words(5)",
    "language": "language([en, de])",
    "repetition": "repetition(0.3, ngram=2)",
    "blocked_words": "blocked_words([casino, 'free spins'])",
    "contamination": "contamination(against=[gsm8k, './own file.jsonl'], ngram=10)",
}
TEXT = [rng(0, "filters").choice(["sun", "moon", "sea", "tide", "oar", "net", "fog", "gull"]) for _ in range(400)]


def judged(filters: str | list[str], texts: list[str], **given) -> tuple[list[str], Counter]:
    documents = Documents(Document(text, f"file:{i}") for i, text in enumerate(texts, 1))
    kept = filtered(documents, read_filters(filters, "here"), Given(**given))
    return [document.text for document in kept], kept.skipped


def jaccard(a: str, b: str, n: int) -> float:
    """By sets of tuples, as it is defined."""
    first, second = ({tuple(w[i : i + n]) for i in range(len(w) - n + 1)} for w in (a.split(), b.split()))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize(("written", "bad", "good"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_a_filter_drops_what_it_says_and_nothing_else(written, bad, good):
    kept, dropped = judged(written, [good, bad])
    assert kept == [good]
    assert sum(dropped.values()) == 1


def test_reasons_are_counted_and_the_first_filter_that_objects_gives_it():
    texts = ["one two", "one two", "one two three four five six seven", CALM, CALM + " ", "three little words"]
    kept, dropped = judged(["min_words(3)", "exact_duplicates", "max_words(10)"], texts)
    assert kept == ["one two three four five six seven", "three little words"]
    assert dropped == {"fewer than 3 words": 2, "exact duplicate": 1, "more than 10 words": 1}


def test_a_filter_sees_only_what_those_before_it_left():
    texts = [CALM, "short one", "short one", CALM]
    assert judged(["exact_duplicates", "min_words(5)"], texts)[1] == {"exact duplicate": 2, "fewer than 5 words": 1}
    assert judged(["min_words(5)", "exact_duplicates"], texts)[1] == {"exact duplicate": 1, "fewer than 5 words": 2}


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 4))
def test_repetition_is_the_share_of_ngrams_that_came_before(letters, n):
    grams = [tuple(letters[i : i + n]) for i in range(len(letters) - n + 1)]
    share = 1 - len(set(grams)) / len(grams) if grams else 0.0
    for most in (share, share - 1e-6):
        if most >= 0:
            judge = Repetition(most, n).open(Given())
            assert bool(judge([Document(" ".join(letters), "")])[0]) == (share > most)


@given(st.text())
def test_ascii_words_are_found_as_all_words_are(text):
    ascii_part = "".join(c for c in text if c.isascii())
    beside = words(ascii_part + " é")  # goes the other way
    assert words(ascii_part) == beside[:-1]


def test_a_chinese_character_is_a_word():
    assert words("我们 went 去海边") == ["我", "们", "went", "去", "海", "边"]


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(1, 5))
def test_ngrams_have_equal_hashes_exactly_where_they_are_equal(given_words, n):
    grams = [tuple(given_words[i : i + n]) for i in range(len(given_words) - n + 1)]
    text = " ".join(given_words)
    hashes = gram_hashes(word_hashes([text])[0], n).tolist()
    assert len(hashes) == len(grams)
    assert len(set(zip(grams, hashes, strict=True))) == len(set(grams)) == len(set(hashes))
    (cut,) = shingles([text], n)
    assert len(cut) == max(len(grams), 1)
    assert len(set(cut)) == max(len(set(grams)), 1)


@given(st.lists(st.text(alphabet="ab ,é海\ud800", max_size=30), max_size=6))
def test_texts_are_hashed_together_as_each_alone(texts):
    hashes, bounds = word_hashes(texts)
    assert [hashes[a:b].tolist() for a, b in pairwise(bounds)] == [word_hashes([text])[0].tolist() for text in texts]
    every = [word for text in texts for word in words(text)]
    assert len(set(zip(every, hashes.tolist(), strict=True))) == len(set(every)) == len(set(hashes.tolist()))


def test_a_text_longer_than_a_window_is_hashed_as_its_words_are():
    stream = rng(3, "long")
    given_words = [f"w{stream.randrange(300)}" for _ in range(30_000)] + ["x" * 200_000, "end"]
    hashes, bounds = word_hashes([" ".join(given_words)])
    alone = {word: word_hashes([word])[0].tolist() for word in set(given_words)}
    assert bounds == [0, len(given_words)]
    assert [[value] for value in hashes.tolist()] == [alone[word] for word in given_words]


def test_minhash_estimates_the_jaccard_index_within_its_error():
    """The deduplicator's own estimate, at a threshold four standard errors (sqrt(J(1-J)/128)) above or below the
    exact index, says new or duplicate; a hundred pairs of known similarity."""
    stream = rng(1, "pairs")
    for _ in range(100):
        text = [f"w{stream.randrange(10_000)}" for _ in range(200)]
        other = list(text)
        for _ in range(stream.randrange(1, 12)):
            other[stream.randrange(200)] = "changed"
        a, b = " ".join(text), " ".join(other)
        exact = jaccard(a, b, 5)
        error = math.sqrt(exact * (1 - exact) / 128)
        documents = [Document(a, "1"), Document(b, "2")]
        every_pair = {"permutations": 128, "bands": 128}  # a candidate wherever one of 128 values agrees
        if exact - 4 * error > 0:
            assert NearDuplicates(exact - 4 * error, **every_pair).open(Given())(documents)[1]
        if exact + 4 * error <= 1:
            assert not NearDuplicates(exact + 4 * error, **every_pair).open(Given())(documents)[1]


def test_of_near_duplicates_the_first_stays_wherever_the_batch_ends():
    stream = rng(2, "far")
    unlike = [" ".join(f"w{stream.randrange(10_000)}" for _ in range(60)) for _ in range(150)]
    near = f"{unlike[0]} and one word more"
    assert jaccard(unlike[0], near, 5) > 0.9
    kept, dropped = judged("near_duplicates", [*unlike, near, unlike[3]])
    assert kept == unlike
    assert dropped == {"near duplicate (Jaccard 0.8 or more)": 2}


def test_the_near_duplicates_among_many_are_those_of_the_exact_jaccard_index():
    """Greedy removal by exact Jaccard beside the filter, for all whose nearest kept text is not within the estimate's
    error of the threshold."""
    stream, texts, kept, sure = rng(4, "many"), list[list[str]](), list[set[tuple[str, ...]]](), 0
    judge = NearDuplicates().open(Given())
    for _ in range(300):
        text = [f"w{stream.randrange(2_000)}" for _ in range(300)]
        if texts and stream.random() < 0.5:
            text = list(stream.choice(texts))
            for _ in range(stream.choice([0, 1, 20, 40])):
                text[stream.randrange(len(text))] = f"new{stream.randrange(2_000)}"
        texts.append(text)
        own = {tuple(text[i : i + 5]) for i in range(len(text) - 4)}
        nearest = max((len(own & other) / len(own | other) for other in kept), default=0.0)
        dropped = bool(judge([Document(" ".join(text), "")])[0])
        if not 0.66 < nearest < 0.94:
            assert dropped == (nearest > 0.8)
            sure += dropped
        kept += [] if dropped else [own]
    assert sure > 40 and len(kept) > 200


def test_perplexity_is_the_models_own_loss():
    tokenizer = toy_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.5, **sizes)).eval()
    texts = ["aaaa aaaa", "a bird", "x"]
    losses = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])  # with its begin-of-text
        losses.append(math.exp(model(ids, labels=ids).loss.item()))
    loaded = Model(model, toy_tokenizer(), "tiny", "tiny")
    for text, perplexity in zip(texts, losses, strict=True):
        for low, high, stays in ((perplexity * 0.999, perplexity * 1.001, True), (perplexity * 1.001, 1e9, False)):
            kept, dropped = judged(f"perplexity({low}, {high})", [text], tokenizer=tokenizer, model=loaded)
            assert (kept == [text]) == stays and sum(dropped.values()) == (not stays)


def test_perplexity_without_a_model_is_refused():
    with pytest.raises(UserError, match="needs the model's weights"):
        judged("perplexity(high=50)", ["a"], tokenizer=toy_tokenizer())


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_read_as_it_is_written(name):
    read = FILTERS.make(WRITTEN.get(name, name))
    assert type(read) is FILTERS[name]
    assert FILTERS.make(FILTERS.write(read)) == read


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("min_word(5)", "did you mean 'min_words'"),
        ("min_words(most=5)", "unknown option 'most'"),
        ("min_words", "words is missing"),
        ("min_words(5, 6)", "takes 1 options"),
        ("min_words('5')", "valid integer"),
        ("repetition(3)", "fraction from 0 to 1"),
        ("near_duplicates(bands=7)", "multiple of bands"),
        ("contamination([])", "needs evaluation sets"),
        ("blocked_words(['!'])", "needs words"),
        ("min_words(", "cannot read filter"),
        ("1 + 1", "cannot read filter"),
    ],
)
def test_a_mistake_in_a_filter_is_named(text, told):
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        FILTERS.make(text)


def test_an_unknown_language_is_named():
    with pytest.raises(ConfigError, match="unknown language 'eng'; did you mean"):
        Language(("eng",)).open(Given())


def test_a_language_filter_without_its_identifier_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "py3langid", None)
    with pytest.raises(UserError, match="pip install py3langid"):
        Language(("en",)).open(Given())


def texts_file(folder, texts):
    path = folder / "own.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in texts).encode(), mtime=0))
    return path


def test_a_recipe_keeps_its_filters_in_its_file_and_its_identity(tmp_path):
    path = texts_file(tmp_path, [CALM, "short", " ".join(TEXT), CALM])
    wanted = {"num_samples": 2, "max_seq_length": 32, "filters": ["min_words(3)", "exact_duplicates"]}
    recipe = parse_spec(str(path), **wanted)
    assert recipe.filters == read_filters([{"min_words": {"words": 3}}, "exact_duplicates"], "")
    assert read_recipe(write_recipe(recipe), "again") == recipe
    plainly = parse_spec(str(path), **(wanted | {"filters": None}))
    assert "filters" not in write_recipe(plainly)
    other = parse_spec(str(path), **(wanted | {"filters": "min_words(4)"}))
    assert len({identity(recipe), identity(plainly), identity(other)}) == 3
    made = build(recipe, toy_tokenizer())
    assert made.counts["dropped: fewer than 3 words"] == 1 and made.counts["dropped: exact duplicate"] == 1
    assert made.drawn[0].pool == 2
    assert made.id != build(plainly, toy_tokenizer()).id


# If this fails, a default changed, or what a filter drops: raise its `version` on purpose, and write it here.
VERSIONS = {
    "blocked_words": {"version": 2},
    "contamination": {"version": 2, "ngram": 13, "short": 8},
    "exact_duplicates": {"version": 1},
    "language": {"version": 1},
    "max_words": {"version": 2},
    "min_words": {"version": 2},
    "near_duplicates": {"version": 4, "threshold": 0.8, "ngram": 5, "permutations": 128, "bands": 16},
    "perplexity": {"version": 1, "low": 0.0, "high": math.inf, "tokens": 512},
    "repetition": {"version": 2, "ngram": 4},
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filters_version_and_defaults_are_in_the_name_of_a_recipe(name, monkeypatch):
    cls = FILTERS[name]
    defaults = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
    assert {"version": cls.version, **defaults} == VERSIONS[name]
    before = identity(parse_spec("c4", filters=WRITTEN.get(name, name)))
    monkeypatch.setattr(cls, "version", cls.version + 1)
    assert identity(parse_spec("c4", filters=WRITTEN.get(name, name))) != before


def test_too_few_documents_tells_what_the_filters_dropped(tmp_path):
    path = texts_file(tmp_path, ["short"] * 9 + [CALM])
    recipe = parse_spec(str(path), num_samples=50, max_seq_length=32, filters="min_words(3)")
    with pytest.raises(UserError, match=r"too few documents: 1 gave .*\(dropped: 9 fewer than 3 words"):
        build(recipe, toy_tokenizer())


def test_a_source_without_end_is_not_filtered():
    recipe = parse_spec("ellipses", num_samples=1, max_seq_length=16, filters="min_words(3)")
    made = build(recipe, toy_tokenizer())
    assert any("no filter looks at it" in note for note in made.notes)


def test_a_filter_that_needs_a_model_makes_its_recipe_need_one():
    assert parse_spec("c4", filters=[PerplexityBand(high=100.0)]).uses_model
    assert not parse_spec("c4", filters=[MinWords(3), MaxWords(9)]).uses_model


@dataclass(frozen=True)
class EndsWith:
    """A user's own filter: the contract is all that it has."""

    version: ClassVar[int] = 1
    ending: str

    def open(self, given: Given):
        given.report(f"looked for {self.ending!r}")
        return lambda documents: ["" if d.text.endswith(self.ending) else "another ending" for d in documents]


def test_a_filter_of_the_users_own_drops_counts_reports_and_is_in_the_identity(tmp_path):
    path = str(texts_file(tmp_path, ["this stays.", "this goes", "this stays too."]))
    made = [build(parse_spec(path, num_samples=1, max_seq_length=4, filters=filters), toy_tokenizer())
            for filters in ([], [EndsWith(".")], [EndsWith("s")])]  # fmt: skip
    assert made[1].counts["dropped: another ending"] == 1 and "looked for '.'" in made[1].notes
    assert len({one.id for one in made}) == 3


def test_one_word_is_one_however_its_letters_are_written_and_marks_end_none():
    import unicodedata

    german = "Größere Bäume überragen die Häuser, über denen Vögel kreisen; für müde Wanderer blühen schöne Blüten."
    decomposed = unicodedata.normalize("NFD", german)
    assert decomposed != german and words(decomposed) == words(german) == words(german.replace("tz", "t\u00adz"))
    assert words("Wan\u00adderer ﬁnden") == ["wanderer", "finden"]  # a soft hyphen, a ligature
    assert words("यह हिन्दी में एक वाक्य है") == ["यह", "हिन्दी", "में", "एक", "वाक्य", "है"]
    assert len(words("今天天气很好")) == 6 and len(words("ภาษา")) == 4 and words("naïve café") == ["naïve", "café"]
    hashes, (first, second, end) = word_hashes([german, decomposed])
    assert hashes[first:second].tolist() == hashes[second:end].tolist()
