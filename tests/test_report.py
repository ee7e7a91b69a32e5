"""What a study's page and files say is what the statistics say, and no more."""

import csv
import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from calprune import report
from calprune.evaluation.metric import Interest
from calprune.pages import numbers
from calprune.pages.table import Column, tsv
from calprune.report import settings
from calprune.report.answer import answer, warnings
from calprune.report.findings import Findings
from calprune.report.page import page
from calprune.report.retained import NOT_MEASURABLE, retained
from calprune.studies.results import Result, Results
from calprune.text.find import catalogue
from calprune.uncertainty import retention
from calprune.uncertainty.difference import holm, paired_by_draw, paired_by_item
from calprune.uncertainty.effect import effect_of_groups, range_of
from calprune.uncertainty.estimate import Estimate, over_draws
from calprune.uncertainty.ranks import rank_correlation
from calprune.uncertainty.retention import retention_of_perplexity
from calprune.uncertainty.share import shares_over_draws
from tests.made_up_study import EVALUATIONS, SOURCES, made_up

RESULTS = made_up()
FINDINGS = Findings(RESULTS)
TABLES = {table.name: table for table in page(FINDINGS).tables}
WHERE = ("evaluation", "method", "pattern")


def rows_of(results: Results, **wanted) -> list[Result]:
    return [row for row in results.rows if all(getattr(row, name) == value for name, value in wanted.items())]


def records(name: str) -> list[dict]:
    columns = [column.name for column in TABLES[name].columns]
    return [dict(zip(columns, row, strict=True)) for row in TABLES[name].rows]


def place(record: dict) -> dict:
    return {name: record[name] for name in WHERE}


def by_source(where: dict, attribute: str, sources: tuple[str, ...] = SOURCES) -> dict[str, list]:
    rows = {s: rows_of(RESULTS, calibration=s, **where) for s in sources}
    return {s: [compared(r) if attribute == "compared" else getattr(r, attribute) for r in rows[s]] for s in sources}


def compared(row: Result) -> float:
    """The value on the scale on which draws are compared."""
    return math.log(row.value) if row.metric == "perplexity" else row.value


def test_every_mean_is_over_the_draws_of_its_cell():
    assert len(records("results")) == len({(*row.cell, row.evaluation) for row in RESULTS.rows})
    for record in records("results"):
        rows = rows_of(RESULTS, calibration=record["source"], **place(record))
        values = [compared(row) for row in rows]
        spread = shares_over_draws(values, 200) if rows[0].metric == "accuracy" else over_draws(values)
        mean = spread.interval.map(math.exp) if rows[0].metric == "perplexity" else spread.interval
        assert (record["mean"], record["SD of a draw"], record["draws"]) == (mean, spread.sd, len(rows))
        assert record["dense"] == rows[0].dense


def test_retention_is_the_dense_models_part_over_draws_and_items():
    for record in records("retention"):
        for evaluation, metric, capability in EVALUATIONS:
            if metric == "kl":
                continue
            where = {"method": record["method"], "pattern": record["pattern"], "evaluation": evaluation}
            rows = rows_of(RESULTS, calibration=record["source"], **where)
            items = [row.items for row in rows] * (2 if record["source"] == "none" else 1)
            kind, of = ("perplexity", retention_of_perplexity) if metric == "perplexity" else ("tasks", retention)
            chance = () if metric == "perplexity" else (0.5,)
            assert record[f"{capability}, {kind}"] == of(items, rows[0].dense_items, *chance)


def test_a_capability_at_chance_is_not_measurable():
    guessing = tuple(float(i % 2) for i in range(200))
    rows = tuple(replace(r, dense_items=guessing, dense=0.5) if r.metric == "accuracy" else r for r in RESULTS.rows)
    found = retained(Findings(replace(RESULTS, rows=rows)).cells)
    assert {row.by["knowledge, tasks"] for row in found} == {NOT_MEASURABLE}
    assert Column("a", "estimate").shown(NOT_MEASURABLE) == NOT_MEASURABLE


