"""Fused experts under methods that need gradients, and refined: as the same matrices standing alone would be."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.layers.collect import Counting
from calprune.layers.experts import is_fused
from calprune.layers.gradients import loss_gradients, output_gradients
from calprune.layers.inputs import GradientSums, StatsError
from calprune.layers.linears import find_blocks, linears
from calprune.methods.block_reconstruction import BlockReconstruction
from calprune.methods.gblm import GBLM
from calprune.methods.pruner_zero import PrunerZero
from calprune.methods.regional import Regional
from calprune.methods.wanda import Wanda
from calprune.methods.wanda_plus_plus import WandaPlusPlus
from calprune.pattern import KeepNofM
from calprune.pruning.job import Pruning
from calprune.refine.training import error_of
from calprune.refine.windows import targets_of
from tests.families import FUSED_EXPERTS, tiny_model
from tests.test_blocks import calibration
from tests.test_gradients import assert_sums, counts, weighted

TWO_FOUR = KeepNofM(2, 4)
OWN = Counting(min_expert_tokens=1)
FAST = {"epochs": 3, "batch_size": 3, "learning_rate": 5e-3}
REFINING = [
    BlockReconstruction(Wanda(), **FAST),
    BlockReconstruction(Wanda(), windows="sub_block", **FAST),
    BlockReconstruction(Wanda(), cross_block=True, **FAST),
    Regional(WandaPlusPlus(), learning_rate=1e-3, rounds=2),
]


def by_autograd(model, data: CalibrationSet, of) -> dict[str, tuple[Tensor, Tensor, int]]:
    """Σ g², Σ |g| and their number from the .grad of the fused tensors themselves, a backward pass a sequence.

    of(model, ids, weight): the number whose gradient is taken; None where no token of it counts.
    """
    name, modules = find_blocks(model)
    sites = {f"{name}.{i}.{s.name}": s for i, b in enumerate(modules) for s in linears(b)}
    sums = {n: (torch.zeros(s.weight.shape), torch.zeros(s.weight.shape)) for n, s in sites.items()}
    sequences = 0
    for row in range(len(data.tokens)):
        weight = counts(data, row)
        model.zero_grad()
        if (value := of(model, data.tokens[row : row + 1, : len(weight)], weight)) is None:
            continue
        value.backward()
        sequences += 1
        for n, s in sites.items():
            tensor = s.module.get_parameter(s.part.parameter if s.part else "weight")
            if tensor.grad is not None:
                g = s.inside(tensor.grad)
                sums[n][0].add_(g.square())
                sums[n][1].add_(g.abs())
    model.zero_grad(set_to_none=True)
    return {n: (*both, sequences) for n, both in sums.items()}


def loss(model, ids: Tensor, weight: Tensor) -> Tensor | None:
    if not weight[1:].sum() > 0:
        return None
    each = F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
    return (each * weight[1:]).sum() / weight[1:].sum()


def norm_of_last_block(model, ids: Tensor, weight: Tensor) -> Tensor | None:
    if not weight.sum() > 0:
        return None
    caught: list = []
    with find_blocks(model)[1][-1].register_forward_hook(lambda m, a, out: caught.append(out)):
        model(ids)
    output = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
    return (output.reshape(len(weight), -1) * weight.sqrt()[:, None]).norm()


@pytest.mark.parametrize("family", [*FUSED_EXPERTS, "dbrx"])
@pytest.mark.parametrize("data", [calibration, weighted], ids=["plain", "weighted"])
def test_an_experts_gradients_are_autograds_own_sequence_by_sequence(family, data):
    model = tiny_model(family)
    assert_sums(loss_gradients(model, data(), batch_size=3), by_autograd(model, data(), loss))


@pytest.mark.parametrize("family", [*FUSED_EXPERTS, "dbrx"])
def test_an_experts_gradients_of_the_blocks_output_are_autograds_own(family):
    model = tiny_model(family)
    *_, (last, found) = ((block.name, output_gradients(block)) for block in walk(model, weighted(), batch_size=3))
    expected = by_autograd(model, weighted(), norm_of_last_block)
    assert_sums({f"{last}.{n}": g for n, g in found.items()}, {n: v for n, v in expected.items() if n.startswith(last)})


def test_experts_that_are_given_their_own_share_of_the_tokens_have_no_gradients_collected():
    with pytest.raises(StatsError, match=r"layers\.0.* choose a method that needs none"):
        Pruning(GBLM(), TWO_FOUR).run(tiny_model("llama4"), calibration())


def test_an_expert_that_no_token_reaches_has_gradients_of_nothing():
    one = CalibrationSet.from_tokens(torch.tensor([[5, 9]]))  # two tokens, each to two of eight experts
    found = loss_gradients(tiny_model("deepseek_v3"), one)
    nothing = [n for n, g in found.items() if ".experts." in n and not g.squares.any()]
    assert len(nothing) >= 3 * 4 and all(isinstance(found[n], GradientSums) for n in nothing)


@pytest.mark.parametrize("method", [GBLM(), PrunerZero(), WandaPlusPlus()], ids=str)
@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_methods_that_need_gradients_prune_experts_to_the_count(family, method):
    model = tiny_model(family)
    reports = Pruning(method, TWO_FOUR, counting=OWN).run(model, calibration()).reports
    experts = [r for r in reports if ".experts." in r.name]
    assert len(experts) == 2 * 4 * 3 and all(r.zeros == r.shape[0] * r.shape[1] // 2 for r in reports)


@pytest.mark.parametrize("family", ["mixtral", "olmoe", "qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize("method", REFINING, ids=["block", "sub_block", "cross_block", "regional"])
def test_refining_lowers_a_blocks_error_and_what_is_pruned_stays_zero(family, method):
    dense, start, refined = (tiny_model(family) for _ in range(3))
    Pruning(method.start, TWO_FOUR, counting=OWN, propagate="dense").run(start, calibration())
    reports = Pruning(method, TWO_FOUR, counting=OWN, propagate="dense").run(refined, calibration()).reports
    blocks = [next(iter(walk(model, calibration(), batch_size=3))) for model in (dense, start, refined)]
    targets = targets_of(blocks[0], "block")
    before, after = (error_of(block, "", targets) for block in blocks[1:])
    assert after < before
    for (name, was), now in zip(start.named_parameters(), refined.parameters(), strict=True):
        fused = name.endswith(("gate_up_proj", "down_proj")) and "experts" in name
        if name.startswith("model.layers.0") and fused:
            assert torch.equal(was == 0, now == 0), "no more, no fewer zeros"
            assert not torch.equal(was, now), "the experts are trained too"
    assert all(r.zeros == r.shape[0] * r.shape[1] // 2 for r in reports)


def test_only_the_experts_that_are_pruned_are_trained():
    """An expert that is left out shares its tensor with those that are trained, and stays as it was."""
    dense, model = tiny_model("mixtral"), tiny_model("mixtral")
    Pruning(REFINING[0], TWO_FOUR, counting=OWN, ignore=("*.experts.1.*",)).run(model, calibration())
    for (name, was), module in zip(dense.named_modules(), model.modules(), strict=True):
        if is_fused(was):
            for tensor in ("gate_up_proj", "down_proj"):
                before, after = getattr(was, tensor), getattr(module, tensor)
                assert torch.equal(before[1], after[1]), name
                assert (after[[0, 2, 3]] == 0).float().mean() == pytest.approx(0.5, abs=1e-3)


def test_an_expert_whose_output_is_normalised_is_refused_by_name():
    model = tiny_model("mixtral")
    for module in model.modules():
        if is_fused(module):
            module.has_post_expert_norm = True
    with pytest.raises(StatsError, match=r"mlp\.experts\.0\.gate_proj is of an expert whose output is normalised"):
        loss_gradients(model, calibration())
