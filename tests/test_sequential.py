"""propagate "sequential": each linear is pruned when all tokens have reached it, in one pass of each block."""

import threading
from contextlib import closing, suppress

import pytest
import torch

import calprune
from calprune.base.patterns import parse_removal
from calprune.base.values import ConfigError, UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.attention import AttentionConcentration
from calprune.layers.blocks import walk
from calprune.layers.collect import Counting
from calprune.layers.experts import is_fused
from calprune.layers.inputs import InputStats, StatsError
from calprune.layers.linears import find_blocks, linears
from calprune.layers.products import torch_products
from calprune.layers.saved import Statistics
from calprune.layers.together.pausing import Pausing
from calprune.layers.together.sequential import WORKERS, few_batches, in_turn
from calprune.methods import parse_method
from calprune.methods.magnitude import Magnitude
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Unstructured
from calprune.pruning.job import Pruning
from calprune.removal.job import removing
from tests.families import FUSED_EXPERTS, VOCABULARY, tiny_model
from tests.test_blocks import calibration
from tests.test_evaluate import word_tokenizer
from tests.test_experts import OWN, Separate
from tests.tiny import save

TWO_FOUR, HALF = KeepNofM(2, 4), Unstructured(0.5)
GROUPS = {  # what reads the same tensor, in the order in which tokens come there
    "llama": ("self_attn.[qkv]_proj", "self_attn.o_proj", "mlp.(gate|up)_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
}


def weighted() -> CalibrationSet:
    return calibration(weights=torch.rand(5, 24, generator=torch.Generator().manual_seed(1)))


def by_hand(family: str, data: CalibrationSet, method, pattern):
    """The plain thing: for each group of each block the whole model runs on each sequence alone, without padding."""
    import re

    model = tiny_model(family).eval()
    for block in find_blocks(model)[1]:
        for group in GROUPS[family]:
            sites = [site for site in linears(block) if re.fullmatch(group, site.name)]
            seen: list[torch.Tensor] = []
            hook = sites[0].module.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0]))
            with hook, torch.no_grad():
                for row, length in zip(data.tokens, data.lengths, strict=True):
                    model(row[None, :length])
            stats = InputStats(seen[0].shape[-1], "gram")
            for i, (x, length) in enumerate(zip(seen, data.lengths, strict=True)):
                stats.observe(x[0], None if data.weights is None else data.weights[i, :length])
            for site in sites:
                site.write(method(site.weight, stats, pattern))
    return model


