"""Effects, differences and families agree with scipy and with hand-worked examples; where nothing can be told, none."""

import math

import numpy as np
import pytest
import scipy.stats

from calprune.base.values import UserError
from calprune.uncertainty.difference import Difference, holm, paired_by_draw, paired_by_item, verdict
from calprune.uncertainty.effect import effect_of_groups, range_of, word_of
from calprune.uncertainty.estimate import Estimate, over_draws
from calprune.uncertainty.power import detectable, draws_needed
from calprune.uncertainty.ranks import rank_correlation

GROUPS = {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0, 4.0, 5.0], "c": [8.0, 9.0, 9.5]}


def test_the_spread_of_one_draw_is_not_known():
    one, three = over_draws([2.0]), over_draws([1.0, 2.0, 6.0])
    assert over_draws([]) is None
    assert (one.n, one.mean, one.sd, one.interval.low) == (1, 2.0, None, None)
    assert three.sd == pytest.approx(math.sqrt(7)) and three.interval.value == three.mean == 3.0


def test_the_effect_is_scipys_one_way_analysis():
    found, reference = effect_of_groups(GROUPS), scipy.stats.f_oneway(*GROUPS.values())
    assert found.p == pytest.approx(reference.pvalue)
    between, within = 2, 7
    f = reference.statistic  # every share of variance follows from F
    assert found.eta_squared == pytest.approx(between * f / (between * f + within))
    assert found.share.value == pytest.approx(between * (f - 1) / (between * f + within + 1))
    assert (found.lowest, found.highest, found.draws) == ("a", "c", 10)
    assert found.range == pytest.approx(26.5 / 3 - 2)


def test_the_ends_of_the_share_put_the_f_seen_at_its_tails():
    share, f = effect_of_groups(GROUPS).share, scipy.stats.f_oneway(*GROUPS.values()).statistic
    tails = [scipy.stats.ncf.cdf(f, 2, 7, 10 * end / (1 - end)) for end in (share.low, share.high)]
    assert tails == pytest.approx([0.975, 0.025], abs=1e-6)


def test_an_effect_does_not_depend_on_the_unit():
    scaled = effect_of_groups({name: [3 - 7 * v for v in values] for name, values in GROUPS.items()})
    found = effect_of_groups(GROUPS)
    assert scaled.share.low == pytest.approx(found.share.low)
    assert (scaled.range, scaled.sd, scaled.detectable) == pytest.approx(
        (7 * found.range, 7 * found.sd, 7 * found.detectable)
    )
    assert scaled.lowest == "c"


def test_words_follow_what_is_known_of_two_models():
    # Means and an SD like those published for two 7B and 8B models at 60 %: there 20 draws of 4 sources, in points.
    def word(means, sd, least=1.0):
        draws = np.linspace(-1, 1, 20) * sd / np.linspace(-1, 1, 20).std(ddof=1)
        return word_of(range_of({str(m): (m + draws).tolist() for m in means}), least)

    assert word((62.5, 61.0, 62.3, 62.9), 0.22) == "matters"
    assert word((57.0, 56.7, 56.9, 57.2), 0.21) == "immaterial"  # half a point, however surely it is seen
    assert word((57.0, 56.7, 56.9, 57.2), 0.21, least=0.25) == "matters"
    assert word((57.0, 56.7, 56.9, 57.2), 0.21, least=0.5) == "not shown"
    assert word((72.16, 72.21, 72.19, 72.21), 0.2) == "immaterial"
    assert word((72.16, 72.21, 72.19, 72.21), 0.2, least=0.05) == "not shown"


def test_the_ends_of_a_range_are_tukeys_and_students():
    found, sd = range_of(GROUPS), effect_of_groups(GROUPS).sd
    error = sd * math.sqrt(1 / 3 + 1 / 3)  # of a and c, which lie farthest apart
    assert found.value == pytest.approx(26.5 / 3 - 2)
    assert found.high == pytest.approx(found.value + scipy.stats.t.ppf(0.975, 7) * error)
    assert found.low == pytest.approx(found.value - scipy.stats.studentized_range.ppf(0.975, 3, 7) / 2**0.5 * error)
    assert range_of({"a": [1.0, 2.0], "b": [1.0, 2.0]}).low == 0.0


