"""A claim is held, not held or cannot be told as the results say, whatever its kind; and a mistake in one is named."""

import json
import math
import random
import re
from dataclasses import replace

import pytest
import yaml

from calprune.base.values import ConfigError
from calprune.evaluation.metric import ACCURACY, KL
from calprune.report.claims import JUDGES, LEAST_P, judge
from calprune.report.claims.selected import select
from calprune.report.files import write_claims
from calprune.report.findings import Findings
from calprune.report.page import page
from calprune.studies.axes import NO_DATA
from calprune.studies.claims import KINDS, check_claims, matches, read_claims
from calprune.studies.results import LikenessRow, Result, Results
from calprune.uncertainty.crossed import Weighed
from calprune.uncertainty.difference import holm, paired_by_item, weighed_sum
from calprune.uncertainty.spread import larger_by, luck_per_doubling, ratio_of_luck, spread_between
from calprune.uncertainty.spread_power import chance_of_difference
from tests.made_up_study import made_up, setting_of

SOURCES = ("c4", "pile", "oscar", "wiki", "code")
HELD, NOT, CANNOT = "held", "not held", "cannot be told here"


def study(harm, luck=0.005, draws=3, amounts=(16,), patterns=("60%",), alike=None, **options) -> Results:
    """KL of five sources: `harm(source, pattern)` on average, draws with the SD `luck`, or `luck(pattern, amount)`."""
    stream = random.Random(options.get("seed", 0))
    rows = []
    for source, pattern, amount in (
        (s, p, n) for s in options.get("sources", SOURCES) for p in patterns for n in amounts
    ):
        for draw in range(draws):
            sd = luck(pattern, amount) if callable(luck) else luck
            mean = 1 + harm(source, pattern) + stream.gauss(0, sd)
            items = tuple(mean + 0.01 * stream.gauss(0, 1) for _ in range(40))
            axes = setting_of(calibration=source, method="wanda", pattern=pattern, num_samples=amount)
            rows.append(Result("t", axes, amount * 256, draw,
                               "kl(wikitext2, tokens=4096)", KL, "general", math.fsum(items) / 40, items, 0.0,
                               (0.0,) * 40, None))  # fmt: skip
    similarity = tuple(LikenessRow(s, "Jaccard to web", float(v), True) for s, v in (alike or {}).items())
    return Results("t", "q", tuple(rows), (), 0, similarity, {}, options.get("stand_ins", {}))


def judged(results: Results, written: str):
    claims = read_claims(yaml.safe_load(f"[{{says: so, {written}}}]"), "study.yaml")
    (one,) = judge(Findings(replace(results, claims=claims)))
    return one


def verdict(results: Results, written: str) -> str:
    return judged(results, written).judgement.verdict


ORDER = {name: 0.1 * i for i, name in enumerate(SOURCES)}  # c4 the best, code the worst
APART = study(lambda source, _: ORDER[source])
SAME = study(lambda *_: 0.0, luck=0.05)
WIDER_AT_70 = study(lambda s, p: ORDER[s] * (1 if p == "70%" else 0.1), patterns=("60%", "70%"), luck=0.01)
LUCK_AT_70 = study(
    lambda s, _: ORDER[s], patterns=("60%", "70%"), draws=5, luck=lambda p, _: 0.2 if p == "70%" else 0.01
)
STEADIER = study(lambda s, _: ORDER[s], amounts=(16, 256), draws=5, luck=lambda _, n: 2.0 / n)
SHAKIER = study(lambda s, _: ORDER[s], amounts=(16, 256), draws=5, luck=lambda _, n: n / 1000)
SEVEN = (*SOURCES, "law", "news")


