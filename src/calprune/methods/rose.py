"""ROSE: SparseGPT, with the columns that lose most pruned first, while many are left to absorb it.

Su, Wang, "ROSE: Reordered SparseGPT for More Accurate One-Shot Large Language Models Pruning", CPAL 2026,
arXiv:2603.05878, section 3. The matrix is pruned for trial, a block of columns at a time, by Wanda's score
s_ij = |w_ij| · ‖X_j‖₂:

    column loss  L_j = Σ_i s_ij over what would go       block loss  L_b = Σ_(j in b) L_j

Where (max L_b - min L_b) / max L_b > `relative_range` the matrix is columnar: its blocks are sorted by L_b and the
columns within each by L_j, largest first, and SparseGPT prunes in this order. Any other is pruned as SparseGPT does it.

For n:m a block is a group of m, which moves whole. Unlike the paper, which has widths that are multiples of 128, a last
block that is not full stays last and has no part in the range.
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.methods.sparsegpt import SparseGPT
from calprune.pattern import KeepNofM, Pattern, check_width, competing, keep_mask


@options
class ROSE:
    damping: float = 0.01  # as SparseGPT's
    column_block: int = 128
    relative_range: float = 0.5  # of the blocks' losses, above which a matrix is reordered

    tag: ClassVar[str] = "ROSE"
    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 3

    def __post_init__(self):
        SparseGPT(self.damping, self.column_block)  # refuses what it cannot take
        if not 0 <= self.relative_range <= 1:
            raise ConfigError(
                f"relative_range is a fraction of the largest block loss, 0 to 1, got {self.relative_range}"
            )

    def revision(self, pattern: Pattern, even: bool) -> int:
        """As SparseGPT's."""
        return SparseGPT(self.damping, self.column_block).revision(pattern, even)

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        check_width(weight.shape[1], pattern)
        order = self.order(weight, stats, pattern)
        if order is None:
            return SparseGPT(self.damping, self.column_block)(weight, stats, pattern)
        # the damping that this matrix takes, in any order; it is reported with the statistics that came
        sparsegpt = SparseGPT(stats.factor(self.damping).damping, self.column_block)
        pruned = torch.empty_like(weight)
        pruned[:, order] = sparsegpt(weight[:, order], stats.reordered(order), pattern)
        return pruned

    def order(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Int[Tensor, "in"] | None:
        """The columns in the order in which they are pruned, or None where the matrix is not columnar."""
        size = pattern.of if isinstance(pattern, KeepNofM) else self.column_block
        score = weight.abs().float() * stats.norm
        # groups of m compete in any case, so for n:m one look at the whole does
        parts = [score] if isinstance(pattern, KeepNofM) else score.split(size, dim=1)
        lost = torch.cat([_lost(part, pattern) for part in parts])  # (in,)
        full = len(lost) // size * size
        blocks = lost[:full].view(-1, size)
        total = blocks.sum(1)
        if not full or total.max() - total.min() <= self.relative_range * total.max():
            return None
        within = blocks.argsort(dim=1, descending=True, stable=True)
        first = torch.arange(0, full, size, device=lost.device)
        by_block = (first[:, None] + within)[total.argsort(descending=True, stable=True)]
        return torch.cat([by_block.flatten(), full + lost[full:].argsort(descending=True, stable=True)])


def _lost(score: Float[Tensor, "out b"], pattern: Pattern) -> Float[Tensor, "b"]:
    """What each column would lose."""
    return (score * ~keep_mask(score, competing(pattern, "matrix"))).sum(0)