def test_a_capability_is_the_mean_of_its_evaluations_on_the_draws_that_they_share():
    twice = tuple(replace(row, evaluation="perplexity(c4)") for row in RESULTS.rows if row.metric == "perplexity")
    both = retained(Findings(replace(RESULTS, rows=RESULTS.rows + twice)).cells)
    once = retained(FINDINGS.cells)
    for a, b in zip(both, once, strict=True):
        assert a.by["general, perplexity"].value == pytest.approx(b.by["general, perplexity"].value)
    fewer = tuple(row for row in twice if row.draw != 2)
    some = retained(Findings(replace(RESULTS, rows=RESULTS.rows + fewer)).cells)
    two = retained(Findings(replace(RESULTS, rows=tuple(r for r in RESULTS.rows if r.draw != 2))).cells)
    for a, b in zip(some, two, strict=True):
        assert a.by["general, perplexity"].value == pytest.approx(b.by["general, perplexity"].value)


def test_effects_are_of_texts_over_draws_and_holms_family_is_the_table():
    found = records("effects")
    assert len(found) == 12
    effects = [effect_of_groups(by_source(place(record), "compared")) for record in found]
    adjusted = holm([effect.p for effect in effects])
    for record, effect, p in zip(found, effects, adjusted, strict=True):
        share = record["share of variance"]
        assert (share.value, share.low, share.high) == pytest.approx(
            (effect.share.value, effect.share.low, effect.share.high)
        )
        assert (record["p"], record["p, Holm"]) == pytest.approx((effect.p, p))
        shown = (record["range"].value, record["SD of a draw"], record["minimum detectable difference"])
        assert shown == pytest.approx((effect.range, effect.sd, effect.detectable))
        apart = range_of(by_source(place(record), "compared"), 1 - 0.05 / 12)
        assert (record["range"].low, record["range"].high) == pytest.approx((apart.low, apart.high))
        rows = [row for row in rows_of(RESULTS, **place(record)) if row.calibration in SOURCES]
        lost = [abs(compared(row) - (math.log(row.dense) if row.metric == "perplexity" else row.dense)) for row in rows]
        assert record["of what pruning cost"] == pytest.approx(effect.range / (math.fsum(lost) / len(lost)))
        least = 0.01 if rows[0].metric == "accuracy" else 0.02
        assert record["smallest difference of interest"] == least
        assert record["effect"] == (
            "matters" if apart.low > least else "immaterial" if apart.high < least else "not shown"
        )
        assert {record["best"], record["worst"]} == {effect.lowest, effect.highest}


def of_kl(spread: float, luck: float = 0.0002, draws: int = 6, least: float | None = None) -> Results:
    """Two sources with a KL of about 1, `spread` nats apart, whose draws have the SD `luck`."""
    found = rows_of(made_up(methods=("wanda",), patterns=("60%",), draws=draws), metric="kl")
    rows = []
    for row in (row for row in found if row.calibration in ("c4", "slimpajama")):
        value = 1 + spread * (row.calibration == "slimpajama") + luck * (-1.2, 0.3, 1.1, -0.9, 0.8, -0.1)[row.draw]
        rows.append(replace(row, value=value, items=(value,) * 39 + (value + 1e-9,)))
    interest = Interest({} if least is None else {"nats": least})
    return replace(RESULTS, rows=tuple(rows), interest=interest)


def test_half_a_thousandth_of_a_nat_is_immaterial_however_surely_it_is_seen():
    [one] = Findings(of_kl(0.0005)).comparisons
    assert one.effect.share.value > 0.5 and one.adjusted_p < 0.01 and one.distinguished  # "large" by the share once
    assert one.word == "immaterial" and one.apart.high < 0.02
    matters, _ = answer(Findings(of_kl(0.0005)))
    assert matters.startswith("The choice of calibration data is immaterial here: kl(gsm8k)")
    assert "nats a token, 0.05 % of what pruning itself cost" in matters
    assert matters.endswith("the smallest difference of interest is 0.02 nats a token.")


