"""The loop: what is pruned, by which statistics, what is reported, and what is refused before a weight is touched."""

import copy

import pytest
import torch

from calprune.base.values import UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import Block, walk
from calprune.layers.experts import is_fused
from calprune.layers.inputs import StatsError
from calprune.layers.linears import ModelError, find_blocks, linears
from calprune.layers.routers import routers
from calprune.layers.saved import Statistics
from calprune.methods.magnitude import Magnitude
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.models.load import Model
from calprune.pattern import KeepNofM, PatternError, Unstructured
from calprune.pruning.checkpoint import PruneReport
from calprune.pruning.job import Pruning
from calprune.pruning.scope import ROUTER, SHARED, UNREACHED
from tests.families import CONFIGS, FUSED_EXPERTS, HYBRIDS, ODD_EXPERTS, WRAPPERS, tiny_model
from tests.test_blocks import calibration
from tests.tiny import toy_tokenizer

TWO_FOUR, HALF = KeepNofM(2, 4), Unstructured(0.5)


def weights(model) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("family", [*CONFIGS, *FUSED_EXPERTS, *ODD_EXPERTS, *WRAPPERS])
@pytest.mark.parametrize("method", [Magnitude(), Wanda(), SparseGPT()], ids=str)
def test_every_linear_of_every_family_is_pruned_and_nothing_else_is_touched(family, method):
    model = tiny_model(family)
    before = weights(model)
    reports = Pruning(method, TWO_FOUR).run(model, calibration()).reports
    name, modules = find_blocks(model)
    expected = {f"{name}.{i}.{s.name}" for i, block in enumerate(modules) for s in linears(block)}
    assert {r.name for r in reports} == expected
    assert all(r.sparsity == pytest.approx(0.5, abs=1e-3) for r in reports)
    touched = {f"{name}.{i}.{s.parameter}" for i, block in enumerate(modules) for s in linears(block)}
    assert all(torch.equal(p, before[n]) for n, p in weights(model).items() if n not in touched)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_pruning_is_the_same_within_inference_mode(family):
    inside, outside = tiny_model(family), tiny_model(family)
    with torch.inference_mode():
        Pruning(Wanda(), Unstructured(0.5)).run(inside, calibration())
    Pruning(Wanda(), Unstructured(0.5)).run(outside, calibration())
    assert all(torch.equal(a, b) for a, b in zip(inside.parameters(), outside.parameters(), strict=True))


def test_a_report_counts_the_zeros_that_are_in_the_model():
    model = tiny_model("llama")
    for report in Pruning(SparseGPT(), Unstructured(0.37)).run(model, calibration()).reports:
        weight = model.get_submodule(report.name).weight
        assert report.zeros == int((weight == 0).sum())
        assert report.shape == tuple(weight.shape)
        assert report.tokens == calibration().lengths.sum()
        assert 0 < report.relative_error < 1 and report.damping == 0.01


def test_pruning_is_the_method_applied_to_the_walks_statistics():
    """The loop written out by hand, block by block, each seeing the pruned outputs of the one before."""
    model, by_hand = tiny_model("llama"), tiny_model("llama")
    Pruning(SparseGPT(), TWO_FOUR).run(model, calibration(), batch_size=2)
    for block in walk(by_hand, calibration(), batch_size=2):
        stats = block.collect("gram")
        for site in block.linears():
            site.write(SparseGPT()(site.weight, stats[site.name], TWO_FOUR))
    assert all(torch.equal(a, b) for a, b in zip(weights(model).values(), weights(by_hand).values(), strict=True))


