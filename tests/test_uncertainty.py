"""An interval holds what it says it holds; no data is no number."""

import math
import random

import pytest
import scipy.stats

from calprune.uncertainty.difference import paired_by_draw, verdict
from calprune.uncertainty.estimate import Estimate, mean_of


def test_no_values_give_no_estimate_and_one_gives_no_interval():
    assert mean_of([]) is None
    assert mean_of([3.0]) == Estimate(3.0, None, None, 1)
    assert str(mean_of([3.0])) == "3"


def test_the_interval_is_students():
    values = [1.0, 2.0, 4.0, 8.0]
    expected = scipy.stats.t.interval(0.9, 3, loc=3.75, scale=scipy.stats.sem(values))
    found = mean_of(values, confidence=0.9)
    assert found.value == 3.75 and found.n == 4 and found.confidence == 0.9
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize("n", [3, 16, 64])
def test_95_of_100_intervals_hold_the_mean_that_the_values_were_drawn_with(n):
    stream = random.Random(0)
    intervals = [mean_of([stream.gauss(2.0, 0.5) for _ in range(n)]) for _ in range(2000)]
    held = sum(i.low <= 2.0 <= i.high for i in intervals) / len(intervals)
    assert held == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


def test_values_that_are_all_the_same_have_an_interval_of_no_width():
    found = mean_of([0.1] * 10)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_a_function_moves_the_value_and_both_ends():
    found = Estimate(1.0, 0.5, 2.0, 7).map(math.exp)
    assert found == Estimate(math.e, math.exp(0.5), math.exp(2.0), 7)
    assert Estimate(1.0, None, None, 1).map(math.exp).low is None


def test_shares_that_differ_by_the_same_at_few_draws_prove_nothing():
    found = paired_by_draw([0.70, 0.68], [0.62, 0.60], most=1.0)
    assert found.p is None and (found.estimate.low, found.estimate.high) == (None, None)
    assert verdict(found, None) == "tie" and found.estimate.value == pytest.approx(0.08)
    assert paired_by_draw([0.3, 0.1 + 0.2], [0.1, 0.1], most=1.0).p is None, "the same up to rounding"
    assert paired_by_draw([0.70, 0.66, 0.70], [0.62, 0.60, 0.61], most=1.0).p < 0.05
    assert paired_by_draw([2.5, 2.5], [1.5, 1.5]).p == 0, "nats have no steps: draws that change nothing are certain"
