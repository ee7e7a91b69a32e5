"""Selection: each option against its definition, and what a selection changes of a set and of its name."""

import itertools
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calprune.base.values import ConfigError, UserError, rng
from calprune.calibration.build import build
from calprune.calibration.recipe import parse_spec, read_recipe, write_recipe
from calprune.calibration.selections import SELECTIONS
from calprune.calibration.selections.activations import _projection, mean_states, mixed_moments, second_moments
from calprune.calibration.selections.clusters import herd, k_center, k_means
from calprune.calibration.selections.contract import Choosing
from calprune.calibration.selections.states import Herding
from calprune.calibration.selections.words import UniqueTokens, Zipf
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.models.load import Model
from calprune.text.document import Given
from calprune.text.encode import Encoded, Marks
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
    return Choosing(Given(tokenizer=TOKENIZER), length, 4, 0)


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


def test_k_center_takes_next_what_is_farthest_from_its_nearest():
    line = torch.tensor([[0.0], [1.0], [4.0], [10.0], [11.0]])
    assert k_center(line) == [0, 4, 2, 1, 3]  # 11 is 11 away; 4 then 4 from 0; 1 and 10 are 1 away, 1 comes first


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(0, 99))
def test_k_center_leaves_nothing_farther_than_twice_what_the_best_centres_leave(n, seed):
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    order, apart = k_center(points), torch.cdist(points, points)
    assert sorted(order) == list(range(n)) and order[0] == 0
    for k in range(1, n):
        nearest = apart[order[:k]].amin(0)
        assert nearest[order[k]] == pytest.approx(float(nearest.max()), abs=1e-5)
        best = min(float(apart[list(c)].amin(0).max()) for c in itertools.combinations(range(n), k))
        assert float(nearest.max()) <= 2 * best + 1e-4


def test_herding_by_hand():
    assert herd(torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([2.0])) == [1, 2, 0]  # means 1, 2.5, 1.67