def test_saved_sums_give_what_dense_propagation_gives_and_run_no_forward(tmp_path):
    model, data = tiny_model("llama"), calibration()
    Statistics.collect(model, data, "gram").save(tmp_path / "sums")
    saved = Statistics.load(tmp_path / "sums")
    for method in (Wanda(), SparseGPT()):
        from_saved, from_data = copy.deepcopy(model), copy.deepcopy(model)
        ran: list[int] = []
        hook = from_saved.model.layers[0].register_forward_pre_hook(lambda *a, ran=ran: ran.append(1))
        Pruning(method, TWO_FOUR).run(from_saved, saved)
        hook.remove()
        assert not ran
        Pruning(method, TWO_FOUR, propagate="dense").run(from_data, data)
        for (name, a), b in zip(weights(from_saved).items(), weights(from_data).values(), strict=True):
            torch.testing.assert_close(a, b, msg=f"{method} {name}")


def test_statistics_of_two_sets_add_to_those_of_both():
    model, a, b = tiny_model("llama"), calibration(0), calibration(1)
    both = CalibrationSet.from_tokens(torch.cat([a.tokens, b.tokens]), torch.cat([a.lengths, b.lengths]))
    summed = Statistics.collect(model, a) + Statistics.collect(model, b)
    whole = Statistics.collect(model, both)
    for block in whole.names():
        for linear, stats in whole.of_block(block).items():
            torch.testing.assert_close(summed.of_block(block)[linear].gram, stats.gram, rtol=1e-4, atol=1e-4)
    shared = summed.of_block("model.layers.0")
    assert shared["self_attn.q_proj"].gram is shared["self_attn.k_proj"].gram, "and linears still share them"


def test_shares_of_statistics_are_shares_of_tokens():
    model, a, b = tiny_model("llama"), calibration(0), calibration(1, torch.tensor([3, 5]))
    parts = [Statistics.collect(model, data).per_token() for data in (a, b)]
    mixed = (0.25 * parts[0] + 0.75 * parts[1]).of_block("model.layers.1")["mlp.down_proj"]
    one, other = (p.of_block("model.layers.1")["mlp.down_proj"].covariance for p in parts)
    torch.testing.assert_close(mixed.covariance, 0.25 * one + 0.75 * other)


def test_propagation_pruned_and_dense_differ_from_the_second_block_on():
    results = []
    for propagate in ("pruned", "dense"):
        model = tiny_model("llama")
        Pruning(Wanda(), HALF, propagate=propagate).run(model, calibration())
        results.append(weights(model))
    same = {n: torch.equal(results[0][n], results[1][n]) for n in results[0] if "layers" in n and "proj" in n}
    assert all(equal for n, equal in same.items() if "layers.0" in n) and not all(same.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_keep_their_dtype(dtype):
    model = tiny_model("llama").to(dtype)
    reports = Pruning(SparseGPT(), TWO_FOUR).run(model, calibration()).reports
    assert all(p.dtype == dtype for p in model.parameters())
    assert sum(r.zeros for r in reports) * 2 == sum(r.shape[0] * r.shape[1] for r in reports)


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("down_proj", {"mlp.down_proj"}),
        ("model.layers.0", None),
        ("*.mlp.*", {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        ("re:.*[qk]_proj", {"self_attn.q_proj", "self_attn.k_proj"}),
    ],
)
def test_what_is_ignored_stays_dense(rule, left):
    model = tiny_model("llama")
    pruned = {r.name for r in Pruning(Wanda(), HALF, ignore=(rule,)).run(model, calibration()).reports}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "layers" in name:
            ignored = name.startswith("model.layers.0.") if left is None else name.split(".", 3)[3] in left
            assert (name not in pruned) == ignored
            assert bool((module.weight == 0).any()) != ignored


@pytest.mark.parametrize("family", [*FUSED_EXPERTS, *ODD_EXPERTS, "jamba"])
def test_routers_stay_dense_and_are_named(family):
    model = tiny_model(family)
    before = weights(model)
    done = Pruning(Wanda(), HALF).run(model, calibration())
    named = [name for name, why in done.dense.items() if why == ROUTER]
    experts = {n.rpartition(".")[0] for n, m in model.named_modules() if is_fused(m)}
    assert {next(e for e in experts if name.startswith(f"{e}.")) for name in named} == experts, "one beside each bank"
    for name in named:
        assert torch.equal(model.get_parameter(f"{name}.weight"), before[f"{name}.weight"])
    assert not {r.name for r in done.reports} & set(named)


def test_the_gate_of_a_shared_expert_and_what_is_called_a_gate_are_routers():
    block, mlp = torch.nn.Module(), torch.nn.Module()
    block.attention, block.mlp = torch.nn.Linear(8, 4), mlp
    mlp.experts = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(4))
    mlp.scores, mlp.shared_scale, mlp.shared_expert = torch.nn.Linear(8, 4), torch.nn.Linear(8, 1), torch.nn.Module()
    mlp.shared_expert.gate_proj, mlp.router = torch.nn.Linear(8, 4), torch.nn.Sequential(torch.nn.Linear(8, 6))
    assert routers(block) == ["mlp.scores", "mlp.shared_scale", "mlp.router.0"]
    assert [s.name for s in linears(block)] == ["attention", *(f"mlp.experts.{i}" for i in range(4)),
                                                "mlp.shared_expert.gate_proj"]  # fmt: skip


