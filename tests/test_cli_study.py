"""The study commands as a person gives them: what they print, how they end, what a mistake says."""

import fcntl
import html
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from calprune.studies.folder import Runs
from calprune.studies.plan import plan
from calprune.studies.reading import parse_study
from tests.command import calprune
from tests.test_study import Failing, material, study_text, undisturbed  # noqa: F401  (fixtures)


@pytest.fixture(scope="module")
def study(material, tmp_path_factory) -> Path:  # noqa: F811
    path = tmp_path_factory.mktemp("study") / "small.yaml"
    path.write_text(study_text(material, methods="[magnitude, wanda]", patterns="50%"))
    return path


@pytest.fixture(scope="module")
def runs(study) -> Path:
    folder = study.parent / "runs"
    ended = calprune("study", "run", str(study), "--runs", str(folder), "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert "5 of 5 trials done" in ended.stdout and "best by" in ended.stderr
    return folder


def test_a_plan_says_what_is_missing_and_how_long_it_may_take(study, runs, tmp_path):
    fresh = calprune("study", "plan", str(study), "--runs", str(tmp_path / "none"))
    assert (
        "5 trials, 5 missing" in fresh.stdout and "is missing: 4;" in fresh.stdout and "on this machine" in fresh.stdout
    )
    assert not (tmp_path / "none").exists()
    assert "5 trials, 0 missing" in calprune("study", "plan", str(study), "--runs", str(runs)).stdout
    told = json.loads(calprune("study", "plan", str(study), "--runs", str(tmp_path / "none"), "--json").stdout)
    assert (told["missing"], told["passes"], len(told["trials"])) == (5, 4, 5) and told["seconds"] > 0
    assert not any(trial["done"] for trial in told["trials"]) and told["runs"] == str(tmp_path / "none")
    assert "wanda" in " ".join(trial["label"] for trial in told["trials"]) and len(told["evaluations"]) >= 1


def test_status_counts_trials(runs):
    assert "5 of 5 trials done" in calprune("study", "status", str(runs)).stdout
    told = json.loads(calprune("study", "status", str(runs), "--json").stdout)
    assert (told["done"], told["running"], told["failed"], told["missing"]) == (5, 0, 0, 0)


def blocks_of(page: str, section: str) -> list[str]:
    """The texts to copy of a section of a page, as a browser copies them."""
    inside = page.partition(f'<section id="{section}"')[2].partition("</section>")[0]
    return [html.unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", inside, re.DOTALL)]


def in_a_shell(commands: str, folder: Path) -> list[list[str]]:
    """The words of each command, as a shell that is given the lines as printed hands them to a program `calprune`."""
    program, seen = folder / "bin" / "calprune", folder / "seen"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\0' \"$@\" >> {shlex.quote(str(seen))}\necho >> {shlex.quote(str(seen))}\n"
    )
    program.chmod(0o755)
    here = dict(os.environ) | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-e", "-c", commands], cwd=folder, env=here, check=True, capture_output=True)
    return [line.split("\0")[:-1] for line in seen.read_text().splitlines()]


def test_what_the_page_prints_to_reproduce_it_gives_the_same_page(runs, tmp_path):
    pytest.importorskip("altair", reason="altair is not installed")
    page = tmp_path / "page.html"
    assert calprune("study", "report", str(runs), "--out", str(page)).returncode == 0
    study, commands = blocks_of(page.read_text(), "again")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "study.yaml").write_text(study)
    given = in_a_shell(commands, fresh)
    assert [words[:2] for words in given] == [["study", "run"], ["study", "report"]]
    for words in given:
        assert (ended := calprune(*words, folder=fresh)).returncode == 0, ended.stderr
    before, after = (path.read_text().partition('<section id="results"')[2].partition("</section>")[0]
                     for path in (page, fresh / "report.html"))  # fmt: skip
    assert before and after == before


