"""Folders that version 0.1 wrote are read by this code, and what they hold is not made again.

`folders_of_0_1/folders.tar.gz` was written before any type got another name, at the commit tagged base0
(10c88e7, "Options are listed as they can be written"), by its `made_by.py`: in an empty folder, with `src` and the root
of the checkout on PYTHONPATH, `python made_by.py`. It makes a Llama of one block, four files of made-up text, a set,
its sums, a study of 9 trials and a choice between two sources; all paths in them are relative.
"""

import tarfile
from pathlib import Path

import pytest
import torch

from calprune.calibration.build import build, identify
from calprune.calibration.recipe import parse_spec
from calprune.calibration.set import CalibrationSet
from calprune.choosing.choose import choose
from calprune.choosing.question import Question, parse_capabilities
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.pruning.job import Pruning
from calprune.report.files import write_html, write_markdown
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from calprune.studies.results import read
from calprune.text.encode import tokenizer_hash

FOLDERS = Path(__file__).parent / "folders_of_0_1" / "folders.tar.gz"


@pytest.fixture
def folders(tmp_path, monkeypatch) -> Path:
    with tarfile.open(FOLDERS) as packed:
        packed.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALPRUNE_DATA", raising=False)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_set_is_read_and_its_recipe_gives_the_same_set_under_the_same_name(folders):
    there, model = CalibrationSet.load("set"), load("model", device="cpu")
    recipe = parse_spec("set/recipe.yaml")
    separated = parse_spec("letters.jsonl*2 + figures.jsonl", num_samples=4, max_seq_length=16, seed=1,
                           layout="concatenate(separator=' ')")  # fmt: skip
    assert recipe == separated
    assert there.id == identify(recipe, tokenizer_hash(model.tokenizer)) == build(recipe, model.tokenizer).id
    assert torch.equal(there.tokens, build(recipe, model.tokenizer).tokens)


def test_sums_are_read_and_prune(folders):
    sums, model = Statistics.load(Path("statistics")), load("model", device="cpu")
    assert sums.about["calibration"] == CalibrationSet.load("set").id
    reports = Pruning(parse_method("sparsegpt"), parse_pattern("2:4")).run(model.model, sums).reports
    assert len(reports) == 7 and all(2 * report.zeros == report.shape[0] * report.shape[1] for report in reports)


def test_a_studys_trials_have_the_names_that_they_had_but_where_words_are_counted(folders):
    """Beyond ASCII a word is another one since: a set that is filtered or chosen by words is another set."""
    study = Path("study.yaml").read_text()
    planned, runs = plan(parse_study(study, "study.yaml"), None), Runs(Path("runs"))
    there = {path.name for path in Path("runs/trials").iterdir()}
    by_words = {trial.id for trial in planned.trials if trial.recipe and trial.recipe.filters}
    assert len(planned.trials) == len(there) and by_words == {trial.id for trial in planned.trials} - there
    kept = [trial for trial in planned.trials if trial.id in there]
    assert len(kept) == 1 + 2 * 2 and not [one for one in kept if runs.missing(one.id, list(planned.evaluations))]
    assert {trial.set_id for trial in kept} - {None} < {path.name for path in Path("runs/calibration").iterdir()}


def test_a_studys_results_are_read_and_reported(folders):
    results = read(Path("runs"))
    assert (len(results.rows), results.missing, results.failed) == (18, 0, ())
    assert {row.method for row in results.rows} == {
        "magnitude", "refit(start=ria(power=1.0))", "sparsegpt(damping=0.1)"
    }  # fmt: skip
    write_markdown(results, "report.md")
    assert "A tiny study of version 0.1" in Path("report.md").read_text()
    pytest.importorskip("altair", reason="altair is not installed")
    write_html(results, "report.html")
    assert "sparsegpt(damping=0.1)" in Path("report.html").read_text()


def test_a_choice_goes_on_from_its_answer_and_makes_nothing_again(folders):
    judged = ["letters=letters_held.jsonl", "figures=figures_held.jsonl"]
    question = Question(
        "model", ("letters.jsonl", "figures.jsonl"), parse_capabilities("letters=1 figures=4", judged),
        parse_method("wanda"), parse_pattern("60%"), num_samples=4, max_seq_length=16, tokens=128,
        default="letters.jsonl",
    )  # fmt: skip
    before, said = contents(folders / "choice"), []
    answer = choose(question, "choice", knobs=Knobs("cpu"), report=said.append)
    assert answer.winner == "letters.jsonl" and answer.search and answer.halving and answer.judgement
    assert not said
    assert contents(folders / "choice") == before
