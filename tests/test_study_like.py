"""A paper's study for a model of one's own, cut to the time: cells before draws, and every cut is named."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from calprune.base.values import UserError
from calprune.base.yamls import parse_yaml
from calprune.report.kept import write_parquet
from calprune.starting.study_like import PAPERS, Shorter, _cuts, _found, _judged_on, _of_model, study_like
from calprune.studies.folder import study_text
from calprune.studies.reading import parse_study
from tests.command import calprune
from tests.made_up_study import made_up
from tests.test_study import material  # noqa: F401

ROOT = Path(__file__).parents[1]
EVALUATIONS = ["perplexity({text}, tokens=64, length=16)", "kl({text}, tokens=64, length=16)"]
CLAIMS = [
    {"says": "both", "sources_differ": {"where": {"method": ["wanda", "sparsegpt"], "evaluation": "kl(*)"}}},
    {"says": "last", "better": {"first": {"method": "magnitude"}, "than": {"method": "wanda"}}},
]


@pytest.fixture
def written(material, tmp_path):  # noqa: F811
    """A study with two grids and five draws, as a file."""
    study = {
        "title": "Theirs", "models": "their-model", "calibrations": [material["text"], "random_tokens", "ellipses"],
        "methods": ["wanda", "sparsegpt"], "patterns": ["50%", "2:4"], "draws": 5,
        "num_samples": 2, "max_seq_length": 16,
        "evaluations": [one.format(**material) for one in EVALUATIONS],
        "grids": [{}, {"methods": "magnitude", "patterns": "50%"}], "claims": CLAIMS,
    }  # fmt: skip
    path = tmp_path / "theirs.yaml"
    path.write_text(yaml.safe_dump(study))
    return path, study


def test_with_time_enough_it_is_the_same_study_of_another_model(written, material):  # noqa: F811
    path, study = written
    made = study_like(str(path), material["model"], 1e12, None)
    again = yaml.safe_load(made.text)
    assert (
        made.gone == ()
        and again.pop("models") == material["model"]
        and again.pop("title").startswith("Like theirs, on ")
    )
    assert again == {key: value for key, value in study.items() if key not in ("models", "title")}


def test_cells_are_cut_before_draws_and_two_sources_and_three_draws_stay(written):
    _, study = written
    cuts = [one.written for one in _cuts(Shorter(study), fewest=3)]
    sizes = [parse_study(yaml.safe_dump({k: v for k, v in one.items() if k != "claims"}), "x") for one in cuts]
    counts = [len(list(one.trials())) * len(one.evaluations) for one in sizes]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == len(counts)
    assert [one["draws"] for one in cuts] == [5] * (len(cuts) - 1) + [3]
    assert len(cuts[-1]["calibrations"]) == 2 and counts[-1] == 2 * 3
    assert cuts[1]["grids"] == [{}], "the last grid goes first"


def test_what_is_left_fits_is_a_study_and_names_what_went(written, material, monkeypatch):  # noqa: F811
    monkeypatch.setattr(
        "calprune.starting.study_like.seconds_of", lambda passes, dtype: passes
    )  # whatever else runs here
    path, _ = written
    whole = study_like(str(path), material["model"], 1e12, None)
    for share in (0.7, 0.4, 0.2):
        made = study_like(str(path), material["model"], whole.seconds * share, None)
        assert made.seconds <= whole.seconds * share and 0 < made.trials < whole.trials
        study = parse_study(made.text, "made")
        assert len(list(study.trials())) == made.trials
        assert made.gone and yaml.safe_load(made.text)["left_out"] == [" ".join(one.split()) for one in made.gone]


def test_a_claim_is_kept_about_what_is_left_and_goes_with_what_is_gone(written, material, monkeypatch):  # noqa: F811
    monkeypatch.setattr("calprune.starting.study_like.seconds_of", lambda passes, dtype: passes)  # whatever else runs
    path, study = written
    path.write_text(yaml.safe_dump(study | {"grids": [{"methods": "wanda"}]} | {"claims": []}))
    left = yaml.safe_load(path.read_text())
    path.write_text(
        yaml.safe_dump(left | {"claims": CLAIMS[:1], "grids": [{}, {"methods": "magnitude", "patterns": "70%"}]})
    )
    whole = study_like(str(path), material["model"], 1e12, None)
    small = study_like(str(path), material["model"], whole.seconds * 0.3, None)
    [claim] = yaml.safe_load(small.text)["claims"]
    assert claim["sources_differ"]["where"]["method"] == ["wanda"]


def test_a_label_stays_with_what_it_names(written, material):  # noqa: F811
    path, study = written
    grids = {"grids": [{"methods": "wanda"}, {"methods": "magnitude"}]}
    path.write_text(yaml.safe_dump(study | grids | {"claims": [], "labels": {"wanda": "one", "magnitude": "other"}}))
    whole = study_like(str(path), material["model"], 1e12, None)
    small = study_like(str(path), material["model"], whole.seconds * 0.3, None)
    assert yaml.safe_load(whole.text)["labels"] == {"wanda": "one", "magnitude": "other"}
    assert yaml.safe_load(small.text)["labels"] == {"wanda": "one"}


def test_a_time_in_which_nothing_can_be_told_is_refused_with_what_it_takes(written, material):  # noqa: F811
    path, _ = written
    with pytest.raises(UserError) as refused:
        study_like(str(path), material["model"], 1e-9, None)
    assert "the smallest useful study like" in str(refused.value) and "give --budget" in str(refused.value)


def _pilot(text, at_chance):
    """Results whose evaluations are called as the study's, at chance or not."""
    names = dict(zip(("perplexity(wikitext2)", "kl(gsm8k)"), EVALUATIONS, strict=True))
    rows = [replace(row, evaluation=names[row.evaluation].format(text=text)) for row in made_up().rows
            if row.evaluation in names]  # fmt: skip
    rows = [replace(row, chance=1e9) if row.evaluation in at_chance else row for row in rows]
    return replace(made_up(), rows=tuple(rows))