@pytest.mark.parametrize(
    ("results", "written", "wanted"),
    [
        (APART, "better: {first: {calibration: c4}, than: {calibration: pile}}", HELD),
        (APART, "better: {first: {calibration: pile}, than: {calibration: c4}}", NOT),
        (SAME, "better: {first: {calibration: pile}, than: {calibration: c4}}", CANNOT),
        (APART, "better: {first: {calibration: c4}, than: {calibration: pile}, by: 0.05}", HELD),
        (APART, "better: {first: {calibration: c4}, than: {calibration: pile}, by: 0.2}", NOT),
        (APART, "better: {first: {calibration: c4}, than: {calibration: pile}, by: 0.1}", CANNOT),
        (APART, "better: {first: {calibration: [c4, pile]}, than: {calibration: [oscar, wiki]}, by: 0.15}", HELD),
        (APART, "better: {first: {calibration: pile}, than: [{calibration: oscar}, {calibration: wiki}]}", HELD),
        (APART, "better: {first: {calibration: pile}, than: [{calibration: oscar}, {calibration: c4}]}", NOT),
        (APART, "alike: {first: {calibration: c4}, than: {calibration: pile}, margin: 0.2}", HELD),
        (APART, "alike: {first: {calibration: c4}, than: {calibration: pile}, margin: 0.05}", NOT),
        (SAME, "alike: {first: {calibration: c4}, than: {calibration: pile}, margin: 0.05}", CANNOT),
        (APART, "best: {calibration: c4, of: [pile, oscar, wiki]}", HELD),
        (APART, "best: {calibration: pile, of: [c4, oscar, wiki]}", NOT),
        (SAME, "best: {calibration: c4, of: [pile, oscar, wiki]}", CANNOT),
        (APART, "not_best: {calibration: pile, of: [c4, oscar, wiki]}", HELD),
        (APART, "not_best: {calibration: c4, of: [pile, oscar, wiki]}", NOT),
        (SAME, "not_best: {calibration: c4, of: [pile, oscar, wiki]}", CANNOT),
        (APART, "order: {calibrations: [c4, pile, oscar, wiki]}", HELD),
        (APART, "order: {calibrations: [c4, oscar, pile, wiki]}", NOT),
        (SAME, "order: {calibrations: [c4, pile, oscar]}", CANNOT),
        (APART, "sources_differ: {by: 0.05}", HELD),
        (APART, "sources_differ: {by: 0.5}", NOT),
        (SAME, "sources_differ: {by: 0.02}", CANNOT),
        (APART, "sources_alike: {margin: 0.5}", HELD),
        (APART, "sources_alike: {margin: 0.05}", NOT),
        (SAME, "sources_alike: {margin: 0.02}", CANNOT),
        (WIDER_AT_70, "sources_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}}", HELD),
        (WIDER_AT_70, "sources_differ_more: {first: {pattern: 60%}, than: {pattern: 70%}}", NOT),
        (LUCK_AT_70, "sources_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}}", CANNOT),
        (LUCK_AT_70, "sources_differ_more: {first: {pattern: 60%}, than: {pattern: 70%}, measure: share}", HELD),
        (LUCK_AT_70, "sources_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}, measure: share}", NOT),
        (LUCK_AT_70, "draws_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}}", HELD),
        (LUCK_AT_70, "draws_differ_more: {first: {pattern: 60%}, than: {pattern: 70%}}", NOT),
        (WIDER_AT_70, "draws_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}}", CANNOT),
        (STEADIER, "draws_differ_less_with_amount: {}", HELD),
        (SHAKIER, "draws_differ_less_with_amount: {}", NOT),
        (study(lambda *_: 0.0, amounts=(16, 32)), "draws_differ_less_with_amount: {}", CANNOT),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_where_the_interval_lies(results, written, wanted):
    one = judged(results, written)
    assert one.judgement.verdict == wanted, one
    assert one.judgement.estimate.low <= one.judgement.estimate.value < one.judgement.estimate.high
    assert one.judgement.what and one.why


@pytest.mark.parametrize(
    ("alike", "sign", "wanted"),
    [
        ({name: -i for i, name in enumerate(SEVEN)}, "better", HELD),
        ({name: -i for i, name in enumerate(SEVEN)}, "worse", NOT),
        ({name: i for i, name in enumerate(SEVEN)}, "worse", HELD),
        (dict(zip(SEVEN, (3, 1, 6, 2, 7, 4, 5), strict=True)), "better", CANNOT),
        ({name: -i for i, name in enumerate(SOURCES[:3])}, "better", CANNOT),
    ],
)
def test_likeness_goes_with_the_result_or_does_not(alike, sign, wanted):
    results = study(lambda s, _: 0.1 * SEVEN.index(s), sources=SEVEN, alike=alike)
    one = judged(results, f"goes_with: {{measure: 'Jaccard*', sign: {sign}}}")
    assert one.judgement.verdict == wanted, one
    if len(alike) < 4:
        assert "it takes four" in one.why


def test_a_setting_of_large_differences_tells_no_more_of_likeness_than_another():
    """Three settings say that alike is better; one, ten times as far apart, says the contrary."""
    harm = lambda s, p: SEVEN.index(s) * (-1.0 if p == "70%" else 0.1)  # noqa: E731
    results = study(harm, sources=SEVEN, patterns=("50%", "55%", "60%", "70%"), luck=0.001,
                    alike={name: -i for i, name in enumerate(SEVEN)})  # fmt: skip
    assert verdict(results, "goes_with: {measure: 'Jaccard*'}") == HELD


def test_likeness_to_a_text_that_stands_in_for_another_cannot_be_told():
    results = study(lambda s, _: 0.1 * SEVEN.index(s), sources=SEVEN, alike={name: -i for i, name in enumerate(SEVEN)},
                    stand_ins={"web": "272 pages"})  # fmt: skip
    one = judged(results, "goes_with: {measure: 'Jaccard*'}")
    assert (one.judgement.verdict, one.why) == (CANNOT, "web stands in: 272 pages")


def test_a_likeness_that_is_not_there_is_answered_with_those_that_are():
    results = study(lambda s, _: 0.1 * SEVEN.index(s), sources=SEVEN, alike=dict(zip(SEVEN, range(7), strict=True)))
    one = judged(results, "goes_with: {measure: Jaccard of words to nothing}")
    assert one.judgement.verdict == CANNOT
    assert all(like.measure in one.why for like in results.similarity), one.why


def test_every_kind_was_judged():
    tried = {mark.split(":")[0] for mark in (args[1] for args in
             test_a_verdict_follows_from_where_the_interval_lies.pytestmark[0].args[1])}  # fmt: skip
    assert tried | {"goes_with", "not_measured"} == set(KINDS)


ONE_DRAW = study(lambda source, _: ORDER[source], draws=1, alike={name: -i for i, name in enumerate(SOURCES)})


@pytest.mark.parametrize(
    "written",
    [
        "better: {first: {calibration: c4}, than: {calibration: pile}}",
        "alike: {first: {calibration: c4}, than: {calibration: pile}, margin: 9}",
        "best: {calibration: c4, of: [pile, oscar]}",
        "not_best: {calibration: pile, of: [c4, oscar]}",
        "order: {calibrations: [c4, pile]}",
        "sources_differ: {}",
        "sources_alike: {margin: 9}",
    ],
)
def test_one_draw_tells_nothing(written):
    one = judged(ONE_DRAW, written)
    assert one.judgement.verdict == CANNOT and "one draw" in one.why


def test_the_draws_that_would_tell_decide_the_claim_in_most_studies_where_the_truth_is_what_was_found():
    written = "better: {first: {calibration: c4}, than: {calibration: pile}}"
    few = judged(study(lambda source, _: 0.02 * (source == "pile"), luck=0.05, draws=12, seed=0), written)
    assert few.judgement.verdict == CANNOT
    draws = int(re.search(r"about (\d+) draws would tell", few.why)[1])
    found = few.judgement.estimate.value

    def decided(draws):
        studies = (
            study(
                lambda source, _: found * (source == "pile"), luck=0.05, draws=draws, sources=("c4", "pile"), seed=seed
            )
            for seed in range(40)
        )
        return sum(verdict(one, written) == HELD for one in studies)

    assert decided(draws // 4) < 24 <= decided(draws) < 40  # 32 is 80 %


@pytest.mark.parametrize("draws", [2, 3, 5])
def test_the_draws_that_would_tell_are_more_than_those_there_are(draws):
    """Also where the correction alone leaves a claim open: among many even a clear one is not shown by few draws."""
    results = study(lambda source, _: 0.03 * SOURCES.index(source), luck=0.02, draws=draws)
    pairs = [f"{{says: {a} {b}, better: {{first: {{calibration: {a}}}, than: {{calibration: {b}}}}}}}"
             for a in SOURCES for b in SOURCES if a != b]  # fmt: skip
    claims = read_claims(yaml.safe_load(f"[{', '.join(pairs)}]"), "study.yaml")
    found = [one.draws for one in judge(Findings(replace(results, claims=claims))) if one.judgement.verdict == CANNOT]
    assert len(found) > 4 and min(found) > draws


def test_of_several_pairs_the_draws_that_would_tell_decide_the_claim_too():
    written, sources = "best: {calibration: c4, of: [pile, oscar, wiki, code]}", SOURCES
    few = judged(study(lambda source, _: 0.03 * (source != "c4"), luck=0.05, draws=6, seed=6), written)
    assert few.judgement.verdict == CANNOT and few.judgement.estimate.value > 0 and 6 < few.draws < 1000
    found = few.judgement.estimate.value
    many = (
        study(lambda source, _: found * (source != "c4"), luck=0.05, draws=3 * few.draws, sources=sources, seed=seed)
        for seed in range(6)
    )
    assert sum(verdict(one, written) == HELD for one in many) >= 5


def _found(results, apart, luck):
    """The same with two draws of each source that lie exactly so: their SD is `luck(pattern, amount)`, that between
    the sources, without what luck adds to it, is `apart`."""
    sources = list(dict.fromkeys(row.calibration for row in results.rows))
    made = []
    for row in results.rows:
        sd = luck(row.pattern, int(row.axes["num_samples"]))
        middle = (-1) ** sources.index(row.calibration) * math.sqrt(apart**2 + sd**2 / 4) if apart else 0.0
        value = 1 + middle + (-1) ** row.draw * sd / math.sqrt(2)
        made.append(replace(row, value=value, items=(value,) * len(row.items)))
    return replace(results, rows=tuple(made))


WIDER = "draws_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}}"
FEWER = "draws_differ_less_with_amount: {}"
STUDIES = 120


@pytest.mark.parametrize(
    ("written", "holds", "sources", "apart", "factor"),  # of the luck: of the other pattern, or of a doubling
    [
        ("sources_differ: {}", lambda one: one.low > 0, 2, 0.005, 1),
        ("sources_differ: {by: 0.01}", lambda one: one.high < 0.01, 2, 0.005, 1),
        ("sources_alike: {margin: 0.005}", lambda one: one.high < 0.005, 2, 0.002, 1),
        ("sources_alike: {margin: 0.01}", lambda one: one.low > 0.01, 2, 0.015, 1),
        (WIDER, lambda one: one.low > 1, 2, 0.0, 2),
        (WIDER, lambda one: one.high < 1, 3, 0.0, 1 / 2),
        (FEWER, lambda one: one.high < 1, 2, 0.0, 0.6),
        (FEWER, lambda one: one.low > 1, 3, 0.0, 1.5),
    ],
)
def test_the_draws_that_would_tell_of_sds_decide_the_claim_in_80_percent_of_studies(
    written, holds, sources, apart, factor
):
    patterns, amounts = ("60%", "70%")[: 1 + (written == WIDER)], (16, 32)[: 1 + (written == FEWER)]
    of_luck = {("70%", 16): factor, ("60%", 32): factor}
    how = {"sources": SOURCES[:sources], "amounts": amounts, "patterns": patterns}
    results = _found(study(lambda *_: 0.0, draws=2, **how), apart, lambda *at: 0.01 * of_luck.get(at, 1))
    few = judged(results, written)
    assert few.judgement.verdict == CANNOT and 2 < few.draws < 100
    stream = random.Random(0)

    def groups(draws, luck):
        middles = [(-1) ** i * apart for i in range(sources)]
        return {str(i): [stream.gauss(middle, luck) for _ in range(draws)] for i, middle in enumerate(middles)}

    def interval(draws):
        if written == WIDER:
            return ratio_of_luck(groups(draws, factor), groups(draws, 1))
        if written == FEWER:
            return luck_per_doubling({16: groups(draws, 1), 32: groups(draws, factor)})
        return spread_between(groups(draws, 0.01))

    fewer, enough = (
        sum(holds(interval(draws)) for _ in range(STUDIES)) / STUDIES for draws in (few.draws // 2, few.draws)
    )
    assert fewer < 0.68 < 0.7 <= enough <= 0.93


@pytest.mark.parametrize(("first", "than", "sources", "draws"), [(0.02, 0.01, 3, 4), (0.01, 0.02, 2, 9)])
def test_the_chance_that_sources_differ_more_is_what_made_up_studies_have(first, than, sources, draws):
    stream = random.Random(0)

    def side(apart):  # the SD of two or three sources, divided by their number, is `apart`
        reach = apart * {2: 1, 3: math.sqrt(1.5)}[sources]
        middles = (reach, -reach, 0.0)[:sources]
        return {str(i): [stream.gauss(middle, 0.01) for _ in range(draws)] for i, middle in enumerate(middles)}

    found = [larger_by(spread_between(side(first)), spread_between(side(than))) for _ in range(300)]
    decided = sum(one.low > 0 if first > than else one.high < 0 for one in found) / len(found)
    assert 0.2 < decided < 0.95
    assert chance_of_difference((first, 0.01), (than, 0.01), sources)(draws, 0.95) == pytest.approx(decided, abs=0.08)


def test_where_no_number_of_draws_would_tell_none_is_given():
    """None shows that sources do not differ at all; of equal SDs none shows which is larger."""
    more = "sources_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}}"
    alike = _found(study(lambda *_: 0.0, draws=2, patterns=("60%", "70%")), 0.01, lambda *_: 0.01)
    nothing = _found(study(lambda *_: 0.0, draws=2), 0.0, lambda *_: 0.01)
    for one in (judged(alike, more), judged(nothing, "sources_differ: {}")):
        assert one.judgement.verdict == CANNOT and one.draws is None and "draws would tell" not in one.why


def test_that_sources_differ_more_in_one_setting_takes_a_number_of_draws():
    more = "sources_differ_more: {first: {pattern: 70%}, than: {pattern: 60%}}"
    apart = {"60%": 0.02, "70%": 0.03}
    found = study(lambda source, pattern: apart[pattern] * len(source), luck=0.02, patterns=tuple(apart))
    one = judged(found, more)
    assert one.judgement.verdict == CANNOT and one.draws is not None and "draws would tell" in one.why


def test_methods_that_read_no_data_have_no_draws_to_tell_by():
    methods = {"c4": "magnitude", "pile": "other"}
    rows = tuple(
        replace(row, tokens=None, axes=setting_of(calibration=NO_DATA, method=methods[row.calibration], pattern="60%"))
        for row in SAME.rows
        if row.draw == 0 and row.calibration in methods
    )
    written = "better: {{first: {{method: magnitude}}, than: {{method: other}}, by: {}}}"
    found = judged(replace(SAME, rows=rows), written.format(0)).judgement.estimate.value
    one = judged(replace(SAME, rows=rows), written.format(found))
    assert one.judgement.verdict == CANNOT and one.draws is None and "draws would tell" not in one.why


def test_a_claim_that_ends_where_the_difference_lies_would_take_more_draws_than_any_study_has():
    written = "better: {{first: {{calibration: c4}}, than: {{calibration: pile}}, by: {}}}"
    found = judged(SAME, written.format(0)).judgement.estimate.value
    one = judged(SAME, written.format(found))
    assert "over 10,000 draws would tell" in one.why


def test_a_claim_on_two_sources_that_give_the_same_is_not_told_and_does_not_end_the_report():
    rows = [replace(row, items=SAME.rows[0].items, value=SAME.rows[0].value) for row in SAME.rows]
    one = judged(replace(SAME, rows=tuple(rows)), "better: {first: {calibration: c4}, than: {calibration: pile}}")
    assert one.judgement.verdict == CANNOT and one.judgement.estimate.value == 0


def test_what_has_no_power_says_what_could_have_been_seen():
    one = judged(SAME, "better: {first: {calibration: pile}, than: {calibration: c4}}")
    assert "the interval holds 0, and 80 % of such studies find" in one.why
    seen = float(one.why.split("find ")[1].split(" or")[0])
    reach = one.judgement.estimate.high - one.judgement.estimate.value
    assert reach < seen < 3 * reach  # to find it in 80 % it takes more than to find it in half


def test_a_claim_about_a_stand_in_cannot_be_told_and_elsewhere_it_is_labelled():
    results = replace(APART, stand_ins={"oscar": "63 long pages"})
    about = judged(results, "better: {first: {calibration: c4}, than: {calibration: oscar}}")
    assert about.judgement.verdict == CANNOT and "oscar stands in: 63 long pages" in about.why
    beside = judged(results, "better: {first: {calibration: c4}, than: {calibration: [oscar, wiki]}}")
    assert beside.judgement.verdict == HELD and "oscar stands in" in beside.why
    of_others = judged(results, "not_best: {calibration: wiki, of: [oscar, code]}")
    assert of_others.judgement.verdict == NOT and "oscar is left out" in of_others.why  # the stand-in alone was better
    assert verdict(APART, "not_best: {calibration: wiki, of: [oscar, code]}") == HELD


def test_cells_that_are_not_there_are_not_measured():
    gone = replace(APART, rows=tuple(row for row in APART.rows if row.calibration != "pile"))
    one = judged(gone, "better: {first: {calibration: c4}, than: {calibration: pile}}")
    assert one.judgement.verdict == CANNOT and one.why.startswith("not measured: no result of calibration pile")
    best = judged(gone, "best: {calibration: c4, of: [pile, oscar]}")
    assert best.judgement.verdict == HELD and "pile is left out" in best.why
    assert judged(APART, "not_measured: it needs DCLM-7B").why == "not measured: it needs DCLM-7B"
    assert verdict(replace(APART, rows=()), "sources_differ: {}") == CANNOT


@pytest.mark.parametrize("right", [10, 100])
def test_a_task_whose_dense_model_guesses_tells_nothing(right):
    answers = tuple(float(i < right) for i in range(200))
    rows = tuple(replace(row, evaluation="boolq", measures=ACCURACY, dense_items=answers, chance=0.5)
                 for row in APART.rows)  # fmt: skip
    one = judged(replace(APART, rows=rows), "better: {first: {calibration: c4}, than: {calibration: pile}}")
    assert one.judgement.verdict == CANNOT and "within noise of chance in boolq" in one.why


def test_settings_are_compared_with_their_like():
    """c4 is better at both patterns, and is there at 70 % alone with another amount, where everything is worse."""
    both = study(lambda s, p: ORDER[s] + 5 * (p == "70%"), patterns=("60%", "70%"))
    lacking = tuple(row for row in both.rows if row.calibration != "pile" or row.pattern == "60%")
    one = judged(replace(both, rows=lacking), "better: {first: {calibration: c4}, than: {calibration: pile}}")
    assert one.judgement.verdict == HELD and "1 of 2 settings have all of them" in one.why
    assert one.judgement.estimate.value == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    "kind",
    [
        "better: {first: {calibration: c4}, than: {calibration: pile}}",
        "best: {calibration: c4, of: [pile]}",
        "order: {calibrations: [c4, pile]}",
    ],
)
def test_what_is_measured_names_the_one_whose_gain_it_is_first(kind):
    judgement = judged(APART, kind).judgement
    assert judgement.what.startswith("gain of c4 over pile") and judgement.estimate.value > 0  # c4 is the better one


def test_amounts_are_named_as_sequences():
    steady = study(lambda *_: 0.0, amounts=(16, 32))
    written = "better: {first: {num_samples: 32}, than: {num_samples: 16}}"
    assert judged(steady, written).judgement.what.startswith("gain of 32 sequences over 16 sequences")


def test_a_mean_over_settings_is_that_of_the_differences():
    both = study(lambda s, p: ORDER[s] * (1 + (p == "70%")), patterns=("60%", "70%"))
    written = "better: {first: {calibration: c4}, than: {calibration: pile}, where: {pattern: P}}"
    found = {p: judged(both, written.replace("P}", f"{p}}}")) for p in ("60%", "70%", "'*'")}
    values = {p: one.judgement.estimate.value for p, one in found.items()}
    assert values["'*'"] == pytest.approx((values["60%"] + values["70%"]) / 2)


def test_the_same_in_two_settings_is_not_known_any_better():
    again = tuple(row.but(pattern="70%") for row in APART.rows)
    once, twice = (judged(replace(APART, rows=rows), "better: {first: {calibration: c4}, than: {calibration: pile}}")
                   for rows in (APART.rows, APART.rows + again))  # fmt: skip
    assert twice.judgement.estimate.low == pytest.approx(once.judgement.estimate.low)
    assert "mean of 2 settings" in twice.judgement.what


def test_being_the_best_of_more_is_harder_to_show():
    ends = [judged(APART, f"best: {{calibration: c4, of: {of}}}").judgement.estimate.low
            for of in ("[pile]", "[pile, wiki]", "[pile, wiki, code]")]  # fmt: skip
    assert ends[0] > ends[1] > ends[2] > 0


def test_a_better_kl_is_a_lower_one_and_a_better_accuracy_a_higher():
    written = (
        "better: {first: {calibration: c4}, than: {calibration: gsm8k:icl}, where: {method: wanda, evaluation: E}}"
    )
    for evaluation in ("kl(gsm8k)", "perplexity(wikitext2)", "boolq"):
        assert verdict(made_up(apart=4), written.replace("E}", f"'{evaluation}'}}")) == HELD


def test_perplexity_and_kl_have_no_mean():
    one = judged(made_up(), "better: {first: {calibration: c4}, than: {calibration: wikitext2}}")
    assert one.judgement.verdict == CANNOT and "let the claim name an evaluation" in one.why


def test_a_method_without_data_is_compared_by_its_items():
    written = "better: {first: {method: wanda}, than: {method: magnitude}, where: {evaluation: kl(gsm8k)}}"
    assert verdict(made_up(apart=0), written) == HELD


def test_two_tables_are_the_paired_difference():
    stream = random.Random(0)
    a, b = ([[stream.gauss(0, 1) for _ in range(9)] for _ in range(n)] for n in (3, 4))
    found, plain = weighed_sum([Weighed(1.0, "a", 0, a), Weighed(-1.0, "b", 0, b)]), paired_by_item(a, b)
    assert found == plain
    halves = weighed_sum([Weighed(0.5, "a", 0, a), Weighed(0.5, "a", 0, a), Weighed(-1.0, "b", 0, b)])
    assert halves.estimate.high == pytest.approx(plain.estimate.high)  # the same twice is not known any better


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[{says: a, beter: {}}]", r"claims\.0: unknown option 'beter'; did you mean 'better'\?"),
        ("[{says: a, best: {calibration: c4, of: [pile]}}, 1]", r"claims\.1: expected a mapping with says"),
        ("[{says: a}]", r"claims\.0: expected says and one of better"),
        ("[{best: {calibration: c4, of: []}}]", r"claims\.0: expected says and one of better"),
        ("[{says: a, better: {first: {calibraton: c4}, than: {}}}]", r"better: first: .*did you mean 'calibration'\?"),
        ("[{says: a, better: {frist: {}}}]", r"better: unknown option 'frist'; did you mean 'first'\?"),
        ("[{says: a, alike: {first: {}, than: {}}}]", r"alike: margin is missing"),
        ("[{says: a, goes_with: {measure: a, sign: up}}]", r"goes_with: sign: .*'better' or 'worse'"),
        ("{}", r"claims: expected a list"),
    ],
)
def test_a_mistake_is_named_with_its_place(written, said):
    with pytest.raises(ConfigError, match=said):
        read_claims(yaml.safe_load(written), "study.yaml")


def test_a_claim_about_what_the_study_has_not_is_a_mistake():
    settings = [row.setting for row in APART.rows]

    def check(written):
        check_claims(read_claims(yaml.safe_load(f"[{{says: a, {written}}}]"), "s.yaml"), settings, "s.yaml")

    check("better: {first: {calibration: c4}, than: {calibration: 'p*'}, where: {evaluation: kl(wikitext2)}}")
    with pytest.raises(
        ConfigError, match=r"claims\.0: first: no calibration of this study is 'pyle'; did you mean 'pile'"
    ):
        check("better: {first: {calibration: pyle}, than: {calibration: pile}}")
    with pytest.raises(ConfigError, match=r"claims\.0: where: no num_samples of this study is '64'"):
        check("sources_differ: {where: {num_samples: 64}}")


def test_an_evaluation_may_be_written_without_its_options():
    assert matches("evaluation", "kl(c4, tokens=4096, length=256)", "kl(c4)")
    assert matches("evaluation", "bandari/gsm8k(examples=50)", "bandari/*")
    assert matches("evaluation", "kl(c4, length=256, begin='a, b')", "kl(c4)")
    assert matches("evaluation", "kl(c4, begin=f(x))", "kl(c4)") and not matches("evaluation", "kl(c4)", "kl(c5)")
    assert not matches("evaluation", "kl(c4, tokens=4096)", "kl(c4, tokens=8192)")
    assert not matches("method", "sparsegpt(damping=0.1)", "sparsegpt")  # that is another method
    assert not matches("method", "wanda_variant", "wanda")


def test_the_more_differences_are_claimed_the_less_one_of_them_proves():
    one = "{says: so, better: {first: {calibration: %s}, than: {calibration: %s}}}"
    written = [one % pair for pair in (("c4", "pile"), ("pile", "oscar"), ("c4", "wiki"))]
    several = "{says: so, order: {calibrations: [c4, pile, oscar]}}"  # the smallest of two differences
    by = "{says: so, better: {first: {calibration: c4}, than: {calibration: pile}, by: 0.05}}"

    def p_of(*claims: str) -> list:
        read = read_claims(yaml.safe_load(f"[{', '.join(claims)}]"), "study.yaml")
        return [found.adjusted_p for found in judge(Findings(replace(APART, claims=read)))]

    alone = [p_of(claim)[0] for claim in written]
    rows = {row.calibration: [] for row in APART.rows}
    for row in APART.rows:
        rows[row.calibration].append(row.items)
    assert alone[0] == pytest.approx(paired_by_item(rows["c4"], rows["pile"]).p, rel=1e-6)
    of_all = [*alone, *p_of(several), *p_of(by)]
    assert p_of(*written, several, by) == pytest.approx(holm(of_all)) and max(holm(of_all)) > max(of_all[:3])


# one difference of 0.02 nats that its own interval shows, beside others of which nothing is so
LITTLE = study(lambda s, _: 0.02 * (s == "pile"), luck=0.0105, seed=1, draws=4)
SHOWN_ALONE = "better: {first: {calibration: c4}, than: {calibration: pile}}"


def verdicts(results: Results, *written: str) -> list:
    claims = read_claims(yaml.safe_load(f"[{', '.join(f'{{says: so, {one}}}' for one in written)}]"), "study.yaml")
    return judge(Findings(replace(results, claims=claims)))


def test_a_claim_that_held_alone_does_not_hold_among_many_whose_correction_leaves_nothing_of_it():
    (alone,) = verdicts(LITTLE, SHOWN_ALONE)
    assert (alone.judgement.verdict, alone.alone) == (HELD, None) and 0.01 < alone.adjusted_p < 0.05
    others = [f"better: {{first: {{calibration: {a}}}, than: {{calibration: {b}}}}}"
              for a, b in (("oscar", "wiki"), ("wiki", "code"), ("oscar", "code"), ("code", "c4"))]  # fmt: skip
    first, *_ = verdicts(LITTLE, SHOWN_ALONE, *others)
    assert first.judgement.verdict == CANNOT and first.alone == HELD and first.adjusted_p >= 0.05
    assert first.judgement.estimate == alone.judgement.estimate and "not after Holm's correction" in first.why


@pytest.mark.parametrize(
    "written",
    [
        "better: {first: {calibration: c4}, than: {calibration: pile}, by: 0.05}",
        "alike: {first: {calibration: c4}, than: {calibration: pile}, margin: 0.2}",
        "best: {calibration: c4, of: [pile, oscar]}",
        "order: {calibrations: [c4, pile, oscar]}",
        "sources_differ: {by: 0.05}",
    ],
)
def test_every_kind_of_claim_is_corrected_by_the_rate_at_which_its_interval_decides_it(written):
    """At that rate the interval ends where the claim does; a little wider, it decides nothing."""
    (one,) = verdicts(APART, written)
    claim, selected = one.claim, select(one.claim.test, Findings(APART))
    assert one.judgement.verdict == HELD and 0 < one.adjusted_p < 0.05
    at = [JUDGES[type(claim.test)](claim.test, selected, 1 - rate).verdict
          for rate in (one.adjusted_p * 1.01, one.adjusted_p * 0.99)]  # fmt: skip
    assert at == [HELD, CANNOT] or (one.adjusted_p == LEAST_P and at[0] == HELD)


def test_of_claims_that_are_all_false_one_holds_in_at_most_5_percent_of_studies():
    pairs = [(a, b) for a in SOURCES for b in SOURCES if a < b]
    written = [f"better: {{first: {{calibration: {a}}}, than: {{calibration: {b}}}}}" for a, b in pairs]
    found = [verdicts(study(lambda *_: 0.0, luck=0.05, seed=seed), *written) for seed in range(100)]
    wrong = sum(any(one.judgement.verdict != CANNOT for one in study) for study in found)
    alone = sum(any((one.alone or one.judgement.verdict) != CANNOT for one in study) for study in found)
    assert wrong <= 10 < alone  # 5 expected of 100


def test_the_page_and_the_files_have_the_claims(tmp_path):
    claims = read_claims(yaml.safe_load("[{says: <b>, best: {calibration: c4, of: [pile]}}]"), "study.yaml")
    made = page(Findings(replace(APART, claims=claims))).tables
    (table,) = [one for one in made if one.name == "claims"]
    (row,) = table.records()
    assert (row["claim"], row["in the paper"], row["verdict"]) == ("<b>", "figure not verified", "held")
    assert row["measured"]["low"] > 0
    write_claims(replace(APART, claims=claims), tmp_path / "a.claims.json")
    (written,) = json.loads((tmp_path / "a.claims.json").read_text())["claims"]
    assert (written["id"], written["verdict"], written["measured"]) == (claims[0].id, "held", row["measured"])
    assert not [one for one in page(Findings(APART)).tables if one.name == "claims"]
