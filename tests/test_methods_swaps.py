"""Methods that exchange weights of another method's mask: DSnoT by expected values, SparseSwaps by the exact error."""

import itertools
from functools import partial

import pytest
import torch
from torch import Tensor

from calprune.base.values import ConfigError
from calprune.layers.collect import Counting
from calprune.layers.inputs import StatsError
from calprune.layers.linears import find_blocks, linears
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.methods.dsnot import DSnoT
from calprune.methods.magnitude import Magnitude
from calprune.methods.ria import RIA
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.sparseswaps import SparseSwaps
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, parse_pattern
from calprune.pruning.job import Pruning
from tests.families import tiny_model
from tests.test_blocks import calibration
from tests.test_methods import random_inputs, random_weight
from tests.test_stats import stats_of

PATTERNS = ["50%", "60%/matrix", "2:4", "6:8"]
STARTS = [Wanda(), Magnitude(), RIA()]


def shifted_inputs(tokens: int = 500, width: int = 32, seed: int = 0) -> Tensor:
    """Inputs whose means are not zero."""
    return random_inputs(tokens, width, seed) + torch.linspace(-3, 5, width)


def row_errors(weight: Tensor, pruned: Tensor, x: Tensor) -> Tensor:
    return ((weight - pruned).double() @ x.double().T).square().mean(1)