@pytest.mark.parametrize("data", [calibration(), weighted()], ids=["padded", "weighted"])
@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=str)
@pytest.mark.parametrize("family", GROUPS)
def test_it_is_the_loop_over_groups_each_seeing_all_that_was_pruned_before(family, method, data):
    model = tiny_model(family)
    with torch_products():
        expected = by_hand(family, data, method, TWO_FOUR)
        Pruning(method, TWO_FOUR, propagate="sequential").run(model, data, batch_size=2)
    for (name, p), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(p == 0, other == 0), name
        torch.testing.assert_close(p, other, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("family", [*FUSED_EXPERTS, "dbrx"])
def test_experts_down_reads_what_the_pruned_gate_and_up_give_as_written_out(family):
    data = CalibrationSet.from_tokens(torch.randint(3, VOCABULARY, (8, 24), generator=torch.Generator().manual_seed(3)))
    model, separate = tiny_model(family), tiny_model(family)
    for name, module in list(separate.named_modules()):
        if is_fused(module):
            parent, _, child = name.rpartition(".")
            setattr(separate.get_submodule(parent), child, Separate(family, module))
    job = Pruning(Wanda(), TWO_FOUR, counting=OWN, propagate="sequential")
    found, expected = (job.run(one, data, batch_size=3).reports for one in (model, separate))
    assert {r.name: r.tokens for r in found if r.routed is None} == {r.name: r.tokens for r in expected}
    written = {
        f"{n}.{i}.{s.name}": s.weight for n, m in [find_blocks(model)] for i, b in enumerate(m) for s in linears(b)
    }
    for report in expected:  # rounding may settle a near tie the other way
        same = (written[report.name] == 0) == (separate.get_submodule(report.name).weight == 0)
        assert same.float().mean() > 0.998, report.name


@pytest.mark.parametrize("family", [*GROUPS, "mixtral"])
def test_each_block_runs_once(family):
    model, ran = tiny_model(family), []
    blocks = walk(model, calibration(), batch_size=2)
    for module in find_blocks(model)[1]:
        module.register_forward_hook(lambda m, a, out: ran.append(m))
    for block in blocks:
        with closing(in_turn(block, "gram")) as reached:
            names = [site.name for site, _ in reached]
        assert sorted(names) == sorted(site.name for site in block.linears())
    assert [ran.count(module) for module in find_blocks(model)[1]] == [3, 3]


def test_sums_are_those_of_collect_where_nothing_is_changed_and_linears_share_them():
    (first, *_), (other, *_) = (list(walk(tiny_model("llama"), weighted(), batch_size=2)) for _ in "ab")
    expected = other.collect("gram")
    found = {site.name: stats for site, stats in in_turn(first, "gram")}
    for name, stats in found.items():
        assert stats.tokens == expected[name].tokens
        assert torch.equal(stats.gram, expected[name].gram), name
    assert found["self_attn.q_proj"] is found["self_attn.v_proj"]
    other.run()
    for a, b in zip(first.batches, other.batches, strict=True):
        assert torch.equal(a.hidden, b.hidden)


@pytest.mark.parametrize("options", [{"token_weights": AttentionConcentration()}, {"all_experts": True}], ids=str)
def test_the_options_of_counting_are_kept(options):
    """The first group of the first block sees the same in both modes."""
    data = calibration()
    first, other = (
        next(iter(walk(tiny_model("mixtral"), data, batch_size=2, counting=Counting(**options)))) for _ in "ab"
    )
    expected = other.collect("moments")
    for site, stats in in_turn(first, "moments"):
        torch.testing.assert_close(stats.norm, expected[site.name].norm)


@pytest.mark.parametrize("family", ["jamba", "mamba", "llama4", "gpt_neox"])
def test_odd_families_are_pruned_like_any(family):
    pruned, sequential = (
        Pruning(Wanda(), TWO_FOUR, propagate=how).run(tiny_model(family), calibration())
        for how in ("pruned", "sequential")
    )
    assert {r.name for r in sequential.reports} == {r.name for r in pruned.reports}
    assert sequential.dense == pruned.dense
    assert all(r.sparsity == 0.5 for r in sequential.reports)


def test_an_error_in_the_middle_leaves_no_batch_standing_and_a_model_that_runs():
    model, data = tiny_model("llama"), calibration()
    before = threading.active_count()

    class Tired(Wanda):
        def __call__(self, weight, stats, pattern):
            if stats.linear == "mlp.up_proj":
                raise KeyboardInterrupt if self.interrupts else ValueError("no more")
            return super().__call__(weight, stats, pattern)

    for error, interrupts in ((ValueError, False), (KeyboardInterrupt, True)):
        method = Tired()
        object.__setattr__(method, "interrupts", interrupts)
        with pytest.raises(error):
            Pruning(method, TWO_FOUR, propagate="sequential").run(model, data, batch_size=2)
        assert threading.active_count() == before
    assert model.training is False
    with torch.no_grad():
        assert model(data.tokens[:1]).logits.isfinite().all()
    assert not any("forward" in module.__dict__ or module._forward_pre_hooks for module in model.modules())


def test_an_error_of_the_models_own_code_is_raised_as_it_is_and_ends_the_other_batches():
    model, calls = tiny_model("llama"), []

    def fail(module, args):
        calls.append(args)
        if len(calls) > 4:  # the agreement's forwards, and the first batch
            raise RuntimeError("cannot go on")

    before = threading.active_count()
    blocks = walk(model, calibration(), batch_size=2)
    calls.clear()
    calls += [()] * 3
    with (
        find_blocks(model)[1][0].mlp.act_fn.register_forward_pre_hook(fail),
        pytest.raises(RuntimeError, match="go on"),
    ):
        list(in_turn(next(blocks), "gram"))
    assert threading.active_count() == before


def test_a_call_that_pauses_goes_on_and_can_be_ended_where_it_is():
    done = []

    def count():
        try:
            for i in range(3):
                done.append(i)
                with suppress(Exception):  # as a model's code may
                    call.pause()
            return "through"
        finally:
            done.append("unwound")

    call = Pausing(count)
    assert call.go_on() and call.go_on() and done == [0, 1]
    call.stop()
    assert done == [0, 1, "unwound"] and call.result is None
    call = Pausing(count)
    while call.go_on():
        pass
    assert call.result == "through"
    call.stop()


def test_a_linear_that_is_run_twice_is_one_line():
    with pytest.raises(StatsError, match=r"they reach altup.modality_router again later; .* or choose propagate"):
        list(in_turn(next(iter(walk(tiny_model("gemma3n"), calibration()))), "moments"))


def test_it_is_refused_before_a_text_is_read_and_without_that_linear_it_goes_on(tmp_path):
    save(tiny_model("gemma3n"), word_tokenizer(), tmp_path / "model")
    how = {"method": "wanda", "pattern": "50%", "propagate": "sequential"}
    with pytest.raises(UserError, match=r"model.layers.0: .*they reach altup.modality_router again later; leave"):
        calprune.prune(tmp_path / "model", "no_such_text.txt", **how)
    model = tiny_model("gemma3n")
    Pruning(Wanda(), HALF, ("*.altup.*",), propagate="sequential").run(model, calibration())
    pruned = [site for block in find_blocks(model)[1] for site in linears(block) if "altup" not in site.name]
    assert pruned and all((site.weight == 0).any() for site in pruned)


def test_many_batches_become_few_larger_ones():
    many = CalibrationSet.from_tokens(torch.ones(5000, 1024, dtype=torch.int64))
    size = few_batches(many, torch.device("cpu"))
    assert -(-5000 // size) <= max(8, WORKERS // torch.get_num_threads())
    assert few_batches(many, torch.device("cuda")) == 16


def test_kept_blocks_serve_it(tmp_path):
    data, job = calibration(), Pruning(SparseGPT(), TWO_FOUR, propagate="sequential")
    models = [tiny_model("llama") for _ in range(2)]
    first, second = (job.run(model, data, resume=tmp_path / "kept") for model in models)
    assert first.reports == second.reports
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))
    with pytest.raises(UserError, match="another job"):
        Pruning(SparseGPT(), TWO_FOUR).run(tiny_model("llama"), data, resume=tmp_path / "kept")


@pytest.mark.parametrize(
    "method", ["block_reconstruction(start=wanda)", "regional(start=wanda)", "gblm", "wanda_plus_plus"]
)
def test_what_needs_more_than_one_pass_is_one_line(method):
    with pytest.raises(ConfigError, match='write propagate "pruned"'):
        Pruning(parse_method(method), TWO_FOUR, propagate="sequential")


def test_saved_sums_are_refused_and_a_method_that_reads_nothing_needs_none():
    model = tiny_model("llama")
    saved = Statistics.collect(model, calibration(), "moments")
    for given in (saved, None):
        with pytest.raises(UserError, match="give it a calibration set, or leave propagate out"):
            Pruning(Wanda(), HALF, propagate="sequential").run(model, given)
    assert len(Pruning(Magnitude(), HALF, propagate="sequential").run(model).reports) == 14


def test_what_takes_units_out_is_refused():
    with pytest.raises(ConfigError, match=r'neurons:25% takes whole neurons out; write "pruned" or "dense"'):
        removing("wanda", parse_removal("neurons:25%"), propagate="sequential", counting=Counting())