def test_what_is_not_shown_to_be_small_is_not_called_immaterial():
    findings = Findings(of_kl(0.0, luck=0.05, draws=3))
    [one] = findings.comparisons
    assert not one.distinguished and one.word == "not shown" and one.apart.low < 0.02 < one.apart.high
    assert answer(findings)[0].startswith("That the choice of calibration data matters here is not shown: ")
    assert "not distinguished from the luck of the draw" in answer(findings)[0]


@pytest.mark.parametrize(
    ("least", "word"), [(0.01, "matters"), (0.05, "not shown"), (0.2, "immaterial"), (None, "matters")]
)
def test_the_same_range_matters_or_does_not_by_the_difference_that_the_user_would_act_on(least, word):
    [one] = Findings(of_kl(0.05, luck=0.005, least=least)).comparisons
    assert one.word == word and one.of_interest == (least or 0.02)


def test_the_more_pairs_of_setting_and_evaluation_a_page_has_the_wider_are_its_ranges():
    few = made_up(methods=("wanda",), patterns=("60%",))
    widths = [{one.of.evaluation: one.apart.high - one.apart.low for one in Findings(results).comparisons
               if (one.of.method, one.of.pattern) == ("wanda", "60%")} for results in (few, made_up())]  # fmt: skip
    assert len(Findings(few).comparisons) == 3 and len(FINDINGS.comparisons) == 12
    scale = [one.apart.confidence for one in (Findings(few).comparisons[0], FINDINGS.comparisons[0])]
    assert scale == pytest.approx([1 - 0.05 / 3, 1 - 0.05 / 12]) and all(widths)


def test_differences_are_paired_by_item_and_count_only_where_the_effect_does():
    effects = {tuple(place(record).values()): record for record in records("effects")}
    for record in records("differences"):
        items, where = by_source(place(record), "items", (*SOURCES, "random_tokens")), place(record)
        first, second = record["best"].removesuffix(" †"), record["less"].removesuffix(" †")
        assert record["difference"] == paired_by_item(items[first], items[second]).estimate
        if second == "random_tokens":
            assert record["p, adjusted"] == paired_by_item(items[first], items[second]).p  # a family of one
            continue
        metric = rows_of(RESULTS, **where)[0].measures
        mean = {s: math.fsum(v) / len(v) for s, v in by_source(where, "value").items()}
        order = sorted(SOURCES, key=mean.__getitem__, reverse=not metric.lower_is_better)
        pairs = list(itertools.combinations(order, 2))
        adjusted = dict(zip(pairs, holm([paired_by_item(items[a], items[b]).p for a, b in pairs]), strict=True))
        effect = effects[tuple(where.values())]
        assert first == order[0] == effect["best"]
        assert record["p, adjusted"] == max(adjusted[first, second], effect["p, Holm"])
        assert record["verdict"] == ("win" if record["p, adjusted"] < 0.05 else "tie")


def test_methods_are_paired_by_draw_the_better_first():
    found = records("methods")
    assert len(found) == 5 * 2 * 3
    own = []
    for record in found:
        where = {"calibration": record["source"], "evaluation": record["evaluation"], "pattern": record["pattern"]}
        values = {m: [compared(row) for row in rows_of(RESULTS, method=m, **where)] for m in ("wanda", "sparsegpt")}
        difference = paired_by_draw(values[record["better"]], values[record["less"]])
        assert record["difference"] == difference.estimate
        lower = rows_of(RESULTS, **where)[0].measures.lower_is_better
        assert (record["difference"].value < 0) == lower
        own.append(difference.p)
    assert [record["p, Holm"] for record in found] == holm(own)


def test_likeness_is_correlated_with_what_is_good():
    alike = {one.calibration: one.value for one in RESULTS.similarity}
    for record in records("correlations"):
        values = by_source(place(record), "value")
        sign = -1 if rows_of(RESULTS, **place(record))[0].measures.lower_is_better else 1
        means = {s: sign * math.fsum(v) / len(v) for s, v in values.items()}
        found, wanted = (
            record["rank correlation"],
            rank_correlation([alike[s] for s in SOURCES], [means[s] for s in SOURCES]),
        )
        assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))


