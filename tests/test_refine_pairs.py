"""Cross-block reconstruction: which blocks are trained together, on which inputs, towards what; stopped, it goes on."""

import shutil
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from calprune.base.values import ConfigError
from calprune.layers.linears import find_blocks, linears
from calprune.methods import parse_method
from calprune.methods.block_reconstruction import BlockReconstruction
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Unstructured
from calprune.pruning.job import Pruning
from calprune.refine.training import error_of
from tests.families import CONFIGS, random_model
from tests.test_blocks import calibration

TWO_FOUR, HALF = KeepNofM(2, 4), Unstructured(0.5)
FAST = {"epochs": 3, "batch_size": 3, "learning_rate": 5e-3}
WAYS = pytest.mark.parametrize("everywhere", [False, True], ids=["local", "global"])


def three_blocks(family: str = "llama"):
    """So that a pair is neither the first nor the last; gemma3's blocks are given unlike arguments."""
    config = CONFIGS[family]()
    config.num_hidden_layers = 3
    if family == "gemma3":
        config.layer_types = ["sliding_attention", "full_attention", "sliding_attention"]
    return random_model(config)


@dataclass(frozen=True)
class Turn:
    """What one call of `refine` was given, and what it did."""

    blocks: list[torch.nn.Module]
    inputs: list[tuple[Tensor, Tensor]]  # of each batch: which sequences, their hidden states
    targets: list[Tensor]
    kept: list[int]  # of each linear
    before: float
    after: float


@dataclass(frozen=True)
class Watched(BlockReconstruction):
    """Block reconstruction that writes its turns down."""

    turns: list[Turn] = field(default_factory=list, compare=False)

    def refine(self, block, targets, keep):
        before = error_of(block, "", targets)
        found = super().refine(block, targets, keep)
        inputs = [(batch.sequences, batch.hidden) for batch in block.batches]
        counts = [int(mask.sum()) for mask in keep.values()]
        after = error_of(block, "", targets)
        self.turns.append(Turn(list(block.module.blocks), inputs, [t[""] for t in targets], counts, before, after))
        return found


def watched(everywhere: bool) -> Watched:
    return Watched(Wanda(), cross_block=True, global_propagation=everywhere, **FAST)


def states(model, data) -> list[list[Tensor]]:
    """Of each sequence alone, in the model's own forward pass: what reaches each block, and what leaves the last."""
    found: list[list[Tensor]] = []
    for row, length in enumerate(data.lengths.tolist()):
        caught: list[Tensor] = []
        modules = find_blocks(model)[1]
        hooks = [block.register_forward_pre_hook(lambda m, args, c=caught: c.append(args[0][0])) for block in modules]
        last = lambda m, args, out, c=caught: c.append(out[0] if out[0].dim() == 2 else out[0][0])  # noqa: E731
        hooks.append(modules[-1].register_forward_hook(last))
        with torch.no_grad():
            model(input_ids=data.tokens[row : row + 1, :length], use_cache=False)
        for hook in hooks:
            hook.remove()
        found.append(caught)
    return found


