"""Methods that prune nothing: round to nearest and GPTQ, against their equations written out plainly."""

import re

import pytest
import torch
from torch import Tensor

from calprune.base.values import ConfigError
from calprune.layers.inputs import relative_error
from calprune.methods import METHODS, parse_method
from calprune.methods.gptq import GPTQ
from calprune.methods.refit import Refit
from calprune.methods.round_to_nearest import RoundToNearest
from calprune.pattern import PatternError, parse_pattern
from tests.test_methods import random_inputs, random_weight
from tests.test_stats import stats_of

DENSE = parse_pattern("0%")
QUANTISERS = [cls() for cls in METHODS.values() if not getattr(cls, "prunes", True)]


def plain_levels(group: Tensor, bits: int, symmetric: bool) -> tuple[float, float]:
    """Scale and zero point of one row's group, as the page of the method has them."""
    low, high = min(group.min().item(), 0.0), max(group.max().item(), 0.0)
    if symmetric:
        return max(high, -low) / (2 ** (bits - 1) - 1) or 1.0, 2.0 ** (bits - 1)
    scale = (high - low) / (2**bits - 1) or 1.0
    return scale, round(-low / scale)


def plain_nearest(w: float, scale: float, zero: float, bits: int) -> float:
    return (min(max(round(w / scale) + zero, 0), 2**bits - 1) - zero) * scale


def plain_rounding(W: Tensor, bits: int, group_size: int, symmetric: bool) -> Tensor:
    W = W.double().clone()
    for row in W:
        for first in range(0, len(row), group_size):
            group = row[first : first + group_size]
            scale, zero = plain_levels(group, bits, symmetric)
            for j, w in enumerate(group.tolist()):
                group[j] = plain_nearest(w, scale, zero, bits)
    return W


def plain_gptq(W: Tensor, x: Tensor, bits: int, group_size: int, symmetric: bool, damping: float = 0.01) -> Tensor:
    """Algorithm 1 of the paper in float64: one loop over columns, all columns to the right updated at once."""
    W, H = W.double().clone(), (x.double().T @ x.double()) / len(x)
    H += damping * H.diagonal().mean() * torch.eye(len(H), dtype=torch.float64)
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    for j in range(W.shape[1]):
        if j % group_size == 0:
            levels = [plain_levels(row[j : j + group_size], bits, symmetric) for row in W]
        rounded = torch.tensor([plain_nearest(w, *at, bits) for w, at in zip(W[:, j].tolist(), levels, strict=True)])
        error = (W[:, j] - rounded) / U[j, j]
        W[:, j:] -= error[:, None] * U[j, j:]
        W[:, j] = rounded
    return W


@pytest.mark.parametrize("method", QUANTISERS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("pattern", ["50%", "0.5%/row", "2:4"])
def test_a_pattern_that_asks_for_zeros_is_refused_in_a_line(method, pattern):
    with pytest.raises(PatternError, match=re.escape(f'takes the pattern "0%", got {pattern}')) as raised:
        method(random_weight(), stats_of(random_inputs()), parse_pattern(pattern))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", QUANTISERS, ids=lambda m: type(m).__name__)
def test_nothing_can_begin_from_what_prunes_nothing(method):
    with pytest.raises(ConfigError, match="prunes nothing"):
        Refit(start=method)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("group_size", [8, 20, None])
@pytest.mark.parametrize("symmetric", [False, True])
def test_round_to_nearest_equals_its_equations(bits, group_size, symmetric):
    weight = random_weight(6, 40)
    expected = plain_rounding(weight, bits, group_size or 40, symmetric)
    found = RoundToNearest(bits, group_size, symmetric)(weight, None, DENSE)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_no_weight_is_farther_from_where_it_was_than_half_a_step():
    weight = random_weight(6, 64) + 0.5
    step = (weight.amax(1).clamp(min=0) - weight.amin(1).clamp(max=0)) / 15
    moved = (RoundToNearest(group_size=None)(weight, None, DENSE) - weight).abs()
    assert (moved <= step[:, None] * 0.5001).all() or (moved.amax(1) <= step).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["round_to_nearest", "gptq"])
def test_a_group_of_a_row_has_no_more_values_than_its_bits_can_name(name, dtype):
    method = parse_method(f"{name}(bits=3, group_size=20)")
    weight = random_weight(6, 90).to(dtype)  # the last group has 10
    rounded = method(weight, stats_of(random_inputs(width=90)), DENSE)
    counts = [len(part.unique()) for row in rounded for part in row.split(20)]
    assert max(counts) <= 8 and max(counts) > 4
    assert not torch.equal(rounded, weight)


def test_weights_that_are_on_the_grid_already_stay():
    weight = torch.tensor([[0.0, 1.0, 2.0, 15.0], [-7.0, 0.0, 3.0, 8.0]])
    assert torch.equal(RoundToNearest()(weight, None, DENSE), weight)
    torch.testing.assert_close(GPTQ()(weight, stats_of(random_inputs(width=4)), DENSE), weight)


@pytest.mark.parametrize("group_size", [16, 48, None])
@pytest.mark.parametrize("column_block", [5, 128])
@pytest.mark.parametrize("symmetric", [False, True])
def test_gptq_equals_its_algorithm_written_out(group_size, column_block, symmetric):
    weight, x = random_weight(16, 96), random_inputs(1000, 96)
    expected = plain_gptq(weight, x, 4, group_size or 96, symmetric)
    found = GPTQ(group_size=group_size, column_block=column_block, symmetric=symmetric)(weight, stats_of(x), DENSE)
    same = (found.double() - expected).abs().amax(1) < 1e-3  # a near tie that float32 rounds the other way moves a row
    assert same.float().mean() >= 0.75
    ours, plain = (relative_error(weight, w.float(), stats_of(x)) for w in (found, expected))
    assert ours == pytest.approx(plain, rel=0.05)


