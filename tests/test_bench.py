"""The bench: a model pruned, judged, and its weights put back, whatever happened."""

import pytest
import torch

from calprune.calibration.build import make_set
from calprune.calibration.part import open_source
from calprune.evaluation.evaluation import parse_evaluation
from calprune.evaluation.perplexity import perplexity
from calprune.evaluation.windows import windows_of
from calprune.layers.collect import Counting
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.pruning.checkpoint import describe
from calprune.pruning.job import Pruning
from calprune.studies.bench import Bench, BenchError, Knobs
from calprune.studies.folder import Runs
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from calprune.studies.runner import Session
from calprune.text.document import Given
from tests.test_study import material, run, study_text  # noqa: F401  a fixture among them

HALF = parse_pattern("50%")


@pytest.fixture
def bench(material) -> Bench:  # noqa: F811
    return Bench(load(material["model"], device="cpu"))


@pytest.fixture
def data(bench):
    return make_set("random_tokens", bench.model.tokenizer, num_samples=4, max_seq_length=16)


@pytest.fixture
def evaluations(material):  # noqa: F811
    return [parse_evaluation(f"{metric}({material['text']}, tokens=64, length=16)") for metric in ("perplexity", "kl")]


def weights(bench: Bench) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in bench.model.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


class Breaks(Wanda):
    """Fails at the first matrix of the model's second block."""

    seen = 0

    def __call__(self, weight, stats, pattern):
        Breaks.seen += 1
        if Breaks.seen > 7:
            raise RuntimeError("no such luck")
        return super().__call__(weight, stats, pattern)


def test_pruning_twice_gives_the_same_report_and_the_dense_weights_between(bench, data):
    before, job, reports = weights(bench), Pruning(SparseGPT(), HALF), []
    for _ in range(2):
        with bench.pruned(job, data) as pruned:
            assert not same(weights(bench), before)
            reports.append(pruned.reports)
        assert same(weights(bench), before)
    assert reports[0] == reports[1] and len(reports[0]) == 14
    assert {report.sparsity for report in reports[0]} == {0.5}


def test_an_exception_in_the_block_or_in_the_pruning_restores_the_weights(bench, data, evaluations):
    before = weights(bench)
    with pytest.raises(KeyboardInterrupt), bench.pruned(Pruning(Wanda(), HALF), data):
        raise KeyboardInterrupt
    assert same(weights(bench), before)
    Breaks.seen = 0
    with pytest.raises(RuntimeError, match="no such luck"), bench.pruned(Pruning(Breaks(), HALF), data):
        pytest.fail("it was not pruned")
    assert Breaks.seen == 8 and same(weights(bench), before) and bench.usable
    bench.prepare(evaluations)
    with bench.pruned(Pruning(Wanda(), HALF), data):
        assert all(one.value > 0 for one in bench.judge(evaluations))


def test_a_bench_whose_weights_cannot_be_put_back_is_not_used_again(bench, data, evaluations):
    with pytest.raises(RuntimeError), bench.pruned(Pruning(Wanda(), HALF), data):
        bench._dense[0] = torch.zeros(1, 2, 3)
    assert not bench.usable
    for use in (lambda: bench.prepare(evaluations), lambda: bench.sums(data, "moments")):
        with pytest.raises(BenchError, match="load the model anew"):
            use()
    with pytest.raises(BenchError), bench.pruned(Pruning(Wanda(), HALF), data):
        pytest.fail("it was pruned")


def test_a_study_goes_on_with_a_model_loaded_anew_where_one_could_not_be_restored(material, tmp_path):  # noqa: F811
    text = study_text(material, methods="[wanda]", calibrations="[random_tokens]", draws="1")
    made, runs = plan(parse_study(text, "study.yaml"), None), Runs(tmp_path / "runs")
    made.write(runs, text)
    session = Session(runs, dict(zip(made.evaluations, made.study.evaluations, strict=True)), Knobs("cpu"))
    session.run(made.trials[0], "moments")
    first = session._bench[1]
    first.usable = False
    session.run(made.trials[1], "moments")
    assert session._bench[1] is not first and not read(runs.path).missing


