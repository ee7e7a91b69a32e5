"""Training a block is, step for step, the optimiser's equations on its kept weights."""

import pytest
import torch
from torch import Tensor, nn

from calprune.layers.blocks import Batch, Block
from calprune.layers.collect import Counting
from calprune.methods.block_reconstruction import BlockReconstruction
from calprune.methods.regional import Regional
from calprune.methods.wanda import Wanda
from calprune.refine.training import FACTORS

EPSILON, CLIP = 1e-8, 1000.0


class TinyBlock(nn.Module):
    """x + B A x."""

    def __init__(self, numbers: torch.Generator):
        super().__init__()
        self.A, self.B = nn.Linear(6, 5, bias=False), nn.Linear(5, 6, bias=False)
        for site in (self.A, self.B):
            site.weight.data = torch.randn(site.weight.shape, generator=numbers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.B(self.A(x))


def pruned_block() -> tuple[Block, Tensor, dict[str, Tensor]]:
    """A block of which half is pruned, with one batch that has padding; what it should give; what it keeps."""
    numbers = torch.Generator().manual_seed(0)
    module = TinyBlock(numbers)
    hidden = 18 * torch.randn(2, 4, 6, generator=numbers)  # so large that gradients have to be clipped at first
    target, keep = module(hidden).detach(), {}
    for name, site in module.named_children():
        keep[name] = torch.rand(site.weight.shape, generator=numbers) < 0.5
        site.weight.data *= keep[name]
    real = torch.tensor([0, 1, 2, 3, 4, 5])  # the second sequence has two tokens
    batch = Batch(torch.arange(2), torch.tensor([4, 2]), hidden, ((), {}), real, None)
    return (
        Block("layers.0", module, [batch], torch.device("cpu"), torch.device("cpu"), "pruned", Counting()),
        target,
        keep,
    )


def gradients(weights: dict[str, Tensor], block: Block, target: Tensor, keep: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of the mean over real tokens of ‖f(x) - target‖² / width, in the kept weights, by the chain rule in float64."""
    x, wanted = block.batches[0].hidden.double().view(8, 6)[:6], target.double().view(8, 6)[:6]
    inner = x @ weights["A"].T
    by_output = 2 * (x + inner @ weights["B"].T - wanted) / 36
    return {"A": (by_output @ weights["B"]).T @ x * keep["A"], "B": by_output.T @ inner * keep["B"]}


def length(g: dict[str, Tensor]) -> float:
    """Of all matrices together."""
    return sum(each.square().sum().item() for each in g.values()) ** 0.5


def clipped(g: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: each * min(1.0, CLIP / length(g)) for name, each in g.items()}


def adam_steps(weights, gradient, rate: float, steps: int) -> dict[str, Tensor]:
    """Kingma and Ba's Algorithm 1, at a rate that falls linearly to zero."""
    m, v = ({name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    for t in range(1, steps + 1):
        now = rate * (steps - t + 1) / steps
        for name, g in clipped(gradient(weights)).items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.95 * v[name] + 0.05 * g**2
            step = m[name] / (1 - 0.9**t) / ((v[name] / (1 - 0.95**t)).sqrt() + EPSILON)
            weights = weights | {name: weights[name] - now * step}
    return weights


def rmsprop_steps(weights, gradient, rate: float, steps: int) -> dict[str, Tensor]:
    """Hinton's: v ← 0.99 v + 0.01 g², w ← w - rate · g / √v; the rate stays."""
    v = {name: torch.zeros_like(w) for name, w in weights.items()}
    for _ in range(steps):
        for name, g in clipped(gradient(weights)).items():
            v[name] = 0.99 * v[name] + 0.01 * g**2
            weights = weights | {name: weights[name] - rate * g / (v[name].sqrt() + EPSILON)}
    return weights


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(
    ("method", "equations"),
    [
        (lambda steps: BlockReconstruction(Wanda(), learning_rate=0.1, epochs=steps), adam_steps),
        (lambda steps: Regional(Wanda(), learning_rate=0.02, rounds=steps), rmsprop_steps),
    ],
    ids=["block_reconstruction", "regional"],
)
def test_a_step_is_that_of_the_optimisers_equations_and_what_is_pruned_stays_zero(method, equations, steps):
    refined, (block, target, keep), lengths = method(steps), pruned_block(), []
    start = {name: site.weight.detach().double() for name, site in block.module.named_children()}

    def gradient(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        found = gradients(weights, block, target, keep)
        lengths.append(length(found))
        return found

    expected = equations(start, gradient, refined.learning_rate, steps)
    assert lengths[0] > CLIP and (steps == 1 or lengths[-1] < CLIP), "the first is clipped, the last is not"
    [done] = refined.refine(block, [{"": target}], keep)
    assert done.after < done.before, "or the weights before it would have been kept"
    for name, site in block.module.named_children():
        torch.testing.assert_close(site.weight.detach().double(), expected[name], rtol=1e-5, atol=1e-5)
        assert torch.equal(site.weight != 0, keep[name])


def test_the_rate_falls_to_nothing_to_a_fifth_or_not_at_all():
    assert [FACTORS["linear"](done) for done in (0, 0.25, 1)] == [1, 0.75, 0]
    assert [FACTORS["fifth"](done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert [FACTORS["none"](done) for done in (0, 1)] == [1, 1]
