"""A question in SQL is answered from a study's rows; a mean over several metrics is no answer and is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from calprune.base.values import UserError
from calprune.report import query as room
from calprune.report.query import as_records, query
from tests.made_up_study import made_up

ROOT = Path(__file__).parents[1]
THREE_METRICS = made_up()
AVERAGE = "select calibration, method, {} from results {}"


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    monkeypatch.setattr(room, "read_results", lambda folder: THREE_METRICS)
    return Path("runs")


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (AVERAGE.format("avg(value)", "group by all"), "avg(value)"),
        ("select AVG(value) from results", "avg(value)"),
        ("select sum(value) / count(*) from results", "sum(value)"),
        ("select calibration, median(value) m from results group by calibration order by m limit 1", "median(value)"),
        ("select stddev(value - dense) from results where draw = 0", "stddev(value, dense)"),
        ("select quantile_cont(value, 0.5) from results", "quantile_cont(value)"),
        ("select avg(value) filter (where draw = 0) from results", "avg(value)"),
        ("select avg(value) over (partition by calibration) from results", "avg(value)"),
        ("select method, avg(value) from results where metric in ('kl', 'accuracy') group by 1", "avg(value)"),
        ("select calibration from results group by 1 having avg(value) > 1", "avg(value)"),
        ("with m as (select avg(value) v from results) select v from m", "avg(value)"),
        ("select avg(v) from (select value v from results)", "avg(v), over a table without the column metric,"),
        ("select 1 union all select avg(value) from results", "avg(value)"),
        ("select (select avg(value) from results)", "avg(value)"),
        ("summarize results", "SUMMARIZE"),
        ("pivot results on calibration using avg(value)", "avg(…)"),
        ("select list_avg(list(value)) from results", "list(value)"),
        ("select list_aggregate(list(value), 'sum') from results", "list(value)"),
        ("select list_sum(v) from (select array_agg(value) v from results)", "array_agg(value)"),
    ],
)  # fmt: skip
def test_a_mean_over_several_metrics_is_refused_and_named(folder, sql, named):
    with pytest.raises(UserError) as refused:
        query(folder, sql)
    said = str(refused.value)
    assert said.startswith(f"{named} takes values of several metrics together (accuracy, kl and perplexity)")
    assert "--across-metrics" in said and "\n" not in said
    assert query(folder, sql, across_metrics=True)[1]


@pytest.mark.parametrize(
    "sql",
    [
        AVERAGE.format("metric, avg(value)", "group by all"),
        AVERAGE.format("evaluation, avg(value)", "group by all"),
        AVERAGE.format("avg(value)", "where metric = 'kl' group by all"),
        AVERAGE.format("avg(value)", "where evaluation like 'perplexity(%' group by all"),
        "select avg(value) filter (where metric = 'kl') from results",
        "select avg(value) over (partition by metric) from results",
        "with m as (select metric, avg(value) v from results group by metric) select * from m",
        "with m as (select * from results where metric = 'kl') select avg(value) from m",
        "select metric, avg(v) from (select metric, calibration, avg(value) v from results group by all) group by 1",
        "select max(value), min(value), count(*), any_value(evaluation) from results",
        "select avg(tokens), stddev(draw) from results",
        "select list(value) from results",
        "select trial, value from results order by value limit 3",
        "select unnest(items) from results limit 1",
        "describe results",
    ],
)
def test_what_is_of_one_metric_or_no_mean_is_answered(folder, sql):
    assert query(folder, sql)[1]


def test_where_each_group_has_one_metric_the_mean_is_answered_whatever_it_is_grouped_by(folder):
    assert len(query(folder, "select capability, avg(value) from results group by 1")[1]) == 3


def test_a_study_of_one_metric_may_average_all_of_it(folder, monkeypatch):
    rows = tuple(row for row in THREE_METRICS.rows if row.metric == "kl")
    monkeypatch.setattr(room, "read_results", lambda folder: replace(THREE_METRICS, rows=rows))
    [(mean,)] = query(folder, "select avg(value) from results")[1]
    assert mean == pytest.approx(sum(row.value for row in rows) / len(rows))


def test_a_mean_that_is_answered_is_what_the_rows_say(folder):
    columns, rows = query(folder, AVERAGE.format("evaluation, avg(value)", "group by all"))
    assert columns[:3] == ["calibration", "method", "evaluation"]
    for calibration, method, evaluation, mean in rows:
        own = [r.value for r in THREE_METRICS.rows
               if (r.calibration, r.method, r.evaluation) == (calibration, method, evaluation)]  # fmt: skip
        assert mean == pytest.approx(sum(own) / len(own))


def _documented() -> list[str]:
    """Every query that a page, a docstring, an example of the help or the README shows."""
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.py"), *ROOT.glob("benchmarks/*.md"),
             *ROOT.glob("studies/*.yaml"), *ROOT.glob("src/**/*.py")]  # fmt: skip
    found = [one for path in texts for one in re.findall(r"calprune query \S+ +\"([^\"]+)\"", path.read_text())]
    return sorted(set(found))


def test_no_documented_query_averages_over_metrics(folder):
    assert len(_documented()) >= 2
    for sql in _documented():
        assert query(folder, sql)[1], sql


@pytest.mark.parametrize("sql", ["", " ", "\t", "--", ";", "/* nothing */"])
def test_a_question_that_asks_nothing_is_one_line(folder, sql):
    with pytest.raises(UserError, match="the question is empty; write one"):
        query(folder, sql)


def test_a_letter_that_is_none_is_a_mistake_like_any_other(folder):
    with pytest.raises(UserError, match="the table is results"):
        query(folder, "\udcff")


def test_a_mistake_in_the_question_names_the_columns(folder):
    with pytest.raises(UserError, match=r"the table is results\(trial, model, .*metric"):
        query(folder, "select nothing_such from results")


def test_a_list_of_values_is_no_mean_and_one_metrics_mean_by_a_list_is_answered(folder):
    query(folder, "select list(value) from results")
    _, mine = query(folder, "select metric, list_avg(list(value)) from results group by all order by all")
    assert mine == query(folder, "select metric, avg(value) from results group by all order by all")[1]


def test_two_questions_at_once_are_refused(folder):
    with pytest.raises(UserError, match="one question at a time; there are 2"):
        query(folder, "select 1; select 2")
    assert query(folder, "select 1;")[1] == [(1,)]
    assert query(folder, "select * from (pivot results on calibration using count(*) group by method)")[1]
    assert query(folder, "pivot results on calibration using count(*) group by method")[1]


def test_an_answer_in_json_loses_nothing_and_is_json(folder):
    sql = "select 'inf'::double a, [1.5::double, 'nan'::double] b, 2.50::decimal(9, 2) c, date '2026-01-02' d"
    found = json.dumps(as_records(*query(folder, sql)), allow_nan=False)
    assert json.loads(found) == [{"a": None, "b": [1.5, None], "c": 2.5, "d": "2026-01-02"}]
    with pytest.raises(UserError, match=r"two columns are called 'a', .* name one with AS"):
        as_records(*query(folder, "select 1 as a, 2 as a"))