def test_that_sources_drawn_alike_matter_is_not_shown_in_9_of_10_studies():
    one = {"methods": ("wanda",), "patterns": ("60%",), "apart": 0}
    said = [answer(Findings(made_up(seed=seed, **one))) for seed in range(10)]
    assert sum("matters here" not in matters or "is not shown" in matters for matters, _ in said) >= 9
    for matters, best in said:
        if "is not shown" in matters:
            assert "would be in 80 % of such studies" in matters
            assert best.startswith(("No source can be called best", "No source is best")) and " win" not in best


def test_sources_far_apart_matter_and_the_best_is_named():
    matters, best, _ = answer(Findings(made_up(apart=4)))
    assert "matters here in all 12 pairs" in matters and "immaterial" not in matters
    assert best.startswith("The best by mean place") and "is c4 (the usual choice)" in best
    assert " wins" in best and " loss" not in best


@pytest.mark.parametrize(
    ("called", "said"),
    [
        ({"slimpajama": "pile", "gsm8k:icl": "oscar"},
         "6 wins against the next in its settings (oscar); c4, slimpajama and wikitext2 were"),
        ({"slimpajama": "pile", "gsm8k:icl": "wikitext2"},
         "4 wins against the next in its settings (wikitext2); c4 and slimpajama were"),
        ({"slimpajama": "pile", "gsm8k:icl": "c4"},
         "6 wins against the usual c4; slimpajama was"),
    ],
)  # fmt: skip
def test_the_best_is_compared_with_what_was_in_its_settings_and_the_rest_is_named(called, said):
    """At 2:4 two sources alone, called otherwise: the best of them was never beside those of 60 %."""
    rows = [row.but(calibration=called[row.calibration] if row.pattern == "2:4" else row.calibration)
            for row in made_up(apart=4).rows if row.pattern == "60%" or row.calibration in called]  # fmt: skip
    found = answer(Findings(replace(RESULTS, rows=tuple(rows))))[1]
    lead = "The best by mean place on other text than a source's own is pile: after Holm's correction "
    assert found == f"{lead}{said} in none of its settings, so not compared with it."


def test_one_setting_needs_no_count():
    one = made_up(methods=("wanda",), patterns=("60%",), apart=4)
    rows = tuple(row for row in one.rows if row.metric == "perplexity")
    matters, _ = answer(Findings(replace(one, rows=rows)))
    assert "matters here: perplexity(wikitext2) with wanda goes from" in matters.replace(" 60%", "")


def test_one_draw_and_one_source_cannot_be_told():
    matters, best, methods = answer(Findings(made_up(draws=1)))
    assert "none of 30 differences is shown" in methods and "none can be called best" in methods
    assert "cannot be decided: each source has one draw" in matters and "no source can be called best" in best
    rows = tuple(row for row in RESULTS.rows if row.calibration == "c4" and row.method == "wanda")
    assert "there is one source" in answer(Findings(replace(RESULTS, rows=rows)))[0]
    assert "there is no source" in answer(Findings(replace(RESULTS, rows=())))[0]


def test_a_control_changes_no_answer():
    without = replace(RESULTS, rows=tuple(row for row in RESULTS.rows if row.calibration != "random_tokens"))
    assert answer(Findings(without))[:2] == answer(FINDINGS)[:2]
    assert {"random_tokens"} == {row["less"] for row in records("differences")} - {
        s + m for s in SOURCES for m in ("", " †")
    }


def test_controls_are_those_of_the_catalogue():
    assert {name for name, source in catalogue().items() if source.kind == "control"} == settings.CONTROLS


