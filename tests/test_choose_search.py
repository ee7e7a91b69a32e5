"""The search for shares and the candidates judged end to end: what is kept, what is read, what is put back."""

import copy
import importlib
import itertools
import math
from dataclasses import replace

import pytest
import torch

from calprune.base.values import UserError
from calprune.calibration.build import make_set
from calprune.calibration.part import open_source
from calprune.choosing import verdict as candidates
from calprune.choosing import verdict as final
from calprune.choosing.answer import UNIFORM, Gate, Search
from calprune.choosing.job import Job
from calprune.choosing.mixture import exponentiated_gradient, largest, rounded, weighted_mean
from calprune.choosing.search import search
from calprune.choosing.transfer import Sums, collected
from calprune.choosing.trials import Clock
from calprune.choosing.verdict import Candidates, budgets
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.evaluation import OnText, parse_evaluation
from calprune.evaluation.windows import windows_of
from calprune.layers.inputs import StatsError
from calprune.likeness.sets import Rows, agreement, enough, halve
from calprune.methods.wanda import Wanda
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from calprune.studies.bench import Bench, Knobs
from calprune.text.document import Given
from tests.small_choice import small_question

SOURCES = ("a", "b", "c")
WANTED = [  # where each of two capabilities would have the shares
    {"x": (0.8, 0.1, 0.1), "y": (0.6, 0.3, 0.1)},
    {"x": (0.0, 0.0, 1.0), "y": (0.0, 0.4, 0.6)},
    {"x": (0.7, 0.3, 0.0), "y": (0.1, 0.3, 0.6)},
]
GRID = [(i / 50, j / 50, (50 - i - j) / 50) for i in range(51) for j in range(51 - i)]

search_module = importlib.import_module("calprune.choosing.search")


def bowl(wanted):
    """Regret that grows with the squared distance from where a capability would have the shares: convex."""
    return lambda shares: {
        name: math.fsum((shares.get(s, 0.0) - w) ** 2 for s, w in zip(SOURCES, at, strict=True))
        for name, at in wanted.items()
    }


@pytest.mark.parametrize("wanted", WANTED, ids=("near", "corner", "apart"))
@pytest.mark.parametrize("made", [weighted_mean({"x": 0.75, "y": 0.25}), largest({"x": 0.4, "y": 0.6})],
                         ids=("weighted mean", "largest"))  # fmt: skip
def test_exponentiated_gradient_stays_on_the_simplex_and_comes_near_the_optimum(made, wanted):
    regret, looked = bowl(wanted), []

    def seen_regret(shares):
        looked.append(shares)
        return regret(shares)

    found = list(exponentiated_gradient(SOURCES, seen_regret, made, rounds=40))
    assert all(min(shares.values()) >= 0 and math.fsum(shares.values()) == pytest.approx(1, abs=2e-3)
               for shares in looked)  # fmt: skip

    def value(shares):
        return made(regret(shares), regret(shares))

    everywhere = [value(dict(zip(SOURCES, at, strict=True))) for at in GRID]
    assert found[0].shares == dict.fromkeys(SOURCES, 0.333)
    assert found[0].value == pytest.approx(value(dict.fromkeys(SOURCES, 1 / 3)), abs=2e-3)
    assert all(a.value >= b.value for a, b in itertools.pairwise(found))  # the best seen, so never worse than uniform
    assert found[-1].value == pytest.approx(value(found[-1].shares))
    assert found[-1].value - min(everywhere) < 0.05 * (max(everywhere) - min(everywhere))


def test_where_shares_change_nothing_the_search_stops_at_the_uniform_mixture():
    found = list(exponentiated_gradient(SOURCES, lambda shares: {"x": 1.0}, weighted_mean({"x": 1.0})))
    assert [one.shares for one in found] == [dict.fromkeys(SOURCES, 0.333)]