@pytest.mark.parametrize("saved", [False, True], ids=["set", "sums"])
@pytest.mark.parametrize("family", HYBRIDS)
def test_a_linear_that_no_token_reaches_stays_dense_and_is_named(family, saved, tmp_path):
    model, data = tiny_model(family), calibration()
    if saved:
        Statistics.collect(model, data, "moments").save(tmp_path / "sums")
        data = Statistics.load(tmp_path / "sums")
    before = weights(model)
    done = Pruning(Wanda(), HALF).run(model, data)
    unreached = {name for name, why in done.dense.items() if why == UNREACHED}
    assert unreached and all(name.endswith(".dt_proj") for name in unreached), "it is read by .weight alone"
    assert all(torch.equal(model.get_submodule(n).weight, before[f"{n}.weight"]) for n in unreached)
    assert done.reports and all(r.sparsity == pytest.approx(0.5, abs=0.02) for r in done.reports)


def test_a_linear_that_tokens_reach_in_one_set_alone_has_its_sums_in_the_total():
    parts = [Statistics.collect(tiny_model("llama"), calibration(seed)) for seed in (0, 1)]
    name, linear = "model.layers.0", "mlp.up_proj"
    alone = parts[1].blocks[name][linear]
    del parts[0].blocks[name][linear]
    assert torch.equal((parts[0] + parts[1]).of_block(name)[linear].gram, alone.gram)


def test_a_matrix_that_several_blocks_share_stays_dense_and_is_named():
    model = tiny_model("llama")
    model.model.layers[1].mlp.up_proj = model.model.layers[0].mlp.up_proj
    done = Pruning(Wanda(), HALF).run(model, calibration())
    assert done.dense == {f"model.layers.{i}.mlp.up_proj": SHARED for i in (0, 1)}


def test_what_stays_dense_is_in_the_report():
    model = tiny_model("jamba")
    done = Pruning(Wanda(), HALF, ignore=("lm_head",)).run(model, calibration())
    report = PruneReport.of(Model(model, toy_tokenizer(), "jamba", "0"), done, None)
    assert {"name": "model.layers.0.mamba.dt_proj", "why": UNREACHED} in report.record()["left_dense"]
    text = report.text()
    assert f"({UNREACHED}): model.layers.0.mamba.dt_proj" in text and f"({ROUTER}): model.layers.1" in text
    assert "'lm_head' names is never pruned" in text


@pytest.mark.parametrize("rule", ["lm_head", "re:.*mlp.gate$", "model.embed_tokens"])
def test_a_rule_that_names_what_is_never_pruned_is_a_note(rule):
    model = tiny_model("mixtral")
    done = Pruning(Wanda(), HALF, ignore=(rule,)).run(model, calibration())
    assert done.notes == (f"ignore: what {rule!r} names is never pruned",)
    assert not Pruning(Wanda(), HALF, ignore=("q_proj",)).run(tiny_model("mixtral"), calibration()).notes


