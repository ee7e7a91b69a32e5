"""Selection: each option against its definition, and what a selection changes of a set and of its name."""

import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calprune.blocks import walk
from calprune.calibration.activations import _projection, mean_states, second_moments
from calprune.calibration.clusters import herd, k_means
from calprune.calibration.encode import Encoded
from calprune.calibration.recipe import build, parse_spec
from calprune.calibration.selection import Choosing, Herding, UniqueTokens, Zipf, parse_selection, write_selection
from calprune.calibration.set import CalibrationSet
from calprune.calibration.spec import read_recipe, write_recipe
from calprune.config import UserError, rng
from tests.families import tiny_model
from tests.tiny import toy_tokenizer

TOKENIZER = toy_tokenizer(chat=False)
SEQUENCES = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [20, 21, 22, 23], [30, 5, 31, 6, 32]]
texts = st.lists(
    st.lists(st.sampled_from(["oak", "elm", "ash", "fir", "yew"]), min_size=1, max_size=5), min_size=1, max_size=7
)


def encoded(words: list[list[str]]) -> list[Encoded]:
    text = [" ".join(own) for own in words]
    return [Encoded(f"{i}", TOKENIZER(t, add_special_tokens=False)["input_ids"], None) for i, t in enumerate(text)]


def choosing(length: int = 1000) -> Choosing:
    return Choosing(TOKENIZER, None, length, 4, 0)


