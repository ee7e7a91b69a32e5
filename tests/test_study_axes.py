"""What a study can say of its sets beside their sources: variants of a recipe, and what blocks are refined on."""

import json
import shutil
import time
from dataclasses import replace

import pytest
import torch

from calprune.base.progress import showing
from calprune.base.values import ConfigError
from calprune.calibration.build import make_set
from calprune.calibration.part import open_source
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.metric import KL
from calprune.evaluation.windows import windows_of
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from calprune.studies.folder import Runs
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.records import EvaluationRecord, PruneRecord
from calprune.studies.results import read
from calprune.studies.time_left import StudyLeft, estimate
from calprune.text.document import Given
from tests.test_api import Heard
from tests.test_study import ids, material, run, study_text  # noqa: F401  a fixture among them

REFINING = "block_reconstruction(start=wanda, learning_rate=0.01, epochs=2, batch_size=2)"
QUIRKS = "[{}, {label: odd, with_replacement: true, layout: crop}]"


def sets(spec: str, **options) -> str:
    return json.dumps([{"spec": spec, "label": options.pop("label", spec)} | options])


def test_a_variant_is_the_calibration_with_its_options_written_out(material):  # noqa: F811
    text = material["text"]
    wanda = {"methods": "[wanda]", "patterns": "50%"}
    varied = study_text(material, calibrations=sets(text, label="mine"), variants=QUIRKS, **wanda)
    plainly = study_text(material, calibrations=sets(text), **wanda)
    by_hand = study_text(material, calibrations=sets(text, with_replacement=True, layout="crop"), **wanda)
    trials = plan(parse_study(varied, "study.yaml"), None).trials
    assert {trial.calibration for trial in trials} == {"mine", "mine, odd"}
    assert {trial.id for trial in trials if trial.calibration == "mine"} == set(ids(plainly))
    assert {trial.id for trial in trials if trial.calibration == "mine, odd"} == set(ids(by_hand))


def test_variants_go_with_formats():
    text = study_text({"model": "demo", "text": "c4"}, calibrations="[gsm8k, c4]", formats="[single, icl]",
                      variants=QUIRKS)  # fmt: skip
    labels = [one.label for one in parse_study(text, "study.yaml").grids[0].sets()]
    assert labels == ["gsm8k:single", "gsm8k:single, odd", "gsm8k:icl", "gsm8k:icl, odd", "c4", "c4, odd"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"variants": "[{count_paddings: true}]"}, "variants.0: unknown option 'count_paddings'; did you mean"),
        ({"variants": "[odd]"}, "variants.0: expected a mapping"),
        ({"variants": "[{}, {}]"}, "two calibrations are called"),
        ({"variants": "[{max_seq_length: 0}]"}, "max_seq_length must be at least 2"),
        ({"calibrations": "[{spec: c4, refine_on: c4}]"}, "wanda refines no block, so it trains on nothing"),
        ({"calibrations": "[{spec: c4, refine_on: gsm9k}]", "methods": f"['{REFINING}']"}, "gsm9k"),
        ({"calibrations": "[{spec: c4, refine_on: {spec: c4, seed: 1}}]"}, "refine_on: unknown option 'seed'"),
        ({"calibrations": "[{spec: c4, num_samples: 8}]"}, "unknown option 'num_samples'"),
    ],
)  # fmt: skip
def test_a_mistake_in_them_is_named_with_its_place(changed, words, material):  # noqa: F811
    with pytest.raises(ConfigError) as e:
        parse_study(study_text(material, **({"methods": "[wanda]"} | changed)), "study.yaml")
    assert words in str(e.value) and str(e.value).startswith("study.yaml: ") and "\n" not in str(e.value)


@pytest.fixture(scope="module")
def refined(material, tmp_path_factory):  # noqa: F811
    text = material["text"]
    both = [text, {"spec": text, "refine_on": {"spec": "random_tokens", "num_samples": 8}, "label": "other"}]
    study = study_text(material, methods=f"['{REFINING}']", calibrations=json.dumps(both), patterns="['2:4']",
                       draws="1", propagate="[dense, pruned]")  # fmt: skip
    return run(study, tmp_path_factory.mktemp("runs") / "refined")


