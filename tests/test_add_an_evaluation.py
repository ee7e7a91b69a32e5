"""docs/add-an-evaluation.md does what it says, in a folder of the reader's own and with the installed command."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from calprune.base.values import ConfigError
from calprune.evaluation.evaluation import parse_evaluation
from calprune.evaluation.metric import METRICS, Metric, metric_of
from calprune.report.findings import Findings
from calprune.report.page import page
from calprune.report.query import query
from calprune.studies.records import EvaluationRecord, read_evaluation
from calprune.studies.results import read
from tests.families import tiny_model
from tests.made_up_study import made_up
from tests.programs import Programs
from tests.tiny import save, toy_tokenizer

PAGE = (Path(__file__).parents[1] / "docs" / "add-an-evaluation.md").read_text()
COMMAND = Path(sys.executable).parent / "calprune"
(CODE,), (STUDY,), (EVAL, RUN) = (
    re.findall(rf"```{language}\n(.*?)```", PAGE, re.S) for language in ("python", "yaml", "sh")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page's files, a tiny model and a text."""
    made = tmp_path_factory.mktemp("own")
    tokenizer, model = toy_tokenizer(), tiny_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    save(model, tokenizer, made / "model")
    words = ["river", "stone", "lantern", "quiet", "harbour", "seven", "marble"]
    (made / "lines.txt").write_text(
        "\n".join(" ".join(words[(i * 3 + j * j) % 7] for j in range(9)) for i in range(12))
    )
    (made / "my_evaluations.py").write_text(CODE)
    (made / "study.yaml").write_text(STUDY.replace("MODEL", "model"))
    return made


def follow(lines: str, folder: Path, programs: Programs | None, *more: str) -> list[subprocess.CompletedProcess]:
    """What the page's lines do; where there are no `programs`, by the installed command."""
    done = []
    for line in lines.replace("MODEL", "model").splitlines():
        program, *words = shlex.split(line)
        assert program == "calprune"
        done.append(programs.run("-m", program, *words, *more, folder=folder) if programs else
                    subprocess.run([COMMAND, *words, *more], cwd=folder, capture_output=True, text=True))  # fmt: skip
        assert done[-1].returncode == 0, done[-1].stderr
    return done


@pytest.fixture
def here(folder, monkeypatch):
    """In the folder, as a user's script is."""
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("my_evaluations", None)


@pytest.fixture(scope="module")
def runs(folder, programs) -> Path:
    follow(RUN, folder, programs)
    return folder / "runs"


def test_the_command_judges_a_model_by_the_pages_evaluations(folder, programs):
    first, second = EVAL.splitlines()
    done = [*follow(first, folder, None, "--json"), *follow(second, folder, programs, "--json")]
    guesses, changed = (json.loads(one.stdout)["tasks"][0] for one in done)
    assert guesses["name"] == "my_evaluations:FirstGuesses(of='lines.txt')"
    assert guesses["metric"] == "first_guesses" and guesses["items"] == 12 and 0 <= guesses["value"] <= 1
    assert changed["metric"] == "changed_guesses" and changed["value"] == 0  # the model beside itself
    [compared] = json.loads(done[1].stdout)["compared"]
    assert compared["pruned"] == 0 and compared["kl"] is None, "it is a share, no divergence"


def test_what_needs_the_dense_model_says_so_where_there_is_none(folder, programs):
    line = ["eval", "model", "--on", "my_evaluations:ChangedGuesses(lines.txt)"]
    done = programs.run("-m", "calprune", *line, folder=folder)
    assert done.returncode == 1 and "dense model" in done.stderr and "Traceback" not in done.stderr


def test_a_study_has_its_values_item_by_item_pruned_and_dense(runs):
    rows = read(runs).rows
    assert {row.metric for row in rows} == {"first_guesses", "changed_guesses"} and len(rows) == 2 * 2 * 2
    for row in rows:
        assert len(row.items) == len(row.dense_items) == 12
        assert row.value == pytest.approx(sum(row.items) / 12)
    changed = [row for row in rows if row.metric == "changed_guesses"]
    assert all(row.dense == 0 and row.measures.lower_is_better for row in changed)
    assert any(row.value > 0 for row in changed)


