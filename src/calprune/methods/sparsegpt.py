"""SparseGPT: prune column by column, and let the columns to the right absorb the error.

Frantar, Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML 2023,
arXiv:2301.00774, Algorithm 1. Letters as in the paper:

    W       (out, in)  the weights as updated so far
    H       (in, in)   X Xᵀ / tokens + damping · mean(diag) · I      (a common factor cancels)
    U       (in, in)   upper Cholesky factor of H⁻¹; its row j holds what step j needs
    d       (in,)      its diagonal; within a block of columns the rows of U are divided by it beforehand
    E       (in, out)  what was pruned of each column; once its block of columns is done, divided by d

For each column j: what is pruned of it, e, is subtracted from all columns k > j as e · U_jk / U_jj. The order of the
arithmetic is free as long as each column has had all its updates before it is pruned: here the columns are halved, the
left half solved, the right half updated by one product, and solved (LOG.md, 2026-11-22 and 26). All is done on Wᵀ, so
that a column of W is contiguous.
"""

from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.products import matmul
from calprune.methods.contract import check_damping
from calprune.methods.kernels.solve import halves, solve
from calprune.pattern import KeepNofM, Pattern, PatternError, Unstructured, check_width, drop_lowest, keep_mask


@options
class SparseGPT:
    damping: float = 0.01  # fraction of the mean diagonal of H that is added to the diagonal
    column_block: int = 128  # the paper's B = B_s: the unstructured mask is chosen for so many columns at a time

    tag: ClassVar[str] = "SparseGPT"
    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 3

    def __post_init__(self):
        check_damping(self.damping)
        if self.column_block < 1:
            raise ConfigError(f"column_block must be at least 1, got {self.column_block}")

    def revision(self, pattern: Pattern, even: bool) -> int:
        """0, or 1 where a row's count was once rounded in each block of columns by itself, which gave
        other numbers under this `version`. even: every linear has the pattern's own share."""
        if not isinstance(pattern, Unstructured) or pattern.within != "row":
            return 0
        return int(not even or pattern.sparsity * self.column_block % 2 != 0)

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        if isinstance(pattern, Unstructured) and pattern.within == "matrix":
            raise PatternError(f'sparsegpt decides a block of columns at a time and cannot honour "{pattern}"')
        factor = stats.factor(self.damping)
        U, d = factor.upper, factor.upper.diagonal()
        W = weight.T.to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # (in, out)
        W[factor.dead] = 0  # inputs that were always zero: their weights do nothing
        check_width(len(W), pattern)
        rule = (pattern.keep, pattern.of) if isinstance(pattern, KeepNofM) else (0, 0)
        block = self.column_block + (-self.column_block % rule[1] if rule[1] else 0)  # whole groups of n:m
        E = torch.empty_like(W)
        for here, rest in halves(0, len(W), block):
            if rest is None:  # a block of columns: choose its mask, prune it
                by = d[here, None]
                gone = _mask(W[here], d[here], pattern, here.start)
                solve(W[here], U[here, here] / by, E[here], gone, d[here], rule)
                E[here] /= by
            else:  # `here` is pruned: update what follows by its error
                W[rest] -= matmul(U[here, rest].T, E[here])
        return W.T.contiguous().to(weight.dtype)


def _mask(W: Float[Tensor, "b out"], d: Float[Tensor, "b"], pattern: Pattern, start: int) -> Float[Tensor, "b out"]:
    """1.0 for the weights of a block that are pruned, by (w_ij / U_jj)²; n:m is chosen in `solve`, group by group.

    start: columns before the block. What a row lost less or more there, by rounding, the block makes up for.
    """
    if isinstance(pattern, KeepNofM):
        return torch.empty_like(W)
    score = (W / d[:, None]).square()
    if pattern.within == "row":
        count = round(pattern.sparsity * (start + len(W))) - round(pattern.sparsity * start)
        return (~drop_lowest(score.T.contiguous(), count).T).to(W.dtype)
    # the paper's adaptive mask: all rows compete. Unlike the paper's code, exactly s of them go, ties too
    return (~keep_mask(score, replace(pattern, within="matrix"))).to(W.dtype)
