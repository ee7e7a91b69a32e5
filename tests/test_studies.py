"""The studies that come with calprune: each says what it asks and what was cut, and can be planned."""

import json
import re
from pathlib import Path

import pytest

from calprune.evaluation.evaluation import OnText
from calprune.studies.claims import KINDS, NotMeasured
from calprune.studies.folder import study_text
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study

FOLDER = Path(__file__).parents[1] / "studies"
FILES = sorted(FOLDER.glob("*.yaml"))
PAPERS = ["bandari2024", "ji2025", "shin2024", "williams2024"]


def study(name: str):
    return parse_study(study_text(FOLDER / f"{name}.yaml"), f"{name}.yaml")


def head(path: Path) -> str:
    """The comment that the file begins with, as one line."""
    return " ".join(line.strip("# ") for line in re.match(r"(#.*\n)+", path.read_text())[0].splitlines())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_can_be_read_and_has_trials(path):
    assert list(parse_study(study_text(path), path.name).trials())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_head_says_how_it_is_run_and_what_was_cut(path):
    said = head(path)
    assert f"calprune study run studies/{path.name} --runs" in said
    assert "Cut" in said or path.stem == "quickstart"


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_small_study_is_large_enough_to_tell_something(name):
    small = study(name)
    texts = {one.text: one.tokens for one in small.evaluations if isinstance(one, OnText)}
    assert sum(texts.values()) >= 8000
    for grid in small.grids:
        assert grid.draws >= (5 if name == "ji2025" else 3)
        assert min(grid.num_samples) * grid.max_seq_length >= 16 * 256
        assert grid.axes["model"] == ("demo",)
    assert f"studies/{name}.yaml" in head(FOLDER / f"{name}.yaml") and f"{name}_full.yaml" in head(
        FOLDER / f"{name}.yaml"
    )


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_full_study_has_its_sizes_and_what_the_small_one_asks(name):
    full, small = study(f"{name}_full"), study(name)
    tokens = 256 * 1024 if name == "shin2024" else 128 * 2048
    assert max(n * grid.max_seq_length for grid in full.grids for n in grid.num_samples) >= tokens
    assert max(grid.draws for grid in full.grids) >= max(grid.draws for grid in small.grids)
    named = [{method.split("(")[0] for grid in one.grids for method in grid.axes["method"]} for one in (small, full)]
    assert named[0] <= named[1]
    assert full.claims and {type(one.test) for one in full.claims} <= set(KINDS.values()) - {NotMeasured}
    assert "It was never run." in head(FOLDER / f"{name}_full.yaml")


WITHDRAWN = {  # claims that an old page judges by a name that was wrong: docs/results/README.md says so
    "methods": {"93cc2c490a56050e"},  # DSnoT "as released" was by this project's rule
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_page_of_a_study_with_claims_comes_with_their_verdicts(path):
    results = FOLDER.parent / "docs" / "results"
    if not (results / f"{path.stem}.html").is_file() or not (claims := parse_study(study_text(path), path.name).claims):
        pytest.skip("it has no page, or no claims")
    judged = {one["id"] for one in json.loads((results / f"{path.stem}.claims.json").read_text())["claims"]}
    assert {claim.id for claim in claims} == judged - WITHDRAWN.get(path.stem, set())


@pytest.mark.demo
@pytest.mark.data
@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_small_study_can_be_planned_with_the_data_sets(name, data_root, demo_folder):
    made = plan(study(name), data_root)
    assert len(made.trials) == len({trial.id for trial in made.trials}) == len(list(study(name).trials()))
