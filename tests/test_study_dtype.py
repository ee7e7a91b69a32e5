"""A model as it is stored and in another dtype are two dense models: no result of one stands for the other."""

import json

import pytest

from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from tests.test_study import contents, material, run, study_text  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def both(material, tmp_path_factory):  # noqa: F811
    """One trial with the weights as stored, one with them in bfloat16."""
    text = study_text(material, methods="magnitude", grids="[{patterns: 50%}, {patterns: 60%, dtype: bfloat16}]")
    return run(text, tmp_path_factory.mktemp("runs") / "both")


def test_dense_results_stand_apart_by_dtype(both):
    [plain, narrow] = sorted(path.name for path in (both.path / "dense").iterdir())
    assert narrow == f"{plain}-bfloat16"
    rows = {both.record(row.trial).dtype: row for row in read(both.path).rows if row.metric == "perplexity"}
    assert rows[None].dense != rows["bfloat16"].dense
    for dtype, name in ((None, plain), ("bfloat16", narrow)):
        kept = {json.loads(path.read_text())["value"] for path in (both.path / "dense" / name).rglob("*.json")}
        assert rows[dtype].dense in kept


def test_a_folder_in_which_no_dtype_is_named_is_still_read_and_nothing_is_made_again(material, tmp_path):  # noqa: F811
    """As calprune 0.1 wrote it."""
    text = study_text(material, methods="magnitude", patterns="50%", dtype="bfloat16")
    runs = run(text, tmp_path / "runs")
    [narrow] = (runs.path / "dense").iterdir()
    narrow.rename(narrow.with_name(narrow.name.removesuffix("-bfloat16")))
    before = contents(runs.path)
    assert read(runs.path).missing == 0 and len(read(runs.path).rows) == 2
    run(text, runs.path)
    assert contents(runs.path) == before


@pytest.mark.parametrize(("dtype", "same"), [("float32", True), ("bfloat16", False)])  # it is stored in float32
def test_what_a_model_writes_in_another_dtype_is_another_text_and_the_plan_names_it(material, tmp_path, dtype, same):  # noqa: F811
    writing = f"self:prefixes(of='{material['text']}', tokens=4, documents=12, max_new_tokens=24, drop_perplexity=0)"
    how = {"calibrations": f'["{writing}"]', "methods": "wanda", "patterns": "50%", "num_samples": "2", "draws": "1"}
    stored = plan(parse_study(study_text(material, **how), "study.yaml"), None)
    runs = run(study_text(material, **how, dtype=dtype), tmp_path / "runs")
    [trial] = runs.plan().trials
    assert (runs.record(trial).set_id == stored.trials[0].set_id) == same
    assert [path.name for path in (runs.path / "calibration").iterdir()] == [runs.record(trial).set_id]
