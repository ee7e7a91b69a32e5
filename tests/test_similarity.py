"""Texts beside a reference: each measure against mathematics, another implementation or a plain loop."""

import html
import json
import math
import random
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from calprune.base.values import UserError
from calprune.calibration.part import open_source
from calprune.calibration.set import CalibrationSet
from calprune.likeness.overlap import KEPT, LONGEST, Signature, Words, jaccard, unigram_divergence
from calprune.likeness.texts import (
    MEASURES,
    Similarity,
    TextComparison,
    TextFigures,
    compare_texts,
    similarity,
    texts_of,
)
from calprune.models.likelihood import lowest_mean, nats_and_z, token_nats
from calprune.models.load import Model
from calprune.text.document import Document, Given
from calprune.text.encode import encode
from calprune.uncertainty.estimate import Estimate
from tests.families import tiny_model
from tests.test_cli import run, tiny_folder  # noqa: F401  (fixtures)
from tests.tiny import toy_tokenizer

TEXTS = st.lists(st.text("ab ", max_size=12), max_size=4)


def made_up(seed: int, documents: int, vocabulary: int = 300, words: int = 60) -> list[str]:
    stream = random.Random(seed)
    return [" ".join(f"w{stream.randrange(vocabulary)}" for _ in range(words)) for _ in range(documents)]


def grams(texts: list[str], n: int) -> set[tuple[str, ...]]:
    """The plain way: n-grams of words of each text, as sets of tuples."""
    split = [text.lower().split() for text in texts]
    return {tuple(words[i : i + n]) for words in split for i in range(len(words) - n + 1)}


def test_letters_that_change_places_between_words_make_other_ngrams():
    for one, other in (("it no", "in to"), ("of is", "oi fs"), ("ba bbb", "bb abb")):
        assert jaccard(Words.of([one]), Words.of([other]), 2) == 0


def test_jaccard_by_hand():
    # {the cat sat, cat sat down} and {the cat sat, cat sat up}: one of three
    assert jaccard(Words.of(["The cat sat, down."]), Words.of(["the cat sat up"]), 3) == pytest.approx(1 / 3)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 4))
def test_jaccard_is_that_of_sets_of_tuples_and_no_ngram_spans_two_texts(a, b, n):
    one, other = grams(a, n), grams(b, n)
    wanted = len(one & other) / len(one | other) if one | other else 0.0
    assert jaccard(Words.of(a), Words.of(b), n) == pytest.approx(wanted)


def test_the_divergence_of_unigrams_is_scipys_both_ways():
    a, b = ["red red blue green"], ["blue blue blue pink red"]
    vocabulary = ["red", "blue", "green", "pink"]
    p, q = ([text[0].split().count(word) + 0.5 for word in vocabulary] for text in (a, b))
    wanted = (entropy(p, q) + entropy(q, p)) / 2  # scipy makes them sum to 1
    assert unigram_divergence(Words.of(a), Words.of(b)) == pytest.approx(wanted)
    assert unigram_divergence(Words.of(a), Words.of(a)) == 0


def test_draws_are_of_one_size_and_share_no_word():
    words = Words.of(made_up(0, 20))
    draws = words.draws(170, 7)
    assert [len(draw.hashes) for draw in draws] == [170] * 7
    assert np.array_equal(np.concatenate([draw.hashes for draw in draws]), words.hashes[: 7 * 170])
    assert draws[0].bounds == [0, 60, 120, 170] and draws[1].bounds == [0, 10, 70, 130, 170]


def test_of_a_long_document_a_run_of_its_words_counts():
    words, firsts = Words.of(["short one", " ".join(map(str, range(3 * LONGEST)))]), set()
    for seed in range(3):
        cut = words.stretches(random.Random(seed))
        assert cut.bounds == [0, 2, 2 + LONGEST]
        first = words.hashes.tolist().index(cut.hashes[2])
        assert np.array_equal(cut.hashes[2:], words.hashes[first : first + LONGEST])
        firsts.add(first)
    assert len(firsts) == 3, "not a random run"


@pytest.mark.parametrize("shared", [0.1, 0.5, 0.9])
def test_minhash_is_within_its_error_of_the_exact_index_and_of_datasketch(shared):
    from datasketch import MinHash

    common, n = made_up(1, round(200 * shared)), 200 - round(200 * shared)
    texts = [common + made_up(seed, n) for seed in (2, 3)]
    one, other = (grams(text, 3) for text in texts)
    exact = len(one & other) / len(one | other)
    signatures = [Signature(), Signature()]
    for signature, text in zip(signatures, texts, strict=True):
        signature.add(text)
    found = signatures[0].jaccard(signatures[1])
    assert abs(found.value - exact) < 4 * math.sqrt(exact * (1 - exact) / 128)
    assert found.low < exact < found.high
    peers = [MinHash(num_perm=128), MinHash(num_perm=128)]
    for peer, of in zip(peers, (one, other), strict=True):
        peer.update_batch([" ".join(gram).encode() for gram in of])
    assert abs(found.value - peers[0].jaccard(peers[1])) < 4 * math.sqrt(2 * exact * (1 - exact) / 128)