@settings(max_examples=25)
@given(st.integers(2, 9), st.integers(0, 99))
def test_herding_takes_next_what_brings_the_mean_nearest_to_the_target(n, seed):
    stream = torch.Generator().manual_seed(seed)
    points, target = torch.randn(n, 3, generator=stream).double(), torch.randn(3, generator=stream).double()
    order = herd(points.float(), target.float())
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
    alone = [_collected(model, CalibrationSet.from_tokens([ids])) for ids in SEQUENCES]
    wanted, usual = torch.zeros(len(SEQUENCES), 8), torch.zeros(8)
    for name, of_all in _collected(model, CalibrationSet.from_tokens(SEQUENCES)).items():
        projection = _projection(len(of_all), 8, name)
        wanted += torch.stack([own[name] / of_all for own in alone]) @ projection
        usual += projection.sum(0)
    found, target = second_moments(model, SEQUENCES, 8)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(target, usual, rtol=1e-3, atol=1e-4)
    lengths = torch.tensor([float(len(ids)) for ids in SEQUENCES])
    torch.testing.assert_close(lengths / lengths.sum() @ found, target, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_a_mixture_is_the_share_weighted_sum_of_what_pruning_collects_of_each_set(family):
    model = tiny_model(family)
    plain = CalibrationSet.from_tokens(SEQUENCES[:2])
    weights = torch.tensor([[0.0, 0.5, 1.0, 1.0, 0.0], [0.0] * 5, [1.0] * 5])
    responses = CalibrationSet.from_tokens([SEQUENCES[2], SEQUENCES[1], SEQUENCES[3]], weights=weights)
    mixed = mixed_moments(model, [plain, responses], [3.0, 1.0])
    first, second = _collected(model, plain), _collected(model, responses)
    assert mixed.keys() == first.keys() and len(mixed) > 0
    for name in mixed:
        torch.testing.assert_close(mixed[name], 0.75 * first[name] + 0.25 * second[name], rtol=1e-3, atol=1e-5)
    found, _ = second_moments(model, SEQUENCES, 8, mixed)
    alone = [_collected(model, CalibrationSet.from_tokens([ids])) for ids in SEQUENCES]
    for i, own in enumerate(alone):
        wanted = sum(own[name] / mixed[name] @ _projection(len(mixed[name]), 8, name) for name in mixed)
        torch.testing.assert_close(found[i], wanted, rtol=1e-3, atol=1e-3)


def _collected(model, given) -> dict[str, torch.Tensor]:
    """The mean of x² that pruning reads at each input that all tokens reach."""
    found = {}
    for block in walk(model, given):
        seen = set()  # an id is only one thing's while that lives
        routed = {linear.name for linear in block.linears() if linear.part}
        for name, stats in block.collect("moments").items():
            if name not in routed and id(stats) not in seen:
                seen.add(id(stats))
                found[f"{block.name}.{name}"] = stats.sum_xx / stats.tokens
    return found


def _of_kinds(stream, kinds: list[int]) -> list[list[int]]:
    """Sequences of five kinds, each with words of its own."""
    return [[stream.randrange(3 + kind * 15, 18 + kind * 15) for _ in range(8)] for kind in kinds]


def test_the_statistics_of_herded_documents_are_nearer_to_the_pools_than_those_of_random_ones():
    model, stream = tiny_model("llama"), rng(0, "documents")
    points, target = second_moments(model, _of_kinds(stream, [i % 5 for i in range(60)]), 64)

    def far(chosen: list[int]) -> float:
        return float((points[chosen].mean(0) - target).norm())

    at_random = [far(stream.sample(range(60), 8)) for _ in range(50)]
    assert far(herd(points, target)[:8]) < min(at_random)


def test_herding_towards_capabilities_brings_what_pruning_reads_nearer_to_their_mixture():
    model, stream = tiny_model("llama"), rng(0, "capabilities")
    sets = [CalibrationSet.from_tokens(_of_kinds(stream, [kind] * 20)) for kind in (0, 3)]
    mixed, pool = mixed_moments(model, sets, [3.0, 1.0]), _of_kinds(stream, [i % 5 for i in range(60)])

    def far(chosen: list[int]) -> float:  # of x² itself, in every channel, not of its projection
        own = _collected(model, CalibrationSet.from_tokens([pool[i] for i in chosen]))
        return sum(float((own[name] / mixed[name] - 1).square().sum()) for name in own)

    towards = herd(*second_moments(model, pool, 256, mixed))[:8]
    at_random = [far(stream.sample(range(60), 8)) for _ in range(20)]
    assert far(towards) < min(at_random)
    assert far(towards) < far(herd(*second_moments(model, pool, 256))[:8])  # than towards the pool


def test_the_model_looks_at_candidates_as_a_sequence_has_them_after_its_begin_of_text():
    candidates = encoded([["oak", "elm"], ["yew"]])
    looks = Choosing(Given(tokenizer=TOKENIZER), 4, 4, 0, Marks(1, None, 0))
    assert looks.rows([Encoded("of a set", (1, 5, 6), None)]) == [[1, 5, 6]]
    assert looks.rows(candidates) == [[1, *candidate.tokens[:3]] for candidate in candidates]
    assert looks.texts(candidates) == choosing(4).texts(candidates)


def test_spread_puts_the_farthest_apart_of_the_best_by_words_first():
    model = SimpleNamespace(model=_bytes_model())
    candidates = encoded([["oak"], ["elm", "ash"], ["yew", "fir", "oak"], ["fir"], ["ash", "elm", "yew"], ["elm"]])
    asked = Choosing(Given(model, TOKENIZER), 1000, 2, 0)
    by_words = UniqueTokens()(candidates, asked)
    best = by_words[:4]  # twice the two sequences of the set
    points = mean_states(model.model, [list(candidates[i].tokens) for i in best], 64)
    assert UniqueTokens(spread=2)(candidates, asked) == [best[i] for i in k_center(points)] + by_words[4:]


@pytest.mark.parametrize(
    "selection",
    ["unique_tokens(pool=10)", "zipf(pool=10)", "zipf(pool=10, spread=2)", "cluster(pool=10)", "herding(pool=10)"],
)
def test_a_selection_is_in_the_set_its_name_and_its_recipe(trees, selection):
    model = Model(_bytes_model(), TOKENIZER, "a model", "a model")
    asked = parse_spec(trees, num_samples=3, max_seq_length=24, layout="pad", selection=selection)
    assert read_recipe(write_recipe(asked), "written") == asked
    built = build(asked, TOKENIZER, model=model)
    plain = build(parse_spec(trees, num_samples=3, max_seq_length=24, layout="pad"), TOKENIZER)
    assert built.id != plain.id and built.drawn[0].read == 10 and plain.drawn[0].read == 3
    assert build(asked, TOKENIZER, model=model).tokens.equal(built.tokens)
    other = build(asked, TOKENIZER, model=Model(_bytes_model(), TOKENIZER, "another", "another"))
    assert (other.id != built.id) == asked.selection.uses_model


def test_each_source_of_a_mixture_is_chosen_from_for_its_own_sequences(trees, tmp_path, monkeypatch):
    other = tmp_path / "other.jsonl"
    shutil.copy(trees, other)
    with other.open("a") as file:
        file.write("\n" + json.dumps({"text": "another file than that of trees, by this line"}) + "\n")
    asked = []
    real = Zipf.__call__
    monkeypatch.setattr(
        Zipf, "__call__", lambda self, c, choosing: asked.append(choosing.sequences) or real(self, c, choosing)
    )
    spec = parse_spec(f"{trees}*3 + {other}", num_samples=4, max_seq_length=24, layout="concatenate", selection="zipf")
    built = build(spec, TOKENIZER)
    assert asked == [part.sequences for part in built.drawn] == [3, 1]


def test_what_a_selection_looks_at_is_what_a_sequence_holds(trees):
    with pytest.raises(ConfigError, match="layout crop takes a random window of it; take pad or concatenate"):
        parse_spec(trees, selection="zipf", layout="crop")


def _bytes_model():
    model = tiny_model("llama")
    model.resize_token_embeddings(len(TOKENIZER))
    return model


def test_capabilities_are_in_the_name_by_their_contents_wherever_they_lie(trees, tmp_path):
    model = Model(_bytes_model(), TOKENIZER, "a model", "a model")
    for seed, folder in enumerate(["maths", "chat"]):
        asked = parse_spec(trees, num_samples=4, max_seq_length=24, layout="pad", seed=seed)
        build(asked, TOKENIZER).save(tmp_path / folder)
    shutil.copytree(tmp_path / "maths", tmp_path / "elsewhere")

    def built(*folders, **options):
        written = SELECTIONS.write(Herding(pool=10, towards=tuple(str(tmp_path / f) for f in folders), **options))
        asked = parse_spec(trees, num_samples=3, max_seq_length=24, layout="pad", selection=written)
        assert read_recipe(write_recipe(asked), "written") == asked
        return build(asked, TOKENIZER, model=model)

    assert built("maths").id == built("elsewhere").id
    names = [built("maths"), built("chat"), built("maths", "chat"), built("maths", "chat", shares=(3.0, 1.0))]
    assert len({one.id for one in names}) == 4
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        built("nowhere")
    given = CalibrationSet.load(tmp_path / "maths")
    object.__setattr__(given, "tokenizer", "of another model")
    object.__setattr__(given, "id", "another")
    given.save(tmp_path / "foreign")
    with pytest.raises(UserError, match="built with another tokenizer"):
        built("foreign")


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
    ("zipf(spread=1)", "spread must be 2 or more"),
    ("herding(towards=['a', 'b'], shares=[1])", "expected one for each of the 2 sets of towards; got 1"),
    ("herding(towards=['a'], shares=[0])", "shares are numbers above 0; got [0.0]"),
    ("herding(toward=['a'])", "did you mean 'towards'"),
    ({"name": "zip"}, "did you mean 'zipf'"),
    ({"pool": 3}, "write it like"),
])  # fmt: skip
def test_a_selection_that_is_none_is_named(selection, said):
    with pytest.raises(UserError) as e:
        SELECTIONS.read(selection)
    assert said in str(e.value)


def test_a_mapping_says_the_same_as_text():
    assert SELECTIONS.read({"name": "herding", "pool": 9}) == SELECTIONS.read("herding(pool=9)") == Herding(pool=9)
    assert SELECTIONS.write(Herding(pool=9)) == "herding(pool=9)"


def test_what_cannot_be_chosen_says_why(trees):
    with pytest.raises(UserError, match="with_replacement draws at random"):
        parse_spec(trees, selection="zipf", with_replacement=True)
    with pytest.raises(UserError, match="cluster looks at a model's activations"):
        build(parse_spec(trees, selection="cluster"), TOKENIZER)
    with pytest.raises(UserError, match=r"zipf\(spread=2\) looks at a model's activations"):
        build(parse_spec(trees, selection="zipf(spread=2)"), TOKENIZER)
    few = parse_spec(trees, num_samples=8, max_seq_length=24, layout="pad", selection="zipf(pool=5)")
    with pytest.raises(UserError, match=r"choose among more documents than 5 \(--selection with a larger pool\)"):
        build(few, TOKENIZER)