@pytest.mark.parametrize(("means", "draws"), [((0.0, 0.0), 3), ((0.0, 0.0, 0.0, 0.0), 3), ((0.0, 1.0), 3),
                                              ((0.0, 0.5, 1.0, 3.0), 3), ((0.0, 0.0, 3.0, 3.0), 5)])  # fmt: skip
def test_a_range_holds_the_truth_in_95_of_100_studies_and_each_end_errs_in_at_most_3(means, draws):
    stream, truth = np.random.default_rng(5), max(means) - min(means)
    found = [range_of({str(i): (m + stream.normal(size=draws)).tolist() for i, m in enumerate(means)})
             for _ in range(1000)]  # fmt: skip
    assert sum(one.low > truth for one in found) <= 40 and sum(one.high < truth for one in found) <= 40


def test_without_a_difference_of_interest_nothing_is_immaterial():
    near, far = Estimate(0.01, 0.0, 0.02, 6), Estimate(0.1, 0.05, 0.2, 6)
    assert [word_of(one, None) for one in (near, far)] == ["not shown", "matters"]
    assert [word_of(one, 0.03) for one in (near, far, None, Estimate(1.0, None, None, 2))] == [
        "immaterial", "matters", "cannot be told", "cannot be told"]  # fmt: skip


def test_without_draws_or_sources_to_compare_nothing_can_be_told():
    single = effect_of_groups({"a": [1.0], "b": [3.0]})
    assert (single.p, single.share, single.detectable, single.range) == (None, None, None, 2.0)
    assert range_of({"a": [1.0], "b": [3.0]}) is None and range_of({"a": [1.0, 2.0]}) is None
    with pytest.raises(UserError, match="at least one draw"):
        effect_of_groups({"a": [1.0], "b": []})


def test_draws_that_differ_in_nothing_leave_only_the_sources():
    apart, same = (
        effect_of_groups({"a": [1.0, 1.0], "b": [2.0, 2.0]}),
        effect_of_groups({"a": [1.0] * 2, "b": [1.0] * 2}),
    )
    assert (apart.p, apart.share.value, apart.detectable) == (0.0, 1.0, 0.0)
    assert (same.p, same.share.value) == (1.0, 0.0)
    assert effect_of_groups({"a": [0.1] * 3, "b": [0.1] * 6}).p == 1.0  # 0.1 * 3 / 3 is not 0.1


def test_cohens_tables_of_sample_sizes():
    # Cohen, Statistical Power Analysis, 1988, table 2.4.1: two-sided 5 %, power .80
    assert [draws_needed(1.0, d) for d in (0.2, 0.5, 0.8, 1.0)] == [394, 64, 26, 17]
    assert draws_needed(1.0, 0.5, power=0.9) == 86


def test_more_draws_see_smaller_differences_and_the_two_questions_agree():
    seen = [detectable(1.0, float(n), 2 * n - 2) for n in range(2, 30)]
    assert seen == sorted(seen, reverse=True)
    for n, difference in enumerate(seen, start=2):
        assert draws_needed(1.0, difference * 1.0001) == n
    assert draws_needed(0.0, 0.1) == 2
    with pytest.raises(UserError, match="difference > 0"):
        draws_needed(1.0, 0.0)


def test_methods_on_the_same_draws_are_compared_by_scipys_paired_test():
    a, b = [3.0, 4.0, 6.0, 5.0], [2.0, 4.5, 4.0, 3.0]
    found, reference = paired_by_draw(a, b), scipy.stats.ttest_rel(a, b)
    interval = reference.confidence_interval()
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((interval.low, interval.high))
    assert paired_by_draw([1.0], [2.0]).p is None
    assert [paired_by_draw([1.0, 2.0], other).p for other in ([1.0, 2.0], [2.0, 3.0])] == [1.0, 0.0]
    with pytest.raises(UserError, match="same draws"):
        paired_by_draw([1.0], [])


