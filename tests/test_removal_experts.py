"""Experts taken out: scores are those of the papers, the same number goes in every block, and the rest is as it was."""

import copy

import pytest
import torch

import calprune
from calprune.base.patterns import Removal
from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.inputs import StatsError
from calprune.layers.linears import ModelError, find_blocks
from calprune.layers.saved import Statistics
from calprune.models.load import load
from calprune.removal.coverage import Coverage
from calprune.removal.masked import ROUNDED, _apart, prove
from calprune.removal.methods.experts import in_groups, super_experts
from calprune.removal.outputs import expert_sums
from calprune.removal.smaller import Cut, Outline
from calprune.removal.sums import add_units
from tests.families import VOCABULARY
from tests.removal_families import EXPERTS, tiny
from tests.test_evaluate import word_tokenizer
from tests.test_removal import data, job, loaded_again, logits, own_cache, same  # noqa: F401
from tests.tiny import save

FUSED = ["dbrx", "deepseek_v3", "gpt_oss", "jamba", "llama4", "mixtral", "olmoe", "qwen3_moe", *EXPERTS]


@pytest.mark.parametrize("family", FUSED)
def test_a_model_with_fewer_experts_gives_what_the_dense_one_gives_with_them_masked(family, tmp_path):
    """The router's scores of what went are -inf wherever a product of the router gives one for each expert."""
    from calprune.removal.masked import masked

    dense = tiny(family)
    smaller, report = loaded_again(tmp_path, dense, "experts:25%", "aimer")
    places = Outline.of(dense, Removal("experts", share=0.25)).places()
    cut = report.done
    before = logits(dense)
    from calprune.removal.job import _cut_of

    with masked(dense, Removal("experts", share=0.25), _cut_of(list(cut.choices), 2), places):
        expected = logits(dense)
    assert same(logits(smaller), expected) and not same(expected, before)
    assert torch.equal(logits(dense), before)


@torch.no_grad()
def by_hand(model, tokens: torch.Tensor, gone: dict[int, list[int]]) -> torch.Tensor:
    """Mixtral without these experts, its router and experts written out in float64."""
    model = model.double()
    originals = []
    for i, block in enumerate(find_blocks(model)[1]):
        moe = block.mlp
        originals.append((moe, moe.forward))

        def forward(hidden, moe=moe, gone=gone[i]):
            x = hidden.reshape(-1, hidden.shape[-1])
            scores = x @ moe.gate.weight.T
            scores[:, gone] = -torch.inf
            share, chosen = scores.softmax(-1).topk(2)
            share = share / share.sum(-1, keepdim=True)
            out = torch.zeros_like(x)
            for t in range(len(x)):
                for g, e in zip(share[t], chosen[t], strict=True):
                    gate, up = (moe.experts.gate_up_proj[e] @ x[t]).chunk(2)
                    out[t] += g * (moe.experts.down_proj[e] @ (torch.nn.functional.silu(gate) * up))
            return out.reshape(hidden.shape)

        moe.forward = forward
    found = model(input_ids=tokens, use_cache=False).logits
    for moe, _ in originals:
        del moe.forward
    model.float()
    return found


def test_mixtral_without_experts_is_what_its_equations_give(tmp_path):
    dense = tiny("mixtral")
    smaller, report = loaded_again(tmp_path, dense, "experts:2", "aimer")
    tokens = torch.randint(3, VOCABULARY, (2, 16), generator=torch.Generator().manual_seed(9))
    gone = {i: one.gone for i, one in enumerate(report.choices)}
    assert same(logits(smaller), by_hand(dense, tokens, gone).float())


