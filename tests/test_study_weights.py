"""A study whose tokens count by the attention they receive, beside the same with even weights."""

import json

import pytest

from calprune.base.values import ConfigError
from calprune.calibration.part import open_source
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.windows import windows_of
from calprune.layers.attention import AttentionConcentration
from calprune.layers.collect import Counting
from calprune.methods.sparsegpt import SparseGPT
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from calprune.text.document import Given
from tests.test_study import material, run, study_text  # noqa: F401  a fixture among them

BOTH = {"methods": "[magnitude, sparsegpt]", "patterns": "['2:4']", "draws": "1"}


def ids(text: str) -> list[str]:
    return [trial.id for trial in plan(parse_study(text, "study.yaml"), None).trials]


def test_token_weights_name_a_trial_where_they_are_not_even(material):  # noqa: F811
    unsaid, even, both, other = (
        ids(study_text(material, **BOTH, **extra))
        for extra in (
            {},
            {"token_weights": "even"},
            {"token_weights": "[even, attention]"},
            {"token_weights": "[attention(least=0.1), attention(least=0.005), attention]"},
        )
    )
    assert unsaid == even and len(unsaid) == 1 + 2, "magnitude reads no data"
    assert set(both) > set(even) and len(both) == 1 + 2 * 2
    assert len(set(other)) == 1 + 2 * 2, "0.005 is what attention says by itself"
    assert set(both) - set(even) < set(other)


def test_a_trial_is_the_job_with_its_tokens_weighted_and_its_rows_say_so(material, tmp_path):  # noqa: F811
    weights = "[even, attention]"
    text = study_text(material, **BOTH, token_weights=weights, calibrations=f"[{material['text']}]")
    results = read(run(text, tmp_path / "runs").path)
    assert not results.failed and not results.missing and results.about["passes that collect sums"] == 2
    rows = {r.token_weights: r for r in results.rows if r.metric == "perplexity" and r.method == "sparsegpt"}
    assert set(rows) == {"even", "attention"} and rows["even"].cell != rows["attention"].cell
    asked = json.loads((tmp_path / "runs" / "trials" / rows["attention"].trial / "trial.json").read_text())
    assert asked["token_weights"] == "attention" and asked["label"].endswith("attention draw 0")
    loaded = load(material["model"])
    (folder,) = (tmp_path / "runs" / "calibration").iterdir()
    counting = Counting(token_weights=AttentionConcentration())
    data = CalibrationSet.load(folder)
    Pruning(SparseGPT(), parse_pattern("2:4"), propagate="dense", counting=counting).run(loaded.model, data)
    judged = open_source(material["text"], Given(tokenizer=loaded.tokenizer), "evaluation")
    windows = windows_of(judged.documents(), loaded.tokenizer, 16, 64)
    value = DenseReference(loaded.model, windows).perplexity().estimate().value
    assert rows["attention"].value == pytest.approx(value, rel=1e-4)
    assert rows["even"].value != pytest.approx(value, rel=1e-3)


def test_weights_that_there_are_none_of_are_named_with_their_place(material):  # noqa: F811
    with pytest.raises(
        ConfigError, match=r"study.yaml: token_weights.0: unknown token weights 'atention'; did you mean"
    ):
        parse_study(study_text(material, token_weights="[atention]"), "study.yaml")