@pytest.mark.parametrize(
    ("calibration", "evaluation", "own"),
    [
        ("gsm8k:icl", "perplexity(gsm8k)", True),
        ("c4*2 + gsm8k:icl", "kl(gsm8k:cot, tokens=4096)", True),
        ("boolq", "boolq(examples=200)", True),
        ("gsm8k", "bandari/gsm8k(examples=50)", True),
        ("c4", "perplexity(wikitext2)", False),
        ("one.jsonl", "perplexity(two.jsonl)", False),
        ("/data/one.jsonl", "perplexity(/data/one.jsonl)", True),
        ("./one.jsonl", "kl(./one.jsonl, tokens=64)", True),
        ("../a/one.jsonl", "kl(../b/one.jsonl)", False),
        ("c4*0.5 + pile*0.5", "kl(wikitext2, share=0.5)", False),
        ("examples", "boolq(examples=200)", False),
        ("none", "perplexity(none)", False),
    ],
)
def test_a_source_judged_on_its_own_text_is_known(calibration, evaluation, own):
    row = replace(RESULTS.rows[0], evaluation=evaluation).but(calibration=calibration)
    assert settings.own_text(row) is own
    labelled = replace(row, sources=("gsm8k",)).but(calibration="as I call it")
    assert settings.own_text(labelled) is ("gsm8k" in evaluation)


def test_a_source_judged_on_its_own_text_is_marked_and_does_not_count_for_best():
    marked = {
        (row["evaluation"], name)
        for row in records("differences")
        for name in (row["best"], row["less"])
        if "†" in name
    }
    assert marked == {("perplexity(wikitext2)", "wikitext2 †"), ("kl(gsm8k)", "gsm8k:icl †")}
    assert {row["source"] for row in records("results") if row["own text"]} == {"wikitext2", "gsm8k:icl"}
    assert sum(FINDINGS.record("wikitext2", "gsm8k:icl").values()) == 4  # of 12, the tasks only


def test_the_tokens_that_lost_most_are_named_with_their_sources_and_their_text_is_kept_in_no_file(tmp_path):
    nats = {
        "c4": {"\n": 2.0, " the": 0.5},
        "gsm8k:icl": {"\n": 4.0, " the": 0.1},
        "random_tokens": {"\n": 99.0, " the": 99.0},
    }

    def lost(row: Result) -> dict[str, tuple[int, float]]:
        return {token: (20 if token == "\n" else 10, n + 0.1 * row.draw) for token, n in nats[row.calibration].items()}

    study = made_up(sources=("c4", "gsm8k:icl"), methods=("wanda",), patterns=("60%",))
    rows = [replace(row, by_token=lost(row)) for row in study.rows if row.metric == "kl" and row.calibration in nats]
    made = replace(RESULTS, rows=tuple(rows))
    table = page(Findings(made)).table("tokens")
    first, second = ([cell for cell in row if cell != ""][-6:] for row in table.rows)
    assert first[:3] == ["“↵”", 20, pytest.approx(3.1)] and first[4:] == ["c4: 2.100", "gsm8k:icl: 4.100"]
    assert first[3] == pytest.approx(3.1 * 20 / (3.1 * 20 + 0.4 * 10))
    assert second[:3] == ["“ the”", 10, pytest.approx(0.4)] and second[4:] == ["gsm8k:icl: 0.2000", "c4: 0.6000"]
    report.write_parquet(made, tmp_path / "kept.parquet")
    assert "tokens" not in [one.id for one in page(Findings(report.read_results(tmp_path / "kept.parquet"))).sections]


