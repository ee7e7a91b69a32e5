"""Every method of the registry obeys the contract; each agrees with its paper's equations, written out plainly."""

import dataclasses
import inspect
import itertools
import re

import pytest
import torch
from torch import Tensor

from calprune.layers.inputs import GradientSums, InputStats, relative_error
from calprune.methods import METHODS, parse_method
from calprune.methods.contract import Method
from calprune.methods.magnitude import Magnitude
from calprune.methods.ria import RIA
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.sparseswaps import SparseSwaps
from calprune.methods.wanda import Wanda, WandaVariant
from calprune.pattern import KeepNofM, PatternError, Unstructured, parse_pattern
from tests.test_stats import stats_of


def example(name: str) -> Method:
    """The method with its defaults, and one that has to be given a start with one."""
    return METHODS[name](start=Wanda()) if getattr(METHODS[name], "start", ...) is None else METHODS[name]()


ALL = [pytest.param(example(name), id=name) for name in METHODS]
PRUNING = [p for p in ALL if getattr(p.values[0], "prunes", True)]  # the others: tests/test_methods_quantising.py
EXACT = [p for p in PRUNING if getattr(p.values[0], "exact_count", True)]
TWO_FOUR = KeepNofM(2, 4)
HALF = Unstructured(0.5)


def asked(method: Method) -> Unstructured:
    """A pattern that the method takes: half of the weights, or none where it prunes nothing."""
    return HALF if getattr(method, "prunes", True) else Unstructured(0.0)


def random_inputs(tokens: int = 200, width: int = 16, seed: int = 0) -> Tensor:
    """Correlated inputs of unlike sizes: what methods that look at inputs differ on."""
    numbers = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=numbers) * torch.logspace(-1, 1, width)
    return torch.randn(tokens, width, generator=numbers) @ mixing


def full_stats(x: Tensor, rows: int = 12) -> InputStats:
    """The sums that any method reads: of the inputs, and of the gradients of five sequences, δᵀ x over their tokens."""
    deltas = torch.randn(len(x), rows, generator=torch.Generator().manual_seed(2)).chunk(5)
    g = torch.stack([delta.T @ part for delta, part in zip(deltas, x.chunk(5), strict=True)])
    sums = GradientSums(5.0, g.square().sum(0), g.abs().sum(0))
    return stats_of(x).of_linear({"loss": sums, "output": sums})


def random_weight(rows: int = 12, width: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", ALL)
def test_a_method_is_frozen_options_and_cites_its_paper(method):
    assert isinstance(method, Method)
    assert method == dataclasses.replace(method), "two with the same options are equal"
    assert type(method).__dataclass_params__.frozen
    assert re.search(r"\b(19|20)\d\d\b", inspect.getmodule(type(method)).__doc__), (
        "the file's docstring names the paper"
    )


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("pattern", ["50%", "62.5%", "2:4", "1:4", "6:8"])
def test_counts_are_exact_also_when_all_weights_tie(method, pattern):
    parsed, stats = parse_pattern(pattern), full_stats(random_inputs())
    for weight in (random_weight(), torch.ones(12, 16)):
        zeros = (method(weight, stats, parsed) == 0).float().mean().item()
        assert zeros == pytest.approx(parsed.sparsity, abs=0.5 / weight.numel())


@pytest.mark.parametrize("method", EXACT)
def test_no_group_of_m_holds_more_than_n(method):
    pruned = method(random_weight(), full_stats(random_inputs()), TWO_FOUR)
    assert ((pruned != 0).reshape(-1, 4).sum(1) == 2).all()


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_weight_that_came_is_not_changed_and_the_new_one_is_of_its_dtype(method, dtype):
    for weight in (random_weight().to(dtype), random_weight(16, 12).to(dtype).T):  # GPT-2 stores the transpose
        came = weight.clone()
        pruned = method(weight, full_stats(random_inputs()), asked(method))
        assert torch.equal(weight, came)
        assert pruned.dtype == dtype
        assert not (torch.signbit(pruned) & (pruned == 0)).any(), "zeros are plus zero"


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_what_the_same_numbers_give_in_float32(method, dtype):
    """In which weights stay, ties among them, and in their values but for one rounding."""
    weight, stats = random_weight(160, 64).to(dtype), full_stats(random_inputs(width=64), 160)
    takes_groups = getattr(method, "prunes", True) and getattr(method, "exact_count", True)
    for pattern in [asked(method), TWO_FOUR] if takes_groups else [asked(method)]:
        found, expected = method(weight, stats, pattern), method(weight.float(), stats, pattern).to(dtype)
        assert torch.equal(found != 0, expected != 0)
        torch.testing.assert_close(found, expected)  # a product's rounding may depend on where its operands lie


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("always_zero", "most"), [(slice(5, 6), 96 + 16 + 11 + 11), (slice(None), 192)])
def test_a_row_of_zeros_stays_and_zeros_and_inputs_that_were_always_zero_make_no_nan(method, always_zero, most):
    weight, x = random_weight(), random_inputs()
    weight[3], weight[:, 7], x[:, always_zero] = 0, 0, 0
    pruned = method(weight, full_stats(x), asked(method))
    assert pruned.isfinite().all() and (pruned[3] == 0).all()
    if getattr(method, "exact_count", True):
        asked_for = 192 * asked(method).sparsity
        assert asked_for <= int((pruned == 0).sum()) <= most, "what was zero may come on top"


