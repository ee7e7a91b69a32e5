"""SparseGPT: prune column by column, and let the columns to the right absorb the error.

Frantar, Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML 2023,
arXiv:2301.00774, Algorithm 1. Letters as in the paper:

    W       (out, in)  the weights as updated so far
    H       (in, in)   X Xᵀ / tokens + damping · mean(diag) · I      (a common factor cancels)
    U       (in, in)   upper Cholesky factor of H⁻¹; its row j holds what step j needs
    E       (out, b)   the error of each column of a block, divided by U_jj

For each column j: the error e = (w_j - pruned w_j) / U_jj is subtracted from all columns k > j as e · U_jk. The order
of the arithmetic is free as long as each column has had all its updates before it is pruned: here a block of columns is
halved, the left half solved, the right half updated by one product, and solved (LOG.md, 2026-11-22). All is done on Wᵀ,
so that a column of W is contiguous.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.config import ConfigError
from calprune.pattern import KeepNofM, Pattern, PatternError, Unstructured, check_width, keep_mask
from calprune.products import matmul
from calprune.stats import InputStats, Needs

Choice = KeepNofM | Tensor  # which weights of a block of columns stay: decided group by group, or a mask (b, out)
LEAF = 8  # columns that are solved one after the other


@dataclass(frozen=True)
class SparseGPT:
    damping: float = 0.01  # fraction of the mean diagonal of H that is added to the diagonal
    column_block: int = 128  # the paper's B = B_s: the unstructured mask is chosen for so many columns at a time

    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 1

    def __post_init__(self):
        if not 0 <= self.damping <= 1:
            raise ConfigError(f"damping is a fraction of the mean diagonal, 0 to 1, got {self.damping}")
        if self.column_block < 1:
            raise ConfigError(f"column_block must be at least 1, got {self.column_block}")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        if isinstance(pattern, Unstructured) and pattern.within == "matrix":
            raise PatternError(f'sparsegpt decides a block of columns at a time and cannot honour "{pattern}"')
        factor = stats.factor(self.damping)
        U = factor.upper
        W = weight.T.to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # (in, out)
        W[factor.dead] = 0  # inputs that were always zero: their weights do nothing
        step = self.column_block
        if isinstance(pattern, KeepNofM):
            check_width(len(W), pattern)
            step += -step % pattern.of  # whole groups of m
        for first in range(0, len(W), step):
            last = min(first + step, len(W))
            block = W[first:last]
            E = torch.empty_like(block)
            _solve(block, U[first:last, first:last], E, self._choice(block, U[first:last, first:last], pattern))
            W[last:] -= matmul(U[first:last, last:].T, E)
        return W.T.contiguous().to(weight.dtype)

    def _choice(self, W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], pattern: Pattern) -> "Choice":
        """Unstructured: the mask of a whole block of columns, by (w_ij / U_jj)². n:m: chosen later, group by group."""
        if isinstance(pattern, KeepNofM):
            return pattern
        score = (W / U.diagonal()[:, None]).square()
        if pattern.within == "row":
            return keep_mask(score.T.contiguous(), pattern).T
        # the paper's adaptive mask: all rows compete. Unlike the paper's code, exactly s of them go, ties too
        return keep_mask(score, replace(pattern, within="matrix"))


def _solve(W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"], choice: Choice) -> None:
    """Prune the columns of a block in place and write their errors to E: halves, down to a leaf of a few columns."""
    columns = len(W)
    leaf = LEAF + (-LEAF % choice.of if isinstance(choice, KeepNofM) else 0)
    if columns <= leaf:
        return _solve_leaf(W, U, E, choice)
    half = (columns // 2 + leaf - 1) // leaf * leaf
    left, right = slice(None, half), slice(half, None)
    for part in (left, right):
        chosen = choice if isinstance(choice, KeepNofM) else choice[part]
        _solve(W[part], U[part, part], E[part], chosen)
        if part is left:
            W[right] -= matmul(U[left, right].T, E[left])


def _solve_leaf(W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"], choice: Choice) -> None:
    """Algorithm 1's inner loop, a column at a time."""
    diagonal = U.diagonal()
    for j in range(len(W)):
        if isinstance(choice, KeepNofM):
            if j % choice.of == 0:  # the group's mask is chosen from its weights as updated so far
                group = slice(j, j + choice.of)
                score = (W[group] / diagonal[group, None]).square()
                keep = keep_mask(score.T.contiguous(), choice).T
            kept = keep[j % choice.of]
        else:
            kept = choice[j]
        torch.div(W[j] * ~kept, diagonal[j], out=E[j])
        W[j].masked_fill_(~kept, 0)
        W[j + 1 :].addcmul_(U[j, j + 1 :, None], E[j], value=-1)