@torch.no_grad()
def routed(model, sets: CalibrationSet) -> dict[int, list[dict[str, torch.Tensor]]]:
    """Of each block of Mixtral and each expert, f and g of every real token sent to it, in float64."""
    seen: dict[int, list[torch.Tensor]] = {}
    hooks = [
        block.mlp.register_forward_pre_hook(lambda m, args, i=i: seen.setdefault(i, []).append(args[0][0].double()))
        for i, block in enumerate(find_blocks(model)[1])
    ]
    for row, length in zip(sets.tokens, sets.lengths, strict=True):
        model(input_ids=row[None, :length], use_cache=False)
    for hook in hooks:
        hook.remove()
    found = {}
    for i, block in enumerate(find_blocks(model)[1]):
        x, experts = torch.cat(seen[i]), []
        share, chosen = (x @ block.mlp.gate.weight.double().T).softmax(-1).topk(2)
        share = share / share.sum(-1, keepdim=True)
        for e in range(4):
            rows, at = (chosen == e).nonzero(as_tuple=True)
            gate, up = (x[rows] @ block.mlp.experts.gate_up_proj[e].double().T).chunk(2, -1)
            f = (torch.nn.functional.silu(gate) * up) @ block.mlp.experts.down_proj[e].double().T
            experts.append({"f": f, "g": share[rows, at], "chosen": chosen})
        found[i] = experts
    return found


SCORES = {
    "frequency": lambda f, g: len(f),
    "soft_frequency": lambda f, g: g.sum(),
    "ean": lambda f, g: f.norm(dim=-1).sum(),
    "man": lambda f, g: f.norm(dim=-1).mean(),
    "msan": lambda f, g: f.square().sum(-1).mean(),
    "reap": lambda f, g: (g * f.norm(dim=-1)).mean(),
    "reap_l2": lambda f, g: (g * f.square().sum(-1)).mean(),
}


@pytest.mark.parametrize("method", SCORES)
def test_scores_of_experts_are_those_worked_out_in_float64(method):
    model, sets = tiny("mixtral"), data(rows=12)
    done = job(method, "experts:25%").run(model, sets)
    for i, experts in routed(model, sets).items():
        expected = [float(SCORES[method](one["f"], one["g"])) for one in experts]
        assert done.choices[i].scores == pytest.approx(expected, rel=1e-4)
        assert done.choices[i].gone == [expected.index(min(expected))]


def test_sums_of_experts_are_those_worked_out_in_float64():
    model, sets = tiny("mixtral"), data(rows=12)
    places = Outline.of(model, Removal("experts", count=1)).places()
    for i, (_, banks) in enumerate(expert_sums(model, sets, places)):
        halves = next(iter(banks.values()))
        total, experts = halves[0] + halves[1], routed(model, sets)[i]
        assert min(float(half.tokens.sum()) for half in halves) > 0
        outputs = torch.stack([one["f"].sum(0) for one in experts])
        squares = torch.stack([one["f"].square().sum(0) for one in experts])
        hot = torch.nn.functional.one_hot(experts[0]["chosen"], 4).sum(1).double()
        assert torch.allclose(total.outputs.double(), outputs, rtol=1e-3, atol=1e-3)
        assert torch.allclose(total.output_squares.double(), squares, rtol=1e-3)
        assert torch.equal(total.together.double(), hot.T @ hot)
        assert total.largest.tolist() == pytest.approx([float(one["f"].abs().max()) for one in experts], rel=1e-4)


def test_a_bank_that_no_token_reaches_is_named():
    model = tiny("mixtral")
    block = model.model.layers[0]
    block.vision = copy.deepcopy(block.mlp)
    places = ["model.layers.0.mlp.experts", "model.layers.0.vision.experts"]
    with pytest.raises(StatsError, match=r"layers\.0\.vision\.experts: no token reached this bank"):
        list(expert_sums(model, data(rows=4), places))


def test_a_token_that_counts_twice_is_two_tokens():
    model, removal = tiny("mixtral"), Removal("experts", count=1)
    sets = data(rows=4, length=12)
    twice = CalibrationSet.from_tokens(torch.cat([sets.tokens] * 2), torch.cat([sets.lengths] * 2))
    weighted = CalibrationSet.from_tokens(sets.tokens, sets.lengths, torch.full(sets.tokens.shape, 2.0))
    places = Outline.of(model, removal).places()
    for (_, a), (_, b) in zip(expert_sums(model, twice, places), expert_sums(model, weighted, places), strict=True):
        one, other = (sum(halves[1:], halves[0]) for found in (a, b) for halves in found.values())
        for name, tensor in one.tensors().items():
            assert torch.allclose(tensor, other.tensors()[name], rtol=1e-4, atol=1e-4), name


