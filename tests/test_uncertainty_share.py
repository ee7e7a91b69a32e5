"""An interval of a share stays in 0 … 1, also at its ends and of few items, and holds the truth; a difference's too."""

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from calprune.evaluation.metric import ACCURACY, METRICS, Metric
from calprune.report.findings import Findings
from calprune.uncertainty.difference import paired_by_draw, paired_by_item
from calprune.uncertainty.estimate import mean_of, over_draws
from calprune.uncertainty.share import share_of, shares_over_draws
from tests.made_up_study import made_up

SPEC = importlib.util.spec_from_file_location("intervals", Path(__file__).parents[1] / "benchmarks" / "intervals.py")
worlds = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(worlds)


def answers(right: int, n: int) -> list[float]:
    return [1.0] * right + [0.0] * (n - right)


@pytest.mark.parametrize(("right", "n"), [(2, 12), (0, 12), (12, 12), (1, 1), (0, 1), (200, 400)])
def test_the_interval_of_an_accuracy_is_wilsons_and_stays_in_0_to_1(right, n):
    found, wilson = ACCURACY.estimate(answers(right, n)), binomtest(right, n).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high, found.n) == (right / n, wilson.low, wilson.high, n)
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.low < found.high


def test_two_of_twelve_right_is_a_share_of_005_or_more():
    """By the normal interval it could have been -.081."""
    found = METRICS["exact_match"].estimate(answers(2, 12))
    assert 0.04 < found.low < 0.06 and 0.44 < found.high < 0.45
    assert mean_of(answers(2, 12)).low < 0


def test_what_is_no_share_keeps_its_interval():
    values = [0.0, 1.0, 0.0, 0.0]
    count = Metric("mistakes", lower_is_better=True)
    assert count.estimate(values) == mean_of(values)
    graded = Metric("grade", retention="above chance")
    assert graded.estimate([0.5, 1.0, 0.0]) == mean_of([0.5, 1.0, 0.0])


@pytest.mark.parametrize(("share", "n"), itertools.product((0.02, 0.1, 0.5, 0.98), (12, 50, 200)))
def test_wilsons_interval_holds_the_share_in_about_95_of_100_studies(share, n):
    held = sum(binom.pmf(k, n, share) for k in range(n + 1)
               if (one := share_of(answers(k, n))).low <= share <= one.high)  # fmt: skip
    assert held >= 0.9


@pytest.mark.parametrize("rights", [(12, 12, 12), (0, 0, 0), (11, 12, 12), (0, 1, 0), (3, 9, 6), (12, 0, 12)])
def test_the_mean_over_draws_of_an_accuracy_stays_in_0_to_1(rights):
    found = shares_over_draws([right / 12 for right in rights], 12)
    mean = sum(rights) / 36
    assert found.mean == pytest.approx(mean)
    assert 0 <= found.interval.low <= found.mean <= found.interval.high <= 1
    assert found.interval.low < found.interval.high


def test_far_from_the_ends_it_is_as_students():
    values = [0.50, 0.51, 0.49, 0.50, 0.52]
    ours, plain = shares_over_draws(values, 400).interval, over_draws(values).interval
    assert (ours.low, ours.high) == pytest.approx((plain.low, plain.high), abs=0.0005)
    assert shares_over_draws([0.5], 12).interval.low is None and shares_over_draws([], 12) is None


RIGHTS = [((12, 12, 12), (12, 12, 12)), ((0, 0, 0), (12, 12, 12)), ((12, 12, 11), (0, 1, 0)), ((1, 0, 0), (0, 0, 1)),
          ((12, 11, 12), (9, 12, 10))]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), RIGHTS)
def test_a_difference_of_accuracies_stays_in_minus_1_to_1_and_is_never_certain(a, b):
    tables = [[answers(right, 12) for right in rights] for rights in (a, b)]
    found, back = paired_by_item(*tables), paired_by_item(*tables[::-1])
    one = found.estimate
    assert -1 <= one.low <= one.value <= one.high <= 1 and one.high - one.low > 0.05
    assert (found.p < 0.05) == (one.low > 0 or one.high < 0)
    assert (back.estimate.low, back.estimate.high, back.p) == pytest.approx((-one.high, -one.low, found.p))


def test_methods_on_the_same_draws_differ_by_no_more_than_all_answers():
    found = paired_by_draw([1.0, 0.9, 0.2], [0.0, 0.1, 0.1], most=1.0)
    assert found.estimate.high == 1.0 and paired_by_draw([1.0, 0.9, 0.2], [0.0, 0.1, 0.1]).estimate.high > 1


@pytest.mark.parametrize("name", [name for name in worlds.INTERVALS if "near 1" in name])
@pytest.mark.parametrize("draws", [3, 5])
def test_near_the_ends_intervals_hold_the_truth_in_93_of_100_studies(name, draws):
    assert worlds.coverage(worlds.INTERVALS[name], draws, 500) >= 0.92


def test_no_interval_of_an_accuracy_on_a_page_leaves_0_to_1():
    """A study whose pruned models answer almost all, or next to none, of twelve questions."""
    stream = np.random.default_rng(0)
    for share in (0.97, 0.03):
        rows = []
        for row in made_up(apart=0).rows:
            if row.metric == "accuracy":
                items = tuple((stream.random(12) < share).astype(float))
                row = replace(row, items=items, value=sum(items) / 12, dense_items=row.dense_items[:12])
                rows.append(row)
        findings = Findings(replace(made_up(apart=0), rows=tuple(rows)))
        for cell in findings.cells:
            if cell.spread.interval.low is not None:
                assert 0 <= cell.spread.interval.low <= cell.spread.interval.high <= 1
        for one in findings.comparisons:
            assert all(-1 <= c.difference.estimate.low <= c.difference.estimate.high <= 1 for c in one.contrasts)
        for one in findings.methods:
            if one.difference.p is not None:
                assert -1 <= one.difference.estimate.low <= one.difference.estimate.high <= 1
