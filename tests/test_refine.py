"""Refining a block: its error falls or stays, what is pruned stays so, a stopped job goes on to the same bytes."""

import pytest
import torch
from torch import Tensor

from calprune.base.values import ConfigError, UserError
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.layers.linears import linears
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.methods.block_matching import BlockMatching
from calprune.methods.block_reconstruction import BlockReconstruction
from calprune.methods.magnitude import Magnitude
from calprune.methods.regional import Regional
from calprune.methods.wanda import Wanda
from calprune.methods.wanda_plus_plus import WandaPlusPlus
from calprune.pattern import KeepNofM, Unstructured
from calprune.pruning.job import Pruning
from calprune.refine.training import error_of
from calprune.refine.windows import targets_of, windows_of
from tests.families import tiny_model
from tests.test_blocks import calibration

TWO_FOUR, HALF = KeepNofM(2, 4), Unstructured(0.5)
FAST = {"epochs": 3, "batch_size": 3, "learning_rate": 5e-3}
REFINING = [
    BlockReconstruction(Wanda(), **FAST),
    BlockReconstruction(Wanda(), global_propagation=True, **FAST),
    BlockReconstruction(Wanda(), windows="sub_block", **FAST),
    Regional(WandaPlusPlus(), learning_rate=1e-3, rounds=2),
    BlockMatching(Wanda(), **FAST),
]


def weights(model) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def outputs_by_hand(model, data: CalibrationSet) -> list[list[Tensor]]:
    """What each block gives for each sequence alone, in the model's own forward pass."""
    given: list[list[Tensor]] = []
    for row, length in enumerate(data.lengths.tolist()):
        caught: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda m, a, out, c=caught: c.append(out[0] if isinstance(out, tuple) else out))
            for block in model.model.layers
        ]
        with torch.no_grad():
            model(input_ids=data.tokens[row : row + 1, :length])
        for hook in hooks:
            hook.remove()
        given.append(caught)
    return given


def error(given: list[list[Tensor]], wanted: list[list[Tensor]], block: int) -> float:
    """The mean squared difference over all tokens."""
    pairs = [(a[block], b[block]) for a, b in zip(given, wanted, strict=True)]
    return (sum((a - b).square().sum() for a, b in pairs) / sum(a.numel() for a, _ in pairs)).item()


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("method", REFINING, ids=["local", "global", "sub_block", "regional", "matching"])
def test_a_refined_block_is_never_farther_from_its_targets_and_what_is_pruned_stays_pruned(family, method):
    """Block by block by hand, as the loop does it; the first is also nearer, not only not farther."""
    model = tiny_model(family)
    for i, block in enumerate(walk(model, calibration(), batch_size=method.batch_size)):
        targets = targets_of(block, method.windows)
        stats = Statistics.collect(model, calibration(), method.needs).of_block(block.name)
        keep = {}
        for site in block.linears():
            site.write(method(site.weight, stats[site.name], TWO_FOUR))
            keep[site.name] = site.weight != 0
        before = error_of(block, "", targets)
        was = weights(block.module)
        found = method.refine(block, targets, keep)
        after = error_of(block, "", targets)
        assert after <= before
        assert found[-1].window == "" and found[-1].before == pytest.approx(before)
        assert found[-1].after == pytest.approx(after, rel=1e-4)
        trained = {site.parameter for site in block.linears()}
        moved = {name for name, now in weights(block.module).items() if not torch.equal(now, was[name])}
        norms = {name for name, p in block.module.named_parameters() if p.dim() == 1}
        if isinstance(method, BlockMatching) and after < before:
            assert trained < moved <= trained | norms, "norms and biases too"
        else:
            assert moved == (trained if after < before else set()), "all linears, or none; no bias and no norm"
        if i == 0:
            assert after < before
        for site in block.linears():
            assert torch.equal(site.weight != 0, keep[site.name])


def test_a_rate_that_ruins_the_block_leaves_it_as_it_was():
    start, refined = tiny_model("llama"), tiny_model("llama")
    Pruning(Wanda(), TWO_FOUR).run(start, calibration())
    Pruning(BlockReconstruction(Wanda(), epochs=2, learning_rate=50.0), TWO_FOUR).run(refined, calibration())
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), refined.parameters(), strict=True))


@pytest.mark.parametrize("everywhere", [False, True], ids=["local", "global"])
def test_the_first_block_comes_nearer_to_the_dense_one_and_nothing_but_its_linears_changes(everywhere):
    data = calibration()
    dense, start, refined = (tiny_model("llama") for _ in range(3))
    method = BlockReconstruction(Wanda(), global_propagation=everywhere, **FAST)
    Pruning(Wanda(), HALF).run(start, data)
    reports = Pruning(method, HALF).run(refined, data).reports
    wanted = outputs_by_hand(dense, data)
    assert error(outputs_by_hand(refined, data), wanted, 0) < 0.9 * error(outputs_by_hand(start, data), wanted, 0)
    for name, was in weights(dense).items():
        if "proj" not in name:
            assert torch.equal(refined.get_parameter(name), was)
    assert all(r.zeros == int((refined.get_submodule(r.name).weight == 0).sum()) for r in reports)
    assert all(r.sparsity == 0.5 for r in reports)
    assert all(p.grad is None for p in refined.parameters())