def test_a_report_is_written_in_every_form(runs, tmp_path):
    pytest.importorskip("altair", reason="altair is not installed")
    files = {"--out": "page.html", "--csv": "rows.csv", "--json-file": "all.json", "--markdown": "tables.md"}
    words = [word for option, name in files.items() for word in (option, str(tmp_path / name))]
    ended = calprune("study", "report", str(runs), *words, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {"format": 1, "written": [str(tmp_path / name) for name in files.values()]}
    assert "A tiny study" in (tmp_path / "page.html").read_text() and "wanda" in (tmp_path / "rows.csv").read_text()
    assert json.loads((tmp_path / "all.json").read_text())["title"] == "A tiny study"


def test_the_file_of_results_can_be_asked_for_as_in_0_1_with_a_note(runs, tmp_path):
    ended = calprune("study", "report", str(runs), "--csv", str(tmp_path / "r.csv"), "--json", str(tmp_path / "r.json"))
    assert ended.returncode == 0 and ended.stdout.splitlines() == [str(tmp_path / "r.csv"), str(tmp_path / "r.json")]
    assert ended.stderr == f"note: the file of results is written with --json-file {tmp_path / 'r.json'}\n"
    assert json.loads((tmp_path / "r.json").read_text())["title"] == "A tiny study"


def test_claims_written_after_the_run_are_judged_and_a_mistake_in_one_is_named(study, runs, tmp_path):
    written = tmp_path / "claims.yaml"
    written.write_text(study.read_text() + "\nclaims:\n- {says: so, better: {first: {method: wanda}, "
                       "than: {method: magnitude}, where: {evaluation: 'kl(*)'}}}\n")  # fmt: skip
    out = tmp_path / "small.claims.json"
    ended = calprune("study", "report", str(runs), "--study", str(written), "--claims", str(out))
    assert ended.returncode == 0, ended.stderr
    (claim,) = json.loads(out.read_text())["claims"]
    assert claim["says"] == "so" and claim["measured"]["low"] < claim["measured"]["value"]
    written.write_text(written.read_text().replace("method: magnitude", "method: magnitud"))
    wrong = calprune("study", "report", str(runs), "--study", str(written), "--claims", str(out))
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1
    assert "claims.0: than.0: no method of this study is 'magnitud'; did you mean 'magnitude'?" in wrong.stderr


def test_what_a_studys_file_says_after_the_run_is_what_the_page_says(study, runs, tmp_path):
    written = tmp_path / "renamed.yaml"
    more = "question: Another question?\nleft_out: [the night]\nlabels: {wanda: by activations}\n"
    written.write_text(study.read_text().replace("title: A tiny study", "title: Another title") + more)
    ended = calprune("study", "report", str(runs), "--study", str(written), "--markdown", str(tmp_path / "a.md"))
    assert ended.returncode == 0, ended.stderr
    page = (tmp_path / "a.md").read_text()
    assert all(one in page for one in ("# Another title", "Another question?", "the night", "by activations"))


def test_two_outputs_to_one_file_are_refused(runs, tmp_path):
    same, also = tmp_path / "same.html", tmp_path / "." / "same.html"
    ended = calprune("study", "report", str(runs), "--out", str(same), "--csv", str(also))
    assert ended.returncode == 1 and "--out and --csv name one file" in ended.stderr and not same.exists()


def test_what_is_printed_to_be_copied_is_quoted(study, runs, tmp_path):
    pytest.importorskip("altair", reason="altair is not installed")
    folder = tmp_path / "my runs"
    shutil.copytree(runs, folder)
    ended = calprune("study", "run", str(study), "--runs", str(folder))
    assert f"calprune study report '{folder}' --out" in ended.stdout, ended.stderr
    calprune("study", "report", str(folder), "--markdown", str(tmp_path / "page.md"))
    assert "--runs 'my runs'" in (tmp_path / "page.md").read_text().replace("\\", "")


def test_a_query_is_sql_over_the_results(runs):
    pytest.importorskip("duckdb", reason="DuckDB is not installed")
    sql = "select method, count(*) n, avg(value) v from results where metric = 'kl' group by all order by method"
    rows = json.loads(calprune("query", str(runs), sql, "--json").stdout)
    assert [(row["method"], row["n"]) for row in rows] == [("magnitude", 1), ("wanda", 4)]
    found = [json.loads(path.read_text()) for path in runs.glob("trials/*/eval/*.json")]
    values = sorted(one["value"] for one in found if one["metric"] == "kl")
    assert 4 * rows[1]["v"] + rows[0]["v"] == pytest.approx(sum(values))
    wrong = calprune("query", str(runs), "select nothing from results")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1 and "results(trial, model" in wrong.stderr
    assert calprune("query", str(runs), "copy results to '/tmp/x.csv'").returncode == 1  # it only reads


def test_a_study_with_a_trial_that_failed_ends_in_three(material, tmp_path):  # noqa: F811
    assert Failing.broken
    study = tmp_path / "failing.yaml"
    study.write_text(study_text(material, calibrations="[random_tokens]", draws="1", patterns="50%",
                                methods="['tests.test_study:Failing()', wanda]"))  # fmt: skip
    ended = calprune("study", "run", str(study), "--runs", str(tmp_path / "runs"))
    assert ended.returncode == 3 and "1 of 2 trials done, 1 failed" in ended.stdout
    assert "no such luck" in ended.stderr
    again = calprune("study", "run", str(study), "--runs", str(tmp_path / "runs"), "--json")
    told = json.loads(again.stdout)
    assert again.returncode == 3 and (told["done"], told["failed"], told["missing"]) == (1, 1, 0)
    status = json.loads(calprune("study", "status", str(tmp_path / "runs"), "--json").stdout)
    assert (status["format"], status["title"], status["best"]["method"]) == (1, "A tiny study", "wanda")


def test_a_study_of_which_all_failed_has_a_page_that_says_so(material, tmp_path):  # noqa: F811
    study, runs = tmp_path / "failing.yaml", tmp_path / "runs"
    study.write_text(study_text(material, calibrations="[random_tokens]", draws="1", patterns="50%",
                                methods="['tests.test_study:Failing()']"))  # fmt: skip
    assert calprune("study", "run", str(study), "--runs", str(runs)).returncode == 3
    ended = calprune("study", "report", str(runs), "--markdown", str(tmp_path / "page.md"))
    assert ended.returncode == 0 and "no such luck" in (tmp_path / "page.md").read_text()
    power = calprune("study", "power", str(runs))
    assert power.returncode == 1 and "1 trial failed, the first by" in power.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study", "run", "missing.yaml"], "cannot read the study missing.yaml: No such file"),
        (["study", "status", "nowhere"], "nowhere is not there; give the folder of a study run"),
        (["study", "report", "nowhere", "--out", "x.html"], "nowhere is not there; give the folder of a study run"),
        (["study", "report", "nowhere"], "say what to write"),
        (["study", "run", "STUDY", "--workers", "0"], "--workers: expected 1 to 256; got 0"),
        (["study", "run", "STUDY", "--track", "wandbb"], "unknown tracker 'wandbb'; did you mean 'wandb'?"),
    ],
)
def test_a_mistake_is_one_line(words, said, study, tmp_path):
    words = [str(study) if word == "STUDY" else word for word in words]
    more = ["--runs", str(tmp_path / "runs")] if words[1] == "run" else []
    ended = calprune(*words, *more)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1 and said in ended.stderr, ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_study_of_which_a_trial_is_missing_is_not_ended_well(study, tmp_path):
    """Someone who looks for so long that the trial cannot be had: it is named, and the exit is no success."""
    folder = Runs(tmp_path / "runs")
    text = study.read_text()
    made = plan(parse_study(text, study.name), None)
    made.write(folder, text)
    with open(folder.trial(made.trials[0].id) / "claim", "w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        ended = calprune("study", "run", str(study), "--runs", str(folder.path), "--device", "cpu")
    assert ended.returncode == 3 and "missing: 1 trial that nobody works on; run it again" in ended.stderr
    assert "4 of 5 trials done" in ended.stdout