def test_files_hold_the_same_values(tmp_path):
    report.write_csv(RESULTS, tmp_path / "a.csv")
    report.write_json(RESULTS, tmp_path / "a.json")
    report.write_markdown(RESULTS, tmp_path / "a.md")
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["format"] == 1 and told["answer"][1:] == answer(FINDINGS) and told["missing"] == 2
    with (tmp_path / "a.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    text = (tmp_path / "a.md").read_text()
    assert len(lines) == len(told["tables"]["results"]) == len(TABLES["results"].rows)
    for line, record in zip(lines, told["tables"]["results"], strict=True):
        mean = record["mean"]
        assert (line["evaluation"], line["source"], line["method"]) == tuple(
            record[n] for n in ("evaluation", "source", "method")
        )
        assert [line["mean"], line["mean low"]] == [str(mean["value"]), "" if mean["low"] is None else str(mean["low"])]
        assert numbers.with_interval(Estimate(**mean)).replace("[", "\\[") in text
    assert all(said.split("(")[0] in text for said in told["answer"])


def test_no_markup_of_a_study_reaches_the_page_or_markdown(tmp_path):
    hostile = "</script><script>alert(2)"
    rows = tuple(row.but(calibration=hostile) if row.calibration == "c4" else row for row in RESULTS.rows)
    made = page(Findings(replace(RESULTS, rows=rows))).html()
    assert "<script>alert" not in made and "&lt;script&gt;alert(1)" in made and "a &lt;small&gt; model" in made
    assert made.count("</script>") == 3  # the charts' data, the library and the page's own
    report.write_markdown(RESULTS, tmp_path / "a.md")
    assert "<script>" not in (tmp_path / "a.md").read_text().replace("\\<", "")


def test_what_is_missing_or_failed_is_said_first_and_in_full():
    assert warnings(FINDINGS) == [
        "2 trials of this study are not there yet: the numbers are of those that are.",
        "1 trial failed; its errors are below.",
    ]
    assert records("failures")[0]["error"] == RESULTS.failed[0].error


def test_a_value_that_is_not_finite_is_in_no_mean_and_is_listed():
    broken = replace(RESULTS.rows[0], value=math.inf)
    findings = Findings(replace(RESULTS, rows=(broken, *RESULTS.rows[1:])))
    assert "1 result is not finite and in no mean." in warnings(findings)
    assert len(findings.cells[0].rows) + 1 == len(FINDINGS.cells[0].rows) or len(findings.rows) + 1 == len(RESULTS.rows)
    assert any("not finite" in row[-1] for row in page(findings).table("failures").rows)


def test_a_study_without_results_is_a_page(tmp_path):
    empty = replace(RESULTS, rows=(), similarity=())
    for write in (report.write_html, report.write_csv, report.write_json, report.write_markdown):
        write(empty, tmp_path / write.__name__)
    assert "no result yet" in (tmp_path / "write_html").read_text()
    assert "vegaEmbed =" not in (tmp_path / "write_html").read_text()  # no chart needs no library


def test_a_page_is_under_two_megabytes_and_names_no_host_to_load_from(tmp_path):
    report.write_html(RESULTS, tmp_path / "a.html")
    made = (tmp_path / "a.html").read_text()
    assert len(made.encode()) < 2_000_000
    assert "default-src 'none'" in made
    assert not any(mark in made.split("<script>")[0] for mark in (" src=", "<link", "@import", "url("))


def test_without_altair_the_page_is_there_and_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "altair", None)
    report.write_html(RESULTS, tmp_path / "a.html")
    made = (tmp_path / "a.html").read_text()
    assert "calprune[report]" in made and "data-spec=" not in made and "gsm8k" in made


def test_reports_import_no_torch():
    program = (
        "import sys, calprune.report; print(sorted({'torch', 'transformers', 'altair', 'jinja2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (Estimate(12.345, 11.9, 12.8, 3), "12.3 [11.9, 12.8]"),
        (Estimate(12.345, None, None, 1), "12.35"),
        (Estimate(1234.5, 1200.0, 1269.0, 3), "1,234 [1,200, 1,269]"),
        (Estimate(-0.0123, -0.02, -0.005, 3), "−0.012 [−0.020, −0.005]"),
        (Estimate(0.5, 0.5, 0.5, 3), "0.5000 [no spread]"),
        (Estimate(1.37744812, 1.37744809, 1.37744815, 3), "1.377 [no spread]"),  # rounding says nothing
        (Estimate(-0.0001, -0.03, 0.03, 3), "0.00 [−0.03, 0.03]"),
        (None, "not measured"),
    ],
)
def test_numbers_have_the_digits_that_their_interval_carries(estimate, shown):
    assert numbers.with_interval(estimate) == shown


