"""Studies whose channels are permuted beforehand, and how experts' tokens are counted in them."""

import json

import pytest
import torch

from calprune.base.values import ConfigError
from calprune.calibration.set import CalibrationSet
from calprune.layers.collect import Counting
from calprune.methods.sparsegpt import SparseGPT
from calprune.models.load import load
from calprune.pattern import KeepNofM, Unstructured
from calprune.pruning.job import Pruning
from calprune.report.findings import Findings
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from calprune.studies.trial import read_trial
from tests.families import tiny_model
from tests.test_study import ids, material, run, study_text  # noqa: F401  a fixture among them
from tests.tiny import save, toy_tokenizer

BOTH = {"methods": "[magnitude, sparsegpt]", "patterns": "[50%, '2:4']", "draws": "1",
        "calibrations": "[random_tokens]"}  # fmt: skip
DEFAULTS = {"permute": "none", "min_expert_tokens": "128", "all_experts": "false"}


@pytest.fixture(scope="module")
def experts(material, tmp_path_factory) -> dict[str, str]:  # noqa: F811
    """The material with a tiny Mixtral in place of its model."""
    folder, tokenizer = tmp_path_factory.mktemp("experts") / "model", toy_tokenizer()
    model = tiny_model("mixtral")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))
    save(model, tokenizer, folder)
    return {"model": str(folder), "text": material["text"]}


def test_they_name_a_trial_where_they_are_not_the_default(material):  # noqa: F811
    unsaid = ids(study_text(material, **BOTH))
    assert len(unsaid) == 4 and ids(study_text(material, **BOTH, **DEFAULTS)) == unsaid
    every = [set(unsaid)]
    free = set(ids(study_text(material, **BOTH | {"methods": "[magnitude]"})))
    assert len(free) == 2, "what reads no data counts no tokens"
    for name, other in (("min_expert_tokens", "7"), ("all_experts", "true")):
        found = set(ids(study_text(material, **BOTH, **{name: other})))
        assert len(found) == 4 and all(found & before == free for before in every)
        every.append(found)
    both = set(ids(study_text(material, **BOTH, permute="[none, heuristic, assignment]")))
    assert set(unsaid) < both and len(both) == 4 + 2 * 2, "50% has no order of channels, magnitude at 2:4 has"


def test_one_pass_is_a_value_of_its_axis_and_refused_where_there_is_none(material):  # noqa: F811
    one, both = (set(ids(study_text(material, **BOTH, propagate=how))) for how in ("dense", "[dense, sequential]"))
    assert one < both and len(both) == 4 + 2, "what reads no data has no passes"
    for change, line in (
        (
            {"methods": "[wanda, 'block_reconstruction(start=wanda)']"},
            r"trains whole blocks.*one of `grids`",
        ),
        ({"methods": "[gblm]"}, r"gblm reads gradients.*one of `grids`"),
        ({"methods": "[wanda]", "patterns": "['neurons:25%']"}, r"neurons:25% takes whole units out.*one of `grids`"),
    ):
        with pytest.raises(ConfigError, match=rf"propagate: .*{line}"):
            parse_study(study_text(material, **BOTH | change, propagate="[dense, sequential]"), "study.yaml")


def test_trials_that_were_planned_before_are_read_with_the_defaults(material):  # noqa: F811
    for trial in plan(parse_study(study_text(material, **BOTH), "study.yaml"), None).trials:
        before = {key: value for key, value in trial.to_json().items() if key not in DEFAULTS}
        assert read_trial(before, "trial.json") == read_trial(trial.to_json(), "trial.json") == trial