def test_objectives_weigh_capabilities():
    weights, here, there = {"x": 0.75, "y": 0.25}, {"x": 2.0, "y": -4.0}, {"x": 0.2, "y": 0.9}
    assert weighted_mean(weights)(here, there) == pytest.approx(0.5)
    assert largest(weights)(there, there) == pytest.approx(0.3)  # y counts a third of x
    assert largest(weights)({"x": 2.0, "y": 0.6}, there) == pytest.approx(0.2)  # there the worst is y
    assert largest(weights)(here, there) == 0.0  # no regret counts below none


def test_shares_too_small_for_a_sequence_are_dropped_and_the_rest_adds_up_to_1():
    assert rounded({"a": 0.6, "b": 0.3, "c": 0.1}, least=0.125) == {"a": 0.667, "b": 0.333}
    assert rounded({"a": 1.0, "b": 0.0}) == {"a": 1.0}


@pytest.fixture(scope="module")
def loaded(choice_folder):
    return load(str(choice_folder / "model"))


@pytest.fixture(scope="module")
def data(choice_folder, loaded):
    made = {name: make_set(spec, loaded.tokenizer, num_samples=8, max_seq_length=16, seed=3)
            for name, spec in (("code", str(choice_folder / "my code.jsonl")),
                               ("sums", str(choice_folder / "sums.jsonl")))}  # fmt: skip
    return made


@pytest.fixture
def judged(choice_folder, loaded, data, tmp_path):
    given = Given(tokenizer=loaded.tokenizer)
    texts = {name: open_source(str(choice_folder / f"{name}_held.jsonl"), given, "evaluation").documents()
             for name in ("prose", "sums")}  # fmt: skip
    windows = {name: windows_of(found, loaded.tokenizer, 16, 512) for name, found in texts.items()}
    sums = {name: collected(tmp_path / name, loaded, made, "moments") for name, made in data.items()}
    pruning = Pruning(Wanda(), parse_pattern("60%"), propagate="dense")
    held = Sums(sums)
    return Candidates(Bench(loaded), pruning, lambda shares: held.statistics(shares, pruning.needs), windows)


@torch.no_grad()
def kl_of(dense, pruned, windows) -> float:
    """KL(dense || pruned) a position, in float64 from both models' logits; the last position predicts nothing."""
    p, q = (model(windows).logits[:, :-1].double().log_softmax(-1) for model in (dense, pruned))
    return (p.exp() * (p - q)).sum(-1).mean().item()


@pytest.mark.parametrize("source", ["code", "sums"])
def test_a_candidate_judged_by_sums_is_a_copy_of_the_model_pruned_with_its_set(source, judged, loaded, data):
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    pruned = copy.deepcopy(loaded.model)
    Pruning(Wanda(), parse_pattern("60%"), propagate="dense").run(pruned, data[source])
    found = judged.divergence({source: 1.0}, 128)
    wanted = {name: kl_of(loaded.model, pruned, windows[:8]) for name, windows in judged.windows.items()}
    assert found == pytest.approx(wanted, rel=1e-4) and min(wanted.values()) > 0.01
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())


def test_the_weights_are_put_back_where_a_candidate_fails(judged, loaded):
    class Breaks(Wanda):
        def __call__(self, weight, stats, pattern):
            if weight.shape[0] == 64:
                raise RuntimeError("no such luck")
            return super().__call__(weight, stats, pattern)

    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    judged.job = replace(judged.job, method=Breaks())
    with pytest.raises(RuntimeError, match="no such luck"):
        judged.divergence({"code": 0.5, "sums": 0.5}, 128)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())


def test_token_budgets_grow_to_all_there_is(monkeypatch):
    assert budgets(8192) == [2048, 4096, 8192] and budgets(3000) == [2048, 3000] and budgets(512) == [512]


@pytest.fixture(scope="module")
def job(choice_folder, tmp_path_factory) -> Job:
    """Of a question, before its gate."""
    knobs = Knobs("cpu", None, choice_folder / "data")
    folder = tmp_path_factory.mktemp("job")
    return Job(small_question(choice_folder, tokens=256), folder, knobs, Clock(), lambda line: None)


def gate_of(job: Job) -> Gate:
    return Gate({}, job.question.sources, {}, {}, 0)


NAMES = ("a", "b", "c", "d", "e", "f")
MIXTURES = {name: {"c4": 0.1 + i / 10, "sums": 0.9 - i / 10} for i, name in enumerate(NAMES)}