def test_aimer_is_the_mean_size_over_the_root_mean_square_turned_over():
    model = tiny("mixtral")
    done = job("aimer", "experts:25%").run(model)
    for i, block in enumerate(find_blocks(model)[1]):
        for e in range(4):
            parts = [block.mlp.experts.gate_up_proj[e], block.mlp.experts.down_proj[e]]
            w = torch.cat([part.detach().double().flatten() for part in parts])
            assert done.choices[i].scores[e] == pytest.approx(
                float(w.square().mean().sqrt() / w.abs().mean()), rel=1e-5
            )


def test_super_experts_stay():
    model, sets = tiny("mixtral"), data(rows=12)
    gone = job("man", "experts:25%").run(model, sets).choices[0].gone[0]
    with torch.no_grad():  # one channel of one expert's output becomes extreme, and stays so small on average
        experts = find_blocks(model)[1][0].mlp.experts
        experts.down_proj[gone] *= 1e-3
        experts.down_proj[gone, 0] *= 3e5
    plain = job("frequency", "experts:2").run(model, sets).choices[0]
    kept = job("frequency(protect_super=true)", "experts:2").run(model, sets).choices[0]
    assert gone in kept.stay and kept.scores[gone] == float("inf") and plain.scores[gone] != float("inf")


def test_which_experts_are_super_is_as_released():
    largest = [torch.ones(128) for _ in range(4)]
    largest[0][5], largest[3][7] = 100.0, 100.0
    found = [one.nonzero().flatten().tolist() for one in super_experts(largest)]
    assert found == [[5], [], [], []]  # of the last quarter of the blocks none


