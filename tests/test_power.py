"""What a study can tell is said before it is run: by the SD of draws and of items of a pilot, and by chance."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from calprune.base.values import UserError
from calprune.report.findings import Findings
from calprune.report.kept import write_parquet
from calprune.report.sections.power import in_words, power_table
from calprune.uncertainty.power import draws_needed, items_needed
from tests.command import calprune
from tests.made_up_study import made_up


def _power_of_paired_t(sd, n, difference):
    """By the noncentral t distribution, which the code does not use."""
    edge, shift = stats.t.ppf(0.975, n - 1), difference / sd * math.sqrt(n)
    return stats.nct.sf(edge, n - 1, shift) + stats.nct.cdf(-edge, n - 1, shift)


@pytest.mark.parametrize(("sd", "difference"), [(0.5, 0.01), (0.2, 0.02), (1.0, 1.0), (0.1, 0.3)])
def test_items_needed_is_the_fewest_with_which_a_paired_t_test_finds_it_in_80_percent(sd, difference):
    n = items_needed(sd, difference)
    assert _power_of_paired_t(sd, n, difference) >= 0.8 - 1e-9
    assert n == 2 or _power_of_paired_t(sd, n - 1, difference) < 0.8


def test_no_number_of_items_is_refused_in_one_line():
    with pytest.raises(UserError, match=" items"):
        items_needed(1e6, 1e-6)


def _power_of_two_samples(sd, n, difference, comparisons):
    edge, shift = stats.t.isf(0.025 / comparisons, 2 * n - 2), difference / sd * math.sqrt(n / 2)
    return stats.nct.sf(edge, 2 * n - 2, shift) + stats.nct.cdf(-edge, 2 * n - 2, shift)


@pytest.mark.parametrize(("sd", "difference"), [(0.5, 0.1), (0.2, 0.2), (0.1, 0.3)])
@pytest.mark.parametrize("comparisons", [1, 14])
def test_draws_needed_are_the_fewest_that_find_it_among_so_many_comparisons(sd, difference, comparisons):
    n = draws_needed(sd, difference, comparisons=comparisons)
    assert _power_of_two_samples(sd, n, difference, comparisons) >= 0.8 - 1e-9
    assert n == 2 or _power_of_two_samples(sd, n - 1, difference, comparisons) < 0.8


def _table(results):
    return power_table(Findings(results)).records()


def test_more_draws_tell_what_fewer_cannot():
    few, many = _table(made_up(draws=2)), _table(made_up(draws=30))
    assert "no" in {one["can it tell"] for one in few} and {one["can it tell"] for one in many} == {"yes"}
    assert all((one["can it tell"] == "yes") == (one["draws"] >= one["draws needed"]) for one in few + many)


def test_an_evaluation_at_chance_can_tell_nothing_however_many_draws():
    results = made_up()
    guess = tuple(float(i % 2) for i in range(200))
    rows = [replace(row, dense_items=guess, dense=0.5) if row.metric == "accuracy" else row for row in results.rows]
    for one in _table(replace(results, rows=tuple(rows))):
        assert (one["can it tell"] == "at chance") == one["evaluation"].startswith("boolq")
        assert (one["draws needed"] is None) == one["evaluation"].startswith("boolq")


def test_what_pruning_brought_to_chance_can_tell_nothing():
    broken = {"value": 0.5, "items": (1.0, 0.0) * 100}
    rows = [
        replace(row, **broken) if (row.metric, row.pattern) == ("accuracy", "2:4") else row for row in made_up().rows
    ]
    of = {one["pattern"]: one["can it tell"] for one in _table(replace(made_up(), rows=tuple(rows)))
          if one["evaluation"].startswith("boolq")}  # fmt: skip
    assert of["2:4"] == "at chance" != of["60%"]


def test_the_sd_of_an_item_is_that_of_the_paired_difference():
    results = made_up(sources=("c4", "wikitext2"), methods=("wanda",), patterns=("60%",))
    [one] = [one for one in _table(results) if one["evaluation"] == "kl(gsm8k)"]
    items = [np.mean([row.items for row in results.rows if row.calibration == source and row.metric == "kl"], axis=0)
             for source in ("c4", "wikitext2")]  # fmt: skip
    assert one["SD of an item's difference"] == pytest.approx(np.std(items[0] - items[1], ddof=1), rel=1e-12)
    assert one["items"] == 40


def test_the_words_count_every_row():
    table = power_table(Findings(made_up()))
    numbers = [int(word) for word in in_words(table).replace(";", "").split() if word.isdigit()]
    assert numbers[1] == len(table.rows) == numbers[0] + sum(numbers[2:])


def test_the_command_says_it_of_a_kept_study_and_refuses_one_without_two_sources(tmp_path):
    write_parquet(made_up(), tmp_path / "pilot.parquet")
    made = calprune("study", "power", "pilot.parquet", "--json", "--of-interest", "nats=0.5", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    rows = json.loads(made.stdout)["power"]
    assert {row["smallest difference of interest"] for row in rows if row["evaluation"].startswith("kl")} == {0.5}
    write_parquet(made_up(sources=()), tmp_path / "one.parquet")
    refused = calprune("study", "power", "one.parquet", folder=tmp_path)
    assert refused.returncode == 1 and "a pilot has two sources and three draws" in refused.stderr
    assert refused.stderr.count("\n") == 1
