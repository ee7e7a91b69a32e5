"""Fused experts are pruned as what they are: a matrix each, by the tokens that were sent to them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from calprune.base.values import ConfigError, UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.layers.collect import Counting
from calprune.layers.experts import is_fused
from calprune.layers.inputs import StatsError
from calprune.layers.linears import ModelError, find_blocks, linears
from calprune.layers.saved import Statistics
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Unstructured
from calprune.pruning.job import Pruning
from tests.families import FUSED_EXPERTS, VOCABULARY, random_model, tiny_model
from tests.test_blocks import LENGTHS, calibration

OWN = Counting(min_expert_tokens=1)  # an expert's statistics are its own, however few
TWO_FOUR, HALF = KeepNofM(2, 4), Unstructured(0.5)
CALLED_ALIKE = [*FUSED_EXPERTS, "dbrx"]  # with the tokens, the experts of each and the router's weights


def fused_of(model) -> tuple[str, nn.Module]:
    """The last block's experts and their full name."""
    return [(n, m) for n, m in model.named_modules() if is_fused(m)][-1]


def matrices(family: str, module, expert: int) -> tuple[torch.Tensor, ...]:
    """gate, up, down (out, in) and the biases of gate and up, as the family's own code reads its fused tensors."""
    if family == "dbrx":
        of = (getattr(module.mlp, name).double().unflatten(0, (4, -1))[expert] for name in ("w1", "v1", "w2"))
        gate, up, down = of
        none = torch.zeros(len(gate), dtype=torch.float64)
        return gate, up, down.T, none, none
    both, down = module.gate_up_proj[expert].double(), module.down_proj[expert].double()
    if family == "gpt_oss":
        bias = module.gate_up_proj_bias[expert].double()
        return both[:, ::2].T, both[:, 1::2].T, down.T, bias[::2], bias[1::2]
    none = torch.zeros(len(both) // 2, dtype=torch.float64)
    return both[: len(both) // 2], both[len(both) // 2 :], down, none, none


def gated(family: str, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    if family == "gpt_oss":
        gate = gate.clamp(max=7.0)
        return (up.clamp(-7.0, 7.0) + 1) * gate * torch.sigmoid(1.702 * gate)
    return F.silu(gate) * up


def plain_sums(family: str, data: CalibrationSet) -> dict[str, tuple[float, torch.Tensor]]:
    """(tokens, Σ x xᵀ) of each expert's linears in the last block: a loop over sequences, tokens and their experts."""
    model = tiny_model(family)
    name, module = fused_of(model)
    seen: list = []
    module.register_forward_pre_hook(lambda m, args: seen.append(args[:2]))
    found: dict[str, tuple[float, torch.Tensor]] = {}
    for i, (row, length) in enumerate(zip(data.tokens, data.lengths, strict=True)):
        seen.clear()
        with torch.no_grad():
            model(row[None, :length])
        hidden, chosen = seen[0]
        for t, (x, experts) in enumerate(zip(hidden.reshape(length, -1).double(), chosen, strict=True)):
            weight = 1.0 if data.weights is None else float(data.weights[i, t])
            for e in experts.tolist():
                gate, up, _, gate_bias, up_bias = matrices(family, module, e)
                inner = gated(family, gate @ x + gate_bias, up @ x + up_bias)
                for part, read in (("gate_proj", x), ("up_proj", x), ("down_proj", inner)):
                    tokens, gram = found.get(f"{name}.{e}.{part}", (0.0, 0.0))
                    found[f"{name}.{e}.{part}"] = (tokens + weight, gram + weight * torch.outer(read, read).detach())
    return found


def collected(family: str, data, counting: Counting, batch_size: int = 2) -> dict:
    walked = walk(tiny_model(family), data, batch_size=batch_size, propagate="dense", counting=counting)
    return {f"{b.name}.{n}": s for b in walked for n, s in b.collect("gram").items()}


@pytest.mark.parametrize("weighted", [False, True], ids=["once", "weighted"])
@pytest.mark.parametrize("family", CALLED_ALIKE)
def test_an_experts_statistics_are_sums_over_the_tokens_routed_to_it(family, weighted):
    weights = torch.rand(5, 24, generator=torch.Generator().manual_seed(1)) if weighted else None
    data = calibration(weights=weights)
    expected, found = plain_sums(family, data), collected(family, data, OWN)
    experts = {n: s for n, s in found.items() if ".experts." in n and n.startswith(fused_of(tiny_model(family))[0])}
    assert set(expected) <= set(experts)
    for name, stats in experts.items():
        own = name in expected and expected[name][0] > 0
        assert (stats.routed is None) == own, "all tokens stand in for an expert that saw none"
        if own:
            tokens, gram = expected[name]
            assert stats.tokens == pytest.approx(tokens, rel=1e-5)
            torch.testing.assert_close(stats.gram.double(), gram, rtol=1e-3, atol=1e-3 * gram.abs().max().item())


@pytest.mark.parametrize("family", CALLED_ALIKE)
def test_experts_statistics_do_not_depend_on_batches(family):
    one_by_one, together = (collected(family, calibration(), OWN, size) for size in (1, 5))
    for name, stats in together.items():
        assert stats.tokens == one_by_one[name].tokens and stats.routed == one_by_one[name].routed
        torch.testing.assert_close(stats.gram, one_by_one[name].gram, rtol=1e-3, atol=1e-3)


class Separate(nn.Module):
    """The same experts as linears of their own, in a plain loop."""

    def __init__(self, family: str, fused):
        super().__init__()
        self.family = family
        for e in range(fused.num_experts):
            expert = nn.Module()
            gate, up, down, gate_bias, up_bias = (p.detach().float() for p in matrices(family, fused, e))
            down_bias = fused.down_proj_bias[e].detach() if family == "gpt_oss" else torch.zeros(len(down))
            named = {"gate_proj": (gate, gate_bias), "up_proj": (up, up_bias), "down_proj": (down, down_bias)}
            for name, (weight, bias) in named.items():
                linear = nn.Linear(weight.shape[1], weight.shape[0])
                linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
                expert.add_module(name, linear)
            self.add_module(str(e), expert)

    def forward(self, states, chosen, share):
        hidden = states.flatten(0, -2)
        output = torch.zeros_like(hidden)
        for name, expert in self.named_children():
            tokens, place = torch.where(chosen == int(name))
            if len(tokens):
                x = hidden[tokens]
                inner = gated(self.family, expert.gate_proj(x), expert.up_proj(x))
                output.index_add_(0, tokens, expert.down_proj(inner) * share[tokens, place, None])
        return output.reshape(states.shape)


@pytest.mark.parametrize("family", CALLED_ALIKE)
def test_a_fused_model_is_pruned_as_the_same_model_with_its_experts_written_out(family):
    numbers = torch.Generator().manual_seed(3)
    data = CalibrationSet.from_tokens(torch.randint(3, VOCABULARY, (24, 24), generator=numbers))  # no padding
    model, separate = tiny_model(family), tiny_model(family)
    for name, module in list(separate.named_modules()):
        if is_fused(module):
            parent, _, child = name.rpartition(".")
            setattr(separate.get_submodule(parent), child, Separate(family, module))
    reports = Pruning(SparseGPT(), TWO_FOUR, counting=OWN, propagate="dense").run(model, data).reports
    by_hand = {r.name: r for r in Pruning(SparseGPT(), TWO_FOUR, propagate="dense").run(separate, data).reports}
    assert {r.name for r in reports} == set(by_hand)
    written = {
        f"{n}.{i}.{s.name}": s.weight for n, m in [find_blocks(model)] for i, b in enumerate(m) for s in linears(b)
    }
    for report in reports:
        expected = separate.get_submodule(report.name).weight
        assert report.tokens == by_hand[report.name].tokens
        # rounding may settle a near tie the other way: a pair in ten thousand
        same = ((written[report.name] == 0) == (expected == 0)).float().mean()
        assert same > 0.999, report.name
        assert report.relative_error == pytest.approx(by_hand[report.name].relative_error, rel=1e-2)


@pytest.mark.parametrize("family", CALLED_ALIKE)
def test_blocks_with_fused_experts_are_covered_and_their_zeros_counted(family):
    model = tiny_model(family)
    job = Pruning(Wanda(), HALF, min_coverage=0.95)
    reports = [r for block in job.blocks(model, calibration()) for r in block]
    inside = sum(r.shape[0] * r.shape[1] for r in reports)
    assert inside > 0.95 * sum(p.numel() for p in find_blocks(model)[1].parameters())
    assert all(r.zeros == r.shape[0] * (r.shape[1] // 2) for r in reports)
    zeros = sum(int((p == 0).sum()) for p in find_blocks(model)[1].parameters())
    assert zeros == sum(r.zeros for r in reports), "and nothing else was touched"


def test_an_expert_that_sees_too_few_tokens_takes_all_tokens_and_is_named():
    few = 30  # of 70 tokens, each of which goes to two of four experts
    own, found = (collected("mixtral", calibration(), Counting(n)) for n in (1, few))
    everything = collected("mixtral", calibration(), Counting(all_experts=True))
    short = {n for n, s in own.items() if ".experts." in n and s.tokens < few}
    assert short and len(short) < sum(".experts." in n for n in own)
    for name, stats in found.items():
        if name in short:
            assert stats.routed == own[name].tokens and stats.tokens == LENGTHS.sum()
        else:
            assert stats.routed is None and stats.tokens == own[name].tokens
        other = everything if name in short else own
        torch.testing.assert_close(stats.gram, other[name].gram, rtol=1e-4, atol=1e-4)
    reports = (
        Pruning(Wanda(), HALF, counting=Counting(few), propagate="dense")
        .run(tiny_model("mixtral"), calibration())
        .reports
    )
    assert {r.name for r in reports if r.routed is not None} == short


def test_with_all_experts_every_token_counts_in_each_and_goes_where_it_went():
    model, dense = tiny_model("qwen3_moe"), tiny_model("qwen3_moe")
    walks = (
        walk(model, calibration(), propagate="dense", counting=Counting(all_experts=True)),
        walk(dense, calibration()),
    )
    for block, untouched in zip(*walks, strict=True):
        stats = block.collect("gram")
        untouched.run()
        for batch, other in zip(block.batches, untouched.batches, strict=True):
            assert torch.equal(batch.hidden, other.hidden)
        experts = {n: s for n, s in stats.items() if ".experts." in n}
        assert {s.tokens for s in experts.values()} == {float(LENGTHS.sum())}
        assert all(s.routed is None for s in experts.values()), "as asked for, not for want of tokens"
        shared = {id(s.gram) for n, s in experts.items() if "down_proj" not in n}
        assert len(shared) == 1, "all experts' gates read the same tokens: one Gram matrix"


def parts_and_whole(few: int) -> tuple[Statistics, Statistics, Statistics]:
    a, b = calibration(0), calibration(1)
    both = CalibrationSet.from_tokens(torch.cat([a.tokens, b.tokens]), torch.cat([a.lengths, b.lengths]))
    model = tiny_model("mixtral")
    found = [Statistics.collect(model, data, counting=Counting(few)) for data in (a, b, both)]
    return found[0], found[1], found[2]


@pytest.mark.parametrize("few", [1, 30, 40, 60, 90, 10**6])
def test_sums_of_experts_add_to_those_of_the_union_or_are_refused(few):
    a, b, whole = parts_and_whole(few)
    try:
        total = a + b
    except StatsError as e:
        assert "do not add" in str(e) and few not in (1, 10**6)
        return
    assert few != 90, "each part has all tokens' sums of experts that have enough together"
    for block in whole.names():
        for name, stats in whole.of_block(block).items():
            torch.testing.assert_close(total.of_block(block)[name].gram, stats.gram, rtol=1e-4, atol=1e-4)
            assert total.of_block(block)[name].tokens == stats.tokens


def test_of_sets_of_one_size_the_mixture_by_tokens_is_their_sum_in_every_input_and_unit():
    a, b, _ = parts_and_whole(1)
    for one in (a, b):
        one.units = {"bank/0/gates": torch.rand(4), "bank/0/largest": torch.rand(4)}
    summed, mixed = a + b, 0.5 * a.per_token() + 0.5 * b.per_token()
    size = 2.0 * float(LENGTHS.sum())
    for block in a.names():
        for name, stats in summed.of_block(block).items():
            torch.testing.assert_close(size * mixed.of_block(block)[name].gram, stats.gram, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(size * mixed.units["bank/0/gates"], summed.units["bank/0/gates"])
    torch.testing.assert_close(mixed.units["bank/0/largest"], summed.units["bank/0/largest"])
    torch.testing.assert_close(
        summed.per_token().of_block("model.layers.0")["self_attn.q_proj"].gram,
        mixed.of_block("model.layers.0")["self_attn.q_proj"].gram,
    )
    with pytest.raises(StatsError, match="how many tokens"):
        Statistics("gram", {}, a.blocks).per_token()


def test_saved_statistics_of_experts_come_back(tmp_path):
    made = Statistics.collect(tiny_model("mixtral"), calibration(), counting=Counting(99))  # all tokens stand in
    made.save(tmp_path / "sums")
    again = Statistics.load(tmp_path / "sums")
    for block in made.names():
        for name, stats in made.of_block(block).items():
            loaded = again.of_block(block)[name]
            assert loaded.routed == stats.routed and torch.equal(loaded.gram, stats.gram)
    assert any(s.routed is not None for s in again.of_block(block).values())


@pytest.mark.parametrize("family", CALLED_ALIKE)
def test_a_pruned_model_of_experts_is_saved_and_loaded(family, tmp_path):
    model = tiny_model(family)
    Pruning(Wanda(), TWO_FOUR).run(model, calibration())
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_experts_that_are_given_their_own_share_of_the_tokens_have_the_sums_of_it():
    """Llama 4: what an expert's linears read is the hidden states times the router's weight."""
    data, given = calibration(), []
    model = tiny_model("llama4")
    name, module = fused_of(model)
    module.register_forward_pre_hook(lambda m, args: given.append(args[0].unflatten(0, (4, -1)).double()))
    found = collected("llama4", data, OWN)
    expected: dict[tuple[int, str], torch.Tensor] = {}
    for row, length in zip(data.tokens, data.lengths, strict=True):
        given.clear()
        with torch.no_grad():
            model(row[None, :length])
        for e in range(4):
            x = given[0][e][given[0][e].any(1)]
            both = x @ module.gate_up_proj[e].detach().double()
            inner = F.silu(both[:, :64]) * both[:, 64:]
            for part, read in (("gate_proj", x), ("up_proj", x), ("down_proj", inner)):
                expected[e, part] = expected.get((e, part), 0.0) + read.T @ read
    for (e, part), gram in expected.items():
        stats = found[f"{name}.{e}.{part}"]
        assert stats.routed is None and stats.tokens < LENGTHS.sum()
        torch.testing.assert_close(stats.gram.double(), gram, rtol=1e-3, atol=1e-3 * gram.abs().max().item())


def test_an_experts_stand_in_is_what_the_strongest_experts_read_where_each_is_given_its_share():
    found = collected("llama4", calibration(), Counting(999))
    stats = {n: s for n, s in found.items() if ".experts." in n}
    assert stats and all(s.routed is not None and s.tokens == LENGTHS.sum() for s in stats.values())


def test_experts_in_a_layout_that_nothing_says_are_refused_by_name():
    from tests.families import t

    config = t.JetMoeConfig(hidden_size=32, num_hidden_layers=2, num_key_value_heads=2, kv_channels=8, vocab_size=96,
                            intermediate_size=64, num_local_experts=4, num_experts_per_tok=2)  # fmt: skip
    with pytest.raises(ModelError, match=r"fused expert tensors \(mlp.input_linear.weight \(4, 128, 32\)"):
        Pruning(Wanda(), HALF).run(random_model(config), calibration())


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        Counting(0)
    saved = Statistics.collect(tiny_model("mixtral"), calibration(), "moments")
    with pytest.raises(UserError, match="counted already"):
        Pruning(Wanda(), HALF, counting=OWN).run(tiny_model("mixtral"), saved)