@pytest.mark.parametrize("method", [p for p in ALL if p.id != "gblm"])  # its gradients' share grows with the data
def test_a_method_uses_the_mean_over_tokens_so_that_seeing_data_twice_changes_nothing(method):
    stats = full_stats(random_inputs())
    once, twice = (method(random_weight(), seen, asked(method)) for seen in (stats, 2.0 * stats))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("method", [p for p in PRUNING if p.values[0].needs != "gram"] + [SparseSwaps()])
def test_a_method_that_only_masks_leaves_the_survivors_alone(method):
    weight = random_weight()
    pruned = method(weight, full_stats(random_inputs()), HALF)
    assert torch.equal(pruned[pruned != 0], weight[pruned != 0])


@pytest.mark.parametrize("method", ALL)
def test_an_n_to_m_that_does_not_fit_is_refused_by_every_method(method):
    with pytest.raises(PatternError):
        method(random_weight(4, 6), full_stats(random_inputs(width=6), 4), TWO_FOUR)


SCORING = [p for p in EXACT if not hasattr(p.values[0], "start") and p.values[0].needs != "gram"]


@pytest.mark.parametrize("method", SCORING)
@pytest.mark.parametrize(("pattern", "size"), [("50%/row", 16), ("50%/matrix", 192), ("2:4", 4)])
def test_weights_that_are_zero_already_are_the_first_that_go(method, pattern, size):
    weight = random_weight()
    weight[3], weight[:, ::4] = 0, 0
    pruned = method(weight, full_stats(random_inputs()), parse_pattern(pattern))
    already, now = ((w == 0).reshape(-1, size).sum(1) for w in (weight, pruned))
    assert torch.equal(now, already.clamp_min(size // 2))


@pytest.mark.parametrize("method", SCORING)
def test_counts_are_exact_also_where_all_inputs_were_always_zero(method):
    assert int((method(random_weight(), full_stats(torch.zeros(200, 16)), HALF) == 0).sum()) == 96


@pytest.mark.parametrize("method", EXACT)
def test_a_row_loses_its_own_share_where_that_is_asked(method):
    pruned = method(random_weight(), full_stats(random_inputs()), parse_pattern("62.5%/row"))
    assert (pruned == 0).sum(1).tolist() == [10] * 12


def test_what_competes_is_as_each_paper_has_it():
    weight = torch.cat([torch.full((4, 16), 0.1), torch.full((4, 16), 10.0)]) * random_weight(8).sign()
    stats = stats_of(torch.eye(16))
    zeros = {m: (m(weight, stats, HALF) == 0).sum(1).tolist() for m in (Magnitude(), Wanda(), RIA(), SparseGPT())}
    assert zeros[Wanda()] == [8] * 8, "a row"
    assert zeros[Magnitude()] == [16] * 4 + [0] * 4, "the matrix"
    assert zeros[SparseGPT()] == [16] * 4 + [0] * 4, "all rows of a block of columns"
    assert sum(zeros[RIA()]) == 64


def plain_mask(score: Tensor, pattern, within: str = "matrix") -> Tensor:
    """True for what stays, by sorting each group of weights that compete."""
    if isinstance(pattern, KeepNofM):
        size = pattern.of
    else:
        size = score.shape[1] if (pattern.within or within) == "row" else score.numel()
    groups = score.reshape(-1, size)
    lowest = groups.argsort(dim=1, stable=True)[:, : round(size * pattern.sparsity)]
    return torch.ones_like(groups, dtype=torch.bool).scatter_(1, lowest, False).view_as(score)


@pytest.mark.parametrize("pattern", ["50%", "30%/row", "70%/matrix", "2:4", "6:8"])
def test_magnitude_keeps_the_largest_of_the_matrix_of_a_row_or_of_a_group(pattern):
    weight, parsed = random_weight(), parse_pattern(pattern)
    expected = weight.double() * plain_mask(weight.double().square(), parsed)
    assert torch.equal(Magnitude()(weight, None, parsed).double(), expected)


def test_wanda_equals_its_equation():
    weight, x = random_weight(), random_inputs()
    score = weight.abs().double() * x.double().norm(dim=0)  # |W_ij| · ‖X_j‖₂
    for row, pruned in zip(score, Wanda()(weight, stats_of(x), HALF), strict=True):
        assert set(row.argsort()[:8].tolist()) == set((pruned == 0).nonzero().flatten().tolist())


def test_wanda_does_not_change_when_an_input_is_scaled_and_its_weights_by_the_inverse():
    weight, x, scale = random_weight(), random_inputs(), torch.logspace(-2, 2, 16)
    plain = Wanda()(weight, stats_of(x), TWO_FOUR) != 0
    assert torch.equal(plain, Wanda()(weight / scale, stats_of(x * scale), TWO_FOUR) != 0)


def test_ria_equals_its_equations():
    weight, x = random_weight(), random_inputs()
    size = weight.abs().double()
    relative = size / size.sum(0) + size / size.sum(1)[:, None]
    score = relative * x.double().square().mean(0).sqrt().sqrt()
    pruned = RIA()(weight, stats_of(x), HALF)
    assert set(score.flatten().argsort()[:96].tolist()) == set((pruned == 0).flatten().nonzero().flatten().tolist())


def test_ria_with_a_row_of_zeros_has_no_nan():
    weight = random_weight()
    weight[3] = 0
    assert RIA()(weight, stats_of(random_inputs()), HALF).isfinite().all()


def test_the_wanda_variant_takes_the_same_share_of_each_rows_score_and_is_near_the_asked_sparsity():
    weight, x = random_weight(64, 128), random_inputs(width=128)
    pruned = WandaVariant()(weight, stats_of(x), HALF)
    score = weight.abs() * stats_of(x).norm
    shares = (score * (pruned == 0)).sum(1) / score.sum(1)
    share = shares.max().item()
    largest_next = (score.masked_fill(pruned == 0, torch.inf).amin(1) + (score * (pruned == 0)).sum(1)) / score.sum(1)
    assert (largest_next > share).all(), "one more weight would pass the common share in every row"
    assert (pruned == 0).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert len(set((pruned == 0).sum(1).tolist())) > 1, "rows differ"


def plain_variant(score: Tensor, sparsity: float) -> Tensor:
    """Which weights go by Wanda's code, a row at a time; how it searches for the share is in the class's docstring."""
    low, high, share = 0.0, 0.8, 0.4
    while True:
        gone = torch.zeros_like(score, dtype=torch.bool)
        for row, out in zip(score, gone, strict=True):
            total = 0.0
            for j in row.argsort().tolist():
                total += row[j].item()
                out[j] = total <= share * row.sum().item()
        reached = gone.double().mean().item()
        if abs(reached - sparsity) <= 0.001 or high - low < 0.001:
            return gone
        if reached > sparsity:
            high = share
        else:
            low = share
        share = (low + high) / 2


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(12, 16), (40, 64)])  # in the first no share may come within 0.001
def test_the_wanda_variant_equals_its_search_written_out(shape, sparsity):
    weight, x = random_weight(*shape), random_inputs(width=shape[1])
    gone = plain_variant(weight.abs().double() * x.double().norm(dim=0), sparsity)
    assert torch.equal(WandaVariant()(weight, stats_of(x), Unstructured(sparsity)), weight * ~gone)