@pytest.mark.parametrize("propagate", ["dense", "pruned"])
def test_the_mask_is_of_the_calibration_and_blocks_are_trained_on_the_other_set(refined, material, propagate):  # noqa: F811
    loaded = load(material["model"])
    data, other = (make_set(spec, loaded.tokenizer, num_samples=n, max_seq_length=16, seed=0)
                   for spec, n in ((material["text"], 4), ("random_tokens", 8)))  # fmt: skip
    method = parse_method(REFINING)
    given = Statistics.collect(loaded.model, data, method.needs) if propagate == "dense" else data
    Pruning(method, parse_pattern("2:4")).run(loaded.model, given, refine_on=other)
    text = open_source(material["text"], Given(tokenizer=loaded.tokenizer), "evaluation")
    judged = DenseReference(loaded.model, windows_of(text.documents(), loaded.tokenizer, 16, 64)).perplexity()
    rows = {row.calibration: row for row in read(refined.path).rows
            if (row.propagate, row.metric) == (propagate, "perplexity")}  # fmt: skip
    assert rows["other"].value == pytest.approx(judged.estimate().value, rel=1e-4)
    assert rows["other"].value != pytest.approx(rows[material["text"]].value, rel=1e-3)
    assert rows["other"].sources == (material["text"], "random_tokens")


def test_the_sums_of_one_calibration_serve_whatever_is_trained_on(refined):
    results = read(refined.path)
    assert not results.failed and not results.missing
    assert results.about["passes that collect sums"] == 1


def test_what_is_trained_on_is_in_a_trials_name_by_its_contents(material):  # noqa: F811
    text, only = material["text"], {"methods": f"['{REFINING}']", "patterns": "50%", "draws": "1"}
    names = {on: ids(study_text(material, calibrations=sets(text, **({"refine_on": on} if on else {})), **only))
             for on in ("", text, "random_tokens")}  # fmt: skip
    assert len({name for one in names.values() for name in one}) == 3


def test_a_method_that_quantises_is_a_trial_like_another_and_rounding_reads_no_data(material, tmp_path):  # noqa: F811
    study = study_text(material, methods="[gptq(bits=2), round_to_nearest(bits=2)]", patterns="0%")
    results = read(run(study, tmp_path / "runs").path)
    assert not results.failed and not results.missing
    values = {row.calibration: row.value for row in results.rows if row.metric == "kl"}
    assert set(values) == {material["text"], "random_tokens", "none"} and min(values.values()) > 0


def test_training_blocks_counts_in_the_estimate_and_a_text_is_read_once(material, monkeypatch):  # noqa: F811
    monkeypatch.setattr("calprune.studies.time_left._speed", lambda *_: 3.2)
    monkeypatch.setattr("calprune.pruning.job.SOLVED", 0.0)

    def seconds(**changed) -> float:
        made = plan(parse_study(study_text(material, draws="1", patterns="50%", **changed), "study.yaml"), None)
        return estimate(replace(made, sizes=dict.fromkeys(made.sizes, 1)), made.trials)

    one = sets(material["text"])
    assert seconds(methods="[wanda]", calibrations=one) == 64 + 4 * 16
    pair = REFINING.replace(")", ", cross_block=True)")
    assert seconds(methods=f"['{REFINING}']", calibrations=one) == 64 + 4 * 16 + 4 * 16 * (1 + 4 * 2)
    assert seconds(methods=f"['{pair}']", calibrations=one) == 64 + 4 * 16 + 4 * 16 * (1 + 4 * 2 * 2)