def test_global_propagation_aims_at_the_dense_model_and_local_at_the_dense_block():
    """By the second block the two targets differ, and each way is nearer to its own."""
    data, results = calibration(), {}
    dense = tiny_model("llama")
    wanted = outputs_by_hand(dense, data)
    for everywhere in (False, True):
        model = tiny_model("llama")
        method = BlockReconstruction(Wanda(), global_propagation=everywhere, epochs=8, learning_rate=5e-3, batch_size=3)
        Pruning(method, HALF).run(model, data)
        results[everywhere] = error(outputs_by_hand(model, data), wanted, 1)
    assert results[True] < results[False]


def test_windows_are_attention_and_feed_forward():
    model = tiny_model("llama")
    block = next(walk(model, calibration()))
    found = {name: [s.name for s in sites] for name, sites in windows_of(block, "sub_block").items()}
    assert list(found) == ["self_attn", "mlp"]
    assert sorted(n for names in found.values() for n in names) == sorted(s.name for s in linears(block.module))
    targets = targets_of(block, "sub_block")
    batch = block.batches[0]
    caught = []
    hook = block.module.mlp.register_forward_hook(lambda m, a, out: caught.append(out))
    block.forward(batch)
    hook.remove()
    assert torch.equal(targets[0]["mlp"], caught[0])


def test_its_calibration_set_may_differ_from_that_of_the_mask():
    models = [tiny_model("llama") for _ in range(3)]
    method = BlockReconstruction(Wanda(), **FAST)
    Pruning(method, HALF).run(models[0], calibration(0))
    Pruning(method, HALF).run(models[1], calibration(0), refine_on=calibration(1))
    Pruning(Wanda(), HALF).run(models[2], calibration(0))
    first = [m.model.layers[0].mlp.up_proj.weight for m in models]
    assert all(torch.equal(w != 0, first[0] != 0) for w in first), "the masks of the first block are the start's"
    assert not torch.equal(first[0], first[1])


def test_saved_sums_choose_the_mask_and_sequences_are_still_asked_for():
    model = tiny_model("llama")
    saved, method = Statistics.collect(model, calibration(), "moments"), BlockReconstruction(Wanda(), **FAST)
    Pruning(method, HALF).run(model, saved, refine_on=calibration(1))
    with pytest.raises(UserError, match="trains on sequences"):
        Pruning(method, HALF).run(tiny_model("llama"), saved)


@pytest.mark.parametrize(
    "method", [*REFINING[1:], Wanda()], ids=["global", "sub_block", "regional", "matching", "wanda"]
)
def test_a_job_that_was_stopped_goes_on_to_the_same_bytes(method, tmp_path):
    undisturbed, resumed = tiny_model("llama"), tiny_model("llama")
    job = Pruning(method, TWO_FOUR)
    whole = [r for block in job.blocks(undisturbed, calibration()) for r in block]
    stopped = job.blocks(tiny_model("llama"), calibration(), resume=tmp_path / "kept")
    next(stopped)
    stopped.close()
    assert (tmp_path / "kept" / "model.layers.0").is_dir() and not (tmp_path / "kept" / "model.layers.1").exists()
    again = [r for block in job.blocks(resumed, calibration(), resume=tmp_path / "kept") for r in block]
    assert again == whole
    for (name, a), b in zip(undisturbed.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_folder_of_another_job_or_another_model_is_refused(tmp_path):
    list(Pruning(Wanda(), TWO_FOUR).blocks(tiny_model("llama"), calibration(), resume=tmp_path / "kept"))
    with pytest.raises(UserError, match="the blocks of another job or model"):
        list(Pruning(Wanda(), HALF).blocks(tiny_model("llama"), calibration(), resume=tmp_path / "kept"))
    with pytest.raises(UserError, match="the blocks of another job or model"):
        list(Pruning(Wanda(), TWO_FOUR).blocks(tiny_model("llama", 1), calibration(), resume=tmp_path / "kept"))


def test_a_second_set_for_a_method_that_trains_on_nothing_is_refused():
    with pytest.raises(UserError, match="refines no block"):
        Pruning(Wanda(), HALF).run(tiny_model("llama"), calibration(), refine_on=calibration(1))


def test_a_bfloat16_model_is_trained_and_stays_one():
    models = [tiny_model("llama").bfloat16() for _ in range(2)]
    trained = BlockReconstruction(Magnitude(), **FAST | {"learning_rate": 1e-2})
    for model, method in zip(models, (trained, Magnitude()), strict=True):
        Pruning(method, TWO_FOUR).run(model, calibration())
    assert all(p.dtype == torch.bfloat16 and p.isfinite().all() for p in models[0].parameters())
    assert any(not torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("block_reconstruction", r"block_?reconstruction\(start=wanda\)"),
        ("block_reconstruction(start=wanda, epochs=0)", "at least 1"),
        ("block_reconstruction(start=wanda, learning_rate=-1)", "above 0"),
        ("block_reconstruction(start=wanda, windows='attention')", "windows"),
        ("regional(start=wanda, rounds=0)", "at least 1"),
    ],
)
def test_options_that_cannot_be_are_one_line(text, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_method(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{}, {"cross_block": True, "global_propagation": True}])
def test_a_model_that_was_training_trains_on(options):
    model = tiny_model("llama").train()
    Pruning(BlockReconstruction(Wanda(), epochs=1, **options), Unstructured(0.5)).run(model, calibration())
    assert model.training
