"""On simulated results of known answer intervals hold it as often as they say, and what is not there is not found.

The worlds are those of benchmarks/intervals.py, which measures more of them and keeps the figures.
"""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "coverage_worlds", Path(__file__).parents[1] / "benchmarks" / "intervals.py"
)
worlds = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(worlds)

SIMULATIONS = 1000
BY_ITEM = "sources by item (`paired_by_item`): draws differ most, 200 items"


@pytest.mark.parametrize(
    ("name", "draws"),
    [
        (BY_ITEM, 3),
        (BY_ITEM, 5),
        (BY_ITEM, 20),
        ("sources by item (`paired_by_item`): items differ most, 200 items", 3),
        ("share between 4 sources: .43", 3),
        ("retention of a capability (`mean_retention`), of two evaluations", 3),
    ],
)
def test_93_to_97_of_100_intervals_hold_the_truth(name, draws):
    assert worlds.LOWEST <= worlds.coverage(worlds.INTERVALS[name], draws, SIMULATIONS) <= worlds.HIGHEST


def test_rank_correlations_of_10_pairs_are_held():
    assert worlds.LOWEST <= worlds.coverage(worlds.ranks(0.5), 10, SIMULATIONS) <= worlds.HIGHEST


def test_holm_keeps_false_findings_of_a_family_under_5_percent():
    assert worlds.false_findings(worlds.family_by_item, 3, 200) <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.parametrize("difference", [2.0, 1.0, 0.5])
def test_the_draws_asked_for_find_the_difference_in_80_percent_of_studies(difference):
    _, found = worlds.found_with_power(difference, 20_000)
    assert found >= 0.8 - 0.01