def search_of(job: Job, regrets: dict[str, float]) -> Search:
    """Made-up candidates; each has one regret for every capability."""
    names = list(job.question.weights)
    proxy = {name: dict.fromkeys(names, 1.0 + value) for name, value in regrets.items()}
    return Search({}, dict.fromkeys(names, 1.0), {name: MIXTURES[name] for name in regrets}, proxy, 2, 0, 0.0)


@pytest.fixture
def told(monkeypatch):
    """Made-up divergences in the place of pruning; what was asked for, as it was asked."""
    asked: list[tuple[int, str]] = []

    def use(divergence):
        class Told(Candidates):
            def divergence(self, shares, budget):
                (name,) = [name for name, one in MIXTURES.items() if one == shares]
                asked.append((budget, name))
                return divergence(name, budget)

        monkeypatch.setattr(final, "Candidates", Told)
        monkeypatch.setattr(final, "source_sums", lambda job, gate: Sums({}))
        monkeypatch.setattr(candidates, "BUDGETS", (64, 128))
        return asked

    return use


def test_each_round_keeps_the_better_half_by_the_weighted_mean(job, told):
    prose = dict(zip(NAMES, (0.9, 0.1, 0.8, 0.2, 0.7, 0.6), strict=True))  # alone it would keep b, d, f
    sums = dict(zip(NAMES, (0.1, 0.9, 0.2, 0.9, 0.3, 0.9), strict=True))  # twice as important: a, c, e
    asked = told(lambda name, budget: {"prose": prose[name], "sums": sums[name]})
    found = final.halving(job, gate_of(job), search_of(job, dict(zip(NAMES, (6, 5, 4, 3, 2, 1), strict=True))))
    assert [name for budget, name in asked if budget == 64] == list("fedcba")  # the best of the proxy first
    assert [name for budget, name in asked if budget == 128] == list("ace")
    assert [name for budget, name in asked if budget == 256] == list("ac")
    assert found.tokens == (64, 128, 256) and found.finalists == ("a", "c") and not job.left_out
    assert found.divergence[2] == {name: {"prose": prose[name], "sums": sums[name]} for name in "ac"}


def test_a_candidate_whose_sums_do_not_say_what_goes_is_left_aside_and_the_others_are_judged(job, told):
    def divergence(name, budget):
        if name == "a":
            raise StatsError("no token reached 3 of its 8 experts")
        return dict.fromkeys(("prose", "sums"), NAMES.index(name) / 10)

    told(divergence)
    said: list[str] = []
    job.report = said.append
    found = final.halving(job, gate_of(job), search_of(job, dict.fromkeys(NAMES, 1.0)))
    assert found.finalists == ("b", "c") and not job.left_out and not any("a" in one for one in found.divergence)
    assert said[0] == "going on without a: no token reached 3 of its 8 experts"
    told(lambda name, budget: divergence("a", budget))
    with pytest.raises(UserError, match="none of the candidates: no token reached 3 of its 8 experts"):
        final.halving(job, gate_of(job), search_of(job, dict.fromkeys(NAMES, 1.0)))


def test_the_last_round_has_the_last_word(job, told):
    told(lambda name, budget: dict.fromkeys(("prose", "sums"), NAMES.index(name) * (-1 if budget == 256 else 1) / 10))
    found = final.halving(job, gate_of(job), search_of(job, dict.fromkeys(NAMES, 1.0)))
    assert found.finalists == ("b", "a")


def test_the_proxys_rank_correlation_with_divergence_is_of_all_candidates(job, told):
    told(lambda name, budget: {"prose": float(NAMES.index(name)), "sums": -float(NAMES.index(name))})
    found = final.halving(job, gate_of(job), search_of(job, {name: i / 10 for i, name in enumerate(NAMES)}))
    assert found.correlation["prose"].value == pytest.approx(1)
    assert found.correlation["sums"].value == pytest.approx(-1)