def test_a_study_is_estimated_by_the_speed_of_the_dtype_that_it_computes_in(material, monkeypatch):  # noqa: F811
    speeds = {torch.float32: 1.0, torch.bfloat16: 8.0}
    monkeypatch.setattr("calprune.studies.time_left._speed", lambda dtype, _: speeds[dtype])
    only = {"methods": "[wanda]", "patterns": "50%", "draws": "1"}
    stored, half = (plan(parse_study(study_text(material, **only, **given), "study.yaml"), None)
                    for given in ({}, {"dtype": "bfloat16"}))  # fmt: skip
    assert estimate(stored, stored.trials) == pytest.approx(8 * estimate(half, half.trials))
    again = f"[{{}}, {{dtype: bfloat16, calibrations: [{{spec: {material['text']}, label: again}}]}}]"
    both = plan(parse_study(study_text(material, **only, grids=again), "study.yaml"), None)
    assert both.dtype == torch.float32, "the slowest where they differ"


def test_what_is_left_is_by_the_speed_of_the_device_that_is_named(material, tmp_path, monkeypatch):  # noqa: F811
    asked = []
    monkeypatch.setattr(
        "calprune.studies.time_left.find_device", lambda name: asked.append(name) or torch.device("cpu")
    )
    made, runs = plan(parse_study(study_text(material, draws="1"), "study.yaml"), None), Runs(tmp_path / "runs")
    made.write(runs, study_text(material, draws="1"))
    StudyLeft(runs, made, "cuda:1")
    estimate(made, made.trials, "cpu")
    assert asked == ["cuda:1", "cpu"]


def test_two_names_of_one_text_are_one_trial_and_said_to_be(material, tmp_path):  # noqa: F811
    copy = shutil.copy(material["text"], tmp_path / "copy.jsonl")
    heard = Heard()
    text = study_text(
        material, methods="[wanda]", patterns="50%", draws="1", calibrations=f"[{material['text']}, {copy}]"
    )
    with showing(heard):
        made = plan(parse_study(text, "study.yaml"), None)
    assert len(made.trials) == 1 and len(heard.lines) == 1 and "the same as" in heard.lines[0]


def test_the_time_left_of_a_study_is_right_once_each_of_its_parts_was_seen(material, tmp_path, monkeypatch):  # noqa: F811
    """Trials that take known seconds, on a clock of the test's: a set 3, its sums 40, judging 10, methods 2 and 90."""
    now, methods = [0.0], {"magnitude": 1.0, "wanda": 2.0, "sparsegpt": 90.0}
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("calprune.studies.time_left._speed", lambda *_: 1e4)
    text = study_text(material, methods="[wanda, sparsegpt]", patterns="50%", draws="3")
    made, runs = plan(parse_study(text, "study.yaml"), None), Runs(tmp_path / "runs")
    made.write(runs, text)
    seconds, seen = [], set()
    for trial in made.trials:
        shared = {} if trial.set_id is None or trial.set_id in seen else {"build": 3.0, "collect": 40.0}
        seen.add(trial.set_id)
        seconds.append(shared | {"prune": methods[trial.setting["method"]], "judge": 10.0})
    total = sum(sum(parts.values()) for parts in seconds)
    left, announced = StudyLeft(runs, made), []
    for trial, parts in zip(made.trials, seconds, strict=True):
        now[0] += sum(parts.values())
        for name, asked in made.evaluations.items():
            found = EvaluationRecord(asked, "general", KL, 1.0, (1.0,), seconds=10.0 / len(made.evaluations))
            found.write(runs.result(trial.id, name))
            found.write(runs.dense(trial.model_id, trial.dtype, name))
        given = {part: value for part, value in parts.items() if part != "judge"}
        PruneRecord(1.0, given).write(runs.trial(trial.id) / "prune.json", {"format": 1})
        assert left.look() >= 0
        announced.append(now[0] + left.seconds())
        if {one.setting["method"] for one in made.trials[: len(announced)]} == {"wanda", "sparsegpt"}:
            assert StudyLeft(runs, made).seconds() == pytest.approx(total - now[0])  # not smoothed
    known = next(i for i in range(len(made.trials)) if {t.setting["method"] for t in made.trials[: i + 1]} == {
        t.setting["method"] for t in made.trials})  # fmt: skip
    assert announced[known + 4 :] == pytest.approx([total] * (len(made.trials) - known - 4), rel=0.1)
    assert max(announced) < 3 * total and announced[-1] == pytest.approx(total)
