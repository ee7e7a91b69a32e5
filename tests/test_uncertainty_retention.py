"""Retention is pruned ÷ dense above chance, with draws and items as its doubt, or "not measurable"."""

import math

import numpy as np
import pytest

from calprune.base.values import UserError
from calprune.uncertainty import retention
from calprune.uncertainty.retention import Kept, mean_retention, retention_of_one, retention_of_perplexity

DENSE = [1.0] * 80 + [0.0] * 20


def test_a_model_that_answers_as_before_keeps_all_of_it():
    kept = retention([DENSE, DENSE], DENSE, chance=0.25)
    assert (kept.value, kept.low, kept.high) == pytest.approx((1.0, 1.0, 1.0))


def test_guessing_keeps_nothing_and_half_way_a_half():
    at_chance, half = [1.0] * 20 + [0.0] * 80, [1.0] * 50 + [0.0] * 50
    assert retention([at_chance] * 3, DENSE, chance=0.2).value == pytest.approx(0.0)
    assert retention([half] * 3, DENSE, chance=0.2).value == pytest.approx(0.5)


def test_where_the_dense_model_may_be_guessing_nothing_is_measurable():
    guessing = [1.0] * 30 + [0.0] * 70
    assert retention([guessing] * 3, guessing, chance=0.25) is None
    assert retention([guessing] * 3, guessing, chance=0.15) is not None
    assert retention([[0.0] * 9] * 3, [0.0] * 9) is None  # no answer right, and none by guessing


def test_perplexitys_retention_is_the_ratio_of_perplexities():
    dense, pruned = [2.0, 3.0, 2.5], [[2.5, 3.5, 2.5], [2.4, 3.6, 2.9]]
    kept = retention_of_perplexity(pruned, dense)
    assert kept.value == pytest.approx(math.exp(np.mean(dense)) / math.exp(np.mean(pruned)))
    assert 0 < kept.low < kept.value < kept.high


def test_one_draw_gives_a_value_and_no_interval():
    assert retention([DENSE], DENSE).low is None
    assert retention_of_perplexity([[2.0, 3.0]], [1.0, 2.0]).low is None


def test_a_capability_keeps_the_mean_of_its_evaluations_that_can_be_measured():
    half = [1.0] * 50 + [0.0] * 50
    accuracy, guessed = Kept([half] * 3, DENSE, 0.2), Kept([half] * 3, half, 0.5)
    windows = Kept([[2.0 + math.log(2)] * 5] * 3, [2.0] * 5, None)
    assert mean_retention([accuracy, guessed, windows]).value == pytest.approx((0.5 + 0.5) / 2)
    assert mean_retention([guessed]) is None
    one = mean_retention([accuracy])
    assert one == retention(accuracy.pruned, accuracy.dense, 0.2)


def test_draws_that_move_two_evaluations_alike_are_not_averaged_away():
    items = np.random.default_rng(0).normal(size=400)
    luck = np.array([[-0.2], [0.0], [0.2]])
    alike = [Kept(items + 1 + luck, items.tolist(), None)] * 2
    against = [alike[0], Kept(items + 1 - luck, items.tolist(), None)]
    width = [kept.high - kept.low for kept in map(mean_retention, (alike[:1], alike, against))]
    assert width[1] == pytest.approx(width[0], rel=1e-6) and width[2] < width[0] / 5


def test_evaluations_of_other_draws_or_items_are_refused():
    with pytest.raises(UserError, match="same draws of each evaluation"):
        mean_retention([Kept([DENSE] * 3, DENSE, 0.2), Kept([DENSE] * 2, DENSE, 0.2)])
    with pytest.raises(UserError, match="same items pruned and dense, got 100 and 1"):
        retention([DENSE], [1.0])


def test_of_one_model_the_interval_is_over_its_items_and_holds_what_the_ratio_of_means_is():
    """Against the delta method written out, and a bootstrap of the items."""
    draw = np.random.default_rng(3)
    dense = draw.normal(3.0, 0.4, 200)
    pruned = dense + draw.normal(0.7, 0.2, 200)
    found = retention_of_one(pruned.tolist(), dense.tolist(), None)
    assert found.value == pytest.approx(math.exp((dense - pruned).mean()))
    again = [math.exp((dense - pruned)[draw.integers(0, 200, 200)].mean()) for _ in range(4000)]
    assert [found.low, found.high] == pytest.approx(np.quantile(again, [0.025, 0.975]).tolist(), rel=0.01)
    right = draw.random(400) < 0.8
    kept = right & (draw.random(400) < 0.7)
    found = retention_of_one(kept.astype(float).tolist(), right.astype(float).tolist(), 0.25)
    assert found.value == pytest.approx((kept.mean() - 0.25) / (right.mean() - 0.25))
    picks = [draw.integers(0, 400, 400) for _ in range(4000)]
    again = [(kept[i].mean() - 0.25) / (right[i].mean() - 0.25) for i in picks]
    assert [found.low, found.high] == pytest.approx(np.quantile(again, [0.025, 0.975]).tolist(), abs=0.015)
    assert retention_of_one([0.0, 1.0], [1.0, 0.0], 0.5) is None


def test_of_a_ruined_model_nothing_is_left_and_no_number_overflows():
    for pruned in ([800.0, 801.0], [900.0, 2000.0], [800.0]):
        found = retention_of_one(pruned, [3.0, 3.1][: len(pruned)], None)
        assert found.value == pytest.approx(0.0, abs=1e-300)
    found = retention_of_perplexity([[10.0, 10.2], [900.0, 2000.0]], [3.0, 3.1])
    assert found.value == pytest.approx(0.0, abs=1e-80) and found.low <= found.value <= found.high