@pytest.fixture
def trees(tmp_path):
    stream = rng(0, "trees")
    names = ["oak", "elm", "ash", "fir", "yew", "box", "lime", "pine"]
    lines = [json.dumps({"text": " ".join(stream.choices(names, k=12))}) for _ in range(40)]
    (tmp_path / "trees.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "trees.jsonl")


@given(texts)
def test_unique_tokens_takes_next_what_brings_most_new_words(words):
    order = UniqueTokens()(encoded(words), choosing())
    assert sorted(order) == list(range(len(words)))
    for turn, taken in enumerate(order):
        seen = {word for i in order[:turn] for word in words[i]}
        fresh = {i: len(set(words[i]) - seen) for i in order[turn:]}
        assert fresh[taken] == max(fresh.values())


@given(texts)
def test_zipf_takes_the_highest_sum_of_one_over_frequency_first(words):
    everything = [word for own in words for word in own]
    scores = [sum(1 / everything.count(word) for word in set(own)) for own in words]
    found = [scores[i] for i in Zipf()(encoded(words), choosing())]
    assert found == pytest.approx(sorted(scores, reverse=True))


def test_words_that_no_sequence_would_hold_count_for_nothing():
    candidates = encoded([["oak"] * 3 + ["elm", "ash", "fir"], ["yew", "box"]])
    assert UniqueTokens()(candidates, choosing()) == [0, 1]
    assert UniqueTokens()(candidates, choosing(length=len("yew box"))) == [1, 0]


def test_k_means_finds_clusters_that_are_plain_to_see():
    stream = torch.Generator().manual_seed(0)
    points = torch.cat([centre + torch.randn(20, 3, generator=stream) for centre in (0.0, 50.0, -50.0)])
    label, distance = k_means(points, 3, rng(0, "test"))
    assert [len(set(label[i : i + 20])) for i in (0, 20, 40)] == [1, 1, 1] and len(set(label)) == 3
    own = points[:20] - points[:20].mean(0)
    torch.testing.assert_close(torch.tensor(distance[:20]), own.norm(dim=1), rtol=1e-4, atol=1e-4)


def test_k_means_of_equal_points_is_no_error():
    assert len(set(k_means(torch.ones(5, 2), 3, rng(0, "test"))[0])) == 1


@settings(max_examples=25)
@given(st.integers(2, 9), st.integers(0, 99))
def test_herding_takes_next_what_brings_the_mean_nearest(n, seed):
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)).double()
    weights = [1 + i for i in range(n)]
    target = (torch.tensor(weights).double() / sum(weights)) @ points
    order = herd(points.float(), weights)
    for turn in range(n):
        far = [float((points[[*order[:turn], i]].mean(0) - target).norm()) for i in order[turn:]]
        assert far[0] == pytest.approx(min(far), abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_mean_states_are_those_of_each_sequence_alone(family):
    model = tiny_model(family)
    wanted = torch.zeros(len(SEQUENCES), 8)
    for i, ids in enumerate(SEQUENCES):
        for block in walk(model, CalibrationSet.from_tokens([ids])):
            block.run()
            mean = block.batches[0].hidden[0].mean(0)
            wanted[i] += mean / mean.norm() @ _projection(32, 8, block.name)
    torch.testing.assert_close(mean_states(model, SEQUENCES, 8), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_second_moments_are_those_that_pruning_collects_of_each_sequence_over_those_of_all(family):
    model = tiny_model(family)
    alone = [_collected(model, [ids]) for ids in SEQUENCES]
    wanted = torch.zeros(len(SEQUENCES), 8)
    for name, of_all in _collected(model, SEQUENCES).items():
        wanted += torch.stack([own[name] / of_all for own in alone]) @ _projection(len(of_all), 8, name)
    torch.testing.assert_close(second_moments(model, SEQUENCES, 8), wanted, rtol=1e-3, atol=1e-4)


def _collected(model, sequences) -> dict[str, torch.Tensor]:
    found = {}
    for block in walk(model, CalibrationSet.from_tokens(sequences)):
        seen = set()  # an id is only one thing's while that lives
        for name, stats in block.collect("moments").items():
            if id(stats) not in seen:
                seen.add(id(stats))
                found[f"{block.name}.{name}"] = stats.sum_xx / stats.tokens
    return found


def test_the_statistics_of_herded_documents_are_nearer_to_the_pools_than_those_of_random_ones():
    model, stream = tiny_model("llama"), rng(0, "documents")
    sequences = [[stream.randrange(3 + i % 5 * 15, 18 + i % 5 * 15) for _ in range(8)] for i in range(60)]
    points = second_moments(model, sequences, 64)

    def far(chosen: list[int]) -> float:
        return float((points[chosen].mean(0) - points.mean(0)).norm())

    at_random = [far(stream.sample(range(60), 8)) for _ in range(50)]
    assert far(herd(points, [8] * 60)[:8]) < min(at_random)


@pytest.mark.parametrize(
    "selection", ["unique_tokens(pool=10)", "zipf(pool=10)", "cluster(pool=10)", "herding(pool=10)"]
)
def test_a_selection_is_in_the_set_its_name_and_its_recipe(trees, selection):
    model = SimpleNamespace(model=_bytes_model(), id="a model", tokenizer=TOKENIZER)
    asked = parse_spec(trees, num_samples=3, max_seq_length=24, layout="pad", selection=selection)
    assert read_recipe(write_recipe(asked), "written") == asked
    built = build(asked, TOKENIZER, model=model)
    plain = build(parse_spec(trees, num_samples=3, max_seq_length=24, layout="pad"), TOKENIZER)
    assert built.id != plain.id and built.drawn[0].read == 10 and plain.drawn[0].read == 3
    assert build(asked, TOKENIZER, model=model).tokens.equal(built.tokens)
    other = build(asked, TOKENIZER, model=SimpleNamespace(model=_bytes_model(), id="another", tokenizer=TOKENIZER))
    assert (other.id != built.id) == asked.selection.uses_model


def _bytes_model():
    model = tiny_model("llama")
    model.resize_token_embeddings(len(TOKENIZER))
    return model


def test_seeds_choose_among_other_candidates_while_there_are_enough(trees):
    drawn = []
    for seed in range(4):
        asked = parse_spec(trees, num_samples=10, max_seq_length=24, layout="pad", selection="zipf(pool=10)", seed=seed)
        drawn += [piece.document for row in build(asked, TOKENIZER).pieces for piece in row]
    assert len(set(drawn)) == 40


def test_the_note_says_where_every_seed_chooses_among_the_same_documents(trees):
    asked = parse_spec(trees, num_samples=2, max_seq_length=24, layout="pad", selection="zipf")
    assert any("40 of 40 documents" in note for note in build(asked, TOKENIZER).notes)


def test_a_selection_chooses_for_each_source_of_a_mixture_and_not_for_controls(trees):
    asked = parse_spec(f"{trees} + ellipses", num_samples=4, max_seq_length=24, selection="zipf(pool=20)")
    assert build(asked, TOKENIZER).drawn[0].read == 20


@pytest.mark.parametrize("selection, said", [
    ("zipff", "unknown selection 'zipff'; did you mean 'zipf'"),
    ("zipf(pools=3)", "unknown option 'pools'; did you mean 'pool'"),
    ("zipf(pool=1)", "pool must be at least 2"),
    ({"name": "zip"}, "did you mean 'zipf'"),
    ({"pool": 3}, "write it like"),
])  # fmt: skip
def test_a_selection_that_is_none_is_named(selection, said):
    with pytest.raises(UserError) as e:
        parse_selection(selection)
    assert said in str(e.value)


def test_a_mapping_says_the_same_as_text():
    assert parse_selection({"name": "herding", "pool": 9}) == parse_selection("herding(pool=9)") == Herding(pool=9)
    assert write_selection(Herding(pool=9)) == "herding(pool=9)"


def test_what_cannot_be_chosen_says_why(trees):
    with pytest.raises(UserError, match="with_replacement draws at random"):
        parse_spec(trees, selection="zipf", with_replacement=True)
    with pytest.raises(UserError, match="cluster looks at a model's activations"):
        build(parse_spec(trees, selection="cluster"), TOKENIZER)
    few = parse_spec(trees, num_samples=8, max_seq_length=24, layout="pad", selection="zipf(pool=5)")
    with pytest.raises(UserError, match=r"choose among more documents than 5 \(--selection with a larger pool\)"):
        build(few, TOKENIZER)