def test_gptq_rounds_to_nearest_where_inputs_are_uncorrelated():
    x = torch.linalg.qr(random_inputs(64, 16)).Q * torch.linspace(1, 4, 16)
    stats = stats_of(x)
    stats.gram = torch.diag(stats.gram.diagonal())  # of the rounding of sums too
    for damping in (0.0, 0.01):
        found = GPTQ(group_size=8, damping=damping)(random_weight(8, 16), stats, DENSE)
        assert torch.equal(found, RoundToNearest(group_size=8)(random_weight(8, 16), None, DENSE))


def test_where_all_inputs_are_one_only_the_last_columns_rounding_is_left():
    """x_1 = x_2 = ...: an error is the square of the sum of what a row's weights moved, and a column can undo all."""
    x = random_inputs(200, 1).expand(200, 10)
    step = 0.1  # of 4 bits over a row from -0.75 to 0.75
    weight = torch.tensor([[0.75, -0.75, *[0.04] * 8], [-0.75, 0.75, *[-0.04] * 8]])
    methods = GPTQ(damping=1e-5), RoundToNearest()
    gptq, nearest = ((method(weight, stats_of(x), DENSE) - weight).sum(1).abs() for method in methods)
    assert (gptq <= step / 2 * 1.01).all()
    assert (nearest > 2 * step).all(), "while rounding to nearest errs the same way eight times"


def test_gptq_never_beats_the_best_of_all_roundings_and_is_nearer_to_it_than_rounding_to_nearest():
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(100, 1, generator=numbers) + 0.2 * torch.randn(100, 6, generator=numbers)  # correlated
    stats, above_nearest, above_gptq = stats_of(x), [], []
    for seed in range(20):
        weight = random_weight(1, 6, seed)
        scale, zero = plain_levels(weight[0], 2, symmetric=False)
        values = torch.tensor([(code - zero) * scale for code in range(4)])
        moved = torch.cartesian_prod(*[values] * 6) - weight  # (4^6, 6)
        best = ((moved @ stats.covariance) * moved).sum(1).min() / (weight @ stats.covariance @ weight.T).item()
        for method, above in ((GPTQ(bits=2, damping=0.0), above_gptq), (RoundToNearest(bits=2), above_nearest)):
            found = relative_error(weight, method(weight, stats, DENSE), stats)
            assert found >= best.item() * (1 - 1e-3) - 1e-6
            above.append(found / best.item())
    assert sorted(above_gptq)[10] < 0.5 * sorted(above_nearest)[10]


def test_in_activation_order_columns_are_taken_by_the_size_of_their_inputs():
    weight, x = random_weight(12, 48), random_inputs(500, 48)
    order = x.square().sum(0).argsort(descending=True)
    expected = GPTQ(group_size=16)(weight[:, order], stats_of(x[:, order]), DENSE)
    found = GPTQ(group_size=16, activation_order=True)(weight, stats_of(x), DENSE)
    assert ((found[:, order] - expected).abs().amax(1) < 1e-3).float().mean() >= 0.75
    assert not torch.equal(found, GPTQ(group_size=16)(weight, stats_of(x), DENSE))


@pytest.mark.parametrize("group_size", [16, 20, None])
@pytest.mark.parametrize("column_block", [5, 128])
def test_with_static_groups_columns_go_by_their_inputs_and_scales_are_of_neighbours_as_they_came(
    group_size, column_block
):
    weight, x = random_weight(12, 48), random_inputs(500, 48)
    H = x.double().T @ x.double() / len(x)
    H += 0.01 * H.diagonal().mean() * torch.eye(48, dtype=torch.float64)
    order = x.square().sum(0).argsort(descending=True).tolist()
    U = torch.linalg.cholesky(torch.linalg.inv(H[order][:, order]), upper=True)
    size, W = group_size or 48, weight.double().clone()
    levels = [[plain_levels(row[at : at + size], 4, False) for at in range(0, 48, size)] for row in W]
    for j, input_ in enumerate(order):
        came = W[:, input_].clone()
        to = [plain_nearest(w, *of[input_ // size], 4) for w, of in zip(came.tolist(), levels, strict=True)]
        error = (came - torch.tensor(to)) / U[j, j]
        W[:, order[j:]] -= error[:, None] * U[j, j:]
        W[:, input_] = torch.tensor(to, dtype=torch.float64)
    method = GPTQ(group_size=group_size, activation_order="static", column_block=column_block)
    found = method(weight, stats_of(x), DENSE)
    assert ((found.double() - W).abs().amax(1) < 1e-3).float().mean() >= 0.75
    assert not torch.equal(found, GPTQ(group_size=group_size, activation_order=True)(weight, stats_of(x), DENSE)) or (
        group_size is None
    )


def test_gptq_gives_weights_of_dead_inputs_up_as_sparsegpt_does():
    x = random_inputs()
    x[:, 5] = 0
    for order in (False, True, "static"):
        rounded = GPTQ(activation_order=order)(random_weight(), stats_of(x), DENSE)
        assert (rounded[:, 5] == 0).all() and rounded.isfinite().all()


@pytest.mark.parametrize("text, said", [
    ("round_to_nearest(bits=1)", "2 to 8"),
    ("gptq(bits=16)", "2 to 8"),
    ("gptq(group_size=0)", "None for the whole row"),
    ("gptq(damping=7)", "0 to 1"),
    ("gptq(column_block=0)", "at least 1"),
    ("gptq(activation_order=dynamic)", "activation_order"),
])  # fmt: skip
def test_options_out_of_range_are_named(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_method(text)
