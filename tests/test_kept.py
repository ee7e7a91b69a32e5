"""A study's results in one file are the same results: whatever is made of the folder is made of the file."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from calprune import report
from calprune.base.values import UserError
from calprune.evaluation.metric import Metric
from calprune.report.findings import Findings
from calprune.report.kept import read_results, write_parquet
from calprune.report.sections.overview import overview
from calprune.studies.results import COLUMNS, STUDY, read
from tests.command import calprune
from tests.made_up_study import made_up

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROOT = Path(__file__).parents[1]
RUN = ROOT / "tests" / "run_of_format_1"
RESULTS = ROOT / "docs" / "results"
EMPTY = {name: [None] for name in COLUMNS}
OWN = Metric("hits", "hits of a needle", "hits", of_interest=0.5)
STUDIES = """\
title: Which data?
of_interest: {kl: 0.05}
claims:
  - says: C4 is better than GSM8K
    paper: nobody's
    better: {first: {calibration: c4}, than: {calibration: "gsm8k:icl"}, where: {evaluation: kl(gsm8k)}}
"""


def test_a_file_gives_back_what_was_kept_to_the_bit(tmp_path):
    results = made_up()
    rows = list(results.rows)
    rows[0] = replace(rows[0], value=math.inf, items=(math.inf, 0.1 + 0.2), draw=None, tokens=None, chance=None)
    rows[1] = replace(rows[1], measures=OWN, sources=("c4", "own text"))
    results = replace(results, rows=tuple(rows), stand_ins={"dclm": "272 pages"})
    write_parquet(results, tmp_path / "kept.parquet")
    assert read_results(tmp_path / "kept.parquet") == results


def test_claims_and_the_smallest_differences_are_those_of_the_study_that_is_kept(tmp_path):
    results = made_up()
    results = replace(results, about=results.about | {STUDY: STUDIES})
    write_parquet(results, tmp_path / "kept.parquet")
    back = read_results(tmp_path / "kept.parquet")
    assert [claim.says for claim in back.claims] == ["C4 is better than GSM8K"]
    assert back.interest.least == {"kl": 0.05}


def test_a_folder_and_its_file_make_the_same_tables(tmp_path):
    results = read(RUN)
    write_parquet(results, tmp_path / "kept.parquet")
    kept = read_results(tmp_path / "kept.parquet")
    assert kept == results
    for name, write in (("json", report.write_json), ("csv", report.write_csv), ("md", report.write_markdown)):
        write(results, tmp_path / f"folder.{name}")
        write(kept, tmp_path / f"file.{name}")
        assert (tmp_path / f"file.{name}").read_bytes() == (tmp_path / f"folder.{name}").read_bytes()


def test_the_commands_take_the_file_where_they_take_the_folder(tmp_path):
    made = calprune("study", "report", RUN, "--parquet", "kept.parquet", folder=tmp_path)
    assert made.returncode == 0 and made.stdout.strip() == "kept.parquet", made.stderr
    for words in (("study", "report", "{}", "--csv", "/dev/stdout"), ("query", "{}", "select count(*) from results")):
        of_file = calprune(*(word.format("kept.parquet") for word in words), folder=tmp_path)
        of_folder = calprune(*(word.format(RUN) for word in words), folder=tmp_path)
        assert of_file.returncode == 0 and of_file.stdout == of_folder.stdout, of_file.stderr


def _other(path, kept=None, columns=None):
    schema = {b"calprune study": json.dumps(kept).encode()} if kept else {}
    pq.write_table(pa.table(columns or {"trial": ["a"]}).replace_schema_metadata(schema), path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_text("trial,value\n"), "is no study's results: expected a folder"),
        (lambda path: _other(path), "is no study's results of format 1: its columns are trial"),
        (lambda path: _other(path, {"format": 2}), "of format 1"),
        (lambda path: _other(path, {"format": 1}, EMPTY), "of format 1"),
        (lambda path: _other(path, [1], EMPTY), "of format 1"),
        (lambda path: None, "is not there; give the folder of a study run"),
    ],
)
def test_what_is_no_kept_study_is_one_line(tmp_path, write, said):
    path = tmp_path / "kept.parquet"
    write(path)
    with pytest.raises(UserError) as refused:
        read_results(path)
    assert said in str(refused.value) and "\n" not in str(refused.value)


KEPT = sorted(RESULTS.glob("*.parquet"))


def test_results_of_studies_are_kept_and_small():
    assert KEPT
    assert sum(path.stat().st_size for path in KEPT) < 10e6


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_the_files_beside_a_kept_study_are_made_of_it(tmp_path, path):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import results_pages
    finally:
        sys.path.pop(0)
    for made in results_pages.write(path, tmp_path):
        if made.suffix != ".html":
            assert made.read_text() == path.with_name(made.name).read_text(), f"{made.name}: run `make figures`"
        else:
            assert (words := results_pages.answer(made)) and words == results_pages.answer(path.with_name(made.name))


def test_a_file_that_was_kept_before_there_was_an_axis_is_read_with_its_usual_value(tmp_path):
    import pyarrow.parquet as pq

    kept = RESULTS / "structured.parquet"
    table = pq.read_table(kept)
    pq.write_table(table.drop_columns(["permute"]), tmp_path / "older.parquet")
    assert read_results(tmp_path / "older.parquet").rows == read_results(kept).rows


def test_the_first_chart_says_which_marks_are_single_draws_and_of_which_best_its_zone_is():
    methods, likeness = (
        overview(Findings(read_results(RESULTS / f"{name}.parquet"))) for name in ("methods", "similarity")
    )
    assert methods.lead[0].endswith("; one without is a single draw.")
    assert likeness.lead[0].endswith("with its 95 % interval."), "three draws of each"
    zones = {chart.title.partition("(")[2].partition(")")[0].partition(",")[0]: chart.zone_name
             for chart in likeness.panels[0].charts}  # fmt: skip
    assert zones["gsm8k"].endswith("of the best on other text"), "gsm8k calibrates too"
    assert zones["wikitext2"].endswith("of the best")


def test_a_row_of_a_chart_of_methods_is_called_by_what_rows_of_its_method_differ_in():
    findings = Findings(read_results(RESULTS / "methods.parquet"))
    for chart in overview(findings).panels[0].charts:
        assert len(set(chart.order)) == len(chart.order) == len(chart.points)
        methods = [name.split(" ")[0] for name in chart.order if "(" not in name]
        bare = [name for name in methods if methods.count(name) == 1]
        assert set(bare) <= set(chart.order), chart.order
    names = {name for chart in overview(findings).panels[0].charts for name in chart.order}
    assert {"gblm", "wanda dense propagation", "wanda pruned propagation", "wanda owl"} <= names
