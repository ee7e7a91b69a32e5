"""Sums: they add, padding has no part in them, weights are counts, a factor inverts what it was made of."""

import pytest
import torch
from torch import Tensor

from calprune.layers.inputs import InputStats, StatsError, factorise, relative_error


def stats_of(x: Tensor, weight: Tensor | None = None, needs="gram") -> InputStats:
    stats = InputStats(x.shape[1], needs)
    stats.observe(x, weight)
    return stats


def assert_same(a: InputStats, b: InputStats, tolerance: float = 1e-5) -> None:
    assert a.tokens == pytest.approx(b.tokens)
    for of in ("sum_x", "sum_xx", "gram"):
        torch.testing.assert_close(getattr(a, of), getattr(b, of), rtol=tolerance, atol=tolerance)


X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randn(25, 6, generator=torch.Generator().manual_seed(1))


def test_the_sums_are_those_of_the_definition():
    stats = stats_of(X)
    assert stats.tokens == 40
    torch.testing.assert_close(stats.mean, X.mean(0))
    torch.testing.assert_close(stats.norm, X.square().mean(0).sqrt())
    torch.testing.assert_close(stats.variance, X.var(0, correction=0))
    torch.testing.assert_close(stats.covariance, X.T @ X / 40)


def test_the_sums_of_all_data_are_the_sum_of_the_parts():
    assert_same(stats_of(X) + stats_of(Y), stats_of(torch.cat([X, Y])))


def test_shares_of_a_mixture_are_shares_of_tokens():
    mixture = 0.3 * stats_of(X).per_token() + 0.7 * stats_of(Y).per_token()
    torch.testing.assert_close(mixture.covariance, 0.3 * X.T @ X / 40 + 0.7 * Y.T @ Y / 25)


@pytest.mark.parametrize("needs", ["moments", "gram"])
def test_a_token_of_weight_three_counts_as_three_tokens(needs):
    weight = torch.tensor([3.0, 1.0, 0.0])
    weighted, repeated = stats_of(X[:3], weight, needs), stats_of(X[[0, 0, 0, 1]], None, needs)
    assert weighted.tokens == repeated.tokens
    torch.testing.assert_close(weighted.sum_x, repeated.sum_x)
    torch.testing.assert_close(weighted.sum_xx, repeated.sum_xx)
    if needs == "gram":
        torch.testing.assert_close(weighted.gram, repeated.gram)


def test_half_precision_activations_are_summed_in_float32():
    x = torch.full((2, 3), 60_000.0, dtype=torch.float16)  # its square is beyond float16
    assert stats_of(x).sum_xx.tolist() == pytest.approx([7.2e9] * 3, rel=1e-3)


def test_the_factor_inverts_the_damped_gram_matrix():
    stats = stats_of(X)
    factor = stats.factor(0.1)
    H = stats.covariance + 0.1 * stats.covariance.diagonal().mean() * torch.eye(6)
    torch.testing.assert_close(factor.upper.T @ factor.upper @ H, torch.eye(6), rtol=1e-4, atol=1e-4)
    assert torch.equal(factor.upper, factor.upper.triu())
    assert stats.factor(0.1) is factor, "it is computed once"


def test_a_matrix_that_cannot_be_factorised_gets_more_damping_and_says_so():
    one_direction = torch.ones(4, 1) @ torch.tensor([[1.0, 2.0, 3.0]])
    stats = stats_of(one_direction)
    stats.factor(0.0)
    assert stats.damping_used > 0


def test_an_input_that_is_always_zero_is_dead_and_harms_nothing():
    factor = factorise(torch.diag(torch.tensor([1.0, 0.0, 2.0])), 0.01)
    assert factor.dead.tolist() == [False, True, False]
    assert factor.upper.isfinite().all()


def test_activations_that_are_not_finite_are_refused():
    with pytest.raises(StatsError, match="1 of 3 input channels"):
        stats_of(torch.tensor([[1.0, float("nan"), 2.0]]), needs="moments").check()


def test_statistics_of_no_token_are_refused_and_not_zero():
    with pytest.raises(StatsError, match="no token"):
        _ = InputStats(3, "moments").norm


def test_the_relative_error_is_that_of_the_outputs():
    before, after = torch.randn(5, 6), torch.randn(5, 6)
    expected = ((before - after) @ X.T).square().sum() / (before @ X.T).square().sum()
    assert relative_error(before, after, stats_of(X)) == pytest.approx(expected.item(), rel=1e-4)