@pytest.mark.parametrize("start", STARTS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("method", [DSnoT, partial(DSnoT, rule="released"), SparseSwaps], ids=str)
def test_rows_and_groups_keep_as_many_weights_as_the_start_and_none_is_changed(method, pattern, start):
    weight, stats = random_weight(24, 32), stats_of(shifted_inputs())
    before = start(weight, stats, parse_pattern(pattern))
    after = method(start)(weight, stats, parse_pattern(pattern))
    of = int(pattern.split(":")[1]) if ":" in pattern else 32
    assert torch.equal((before != 0).view(24, -1, of).sum(2), (after != 0).view(24, -1, of).sum(2))
    assert torch.equal(after[after != 0], weight[after != 0])
    assert not torch.equal(before, after)


@pytest.mark.parametrize("start", [*STARTS, SparseGPT()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_dsnot_shrinks_the_expected_error_of_every_output(pattern, start):
    weight, x = random_weight(24, 32), shifted_inputs()
    stats = stats_of(x)
    before = weight * (start(weight, stats, parse_pattern(pattern)) != 0)
    after = DSnoT(start)(weight, stats, parse_pattern(pattern))
    expected = [((weight - pruned) @ x.mean(0)).abs() for pruned in (before, after)]
    assert (expected[1] <= expected[0] + 1e-4).all()
    assert expected[1].sum() < (0.9 if ":" in pattern else 0.5) * expected[0].sum()


def plain_dsnot(weight: Tensor, x: Tensor, keep: Tensor, of: int | None, cycles: int) -> Tensor:
    """The steps of the paper for one row after the other, in float64."""
    W, mean, var = weight.double(), x.double().mean(0), x.double().var(0, correction=0)
    norm, keep = x.double().square().mean(0).sqrt(), keep.clone()
    for i in range(len(W)):
        D, eps = W[i] * mean, (W[i] * mean)[~keep[i]].sum()
        pruned, kept = set((~keep[i]).nonzero().flatten().tolist()), set(keep[i].nonzero().flatten().tolist())
        for _ in range(cycles):
            if not pruned or abs(eps) <= 5e-5:
                break
            grow = max(pruned, key=lambda j: eps.sign() * D[j] / var[j])
            drops = [j for j in kept if (j // of == grow // of if of else eps.sign() * D[j] < 0)]
            pruned.discard(grow)
            if not drops:
                continue
            drop = min(drops, key=lambda j: W[i, j].abs() * norm[j])
            after = eps + D[drop] - D[grow]
            if abs(after) >= abs(eps):
                continue
            eps, keep[i, grow], keep[i, drop] = after, True, False
            kept.discard(drop)
    return keep


@pytest.mark.parametrize("cycles", [1, 5, 50])
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_dsnot_equals_its_steps_written_out(pattern, cycles):
    weight, x = random_weight(24, 32), shifted_inputs()
    start = Wanda()(weight, stats_of(x), parse_pattern(pattern)) != 0
    expected = plain_dsnot(weight, x, start, 4 if ":" in pattern else None, cycles)
    found = DSnoT(cycles=cycles)(weight, stats_of(x), parse_pattern(pattern)) != 0
    assert (expected != start).any()
    assert torch.equal(found, expected)


def released_dsnot(weight: Tensor, x: Tensor, keep: Tensor, of: int | None, cycles: int) -> Tensor:
    """The steps of the released code (4c029df) for one row after the other, in float64, by lists taken from their ends:
    it looks at every step, and only at the sign (n:m), never at whether the error shrinks."""
    W, mean, var = weight.double(), x.double().mean(0), x.double().var(0, correction=0)
    norm, keep = x.double().square().mean(0).sqrt(), keep.clone()
    for i in range(len(W)):
        D, began = W[i] * mean, keep[i].clone()
        eps = D[~began].sum()
        first = eps.sign()
        regrow = sorted((~began).nonzero().flatten().tolist(), key=lambda j: D[j] / var[j])
        cheap = sorted(began.nonzero().flatten().tolist(), key=lambda j: W[i, j].abs() * norm[j])
        drops = {-1: [j for j in cheap if D[j] > 0], 1: [j for j in cheap if D[j] < 0]}
        for _ in range(cycles):
            if abs(eps) <= 5e-5 or not regrow:
                break
            grow = regrow.pop() if eps > 0 else regrow.pop(0)
            among = drops[int(eps.sign())] if of is None else [j for j in cheap if j // of == grow // of]
            if eps.sign() * D[grow] <= 0 or not among:
                break
            drop = among[0]
            after = eps + D[drop] - D[grow]
            if of is not None and after.sign() != first:
                break
            among.remove(drop)
            if of is not None:
                cheap.remove(drop)
            eps, keep[i, grow], keep[i, drop] = after, True, False
    return keep


@pytest.mark.parametrize("cycles", [1, 2, 7, 50])
@pytest.mark.parametrize("pattern", ["50%", "2:4"])
def test_dsnots_released_rule_equals_the_released_steps_written_out(pattern, cycles):
    weight, x = random_weight(24, 32), shifted_inputs()
    start = Wanda()(weight, stats_of(x), parse_pattern(pattern)) != 0
    expected = released_dsnot(weight, x, start, 4 if ":" in pattern else None, cycles)
    found = DSnoT(cycles=cycles, rule="released")(weight, stats_of(x), parse_pattern(pattern)) != 0
    assert (expected != start).any()
    assert torch.equal(found, expected)


def test_the_released_rule_makes_steps_that_ours_refuses_and_may_end_with_a_larger_error():
    weight, x = random_weight(24, 32), shifted_inputs()
    errors = {}
    for rule in ("shrinking", "released"):
        kept = DSnoT(rule=rule)(weight, stats_of(x), parse_pattern("50%"))
        errors[rule] = ((weight - kept) @ x.mean(0)).abs()
    assert (errors["released"] > errors["shrinking"] + 1e-3).any()


def test_dsnot_with_inputs_of_mean_zero_has_nothing_to_do():
    x = random_inputs()
    x = torch.cat([x, -x])
    weight = random_weight()
    assert torch.equal(
        DSnoT()(weight, stats_of(x), parse_pattern("50%")), Wanda()(weight, stats_of(x), parse_pattern("50%/row"))
    )


def best_exchange(weight: Tensor, keep: Tensor, x: Tensor, of: int) -> tuple[float, Tensor]:
    """By trying every one: the smallest error that one exchange in this row leads to, and the mask it leads to."""
    tried = []
    for p, u in itertools.product(keep.nonzero().flatten().tolist(), (~keep).nonzero().flatten().tolist()):
        if p // of == u // of:
            other = keep.clone()
            other[p], other[u] = False, True
            tried.append((row_errors(weight[None], (weight * other)[None], x).item(), other))
    return min(tried, key=lambda pair: pair[0])


@pytest.mark.parametrize("pattern", ["50%", "3:6", "2:3"])
@pytest.mark.parametrize("start", STARTS, ids=lambda m: type(m).__name__)
def test_each_exchange_is_the_best_of_all_of_a_row_of_six_and_the_last_leaves_none_that_helps(pattern, start):
    weight, x = random_weight(30, 6), shifted_inputs(width=6)
    stats, parsed = stats_of(x), parse_pattern(pattern)
    of = parsed.of if isinstance(parsed, KeepNofM) else 6
    start_keep = start(weight, stats, parsed) != 0
    moved = 0
    for i in range(30):
        keep = start_keep[i]
        if keep.all() or not keep.any():
            continue
        for swaps in range(1, 8):
            error = row_errors(weight[i][None], (weight[i] * keep)[None], x).item()
            best, exchanged = best_exchange(weight[i], keep, x, of)
            found = SparseSwaps(start, swaps=swaps)(weight, stats, parsed)[i] != 0
            if best < error * (1 - 1e-5):
                assert torch.equal(found, exchanged), "the best of all exchanges"
                keep, moved = exchanged, moved + 1
            else:
                assert row_errors(weight[i][None], (weight[i] * found)[None], x).item() <= error * (1 + 1e-5)
                break
    assert moved >= 10


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_exchange_lowers_the_error_of_its_row_and_raises_none(pattern):
    weight, x = random_weight(16, 32), shifted_inputs()
    stats = stats_of(x)
    errors = [
        row_errors(weight, SparseSwaps(swaps=n)(weight, stats, parse_pattern(pattern)), x) for n in (0, 1, 2, 5, 20)
    ]
    for before, after in itertools.pairwise(errors):
        assert (after <= before * (1 + 1e-6)).all()
    assert errors[-1].sum() < 0.9 * errors[0].sum()
    assert torch.equal(
        SparseSwaps(swaps=0)(weight, stats, parse_pattern(pattern)), Wanda()(weight, stats, as_rows(pattern))
    )


def as_rows(pattern: str):
    return parse_pattern(pattern if "/" in pattern or ":" in pattern else f"{pattern}/row")


def test_rows_are_done_in_batches_that_make_no_difference(monkeypatch):
    weight, stats = random_weight(16, 32), stats_of(shifted_inputs())
    at_once = SparseSwaps(Magnitude())(weight, stats, parse_pattern("60%"))
    monkeypatch.setattr("calprune.methods.sparseswaps.CACHE_BYTES", 1)
    assert torch.equal(SparseSwaps(Magnitude())(weight, stats, parse_pattern("60%")), at_once)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gpt_neox", "bloom", "mixtral", "deepseek_v3"])
def test_dsnot_on_attention_alone_leaves_what_the_start_keeps_of_the_feed_forward(family):
    """In every family, from saved sums too: of the same sums each linear is as one of the two whole jobs has it."""
    data, pattern = calibration(), parse_pattern("50%")
    sums = Statistics.collect(tiny_model(family), data, "moments", counting=Counting(min_expert_tokens=1))
    pruned = {}
    for method in (Wanda(), DSnoT(), DSnoT(linears="attention")):
        model = tiny_model(family)
        Pruning(method, pattern).run(model, sums)
        pruned[method] = {
            f"{i}.{site.name}": site.weight for i, block in enumerate(find_blocks(model)[1]) for site in linears(block)
        }
    differs = 0
    for name, weight in pruned[DSnoT(linears="attention")].items():
        inside = any(part in name for part in ("attn", "attention"))
        assert torch.equal(weight, pruned[DSnoT() if inside else Wanda()][name]), name
        differs += inside and not torch.equal(weight, pruned[Wanda()][name])
    assert differs, "something was refined"


def test_dsnot_on_attention_alone_must_know_the_linear():
    with pytest.raises(StatsError, match="must know which linear"):
        DSnoT(linears="attention")(random_weight(), stats_of(random_inputs()), parse_pattern("50%"))


def test_a_row_that_keeps_all_or_nothing_has_nothing_to_exchange():
    weight = torch.cat([torch.full((4, 16), 0.1), torch.full((4, 16), 10.0)])
    stats = stats_of(random_inputs())
    for method in (DSnoT(Magnitude()), SparseSwaps(Magnitude())):
        assert torch.equal(
            method(weight, stats, parse_pattern("50%")), Magnitude()(weight, stats, parse_pattern("50%"))
        )


def test_mistakes_are_named_in_one_line():
    for text, said in [
        ("dsnot(start='ria')", "dsnot(start=wanda), got 'ria'"),
        ("dsnot(start=None)", "got nothing"),
        ("dsnot(threshold=-1)", "threshold must be a number, at least 0, got -1"),
        ("dsnot(rule=mine)", "'shrinking' or 'released'"),
        ("dsnot(linears='mlp')", "'all' or 'attention'"),
        ("dsnot(threshold=1e999)", "threshold must be a number, at least 0, got inf"),
        ("ria(power=1e999)", "power must be a number, at least 0, got inf"),
        ("gblm(alpha=1e999)", "alpha must be a number, at least 0, got inf"),
        ("admm(penalty=1e999)", "penalty must be a number above 0, got inf"),
        (
            "refit(start=block_reconstruction(start=wanda))",
            "never does: begin from its own start, Wanda()",
        ),
        ("regional(start=regional(start=ria))", "begin from its own start, RIA("),
        ("sparseswaps(swaps=-1)", "swaps must be at least 0, got -1"),
        ("sparseswaps(start=wandaa)", "did you mean 'wanda'"),
    ]:
        with pytest.raises(ConfigError) as raised:
            parse_method(text)
        assert said in str(raised.value) and "\n" not in str(raised.value)


def test_the_start_keeps_its_own_options():
    assert parse_method("dsnot(start=ria(power=1.0), cycles=3)") == DSnoT(RIA(1.0), cycles=3)
    assert parse_method("sparseswaps(start=sparsegpt)").needs == "gram"
    assert parse_method("dsnot").needs == "moments" and parse_method("dsnot(start=sparsegpt)").needs == "gram"