def test_each_group_of_experts_loses_as_many():
    scores = torch.tensor([9.0, 8, 7, 6, 1, 2, 3, 4])
    assert in_groups(scores, 6, 2).tolist() == [0, 1, 2, 5, 6, 7]
    done = job("aimer", "experts:2").run(tiny("deepseek_v3"))
    assert sorted(unit // 4 for unit in done.choices[0].gone) == [0, 1]


@pytest.mark.parametrize("family", ["deepseek_v3", "qwen2_moe"])
def test_shared_experts_stay(family):
    model = tiny(family)
    done = job("aimer", "experts:2").run(model)
    before, after = ({n: p.shape for n, p in one.named_parameters() if "shared" in n} for one in (model, done.smaller))
    assert before == after and before


def test_experts_that_no_token_reached_are_named():
    model, sets = tiny("qwen2_moe"), data(rows=24)
    notes = job("reap", "experts:25%").run(model, sets).notes
    assert any("no token reached experts" in note for note in notes)
    few = data(rows=2, length=8)
    with pytest.raises(UserError, match="which of them, the data do not say; give more data"):
        job("reap", "experts:1").run(model, few)


def test_halves_say_how_much_data_a_ranking_takes():
    steady = Coverage((1.0,), 1.0, 0.9)
    shaky = Coverage((1.0,), 0.5, 0.3)
    assert steady.reliability == pytest.approx(2 * 0.9 / 1.9) and steady.more == pytest.approx(1.0556, abs=1e-3)
    r = 2 * 0.3 / 1.3
    k = shaky.more
    assert k * r / (1 + (k - 1) * r) == pytest.approx(0.95)  # Spearman and Brown
    assert Coverage((1.0,), None, None).more is None


def test_the_card_and_the_record_hold_the_coverage(tmp_path):
    save(tiny("mixtral"), word_tokenizer(), tmp_path / "dense")
    model = load(str(tmp_path / "dense"))
    report = calprune.prune(model, data(rows=12), method="reap", pattern="experts:25%", progress=False)
    text = report.save(tmp_path / "smaller").text()
    assert "1 of 4 experts in each of 2 blocks with experts" in text
    assert "two halves of the data remove" in text and "fewest tokens" in text
    choice = report.description["removed"]["choices"][0]
    assert sum(choice["coverage"]["tokens"]) == choice["tokens"] == 2 * int(data(rows=12).lengths.sum())


def flat(model, block: int, e: int) -> torch.Tensor:
    experts = find_blocks(model)[1][block].mlp.experts
    return torch.cat([part[e].detach().double().flatten() for part in (experts.gate_up_proj, experts.down_proj)])


def shannon(p: torch.Tensor) -> float:
    p = p / p.sum()
    return float(-(p[p > 0] * p[p > 0].log()).sum())


def suite_in_float64(criterion: str, model, sets: CalibrationSet, block: int) -> list[float]:
    """A criterion worked out from nothing but the weights, and tokens one by one."""
    mlp = find_blocks(model)[1][block].mlp
    ways = range(4)
    if criterion == "router_norm":
        return [float(mlp.gate.weight[e].detach().double().norm()) for e in ways]
    if criterion == "weight_norm":
        return [float(flat(model, block, e).norm()) for e in ways]
    if criterion == "similarity":
        vectors = [flat(model, block, e) for e in ways]
        return [
            sum(float(torch.cosine_similarity(vectors[e], vectors[q], dim=0)) for q in ways if q != e) for e in ways
        ]
    if criterion == "stable_rank":
        found = []
        for e in ways:
            gate, up = mlp.experts.gate_up_proj[e].detach().double().chunk(2)
            values = [torch.linalg.svdvals(w) for w in (gate, up, mlp.experts.down_proj[e].detach().double())]
            found.append(sum(float(s.square().sum() / s[0].square()) for s in values) / 3)
        return found
    experts = routed(model, sets)[block]
    if criterion == "usage":
        return [float(len(one["f"])) for one in experts]
    if criterion == "collaboration":
        chosen = experts[0]["chosen"]
        return [float((chosen == e).any(1).sum()) for e in ways]  # with two of each token, each meets another
    return [shannon(one["f"].square().sum(0)) for one in experts]


CRITERIA = ["similarity", "router_norm", "stable_rank", "weight_norm", "usage", "collaboration", "activation_entropy"]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_criteria_of_mc_suite_are_those_worked_out_in_float64(criterion):
    model, sets = tiny("mixtral"), data(rows=12)
    for drop in ("lowest", "highest"):
        done = job(f"mc_suite(criterion={criterion}, drop={drop})", "experts:1").run(model, sets)
        for i, choice in enumerate(done.choices):
            expected = suite_in_float64(criterion, model, sets, i)
            sign = 1 if drop == "lowest" else -1
            assert [sign * score for score in choice.scores] == pytest.approx(expected, rel=1e-3)
            ends = min(expected) if drop == "lowest" else max(expected)
            assert choice.gone == [expected.index(ends)]


def test_the_entropy_of_gradients_is_of_the_loss_of_each_sequence():
    model, sets = tiny("mixtral"), data(rows=3)
    done = job("mc_suite(criterion=gradient_entropy)", "experts:1").run(model, sets)
    experts = [block.mlp.experts for block in find_blocks(model)[1]]
    squares = [[0.0, 0.0] for _ in experts]
    for row, length in zip(sets.tokens, sets.lengths, strict=True):
        model.zero_grad()
        logits = model(input_ids=row[None, :length], use_cache=False).logits
        torch.nn.functional.cross_entropy(logits[0, :-1], row[1:length]).backward()
        for i, one in enumerate(experts):
            for k, p in enumerate((one.gate_up_proj, one.down_proj)):
                squares[i][k] = squares[i][k] + p.grad.double().square()
    model.zero_grad()
    for i, choice in enumerate(done.choices):
        expected = [shannon(torch.cat([part[e].flatten() for part in squares[i]])) for e in range(4)]
        assert choice.scores == pytest.approx(expected, rel=1e-3)


@torch.no_grad()
def condensed_by_hand(model, sets: CalibrationSet, block: int, stay: int) -> list[int]:
    """Greedy forward selection by the Jensen-Shannon divergence of the states after the block, in float64."""
    blocks, seen = find_blocks(model)[1], []
    hook = blocks[block].mlp.register_forward_hook(lambda m, args, out: seen.append((args[0][0], out[0])))
    after = []
    last = blocks[block].register_forward_hook(
        lambda m, args, out: after.append((out[0] if isinstance(out, tuple) else out).reshape(-1, 32))
    )
    for row, length in zip(sets.tokens, sets.lengths, strict=True):
        model(input_ids=row[None, :length], use_cache=False)
    hook.remove()
    last.remove()
    x, out, h = (torch.cat(part).double() for part in (*zip(*seen, strict=True), after))
    mlp = blocks[block].mlp
    share, chosen = (x @ mlp.gate.weight.double().T).softmax(-1).topk(2)
    share = share / share.sum(-1, keepdim=True)
    given = []
    for e in range(4):
        gate, up = (x @ mlp.experts.gate_up_proj[e].double().T).chunk(2, -1)
        f = (torch.nn.functional.silu(gate) * up) @ mlp.experts.down_proj[e].double().T
        given.append(share[chosen == e].mean() * f)

    def js(members: list[int]) -> float:
        p, q = h.softmax(-1), (h - out + sum(given[e] for e in members)).softmax(-1)
        m = (p + q) / 2
        return float(((p * (p / m).log() + q * (q / m).log()).sum(-1) / 2).mean())

    found: list[int] = []
    for _ in range(stay):
        found.append(min((e for e in range(4) if e not in found), key=lambda e: js([*found, e])))
    return found


def test_condensing_ranks_experts_by_what_constant_gates_lose():
    model, sets = tiny("mixtral"), data(rows=3)
    done = job("cd(sequences=3)", "experts:2").run(model, sets)
    for i, choice in enumerate(done.choices):
        first, second = condensed_by_hand(model, sets, i, 2)
        assert list(choice.stay) == sorted((first, second))
        assert choice.scores[first] > choice.scores[second] > 0


def test_in_half_precision_a_tie_of_two_experts_is_no_other_model():
    """Scores that bfloat16 rounds to the same number fall either way; in float32 the two are one model again."""
    torch.manual_seed(0)
    dense = tiny("mixtral").to(torch.bfloat16)
    for block in find_blocks(dense)[1]:
        block.mlp.gate.weight.data.mul_(0.02).add_(1.0)  # scores of one size that differ in their last digits
    removal = Removal("experts", share=0.25)
    outline = Outline.of(dense, removal)
    places = outline.places()
    cut = Cut((0, 1), {name: torch.arange(one.stay) for name, one in places.items()})
    smaller = outline.filled(cut)
    off = {exact: _apart(dense, smaller, removal, cut, places, exact=exact) for exact in (False, True)}
    assert off[False] > ROUNDED > 1e-3 > off[True]
    before = {name: p.clone() for name, p in dense.named_parameters()}
    assert prove(dense, smaller, removal, cut, places) == off[True]
    assert all(torch.equal(p, before[name]) and p.dtype == torch.bfloat16 for name, p in dense.named_parameters())
    wrong = Cut((0, 1), {name: torch.arange(one.units - one.stay, one.units) for name, one in places.items()})
    with pytest.raises(ModelError, match="is not the smaller model of its config"):
        prove(dense, smaller, removal, wrong, places)


@pytest.mark.parametrize("units", ["blocks", "experts"])
def test_sums_that_a_study_collects_hold_no_graph(units):
    """Where a caller left gradients on, sums would keep every activation of the walk alive."""
    model = tiny("mixtral")
    assert all(p.requires_grad for p in model.parameters()) and torch.is_grad_enabled()
    sums = Statistics.collect(model, data(), "nothing")
    add_units(sums, model, data(), units)
    assert sums.units and not any(one.requires_grad for one in sums.units.values())


@pytest.mark.parametrize("family", ["deepseek_v3", "glm4_moe"])
def test_condensing_keeps_of_each_group_only_experts_that_it_added(family):
    """What was never added has the score 0: it would stay or go by its number."""
    model = tiny(family)
    done = job("cd(sequences=3)", "experts:4").run(model, data(rows=3))
    for choice in done.choices:
        assert [sum(e // 4 == group for e in choice.stay) for group in (0, 1)] == [2, 2]
        assert min(choice.scores[e] for e in choice.stay) > 0


def test_where_the_routers_weight_is_in_what_experts_read_a_sum_of_it_is_refused():
    with pytest.raises(ModelError, match="soft_frequency would be frequency"):
        job("soft_frequency", "experts:2").run(tiny("llama4"), data(rows=2))
    assert job("frequency", "experts:2").run(tiny("llama4"), data(rows=2)).choices