def test_where_items_are_all_alike_sources_are_compared_by_welchs_test():
    a, b = np.array([[3.0], [4.0], [6.5]]), np.array([[1.0], [1.5], [2.0], [0.5]])
    found = paired_by_item(np.tile(a, 50), np.tile(b, 50))
    reference = scipy.stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.estimate.low == pytest.approx(reference.confidence_interval().low)


def test_where_draws_are_all_alike_sources_are_compared_by_the_paired_test_over_items():
    a, b = np.random.default_rng(0).normal(size=(2, 40))
    found, reference = paired_by_item(np.tile(a, (3, 1)), np.tile(b, (5, 1))), scipy.stats.ttest_rel(a, b)
    assert found.p == pytest.approx(reference.pvalue)


def test_what_an_item_does_to_both_sources_is_no_doubt():
    stream = np.random.default_rng(0)
    a, b = stream.normal(size=(2, 3, 60))
    shift = 100 * stream.normal(size=60)
    moved, found = paired_by_item(a + shift, b + shift), paired_by_item(a, b)
    assert moved.estimate.low == pytest.approx(found.estimate.low)


def test_sources_that_give_the_same_differ_by_nothing_and_without_doubt():
    """As where two texts choose the same blocks in every draw."""
    for seed in range(20):
        alike = np.tile(np.random.default_rng(seed).normal(size=50), (3, 1))
        found = paired_by_item(alike, alike)
        ends = (found.estimate.value, found.estimate.low, found.estimate.high, found.detectable)
        assert ends == pytest.approx((0, 0, 0, 0), abs=1e-12) and found.p == 1


def test_one_draw_or_one_item_tells_no_difference():
    found = paired_by_item([[1.0, 2.0]], [[0.0, 1.0], [0.0, 1.0]])
    assert (found.estimate.value, found.estimate.low, found.p) == (1.0, None, None) and "one draw" in found.note
    assert "one item" in paired_by_item([[1.0], [2.0]], [[0.0], [1.0]]).note


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([[1.0, 2.0]], [[1.0]], "both sources, got 2 and 1"),
        ([[1.0, 2.0], [1.0]], [[1.0, 2.0]], "the first source: wanted the same items for each draw"),
        ([[1.0]], [[math.nan]], "the second source: wanted at least one item with a finite value"),
        ([], [[1.0]], "the first source"),
    ],
)
def test_tables_that_do_not_match_are_refused(a, b, said):
    with pytest.raises(UserError, match=said):
        paired_by_item(a, b)


def test_holms_adjustment_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; never below one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_a_verdict_needs_a_small_p_and_knows_which_way_is_better():
    higher = Difference(Estimate(0.2, 0.1, 0.3, 3), 0.001, "", "")
    assert [verdict(higher, 0.01), verdict(higher, 0.01, lower_is_better=True)] == ["win", "loss"]
    assert [verdict(higher, 0.05), verdict(higher, None)] == ["tie", "tie"]


def test_rank_correlation_is_scipys_and_its_interval_is_in_range():
    x, y = [1.0, 2.0, 2.0, 5.0, 7.0, 9.0], [3.0, 1.0, 4.0, 4.0, 9.0, 8.0]
    found = rank_correlation(x, y)
    assert found.value == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert -1 <= found.low < found.value < found.high <= 1
    mirrored = rank_correlation(x, [-v for v in y])
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_a_perfect_order_of_few_pairs_is_not_certain():
    lows = [rank_correlation(list(map(float, range(n))), list(map(float, range(n)))).low for n in (4, 6, 10, 20)]
    assert lows[0] < 0 and lows == sorted(lows) and lows[-1] < 1
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).low is None
    assert rank_correlation([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]) is None


def test_shares_of_items_that_no_draw_moves_say_nothing_of_the_luck_of_the_next():
    groups = {"a": [0.70, 0.70], "b": [0.68, 0.68]}
    told = effect_of_groups(groups, counted=True)
    assert (told.sd, told.share, told.p) == (None, None, None) and range_of(groups, counted=True) is None
    assert told.range == pytest.approx(0.02) and effect_of_groups(groups).p == 0, "nats have no steps"
    moved = groups | {"b": [0.66, 0.68]}
    assert effect_of_groups(moved, counted=True) == effect_of_groups(moved)
