"""Channels are permuted so that n:m keeps more, and the dense model gives what it gave."""

from itertools import permutations

import pytest
import torch

from calprune.base.values import UserError
from calprune.layers.linears import ModelError, find_blocks, linears
from calprune.layers.saved import Statistics
from calprune.methods.magnitude import Magnitude
from calprune.methods.ria import relative_importance
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Unstructured
from calprune.pruning.job import Pruning
from calprune.pruning.permutation import NO_FOLD, NO_GAIN, PERMUTED, arrange, dealt, folds, kept, permute, reassigned
from tests.families import CONFIGS, FUSED_EXPERTS, tiny_model
from tests.test_blocks import calibration

TWO_FOUR = KeepNofM(2, 4)
PATTERNS = [TWO_FOUR, KeepNofM(4, 8), KeepNofM(1, 2), KeepNofM(3, 4)]


def scores(seed: int, rows: int = 6, channels: int = 16) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.rand(rows, channels, generator=numbers) * torch.rand(channels, generator=numbers).square()


def uneven(family: str):
    """A model whose later channels are the stronger, so that every order found differs from the one given."""
    model = tiny_model(family)
    for block in find_blocks(model)[1]:
        for fold in folds(block):
            width = fold.reader.weight.shape[1]
            fold.reader.write(fold.reader.weight * torch.linspace(0.1, 2, fold.channels).repeat(width // fold.channels))
    return model


@pytest.mark.parametrize("family", [*CONFIGS, *FUSED_EXPERTS])
@pytest.mark.parametrize("how", ["heuristic", "assignment"])
def test_the_dense_model_gives_what_it_gave_to_rounding(family, how):
    exact = family in CONFIGS  # fused experts have no product in float64
    model, data = uneven(family).to(torch.float64 if exact else torch.float32), calibration()
    with torch.no_grad():
        before = model(data.tokens).logits
        weights = {n: p.clone() for n, p in model.named_parameters()}
        done = [name for name, said in permute(model, data, TWO_FOUR, how).items() if said == PERMUTED]
        after = model(data.tokens).logits
    assert len(done) >= 2
    for name in done:
        site = next(s for n, m in [find_blocks(model)] for i, b in enumerate(m) for s in linears(b)
                    if f"{n}.{i}.{s.name}" == name)  # fmt: skip
        stored = f"{name}.weight" if site.part is None else f"{name.split('.experts.')[0]}.experts.down_proj"
        assert not torch.equal(model.get_parameter(stored), weights[stored])
    assert (after - before).abs().max() < (1e-12 if exact else 1e-5) * before.abs().max()
    for name, p in model.named_parameters():
        assert torch.equal(p.flatten().sort().values, weights[name].flatten().sort().values), name


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_an_order_is_a_permutation_that_keeps_no_less_than_before_and_assignment_no_less_than_the_heuristic(pattern):
    for seed in range(10):
        score = scores(seed)
        reached = [kept(score, pattern)]
        for how in ("heuristic", "assignment"):
            order = arrange(score, pattern, how)
            assert sorted(order.tolist()) == list(range(16))
            reached.append(kept(score[:, order], pattern))
        assert reached[0] <= reached[1] + 1e-5 and reached[1] <= reached[2] + 1e-5


@pytest.mark.parametrize("pattern", [TWO_FOUR, KeepNofM(1, 2), KeepNofM(3, 4)], ids=str)
def test_each_place_is_assigned_as_well_as_by_trying_all_assignments(pattern):
    for seed in range(4):
        score = scores(seed, channels=4 * pattern.of)
        order = torch.arange(score.shape[1])
        for place in range(pattern.of):  # by trial, place after place
            groups = order.reshape(-1, pattern.of)
            tried = []
            for chosen in permutations(range(4)):
                other = groups.clone()
                other[:, place] = groups[list(chosen), place]
                tried.append((kept(score[:, other.flatten()], pattern), other.flatten()))
            order = max(tried, key=lambda pair: pair[0])[1]
        found = reassigned(score, pattern, torch.arange(score.shape[1]))
        assert kept(score[:, found], pattern) == pytest.approx(kept(score[:, order], pattern), rel=1e-6)


def test_channels_are_dealt_there_and_back_by_their_column_sums():
    score = torch.tensor([[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    assert score[0, dealt(score, 4)].tolist() == [8, 5, 4, 1, 7, 6, 3, 2]


def test_strong_channels_in_one_group_are_spread():
    score = torch.ones(3, 8) * torch.tensor([9.0, 9, 9, 9, 1, 1, 1, 1])
    assert kept(score, TWO_FOUR) == 3 * (18 + 2)
    assert kept(score[:, arrange(score, TWO_FOUR, "heuristic")], TWO_FOUR) == 3 * 36


def test_what_can_be_folded_is_the_feed_forwards_last_linear_and_attentions_output_within_heads():
    found = {f.reader.name: (f.heads, f.queries) for f in folds(find_blocks(tiny_model("llama"))[1][0])}
    assert found == {"self_attn.o_proj": (2, 2), "mlp.down_proj": (1, 1)}
    experts = [f.reader.name for f in folds(find_blocks(tiny_model("mixtral"))[1][0])]
    assert experts == ["self_attn.o_proj", *(f"mlp.experts.{e}.down_proj" for e in range(4))]


@pytest.mark.parametrize("method", [Magnitude(), Wanda(), SparseGPT()], ids=str)
def test_a_job_permutes_first_and_then_prunes(method):
    together, apart, data = tiny_model("llama"), tiny_model("llama"), calibration()
    Pruning(method, TWO_FOUR, permute="assignment").run(together, data)
    permute(apart, data, TWO_FOUR, "assignment")
    Pruning(method, TWO_FOUR).run(apart, data)
    assert all(torch.equal(a, b) for a, b in zip(together.parameters(), apart.parameters(), strict=True))


def test_the_report_says_of_each_linear_whether_it_was_permuted_or_why_not(monkeypatch):
    model, data = uneven("llama"), calibration()
    ignored = "model.layers.1.self_attn.o_proj"
    before = model.get_parameter(f"{ignored}.weight").detach().clone()
    reports = Pruning(Magnitude(), TWO_FOUR, permute="assignment", ignore=(ignored,)).run(model, None).reports
    said = {report.name: report.channels for report in reports}
    assert ignored not in said and torch.equal(model.get_parameter(f"{ignored}.weight"), before), "what is not pruned"
    found = {name.removeprefix("model.layers.") for name, one in said.items() if one == PERMUTED}
    assert found == {"0.self_attn.o_proj", "0.mlp.down_proj", "1.mlp.down_proj"}
    assert {one for name, one in said.items() if name.removeprefix("model.layers.") not in found} == {NO_FOLD}
    eight = Pruning(Wanda(), KeepNofM(8, 16), permute="heuristic").run(uneven("llama"), data).reports
    assert {r.channels for r in eight if r.name.endswith("o_proj")} == {
        "not permuted: 8 channels are no whole groups of 16"
    }
    assert {r.channels for r in Pruning(Wanda(), TWO_FOUR).run(uneven("llama"), data).reports} == {None}, (
        "it was not asked for"
    )
    monkeypatch.setattr(
        "calprune.pruning.permutation.arrange", lambda score, pattern, how: torch.arange(score.shape[1])
    )
    asis = Pruning(Wanda(), TWO_FOUR, permute="heuristic").run(uneven("llama"), data).reports
    assert {r.channels for r in asis} == {NO_FOLD, NO_GAIN}


def test_the_pattern_keeps_more_of_the_permuted_model():
    model = tiny_model("llama")
    reader = model.model.layers[0].mlp.down_proj
    before = kept(relative_importance(reader.weight.data), TWO_FOUR)
    permute(model, None, TWO_FOUR, "assignment")
    assert kept(relative_importance(reader.weight.data), TWO_FOUR) > 1.01 * before


class ByChannel(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.silu(x) * torch.linspace(0.1, 2, x.shape[-1])


def test_a_part_that_is_wired_otherwise_is_left_as_it_was_and_the_rest_is_permuted():
    model, data = uneven("llama"), calibration()
    model.model.layers[1].mlp.act_fn = ByChannel()
    before, dense = {n: p.clone() for n, p in model.named_parameters()}, _logits(model)
    said = permute(model, data, TWO_FOUR, "assignment")
    assert {n.rpartition(".")[2] for n, one in said.items() if one == PERMUTED} == {"o_proj"}
    assert all(said[f"model.layers.{i}.mlp.down_proj"].startswith("not permuted: the model's outputs") for i in (0, 1))
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if ".mlp." in n)
    torch.testing.assert_close(_logits(model), dense, rtol=1e-3, atol=1e-4)


def test_a_model_that_is_wired_otherwise_in_all_its_parts_is_left_as_it_was():
    model = uneven("llama")
    for layer in model.model.layers:
        layer.mlp.act_fn = ByChannel()
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: (args[0] * torch.linspace(0.1, 2, 32),))
    before = {n: p.clone() for n, p in model.named_parameters()}
    with pytest.raises(ModelError, match="not wired as its linears are named"):
        permute(model, calibration(), TWO_FOUR, "assignment")
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@torch.no_grad()
def _logits(model) -> torch.Tensor:
    return model(torch.arange(16)[None]).logits


def test_what_cannot_be_permuted_for_is_refused():
    model = tiny_model("llama")
    with pytest.raises(UserError, match="for a pattern like 2:4, not for 50%"):
        Pruning(Wanda(), Unstructured(0.5), permute="heuristic").run(model, calibration())
    with pytest.raises(UserError, match="channels in their old order"):
        Pruning(Wanda(), TWO_FOUR, permute="heuristic").run(model, Statistics.collect(model, calibration()))