def region(windows: torch.Tensor) -> tuple[int, int, int]:
    """Where a tensor lies: its storage, and the first and the last of its elements there."""
    first = windows.storage_offset()
    last = first + sum((n - 1) * step for n, step in zip(windows.shape, windows.stride(), strict=True))
    return windows.untyped_storage().data_ptr(), first, last


def test_searching_reads_windows_of_the_search_half_alone(job, monkeypatch):
    """By position: what is read lies in the first half of each text's windows, the verdict's in the second."""
    read: list[torch.Tensor] = []
    monkeypatch.setattr("calprune.studies.bench.DenseReference", _noting(DenseReference, read))
    monkeypatch.setattr("calprune.choosing.search.in_turn", lambda windows: read.append(windows) or _in_turn(windows))
    gate = gate_of(job)
    found = search(job, gate)
    assert found.own_tokens == {name: (len(rows) + 1) // 2 * 16 for name, rows in job.searched.items()}
    final.halving(job, gate, found)
    halves = {region(rows)[0]: len(rows) // 2 * rows.shape[1] for rows in job.windows.values()}
    assert {region(windows)[0] for windows in read} == set(halves) and len(read) == 4
    assert all(region(windows)[2] < halves[region(windows)[0]] for windows in read)
    assert all(region(windows)[1] >= halves[region(windows)[0]] for windows in job.fresh.values())
    assert {name: len(rows) for name, rows in job.fresh.items()} == dict.fromkeys(("prose", "sums"), 16)


def _noting(kind, read):
    return lambda model, windows: read.append(windows) or kind(model, windows)


def _in_turn(windows):
    from calprune.choosing.transfer import in_turn

    return in_turn(windows)


def test_the_verdicts_evaluation_reads_just_the_second_half(job):
    for name, evaluation in job.trials.evaluations("kl").items():
        text = open_source(evaluation.of, Given(tokenizer=job.model.tokenizer), "evaluation")
        read = windows_of(text.documents(), job.model.tokenizer, evaluation.length, evaluation.tokens, evaluation.skip)
        assert torch.equal(read, job.fresh[name])
        assert parse_evaluation(str(evaluation)) == evaluation


@pytest.mark.parametrize("skip", [0, 16, 40, 64])
def test_skipping_tokens_leaves_out_the_windows_that_fit_into_them(loaded, skip):
    from calprune.text.document import Document

    documents = [Document(f"{i:04d}", str(i)) for i in range(40)]
    everything = windows_of(documents, loaded.tokenizer, 16)
    assert torch.equal(windows_of(documents, loaded.tokenizer, 16, None, skip), everything[skip // 16 :])
    limited = windows_of(documents, loaded.tokenizer, 16, 32, skip)
    assert torch.equal(limited, everything[skip // 16 :][:2])


def test_an_evaluation_that_skips_nothing_is_named_as_before_there_was_skipping():
    from calprune.base.values import plain

    assert "skip" not in plain(OnText("kl", "c4")) and plain(OnText("kl", "c4", skip=512))["skip"] == 512


def test_without_time_the_search_and_the_halving_are_left_out_and_said(chosen, choice_folder, job):
    hurried = Job(job.question, chosen.folder, job.knobs, Clock(1000.0), job.report)
    hurried.trials.seconds_each = 1e6  # a trial would take eleven days
    found = search(hurried, chosen.gate)
    assert not found.proxy and set(found.mixtures) == {*chosen.gate.used, UNIFORM}
    halved = final.halving(hurried, chosen.gate, found)
    assert hurried.left_out == ["the transfer table and the search for mixtures: no time",
                                "judging candidates end to end before the verdict: no time"]  # fmt: skip
    assert halved.finalists == (UNIFORM,) and not halved.tokens  # the gate's text is the verdict's: it may choose none


def test_without_time_a_uniform_mixture_that_cannot_be_built_is_no_finalist(chosen, job, tmp_path):
    few = Job(replace(job.question, num_samples=2), tmp_path, job.knobs, Clock(1000.0), job.report)  # of three sources
    few.trials.seconds_each = 1e6
    found = search(few, chosen.gate)
    assert UNIFORM not in found.mixtures and set(found.mixtures) == {*chosen.gate.used}
    assert final.halving(few, chosen.gate, found).finalists == (chosen.gate.used[0],)


def test_time_that_ends_while_sums_are_collected_leaves_the_search_out(chosen, job, monkeypatch):
    hurried = replace_clock(job, 1000.0)

    def last_sums(job):
        job.trials.seconds_each = 1e6
        return search_module.source_sums(job, gate_of(job)), None

    monkeypatch.setattr(search_module, "capability_sums", last_sums)
    assert not search(hurried, gate_of(job)).proxy
    assert hurried.left_out == ["the transfer table and the search for mixtures: no time"]


def test_time_that_ends_in_a_round_says_how_many_candidates_were_not_judged(job, told):
    hurried = replace_clock(job, 1000.0)
    asked = told(lambda name, budget: {"prose": NAMES.index(name) / 10, "sums": 0.5})

    def run_out(line):
        hurried.trials.seconds_each = 1e6

    hurried.report = run_out
    found = final.halving(hurried, gate_of(job), search_of(job, {name: i / 10 for i, name in enumerate(NAMES)}))
    assert asked == [(64, "a"), (64, "b")] and found.finalists == ("a", "b")
    assert hurried.left_out == ["4 candidates at 64 tokens: no time",
                                "judging candidates on more than 64 tokens: no time"]  # fmt: skip


def replace_clock(job: Job, seconds: float) -> Job:
    return Job(job.question, job.folder, job.knobs, Clock(seconds), lambda line: None)


def test_without_time_for_two_finalists_the_second_is_left_out(chosen, job, tmp_path):
    hurried = replace_clock(job, 1000.0)
    hurried.folder = chosen.folder
    first, second = "weighted mean", "minimax regret"
    hurried.trials = replace(
        hurried.trials, runs=type(hurried.trials.runs)(tmp_path / "runs"), seconds_each=1000 / 16.5
    )
    hurried.trials.run = lambda made, *_: pytest.fail(str([t.calibration for t in made.trials]))
    with pytest.raises(pytest.fail.Exception) as asked:
        final.judgement(hurried, chosen.gate, chosen.search, replace(chosen.halving, finalists=(first, second)))
    assert hurried.left_out == [f"the verdict on {second}: no time"]
    assert first in str(asked.value) and second not in str(asked.value)


def test_a_verdict_that_nothing_is_missing_for_needs_no_time(chosen, job):
    late = Job(job.question, chosen.folder, job.knobs, Clock(1e-9), job.report)
    found = final.judgement(late, chosen.gate, chosen.search, chosen.halving)
    assert found.contrasts == chosen.judgement.contrasts
    assert late.left_out == ["how much data is enough: no time"]


def test_two_halves_agree_as_far_as_pruning_by_each_keeps_the_same(loaded, data):
    budgets, overlaps = agreement(Pruning(Wanda(), parse_pattern("60%")), loaded.model, data["sums"])
    halving = halve(data["sums"], "the set")
    assert budgets == halving.budgets == (1, 2, 4)
    for i, found in enumerate(overlaps):
        kept = [[m.weight != 0 for m in pruned_by(loaded.model, half[: i + 1])]
                for half in (halving.first, halving.second)]  # fmt: skip
        both = sum(int((a & b).sum()) for a, b in zip(*kept, strict=True))
        either = sum(int((a | b).sum()) for a, b in zip(*kept, strict=True))
        assert found == pytest.approx(both / either, abs=2e-4)
    assert enough((1, 2, 4), [0.5, 0.7, 0.705]) == 2 and enough((1, 2, 4), [0.5, 0.6, 0.7]) is None


def pruned_by(model, parts: tuple[Rows, ...]) -> list[torch.nn.Linear]:
    """The linears of a copy, pruned by these sequences."""
    rows = Rows(torch.cat([one.tokens for one in parts]), torch.cat([one.lengths for one in parts]), None)
    pruned = copy.deepcopy(model)
    Pruning(Wanda(), parse_pattern("60%"), propagate="dense").run(pruned, rows)
    return [m for m in pruned.model.layers.modules() if isinstance(m, torch.nn.Linear)]