@pytest.mark.parametrize("propagate", ["dense", "pruned"])
def test_a_permuted_trial_is_the_job_with_its_channels_permuted_and_its_rows_say_so(propagate, material, tmp_path):  # noqa: F811
    text = study_text(material, **BOTH, permute="[none, assignment]", propagate=propagate)
    results = read(run(text, tmp_path / "runs").path)
    assert not results.failed and not results.missing
    assert results.about["passes that collect sums"] == (1 if propagate == "dense" else 0)
    rows = {row.permute: row for row in results.rows
            if (row.metric, row.method, row.pattern) == ("perplexity", "sparsegpt", "2:4")}  # fmt: skip
    assert set(rows) == {"none", "assignment"} and rows["none"].cell != rows["assignment"].cell
    loaded = load(material["model"])
    (folder,) = (tmp_path / "runs" / "calibration").iterdir()
    data = CalibrationSet.load(folder)
    reports = (
        Pruning(SparseGPT(), KeepNofM(2, 4), propagate=propagate, permute="assignment").run(loaded.model, data).reports
    )
    pruned = json.loads((tmp_path / "runs" / "trials" / rows["assignment"].trial / "prune.json").read_text())
    assert [one["channels"] for one in pruned["linears"]] == [report.channels for report in reports]
    errors = [one["relative_error"] for one in pruned["linears"]]
    assert errors == pytest.approx([report.relative_error for report in reports], rel=1e-3)
    assert {row.permute for row in results.rows if row.pattern == "50%"} == {"none"}
    findings = Findings(results)
    assert findings.setting(rows["assignment"]).endswith("2:4 permuted by assignment")
    assert "permuted" not in findings.setting(rows["none"])


def test_how_experts_are_counted_reaches_a_trial(experts, tmp_path):
    text = study_text(experts, methods="[sparsegpt]", patterns="50%", draws="1", calibrations="[random_tokens]",
                      min_expert_tokens="33", token_weights="[even, attention]")  # fmt: skip
    runs = run(text, tmp_path / "runs")
    (done,) = [trial for trial in runs.plan().trials if runs.record(trial).setting["token_weights"] == "even"]
    assert runs.record(done).min_expert_tokens == 33
    loaded = load(experts["model"])
    data = CalibrationSet.load(next((tmp_path / "runs" / "calibration").iterdir()))
    reports = (
        Pruning(SparseGPT(), Unstructured(0.5), propagate="dense", counting=Counting(33))
        .run(loaded.model, data)
        .reports
    )
    routed = [report.routed for report in reports]
    pruned = json.loads((runs.trial(done) / "prune.json").read_text())
    assert [one["routed"] for one in pruned["linears"]] == routed
    assert None in routed and any(routed), "some experts see 33 of 64 tokens and some do not"
    every = run(text.replace("min_expert_tokens: 33", "all_experts: true"), tmp_path / "all")
    linears = json.loads((every.trial(every.plan().trials[0]) / "prune.json").read_text())["linears"]
    assert {(one["tokens"], one["routed"]) for one in linears} == {(64, None)}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"permute": "asignment"}, "permute.0: permute: unknown value 'asignment'; did you mean 'assignment'"),
        ({"permute": "assignment", "patterns": "50%"}, "permute: channels are permuted for a pattern like 2:4"),
        ({"min_expert_tokens": "0"}, "min_expert_tokens must be at least 1, got 0"),
        ({"all_experts": "some"}, "all_experts"),
        ({"grids": "[{}, {all_experts: true}]"}, "give the calibration another label in one"),
        ({"methods": "[magnitude]", "grids": "[{}, {ignore: ['*.o_proj']}]"}, "leave the method out of one"),
    ],
)
def test_a_mistake_in_them_is_named(changed, words, material):  # noqa: F811
    with pytest.raises(ConfigError) as e:
        parse_study(study_text(material, **(BOTH | changed)), "study.yaml")
    assert words in str(e.value) and str(e.value).startswith("study.yaml: ") and "\n" not in str(e.value)


def test_grids_that_differ_in_them_are_told_apart_by_another_label(material):  # noqa: F811
    other = "{methods: [sparsegpt], all_experts: true, calibrations: [{spec: random_tokens, label: all experts}]}"
    study = parse_study(study_text(material, **BOTH, grids=f"[{{}}, {other}]"), "study.yaml")
    assert len(list(study.trials())) == 4 + 2