def test_a_signature_does_not_depend_on_batches_and_that_of_a_union_is_the_lesser_of_two():
    """What streaming rests on; a version of rensa in which it is not so must not pass."""
    texts = made_up(0, 50, vocabulary=10_000)
    whole, parts = Signature(), Signature()
    whole.add(texts)
    for text in texts:
        parts.add([text])
    assert np.array_equal(whole.slots, parts.slots) and np.array_equal(whole.least, parts.least)
    halves = [Signature(), Signature()]
    halves[0].add(texts[:20]), halves[1].add(texts[20:])
    assert np.array_equal(np.minimum(halves[0].slots, halves[1].slots), whole.slots)


@pytest.mark.parametrize("documents", [1, 3, 2000])
def test_distinct_ngrams_are_counted_within_the_error(documents):
    texts, signature = made_up(0, documents, vocabulary=1000), Signature()
    for i in range(0, documents, 100):
        signature.add(texts[i : i + 100])
    exact = len(grams(texts, 3))
    assert abs(signature.distinct - exact) <= (0 if exact < KEPT else 4 * exact / math.sqrt(KEPT))


def test_sets_of_different_sizes_are_bounded_and_that_is_said():
    small, large = Document(made_up(0, 1, words=400)[0], "0"), [Document(t, t[:9]) for t in made_up(1, 100, words=400)]
    how = Similarity(draws=2)
    a, b = how.read("small", [small]), how.read("large", [*large, small])
    assert a.signature.bound(b.signature) == pytest.approx(1 / 101, rel=0.15)
    told = compare_texts(how, [a], b).record()
    assert "cannot be above 0.0" in told["notes"][0] and "small" in told["notes"][0]
    assert "draws are of 200 words, because small" in told["notes"][1]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@torch.no_grad()
def test_min_k_plus_plus_equals_a_plain_loop(family):
    model, stream = tiny_model(family), random.Random(0)
    sequences = [[stream.randrange(96) for _ in range(length)] for length in (2, 9, 17, 17)]
    for (nats, z), ids in zip(nats_and_z(model, sequences), sequences, strict=True):
        wanted = []
        for t in range(1, len(ids)):
            p = model(torch.tensor([ids[:t]])).logits[0, -1].double().softmax(-1)
            mean = sum(float(v * v.log()) for v in p)
            variance = sum(float(v * (v.log() - mean) ** 2) for v in p)
            wanted.append((float(p[ids[t]].log()) - mean) / math.sqrt(variance))
        torch.testing.assert_close(z, torch.tensor(wanted), rtol=1e-3, atol=1e-3)
        lowest = sorted(wanted)[: max(1, math.floor(0.4 * len(wanted)))]
        assert lowest_mean(z, 0.4) == pytest.approx(sum(lowest) / len(lowest), abs=1e-3)
        torch.testing.assert_close(nats, token_nats(model, [ids])[0])


def test_min_k_plus_plus_by_hand():
    from calprune.models.likelihood import _nats_and_z

    # p = (1/2, 1/4, 1/4): μ = -1.5 ln 2 and σ = ½ ln 2, so z is 1 for the first and -1 for the others
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]).log()
    nats, z = _nats_and_z(logits, torch.tensor([0, 2])).unbind(-1)
    torch.testing.assert_close(z, torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(nats, torch.tensor([math.log(2), math.log(4)]))


def test_an_impossible_token_makes_no_measure_nan():
    from calprune.models.likelihood import _nats_and_z

    logits = torch.tensor([[0.0, 1.0, -math.inf]])
    assert _nats_and_z(logits, torch.tensor([1])).isfinite().all()


def own(texts: list[str]) -> list[Document]:
    return [Document(text, str(i)) for i, text in enumerate(texts)]


def test_a_text_is_more_like_its_own_source_than_like_another():
    tokenizer = toy_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(_byte_model(len(tokenizer)), tokenizer, "tiny", "")
    reference, like, unlike = made_up(0, 60), made_up(1, 60), [t.replace("w", "v") for t in made_up(2, 60)]
    how = Similarity(ngram=2, words=500, window=32, windows=4)
    found, other = (similarity(own(texts), own(reference), model, how) for texts in (like, unlike))
    assert list(found) == list(MEASURES) and all(found.values())
    assert found["jaccard"].low > other["jaccard"].value == 0
    assert found["unigram_kl"].high < other["unigram_kl"].low
    assert found["perplexity"].n == 4 and found["jaccard"].n == 5
    without = similarity(own(like), own(reference), None, how)
    assert without["perplexity"] is None and without["jaccard"] == found["jaccard"]


def test_no_document_fills_the_windows_alone():
    book, pages = "b" * 5000, [chr(ord("c") + i) * 200 for i in range(8)]
    how, tokenizer = Similarity(draws=1, words=50, window=16, windows=9), toy_tokenizer()
    encoded = list(how._runs("text", encode(tokenizer, own([book, *pages]))))
    assert [len(document.tokens) for document in encoded] == [16] * 9


def test_windows_that_the_model_cannot_reach_are_refused():
    model = Model(tiny_model("gpt2"), toy_tokenizer(), "tiny", "")
    how = Similarity(draws=1, window=65)
    with pytest.raises(UserError, match="longer than the model's table of 64 positions; write --window 64"):
        how.under(how.read("text", own(made_up(0, 9))), model)


def _byte_model(vocabulary: int):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                    num_attention_heads=2, max_position_embeddings=64)
    ).eval()  # fmt: skip


