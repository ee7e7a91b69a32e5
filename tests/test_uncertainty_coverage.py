"""On simulated results of known answer intervals hold it as often as they say, and what is not there is not found.

The worlds are those of benchmarks/coverage.py, which measures more of them and keeps the figures.
"""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "coverage_worlds", Path(__file__).parents[1] / "benchmarks" / "coverage.py"
)
worlds = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(worlds)

SIMULATIONS = 1000


@pytest.mark.parametrize("draws", worlds.DRAWS)
@pytest.mark.parametrize(
    "name",
    [
        "mean over draws (`over_draws`): normal",
        "sources by item (`paired_by_item`): draws differ most, 200 items",
        "sources by item (`paired_by_item`): items differ most, 200 items",
        "sources by item (`paired_by_item`): 16 windows",
        "sources by item (`paired_by_item`): right or wrong, 200 questions",
        "methods by draw (`paired_by_draw`)",
        "share between 4 sources: .43",
        "retention of accuracy, .45 dense, chance .25, 1,000 questions",
        "retention of a capability (`mean_retention`), of two evaluations",
    ],
)
def test_93_to_97_of_100_intervals_hold_the_truth(name, draws):
    assert worlds.LOWEST <= worlds.coverage(worlds.INTERVALS[name], draws, SIMULATIONS) <= worlds.HIGHEST


@pytest.mark.parametrize(
    "name",
    [
        "sources by item (`paired_by_item`): neither, only chance, 200 items",
        "retention of accuracy, draws differ most",
        "retention of perplexity, 64 windows",
    ],
)
def test_at_3_draws_the_hardest_worlds_stay_within_what_is_said(name):
    assert 0.915 <= worlds.coverage(worlds.INTERVALS[name], 3, SIMULATIONS) <= 0.99


@pytest.mark.parametrize("pairs", [7, 13, 20])
def test_rank_correlations_are_held_from_7_pairs_on(pairs):
    assert worlds.LOWEST <= worlds.coverage(worlds.ranks(0.5), pairs, SIMULATIONS) <= worlds.HIGHEST


@pytest.mark.parametrize("draws", [3, 20])
@pytest.mark.parametrize("family", [worlds.family_by_item, worlds.family_by_draw])
def test_holm_keeps_false_findings_of_a_family_under_5_percent(family, draws):
    assert worlds.false_findings(family, draws, 400) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.parametrize("draws", [3, 20])
def test_data_without_effect_is_called_immaterial(draws):
    assert worlds.immaterial_found_material(draws, SIMULATIONS) <= 0.05 + 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5


@pytest.mark.parametrize("difference", [2.0, 1.0, 0.5])
def test_the_draws_asked_for_find_the_difference_in_80_percent_of_studies(difference):
    _, found = worlds.found_with_power(difference, 20_000)
    assert found >= 0.8 - 0.01