def test_patterns_are_in_the_order_of_their_sparsity():
    assert settings.in_order(["70%", "2:4", "50%/row", "50%", "1:4"]) == ["50%", "50%/row", "2:4", "70%", "1:4"]


def test_copied_cells_keep_their_digits_and_stay_one_cell():
    column = Column("mean", "estimate")
    assert column.names == ("mean", "mean low", "mean high")
    assert tsv(column.values(Estimate(1 / 3, 0.1, None, 2))) == f"{1 / 3}\t0.1\t"
    assert tsv(("a\tb\nc", None, 2)) == "a b c\t\t2"


def test_an_interval_of_perplexity_stays_above_nothing_however_its_draws_differ():
    rows = tuple(replace(row, value=200.0 * (1 + 20 * row.draw)) if row.metric == "perplexity" and row.draw is not None
                 else row for row in RESULTS.rows if row.draw in (0, 1, None))  # fmt: skip
    for cell in Findings(replace(RESULTS, rows=rows)).cells:
        if cell.of.metric == "perplexity" and cell.of.draw is not None:
            assert 0 < cell.spread.interval.low < cell.spread.mean < cell.spread.interval.high


def test_a_pattern_with_one_source_has_the_colours_of_the_others_and_the_fullest_chart_is_seen_first():
    from calprune.report.sections.overview import overview

    made = made_up(draws=1, patterns=("50%", "2:4"))
    few = replace(
        made, rows=tuple(r for r in made.rows if r.pattern == "2:4" or (r.calibration, r.method) == ("c4", "wanda"))
    )
    charts = overview(Findings(few)).panels[0].charts
    assert all(point.series for chart in charts for point in chart.points)
    assert len(charts[0].points) == max(len(chart.points) for chart in charts) > len(charts[1].points)


def test_where_the_choice_matters_and_no_two_sources_are_told_apart_the_table_says_why():
    from calprune.report.sections.overview import results_table

    def said(made):
        found = Findings(made)
        shown = any(one.verdict == "win" for one in found.widest.of_best)
        note = any("count together" in note for note in results_table(found).notes)
        return found.widest.word == "matters", shown, note

    made = made_up(draws=2, methods=("wanda",), patterns=("60%",))
    rows = []
    for row in made.rows:  # each source is worse on items of its own, so that few items decide
        at = (*SOURCES, "random_tokens").index(row.calibration) if row.calibration in SOURCES else 4
        if row.metric == "kl":
            value = 1 + 0.1 * at + 0.002 * (row.draw or 0)
            items = tuple(value + 20 * (((i + 7 * at) % 40 == 0) - 1 / 40) for i in range(40))
            rows.append(replace(row, value=math.fsum(items) / 40, items=items))
    assert said(made) == (True, True, False)
    assert said(replace(made, rows=tuple(rows))) == (True, False, True)


def test_the_zone_of_no_difference_begins_at_a_fair_best_only_where_two_sources_are_fair():
    from calprune.report.sections.overview import overview

    def zone(sources, methods):
        made = made_up(sources=sources, methods=methods, patterns=("60%",))
        shown = overview(Findings(made))
        assert any("† the source is judged on its own text" in line for line in shown.lead)
        chart = next(one for one in shown.panels[0].charts if one.title.startswith("perplexity"))
        means = {name: min(point.value for point in chart.points if point.source == name)
                 for name in {point.source for point in chart.points}}  # fmt: skip
        return chart.zone[0], means

    for methods in (("wanda",), ("wanda", "sparsegpt")):
        begins, means = zone(("wikitext2", "gsm8k:icl"), methods)  # judged on wikitext2: its own text
        assert begins == min(means[name] for name in ("wikitext2 †", "gsm8k:icl"))
        begins, means = zone(("wikitext2", "gsm8k:icl", "slimpajama"), methods)
        assert begins == min(means[name] for name in ("gsm8k:icl", "slimpajama"))