def test_beside_itself_a_text_is_measured_on_different_draws():
    how = Similarity(ngram=1, words=300, draws=4)
    text = how.read("one", own(made_up(0, 60)))
    found = how.of_words(text, text)
    assert found["minhash"] is None and 0 < found["jaccard"].value < 1 and found["unigram_kl"].value > 0


@pytest.mark.parametrize(("draws", "pairs"), [(2, 1), (3, 3), (4, 2), (5, 5), (6, 3)])
def test_beside_itself_a_text_counts_no_pair_of_draws_twice(draws, pairs):
    how = Similarity(ngram=1, words=100, draws=draws)
    text = how.read("one", own(made_up(0, 60)))
    for name in ("jaccard", "unigram_kl"):
        found = how.of_words(text, text)[name]
        assert found.n == pairs
        assert found.low is None if pairs == 1 else found.low < found.value < found.high
    table = compare_texts(how, [how.read("two", own(made_up(1, 60)))], text)
    assert ("No verdict" in table.verdict) == (pairs == 1)


def test_no_interval_of_an_index_or_of_a_divergence_goes_beyond_what_it_can_be():
    how = Similarity(ngram=2, words=60, draws=3)  # of so few words Student's interval goes below 0
    one, other = (how.read(name, own(made_up(seed, 60, 40))) for seed, name in enumerate(("one", "other")))
    for found in (how.of_words(one, one), how.of_words(one, other)):
        assert 0 == found["jaccard"].low < found["jaccard"].value < found["jaccard"].high < 1
        assert 0 < found["unigram_kl"].low < found["unigram_kl"].value
    assert Estimate(0.9, 0.7, 1.1, 3).within(0.0, 1.0) == Estimate(0.9, 0.7, 1.0, 3)


def test_a_set_is_compared_as_the_text_it_was_made_of(tmp_path):
    tokenizer, texts = toy_tokenizer(), ["Alpha beta.", "Gamma — delta"]
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    replace(CalibrationSet.from_tokens(rows), recipe={"parts": []}).save(tmp_path / "set")
    found = open_source(str(tmp_path / "set"), Given(tokenizer=tokenizer), "calibration")
    assert found.split == "set" and [document.text for document in texts_of(found)] == texts


def test_of_a_reference_the_evaluation_split_is_taken(data_root):
    taken = [open_source("c4", Given(data_root=data_root), purpose) for purpose in ("reference", "calibration")]
    assert [one.split for one in taken] == ["evaluation", "calibration"]
    ids = [{document.text for document in one.documents()} for one in taken]
    assert not ids[0] & ids[1]


def test_the_page_shows_every_text_and_escapes_names():
    how = Similarity(draws=2, words=100)
    texts = [how.read(name, own(made_up(seed, 10))) for seed, name in enumerate(("<b>one</b>", "two", "three"))]
    page = compare_texts(how, texts[:2], texts[2]).html()
    assert "<b>" not in page and "<td>&lt;b&gt;one" in page and "Min-20%++" not in page
    assert page.count('"source":"\\u003cb>one') == 3  # a point of each of three charts
    assert page.count('data-spec="chart-') == 3


@pytest.fixture
def files(tmp_path) -> list[Path]:
    made = []
    for i, name in enumerate(("one", "two", "other")):
        made.append(tmp_path / f"{name}.jsonl")
        made[-1].write_text("".join(json.dumps({"text": text}) + "\n" for text in made_up(i, 20)))
    return made