def test_the_wanda_variant_says_where_its_search_cannot_reach_what_is_asked():
    weight, x = random_weight(64, 128), random_inputs(width=128)
    with pytest.raises(PatternError, match=r"up to 80 % of a row's score, here 9\d\.\d% of the matrix, and 98%"):
        WandaVariant()(weight, stats_of(x), Unstructured(0.98))
    assert torch.equal(WandaVariant()(weight, stats_of(x), Unstructured(0.0)), weight)
    weight[:, :80] = 0  # more zeros than are asked for: hardly another one goes
    assert 0.625 <= (WandaVariant()(weight, stats_of(x), Unstructured(0.5)) == 0).float().mean() < 0.65


def plain_sparsegpt(W: Tensor, x: Tensor, pattern, damping: float = 0.01, block: int = 128) -> Tensor:
    """Algorithm 1 of the paper in float64, an explicit loop over columns with an explicit inverse."""
    W, H = W.double().clone(), (x.double().T @ x.double()) / len(x)
    H += damping * H.diagonal().mean() * torch.eye(len(H), dtype=torch.float64)
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    keep = torch.ones_like(W, dtype=torch.bool)
    for j in range(W.shape[1]):
        group = pattern.of if isinstance(pattern, KeepNofM) else block
        if j % group == 0:
            score = (W[:, j : j + group] / U.diagonal()[j : j + group]) ** 2
            if isinstance(pattern, KeepNofM):
                lowest = score.argsort(dim=1)[:, : pattern.of - pattern.keep] + j
                keep.scatter_(1, lowest, False)
            else:
                lowest = score.flatten().argsort()[: round(score.numel() * pattern.sparsity)]
                keep[lowest // score.shape[1], lowest % score.shape[1] + j] = False
        error = torch.where(keep[:, j], 0, W[:, j]) / U[j, j]
        W[:, j:] -= error[:, None] * U[j, j:]
        W[~keep[:, j], j] = 0
    return W


@pytest.mark.parametrize("pattern", ["50%", "70%", "2:4", "4:8", "3:20"])
@pytest.mark.parametrize("width", [40, 160, 320])
def test_sparsegpt_equals_its_algorithm_written_out(pattern, width):
    weight, x = random_weight(24, width), random_inputs(1000, width)
    expected = plain_sparsegpt(weight, x, parse_pattern(pattern))
    found = SparseGPT()(weight, stats_of(x), parse_pattern(pattern))
    same = (found == 0) == (expected == 0)
    assert same.float().mean() > 0.995  # float32 decides a near tie otherwise
    rows = same.all(dim=1)
    assert rows.float().mean() > 0.8
    torch.testing.assert_close(found[rows].double(), expected[rows], rtol=2e-3, atol=2e-3)


def test_sparsegpt_equals_wanda_when_inputs_are_uncorrelated():
    x = torch.linalg.qr(random_inputs(64, 8)).Q * torch.tensor([1.0, 2.0, 3.0, 4.0, 1.5, 2.5, 3.5, 4.5])
    torch.testing.assert_close(
        SparseGPT(damping=0.0)(random_weight(8, 8), stats_of(x), TWO_FOUR),
        Wanda()(random_weight(8, 8), stats_of(x), TWO_FOUR),
    )


def test_sparsegpt_never_beats_the_exhaustive_optimum_of_a_row_of_four_and_is_near_it():
    x = random_inputs(100, 4)
    stats = stats_of(x)
    ratios = []
    for seed in range(20):
        weight = random_weight(1, 4, seed)
        best = min(
            relative_error(weight, least_squares(weight, stats, kept), stats)
            for kept in itertools.combinations(range(4), 2)
        )
        found = relative_error(weight, SparseGPT(damping=0.0)(weight, stats, TWO_FOUR), stats)
        assert found >= best * (1 - 1e-3) - 1e-6
        ratios.append(found / best)
    assert sorted(ratios)[10] < 1.5, "and in the median it is not far from it"


def least_squares(weight: Tensor, stats: InputStats, kept: tuple[int, ...]) -> Tensor:
    """The best row with only `kept` nonzero: the normal equations."""
    C, kept_list = stats.covariance.double(), list(kept)
    best = torch.zeros_like(weight)
    best[0, kept_list] = torch.linalg.solve(C[kept_list][:, kept_list], C[kept_list] @ weight[0].double()).float()
    return best


def test_sparsegpt_prunes_less_error_into_the_output_than_its_mask_alone():
    weight, x = random_weight(32, 64), random_inputs(1000, 64)
    stats = stats_of(x)
    updated = SparseGPT()(weight, stats, HALF)
    assert relative_error(weight, updated, stats) < relative_error(weight, weight * (updated != 0), stats)


def test_weights_of_dead_inputs_are_zeroed_and_cost_nothing():
    x = random_inputs()
    x[:, 5] = 0
    pruned = SparseGPT()(random_weight(), stats_of(x), HALF)
    assert (pruned[:, 5] == 0).all() and pruned.isfinite().all()


def test_sparsegpt_says_that_it_cannot_compare_the_whole_matrix():
    with pytest.raises(PatternError, match="50%/matrix"):
        SparseGPT()(random_weight(), stats_of(random_inputs()), parse_pattern("50%/matrix"))


def test_methods_are_read_from_text_and_mistakes_are_named():
    assert parse_method("sparsegpt(damping=0.1)") == SparseGPT(damping=0.1)
    assert parse_method("calprune.methods.wanda:Wanda") == Wanda()
    for text, said in [
        ("wandaa", "did you mean 'wanda'"),
        ("sparsegpt(damp=0.1)", "did you mean 'damping'"),
        ("sparsegpt(damping=7)", "0 to 1"),
        ("sparsegpt(damping='much')", "damping"),
        ("ria(power=-1)", "at least 0"),
        ("wanda(", "cannot read"),
        ("nowhere.at_all:Method", "cannot import"),
        ("calprune.pattern:KeepNofM", "no method"),
    ]:
        with pytest.raises(ValueError, match=re.escape(said)) as error:
            parse_method(text)
        assert "\n" not in str(error.value)