def test_the_dense_model_is_not_asked_for_while_it_is_pruned(bench, data, evaluations):
    with bench.pruned(Pruning(Wanda(), HALF), data):
        for use in (lambda: list(bench.judge(evaluations)), lambda: bench.sums(data, "gram")):
            with pytest.raises(BenchError, match="is pruned now"):
                use()
        with pytest.raises(BenchError), bench.pruned(Pruning(Wanda(), HALF), data):
            pytest.fail("it was pruned twice")
    bench.prepare(evaluations)


def test_what_is_judged_is_what_the_library_measures(bench, data, evaluations, material):  # noqa: F811
    bench.prepare(evaluations)
    dense = [bench.dense(one) for one in evaluations]
    assert dense[1].value == 0.0 and len(dense[1].items) == len(dense[0].items) == 4
    with bench.pruned(Pruning(Wanda(), HALF), data):
        found = list(bench.judge(evaluations))
        windows = windows_of(
            open_source(material["text"], Given(bench.model), "evaluation").documents(), bench.model.tokenizer, 16, 64
        )
        measured = perplexity(bench.model.model, windows)
    assert found[0].value == pytest.approx(measured.estimate().value, rel=1e-6)
    assert found[0].items == pytest.approx(measured.nats.tolist(), rel=1e-6)
    assert found[1].value > 0 and [one.metric for one in found] == ["perplexity", "kl"]
    assert not found[0].by_token and not dense[1].by_token
    assert sum(times for times, _ in found[1].by_token.values()) <= 4 * 15 and len(found[1].by_token) > 1


def test_a_trial_of_a_study_is_pruned_and_judged_as_on_a_bench_by_hand(material, tmp_path, bench, evaluations):  # noqa: F811
    text = study_text(material, methods="[sparsegpt]", patterns="['2:4']", calibrations="[random_tokens]", draws="1")
    rows = {row.metric: row for row in read(run(text, tmp_path / "runs").path).rows}
    data = make_set("random_tokens", bench.model.tokenizer, num_samples=4, max_seq_length=16, seed=0)
    bench.prepare(evaluations)
    job = Pruning(SparseGPT(), parse_pattern("2:4"), propagate="dense")
    with bench.pruned(job, bench.sums(data, "gram")):
        found = list(bench.judge(evaluations))
    assert [rows[one.metric].items for one in found] == [one.items for one in found]
    assert [rows[one.metric].value for one in found] == [one.value for one in found]


def test_sums_of_a_set_are_collected_once_and_again_for_what_they_do_not_tell(bench, data):
    first = bench.sums(data, "moments")
    assert bench.sums(data, "moments") is first and set(bench.seconds) == {"collect"}
    gram = bench.sums(data, "gram")
    assert gram is not first and bench.sums(data, "moments") is gram
    assert bench.sums(data, "moments", Counting(min_expert_tokens=7)) is not gram


def test_a_report_is_the_same_whatever_else_was_collected(bench, data):
    job, found = Pruning(Wanda(), HALF, propagate="dense"), []
    for needs in ("moments", "gram"):
        with bench.pruned(job, bench.sums(data, needs)) as pruned:
            found.append(pruned.as_needed().reports)
    assert found[0] == found[1] and found[0][0].relative_error is None


def test_run_is_prune_with_its_job_and_its_seconds(bench, data):
    job = Pruning(Wanda(), HALF)
    with bench.pruned(job, data) as pruned:
        description = describe(pruned, bench.model)
    assert pruned.reports == Pruning(Wanda(), HALF).run(bench.model.model, data).reports
    assert pruned.job is job and 0 < pruned.seconds == description["seconds"] and pruned.tokens == 4 * 16