def test_the_command_prints_a_table_and_json_and_writes_the_picture(run, files, tiny_folder):  # noqa: F811
    one, two, other = map(str, files)
    asked = ("calib", "similar", one, two, "--to", other, "--draws", 2, "--window", 32, "--windows", 2)
    status, out, _ = run(*asked, "--html", "picture.html")
    assert status == 0 and "Jaccard" in out and "perplexity" not in out, "without a model there are no columns of it"
    _, _, block = Path("picture.html").read_text().partition('<section id="again"')
    program, *words = shlex.split(html.unescape(block.partition("<pre>")[2].partition("</pre>")[0]))
    assert program == "calprune" and tuple(words) == (*map(str, (*asked[:4], *asked[4:])), "--html", "picture.html")
    status, out, _ = run(*asked, "--model", tiny_folder, "--min-k", 10, "--json")
    told = json.loads(out)
    assert status == 0 and told["format"] == 1 and [text["name"] for text in told["texts"]] == [one, two, other]
    assert told["measures"]["min_k"]["title"] == "Min-10%++" and told["texts"][0]["measures"]["perplexity"]["n"] == 2
    assert told["texts"][2]["is_reference"] and told["texts"][2]["measures"]["minhash"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch", "--to", "one.jsonl"), "unknown source 'nosuch': calprune sources lists all"),
        (("one.jsonl", "--to", "other"), "unknown source 'other'; did you mean the file other.jsonl?"),
        (("one.jsonl", "--to", "two.jsonl", "--draws", 0), "draws must be at least 1"),
        (("one.jsonl", "--to", "two.jsonl", "--min-k", 0), "K of Min-K%++ is above 0"),
        (("one.jsonl", "one.jsonl", "--to", "two.jsonl"), "named twice"),
        (("one.jsonl", "--to", "one.jsonl"), "its own rows"),
        (("./one.jsonl", "--to", "one.jsonl"), "its own rows"),
        (("one.jsonl + two.jsonl", "--to", "one.jsonl"), "mixture"),
        (("short.txt", "--to", "one.jsonl"), "too little text"),
        (("self:bos", "--to", "one.jsonl"), "say which with --model"),
        (("random_tokens", "--to", "one.jsonl"), "--model"),
    ],
)
def test_what_the_user_can_mend_is_one_line(run, files, words, said):  # noqa: F811
    Path("short.txt").write_text("Too few words.")
    status, _, err = run("calib", "similar", *words)
    assert status == 1 and said in err and err.count("\n") == 1


def test_a_set_of_another_tokenizer_is_refused():
    with pytest.raises(UserError, match="another tokenizer"):
        replace(CalibrationSet.from_tokens([[1, 2]]), tokenizer="0" * 16).check_tokenizer(toy_tokenizer())


def estimates(*triples):
    return [Estimate(value, low, high, 5) for value, low, high in triples]


def verdict(*jaccards):
    """Of texts a, b, ... beside the reference `r`, whose own comes last."""
    names = [*"abcdefg"[: len(jaccards) - 1], "r"]
    texts = [TextFigures(name, name == "r", 1, 1, 1, {"jaccard": j}) for name, j in zip(names, jaccards, strict=True)]
    return TextComparison("r", None, Similarity(), tuple(texts), ()).verdict


def test_where_grams_tell_nothing_the_verdict_says_whether_words_are_used_alike():
    grams, own, far, near = estimates((0.013, -0.005, 0.030), (0.66, 0.59, 0.72), (1.59, 1.49, 1.70), (0.7, 0.6, 0.8))

    def of(kl):
        measured = {"a": {"jaccard": grams, "unigram_kl": kl}, "r": {"jaccard": grams, "unigram_kl": own}}
        texts = [TextFigures(name, name == "r", 1, 1, 1, one) for name, one in measured.items()]
        return TextComparison("r", None, Similarity(), tuple(texts), ()).verdict

    assert "KL of unigrams 1.59, between two parts of r 0.66 nats" in of(far)
    assert "as many 3-grams" in of(near) and "KL" not in of(near)


def test_the_verdict_names_the_nearest_and_what_it_cannot_be_told_from():
    near, far, own = estimates((0.020, 0.018, 0.022), (0.005, 0.004, 0.006), (0.040, 0.035, 0.045))
    assert "b is most like r, and is distinguished from the others: it shares 50 % of" in verdict(far, near, own)
    assert verdict(near, far, own) == re.sub(r"\bb\b", "a", verdict(far, near, own))
    like = Estimate(0.019, 0.017, 0.021, 5)
    assert "not distinguished from b: " in verdict(near, like, own)
    assert "as many 3-grams" in verdict(far, own, own) and "a, beside r" in verdict(far, own)
    assert "3-grams do not tell" not in verdict(far, own)
    assert verdict(None, None).startswith("No verdict") and verdict(near, None).startswith("No verdict")