def test_what_is_at_chance_in_the_pilot_is_left_out(written, material):  # noqa: F811
    path, _ = written
    perplexity, kl = (one.format(**material) for one in EVALUATIONS)
    made = study_like(str(path), material["model"], 1e12, None, _pilot(material["text"], {kl}))
    assert yaml.safe_load(made.text)["evaluations"] == [perplexity]
    assert f"{kl}: at chance in the pilot" in made.gone
    with pytest.raises(UserError, match="every evaluation of the study is at chance"):
        study_like(str(path), material["model"], 1e12, None, _pilot(material["text"], {kl, perplexity}))


def test_draws_are_as_many_as_the_pilot_says(written, material):  # noqa: F811
    path, study = written
    path.write_text(yaml.safe_dump(study | {"draws": 1}))
    few = _pilot(material["text"], set())
    made = study_like(str(path), material["model"], 1e12, None, few)
    assert yaml.safe_load(made.text)["draws"] >= 3


def test_studies_of_papers_are_known_by_their_names():
    assert {path.name for path in PAPERS.glob("*.yaml")} == {path.name for path in (ROOT / "studies").glob("*.yaml")}


def test_the_command_writes_a_file_that_study_plan_takes_and_overwrites_none(written, material, tmp_path):  # noqa: F811
    path, _ = written
    write_parquet(_pilot(material["text"], set()), tmp_path / "pilot.parquet")
    words = ("new", "--like", path.name, "--model", material["model"], "--budget", "9h", "--pilot", "pilot.parquet")
    made = calprune("study", *words, "--out", "mine.yaml", folder=tmp_path)
    assert made.returncode == 0 and made.stdout.startswith("mine.yaml: "), made.stderr
    assert calprune("study", "plan", "mine.yaml", folder=tmp_path).returncode == 0
    before = (tmp_path / "mine.yaml").read_bytes()
    again = calprune("study", *words, "--out", "mine.yaml", folder=tmp_path)
    assert (
        again.returncode == 1 and "is there already" in again.stderr and (tmp_path / "mine.yaml").read_bytes() == before
    )
    far = calprune("study", "new", "--like", "nothing of the kind", "--model", "demo", folder=tmp_path)
    assert far.returncode == 1 and far.stderr.count("bandari2024_full") == 1 and far.stderr.count("\n") == 1
    unknown = calprune("study", "new", "--like", "bandari2042", "--model", "demo", folder=tmp_path)
    assert unknown.returncode == 1 and "did you mean 'bandari2024'?" in unknown.stderr
    assert unknown.stderr.count("\n") == 1 and not (tmp_path / "bandari2042.yaml").exists()


def test_no_grid_keeps_a_model_of_its_own():
    for like in ("ji2025_full", "ji2025", "bandari2024_full"):
        made = _of_model(parse_yaml(study_text(_found(like)), like), "my-model")
        assert made["models"] == "my-model"
        assert not any("models" in grid for grid in made.get("grids", []))


def test_a_pilot_of_few_items_speaks_of_the_same_evaluation():
    assert _judged_on("boolq(examples=50)") == _judged_on("boolq(examples=200)") != _judged_on("arc_easy")
    assert _judged_on("kl(c4, tokens=512)") == _judged_on("kl(c4, length=512)") != _judged_on("kl(wikitext2)")


@pytest.mark.parametrize(
    "axes",
    [
        {"methods": ["wanda", "flap"], "patterns": ["50%", "neurons:25%"]},
        {"methods": ["flap", "wanda"], "patterns": ["neurons:25%", "50%"]},
        {"methods": ["block_influence", "sparsegpt"], "patterns": ["2:4", "blocks:1"]},
        {"methods": ["ria"], "patterns": ["50%", "2:4"], "permute": "heuristic"},
        {"methods": ["ria", "wanda"], "patterns": ["50%", "2:4"], "permute": ["none", "heuristic"]},
    ],
)
def test_every_cut_is_a_study_though_methods_and_patterns_are_for_one_another(written, axes):
    _, study = written
    study = {key: value for key, value in study.items() if key not in ("grids", "claims")} | axes
    cuts = list(_cuts(Shorter(study), fewest=3))
    made = [parse_study(yaml.safe_dump(one.written), "x") for one in cuts]
    counts = [len(list(one.trials())) * len(one.evaluations) for one in made]
    assert counts == sorted(counts, reverse=True) and counts[-1] < counts[0]
    for before, after in pairwise(cuts):
        lost = sum(len(_listed(before, key)) - len(_listed(after, key)) for key in axes)
        named = [one for one in after.gone if one.partition(":")[0] in axes]
        assert lost == len(named) - sum(one.partition(":")[0] in axes for one in before.gone)


def _listed(cut, key):
    value = cut.written.get(key, [])
    return value if isinstance(value, list) else [value]


def test_each_grid_has_as_many_draws_as_the_pilot_says(written, material):  # noqa: F811
    path, study = written
    grids = [{"draws": 1}, {"methods": "magnitude", "patterns": "50%"}, {"methods": "ria", "draws": 9}]
    path.write_text(yaml.safe_dump(study | {"grids": grids}))
    made = yaml.safe_load(study_like(str(path), material["model"], 1e12, None, _pilot(material["text"], set())).text)
    assert made["grids"][0]["draws"] == min(made["draws"], made["grids"][0]["draws"]) >= 3
    assert "draws" not in made["grids"][1] and made["grids"][2]["draws"] == max(9, made["grids"][0]["draws"])