def same(given: list[Tensor], inputs: list[tuple[Tensor, Tensor]], expected: list[list[Tensor]], place: int) -> None:
    """Tensors of batches hold what the sequences have at a place, where they are not padding."""
    for tensor, (sequences, _) in zip(given, inputs, strict=True):
        for row, sequence in zip(tensor, sequences.tolist(), strict=True):
            wanted = expected[sequence][place]
            torch.testing.assert_close(row[: len(wanted)], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@WAYS
def test_each_block_is_trained_with_both_neighbours_and_the_joint_error_never_rises(family, everywhere):
    model, method = three_blocks(family), watched(everywhere)
    reports = Pruning(method, HALF).run(model, calibration()).reports
    modules = list(find_blocks(model)[1])
    assert [[modules.index(block) for block in turn.blocks] for turn in method.turns] == [[0], [0, 1], [1, 2], [2]]
    assert all(turn.after <= turn.before for turn in method.turns)
    assert all(turn.after < turn.before for turn in method.turns[:2]), "the first turns also make it smaller"
    assert len(reports) == sum(len(linears(block)) for block in modules) == len({r.name for r in reports})
    assert all(r.sparsity == 0.5 for r in reports)


@WAYS
def test_what_the_start_pruned_stays_zero_through_both_turns(everywhere):
    model, method = three_blocks(), watched(everywhere)
    reports = Pruning(method, TWO_FOUR).run(model, calibration()).reports
    for report in reports:
        weight = model.get_submodule(report.name).weight
        assert torch.equal((weight.view(len(weight), -1, 4) != 0).sum(2).unique(), torch.tensor([2])), report.name
        assert report.zeros == int((weight == 0).sum())
    start = three_blocks()
    Pruning(Wanda(), TWO_FOUR).run(start, calibration())
    for report in reports[:7]:  # the first block's masks are the start's own
        kept = [m.get_submodule(report.name).weight != 0 for m in (model, start)]
        assert torch.equal(*kept), report.name


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@WAYS
def test_a_turn_sees_what_reaches_its_first_block_in_the_pruned_model_and_aims_at_dense_blocks(family, everywhere):
    """Against forward passes of whole models: the pruned one, the dense one, and one of either's blocks."""
    data, model, dense, method = calibration(), three_blocks(family), three_blocks(family), watched(everywhere)
    Pruning(method, HALF).run(model, data)
    pruned, modules = states(model, data), list(find_blocks(model)[1])
    for turn in method.turns:
        first, end = modules.index(turn.blocks[0]), modules.index(turn.blocks[-1]) + 1
        same([hidden for _, hidden in turn.inputs], turn.inputs, pruned, first)
        aim = three_blocks(family)
        for i in range(0 if everywhere else first):
            find_blocks(aim)[1][i].load_state_dict(modules[i].state_dict())
        reached = states(dense if everywhere else aim, data)
        same(turn.targets, turn.inputs, reached, end)


@WAYS
@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_job_that_was_stopped_after_any_block_goes_on_to_the_same_bytes_and_reports(everywhere, done, tmp_path):
    job = Pruning(BlockReconstruction(Wanda(), cross_block=True, global_propagation=everywhere, **FAST), TWO_FOUR)
    undisturbed, resumed = three_blocks(), three_blocks()
    whole = [r for block in job.blocks(undisturbed, calibration(), resume=tmp_path / "kept") for r in block]
    for i in range(done, 3):
        shutil.rmtree(tmp_path / "kept" / f"model.layers.{i}")
    again = [r for block in job.blocks(resumed, calibration(), resume=tmp_path / "kept") for r in block]
    assert again == whole
    for (name, a), b in zip(undisturbed.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_reported_error_is_that_of_the_weights_as_they_are_at_the_end():
    model, dense = three_blocks(), three_blocks()
    method = BlockReconstruction(parse_method("sparsegpt"), cross_block=True, **FAST)
    reports = Pruning(method, HALF).run(model, calibration()).reports
    data = calibration()
    report = reports[0]
    assert report.name == "model.layers.0.self_attn.q_proj"
    x = torch.cat([state[0] for state in states(dense, data)])
    x = dense.model.layers[0].input_layernorm(x).double()
    before, after = (m.get_submodule(report.name).weight.double() for m in (dense, model))
    wanted = ((before - after) @ x.T).square().sum() / (before @ x.T).square().sum()
    assert report.relative_error == pytest.approx(wanted.item(), rel=1e-3)


def test_windows_within_a_block_are_refused():
    with pytest.raises(ConfigError, match=r"cross_block.*windows is 'block', got 'sub_block'") as error:
        parse_method("block_reconstruction(start=wanda, cross_block=True, windows='sub_block')")
    assert "\n" not in str(error.value)