def test_no_sums_are_collected_of_what_is_ignored(monkeypatch):
    found: list[str] = []
    collect = Block.collect

    def seen(block, *given):
        stats = collect(block, *given)
        found.extend(f"{block.name}.{name}" for name in stats)
        return stats

    monkeypatch.setattr(Block, "collect", seen)
    for family in ("llama", "mixtral"):
        Pruning(Wanda(), HALF, ignore=("*.down_proj", "model.layers.0")).run(tiny_model(family), calibration())
    assert found and not any(name.endswith("down_proj") or "layers.0" in name for name in found)


@pytest.mark.parametrize(
    ("break_it", "error", "said"),
    [
        (
            lambda m: m.model.layers[1].mlp.up_proj.weight.data.fill_(float("nan")),
            ModelError,
            "model.layers.1.mlp.up_proj",
        ),
        (lambda m: setattr(m.model.layers[0].mlp, "down_proj", torch.nn.Linear(30, 32)), PatternError, "mlp.down_proj"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_weight_is_touched(break_it, error, said):
    model = tiny_model("llama")
    break_it(model)
    before = weights(model)
    with pytest.raises(error, match=said):
        Pruning(Wanda(), TWO_FOUR).run(model, calibration())
    assert all(torch.equal(p.nan_to_num(), before[n].nan_to_num()) for n, p in weights(model).items())


def test_fused_tensors_of_an_unknown_layout_are_found_and_refused():
    model = tiny_model("llama")
    model.model.layers[1].mlp.bank = torch.nn.Parameter(torch.randn(8, 64, 64))
    with pytest.raises(ModelError, match=r"layers\.1: only 22%.*fused expert tensors \(mlp\.bank \(8, 64, 64\)"):
        Pruning(Wanda(), HALF).run(model, calibration())


def test_activations_that_are_not_finite_name_block_and_linear():
    model = tiny_model("llama")
    model.model.layers[1].input_layernorm.weight.data[3] = float("inf")
    with pytest.raises(StatsError) as error:
        Pruning(Wanda(), HALF).run(model, calibration())
    assert "model.layers.1.self_attn.q_proj" in error.value.__notes__[0]


def test_rules_that_match_nothing_and_missing_data_are_refused():
    with pytest.raises(UserError, match="did you mean 'down_proj'"):
        Pruning(Wanda(), HALF, ignore=("donw_proj",)).run(tiny_model("llama"), calibration())
    with pytest.raises(UserError, match="needs calibration data"):
        Pruning(Wanda(), HALF).run(tiny_model("llama"), None)
    with pytest.raises(UserError, match="the calibration set holds token 4000, but the model has embeddings for 96"):
        Pruning(Wanda(), HALF).run(tiny_model("llama"), CalibrationSet.from_tokens(torch.tensor([[5, 4000]])))


def test_statistics_of_another_model_are_refused():
    other = Statistics.collect(tiny_model("gpt2"), calibration())
    with pytest.raises(StatsError, match=r"no block model\.layers\.0"):
        Pruning(Wanda(), HALF).run(tiny_model("llama"), other)


def test_a_damaged_folder_of_statistics_is_one_line(tmp_path):
    Statistics.collect(tiny_model("llama"), calibration(), "moments").save(tmp_path / "sums")
    (tmp_path / "sums" / "model.layers.1.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(StatsError, match="collect the statistics again"):
        Pruning(Wanda(), HALF).run(tiny_model("llama"), Statistics.load(tmp_path / "sums"))
    with pytest.raises(StatsError, match="no Gram matrix"):
        good = Statistics.collect(tiny_model("llama"), calibration(), "moments")
        Pruning(SparseGPT(), HALF).run(tiny_model("llama"), good)