def test_the_page_is_made_of_the_folder_alone_and_reads_the_metric(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # my_evaluations is not here
    assert "my_evaluations" not in sys.modules
    results = read(runs)
    text = page(Findings(results)).text()
    assert "The share of a line's tokens that are the model's likeliest one." in text
    found = {(row.metric, row.value) for row in results.rows}
    assert set(query(runs, "select metric, value from results")[1]) == found
    html = (runs.parent / "report.html").read_text()
    assert "first guesses that are right" in html and "changed guesses" in html


def test_the_better_of_two_sources_is_the_one_that_the_metric_says(runs):
    for one in Findings(read(runs)).comparisons:
        means = [cell.spread.mean for cell in one.cells]
        assert means == sorted(means, reverse=not one.of.measures.lower_is_better)


def test_an_evaluation_from_a_file_that_is_the_calibrations_too_is_of_the_sources_own_text(runs):
    own = {cell.of.calibration: cell.own for cell in Findings(read(runs)).cells}
    assert own == {"lines.txt": True, "random_tokens": False}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_in_a_users_words_is_read_as_calprunes_own(name):
    """Nothing knows a metric by its name: a page is the same under another."""
    results, other = made_up(), dataclasses.replace(METRICS[name], name=f"my_{name}")
    renamed = tuple(dataclasses.replace(row, measures=other) if row.metric == name else row for row in results.rows)
    mine = page(Findings(dataclasses.replace(results, rows=renamed))).text().splitlines()
    assert sorted(mine) == sorted(page(Findings(results)).text().splitlines())  # users' own are explained last


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_comes_back_from_a_file(name, tmp_path):
    for metric in (METRICS[name], dataclasses.replace(METRICS[name], name="mine", title="mine, as shown")):
        made = EvaluationRecord("mine(a)", "own", metric, 1.5, (1.0, 2.0))
        made.write(tmp_path / "eval.json")
        assert read_evaluation(tmp_path / "eval.json") == made
        assert ("measures" in json.loads((tmp_path / "eval.json").read_text())) == (metric.name == "mine")


def test_a_metric_that_nobody_describes_is_one_line():
    with pytest.raises(ConfigError, match=r"metric 'mine' is none of calprune's .perplexity, kl, .* not described"):
        metric_of("mine")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "two words"}, "letters, digits and _"),
        ({"name": "a", "retention": "ratio"}, "'ratio' goes with log"),
        ({"name": "a", "retention": "above chance", "log": True}, "'above chance' with plain values"),
        ({"name": "a", "retention": "above chance", "lower_is_better": True}, "goes with metrics that are to be high"),
    ],
)
def test_a_metric_that_contradicts_itself_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Metric(**options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("my_evaluations:FirstGuesses(lines.txt, tokens=1)", "FirstGuesses: tokens must be at least 2, got 1"),
        (
            "my_evaluations:Neither",
            "Neither is no evaluation: it has no run, and no reference and compare",
        ),
        ("my_evaluations:Blind", "its metric needs the dense model, so it must have reference and compare"),
        ("my_evaluations:Worded", "measures is no Metric; got 'first_guesses'"),
        ("my_evaluations:Silent", "is no evaluation: it has no measures .docs/add-an-evaluation.md."),
    ],
)
def test_a_mistake_is_one_line(here, text, said):
    classes = {
        "Neither": "measures = FIRST_GUESSES", "Worded": "measures = 'first_guesses'", "Silent": "pass",
        "Blind": "measures = Metric('b', needs_dense=True)\n    run = FirstGuesses.run",
    }  # fmt: skip
    more = [
        f"\n\n@dataclass(frozen=True)\nclass {name}:\n    version = 1\n    {body}\n" for name, body in classes.items()
    ]
    (here / "my_evaluations.py").write_text(CODE + "".join(more))
    with pytest.raises(ConfigError, match=said) as error:
        parse_evaluation(text)
    assert "\n" not in str(error.value)
