"""How far sources and draws lie apart: laws of the numbers, and intervals that hold the truth in made worlds."""

import importlib.util
import math
from pathlib import Path

import pytest
from scipy.stats import ncx2

from calprune.uncertainty.difference import paired_by_item
from calprune.uncertainty.effect import effect_of_groups
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.power import detectable
from calprune.uncertainty.spread import larger_by, luck_per_doubling, ratio_of_luck, spread_between

SPEC = importlib.util.spec_from_file_location("spreads", Path(__file__).parents[1] / "benchmarks" / "spreads.py")
worlds = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(worlds)
GROUPS = {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0, 4.0], "c": [8.0, 9.0, 10.0]}


@pytest.mark.parametrize("name", worlds.INTERVALS)
def test_an_interval_holds_the_truth(name):
    least, most = (0.93, 1.0) if "correlation" in name or ": 0" in name or "none" in name else (0.925, 0.975)
    assert least <= worlds.coverage(worlds.INTERVALS[name], 3, 1000) <= most


def test_the_spread_is_what_the_share_of_variance_says():
    """σ² / (σ² + σ_draw²) is the share; here by the unbiased estimate of both."""
    between = 3 * math.fsum((mean - 14 / 3) ** 2 for mean in (2, 3, 9))
    assert spread_between(GROUPS).value == pytest.approx(math.sqrt((between - 2 * 1.0) / 9))
    share = effect_of_groups(GROUPS).share.value  # ω² = (SS_b - 2 MS_w) / (SS_b + SS_w + MS_w)
    assert share == pytest.approx((between - 2) / (between + 6 + 1))


def test_its_ends_put_the_squares_seen_at_the_tails():
    between = 3 * math.fsum((mean - 14 / 3) ** 2 for mean in (2, 3, 9))
    widened = (2.446911851144969 / 1.959963984540054) ** 2  # t of 6 degrees of freedom ÷ z
    found = spread_between(GROUPS)
    tails = [ncx2.cdf(between / widened, 2, 9 * end**2 / widened) for end in (found.low, found.high)]
    assert tails == pytest.approx([0.975, 0.025], abs=1e-6)


def test_a_spread_has_the_unit_of_the_values_and_no_origin():
    found = spread_between(GROUPS)
    scaled = spread_between({name: [5 - 3 * v for v in values] for name, values in GROUPS.items()})
    assert (scaled.low, scaled.value, scaled.high) == pytest.approx((3 * found.low, 3 * found.value, 3 * found.high))


def test_sources_that_differ_no_more_than_draws_have_no_spread():
    found = spread_between({"a": [1.0, 2.0, 3.0], "b": [1.1, 2.1, 3.1]})
    assert (found.value, found.low) == (0, 0) and found.high > 0


def test_where_nothing_can_be_told_there_is_none():
    assert spread_between({"a": [1.0], "b": [2.0]}) is None
    assert spread_between({"a": [1.0, 2.0]}) is None
    assert spread_between({"a": [1.0, 1.0], "b": [2.0, 2.0]}) is None
    assert ratio_of_luck({"a": [1.0]}, GROUPS) is None and ratio_of_luck(GROUPS, {"a": [1.0, 1.0]}) is None
    assert luck_per_doubling({16: GROUPS}) is None and luck_per_doubling({16: GROUPS, 32: {"a": [1.0]}}) is None


def test_a_difference_of_spreads_turns_its_sign_with_its_order():
    a, b = Estimate(3.0, 2.0, 5.0, 9), Estimate(1.0, 0.0, 1.5, 9)
    one, other = larger_by(a, b), larger_by(b, a)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.low == pytest.approx(2 - math.hypot(1, 0.5))


def test_ratios_of_luck_are_each_others_reciprocals():
    wide = {name: [4 * v for v in values] for name, values in GROUPS.items()}
    one, other = ratio_of_luck(wide, GROUPS), ratio_of_luck(GROUPS, wide)
    assert one.value == pytest.approx(4) and one.low * other.high == pytest.approx(1)


def test_luck_that_halves_from_16_to_64_falls_by_the_root_of_two_at_each_doubling():
    half = {name: [v / 2 for v in values] for name, values in GROUPS.items()}
    assert luck_per_doubling({64: half, 16: GROUPS}).value == pytest.approx(2**-0.5)
    quarter = {name: [v / 4 for v in values] for name, values in GROUPS.items()}
    assert luck_per_doubling({16: GROUPS, 64: half, 256: quarter}).value == pytest.approx(2**-0.5)


def test_where_items_are_alike_the_least_difference_seen_is_that_of_the_two_sample_t_test():
    a, b = ([[start + draw] * 4 for draw in range(3)] for start in (0.0, 5.0))
    assert paired_by_item(a, b).detectable == pytest.approx(detectable(1.0, 3.0, 4))
