"""A study with methods that train on sequences: with dense propagation the mask is of saved sums, they of the set."""

import json

import pytest

from calprune.calibration.part import open_source
from calprune.calibration.set import CalibrationSet
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.windows import windows_of
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from calprune.studies.results import read
from calprune.text.document import Given
from tests.test_study import material, run, study_text  # noqa: F401  a fixture among them

REFINING = [
    "block_reconstruction(start=wanda, learning_rate=0.01, epochs=2, batch_size=2)",
    "block_reconstruction(start=wanda, cross_block=True, learning_rate=0.01, epochs=1)",
    "regional(start=wanda_plus_plus, learning_rate=0.001, rounds=1)",
]


@pytest.fixture(scope="module")
def runs(material, tmp_path_factory):  # noqa: F811
    text = study_text(material, methods=json.dumps(["wanda", *REFINING]), calibrations=f"[{material['text']}]",
                      patterns="['2:4']", draws="1", propagate="[dense, pruned]")  # fmt: skip
    return run(text, tmp_path_factory.mktemp("runs") / "refining")


def perplexity(runs, method: str, propagate: str = "dense") -> float:
    rows = [r for r in read(runs.path).rows if (r.method, r.propagate, r.metric) == (method, propagate, "perplexity")]
    assert len(rows) == 1
    return rows[0].value


def test_every_trial_is_done_with_either_propagation(runs):
    results = read(runs.path)
    assert not results.failed and not results.missing
    assert len(results.rows) == 2 * 2 * (1 + len(REFINING))


@pytest.mark.parametrize("method", REFINING)
def test_a_trial_is_the_job_with_sums_for_the_mask_and_the_set_to_train_on(runs, material, method):  # noqa: F811
    loaded = load(material["model"])
    (folder,) = (runs.path / "calibration").iterdir()
    data, by = CalibrationSet.load(folder), parse_method(method)
    Pruning(by, parse_pattern("2:4")).run(
        loaded.model, Statistics.collect(loaded.model, data, by.needs), refine_on=data
    )
    text = open_source(material["text"], Given(tokenizer=loaded.tokenizer), "evaluation")
    judged = DenseReference(loaded.model, windows_of(text.documents(), loaded.tokenizer, 16, 64)).perplexity()
    assert perplexity(runs, method) == pytest.approx(judged.estimate().value, rel=1e-4)
    assert perplexity(runs, method) != pytest.approx(perplexity(runs, "wanda"), rel=1e-3), "training does something"
