"""GPTQ: round weights column by column to a few values, and let the columns to the right absorb the error.

Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", ICLR 2023, arXiv:2210.17323, Algorithm 1. A quantiser, and no pruning: SparseGPT's update with rounding
in place of zeroing, from the same factor of the same Gram matrix. Letters as in the paper:

    W       (out, in)  the weights as updated so far; all is done on Wᵀ, so that a column of W is contiguous
    H       (in, in)   X Xᵀ / tokens + damping · mean(diag) · I      (a common factor cancels)
    U       (in, in)   upper Cholesky factor of H⁻¹, here with its rows divided by its diagonal
    E       (b, out)   what rounding took from each column of a block, w - quant(w)

For each column j, e_j · U_jk / U_jj is subtracted from all columns k > j. A group's scale and zero point
(`round_to_nearest`) are of its weights as updated when its turn comes. `activation_order` takes the columns with the
largest inputs first, and groups are of columns in that order (from the released code, not in the paper). Weights of
inputs that were always zero become zero, as SparseGPT does it here.
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.products import matmul
from calprune.methods.contract import check_damping, refuse_zeros
from calprune.methods.kernels.solve import LEAF, eliminate
from calprune.methods.round_to_nearest import Levels, Quantised, check_levels
from calprune.pattern import Pattern


@options
class GPTQ:
    bits: int = 4
    group_size: int | None = 128  # as in round_to_nearest
    symmetric: bool = False
    damping: float = 0.01  # fraction of the mean diagonal of H that is added to the diagonal
    column_block: int = 128  # columns after which the rest of the matrix is updated, by one product
    activation_order: bool = False

    tag: ClassVar[str] = "GPTQ"
    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 1
    prunes: ClassVar[bool] = False

    def __post_init__(self):
        check_levels(self.bits, self.group_size)
        check_damping(self.damping)
        if self.column_block < 1:
            raise ConfigError(f"column_block must be at least 1, got {self.column_block}")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        refuse_zeros(pattern, "gptq")
        damping = stats.factor(self.damping).damping  # what this matrix takes, in any order
        if not self.activation_order:
            return self._rounded(weight, stats, damping).weight.to(weight.dtype)
        order = stats.sum_xx.argsort(descending=True, stable=True)
        rounded = torch.empty_like(weight)
        rounded[:, order] = self._rounded(weight[:, order], stats.reordered(order), damping).weight.to(weight.dtype)
        return rounded

    def quantised(
        self,
        weight: Float[Tensor, "out in"],
        stats: InputStats,
        keep: Bool[Tensor, "out in"] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Quantised:
        """The rounded weights with their scales, which are numbers of `dtype`.

        keep: what is not kept becomes zero whatever the columns before it gave it to absorb, which goes on to those
        behind it: so a pruned matrix stays pruned. Raises ConfigError with `activation_order`.
        """
        if self.activation_order:
            raise ConfigError("activation_order: groups are then of no neighbouring inputs, so their codes cannot be "
                              "packed; leave it out")  # fmt: skip
        return self._rounded(weight, stats, stats.factor(self.damping).damping, keep, dtype)

    def _rounded(
        self,
        weight: Float[Tensor, "out in"],
        stats: InputStats,
        damping: float,
        keep: Bool[Tensor, "out in"] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Quantised:
        factor = stats.factor(damping)
        U = factor.upper / factor.upper.diagonal()[:, None]
        W = weight.T.to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # (in, out)
        W[factor.dead] = 0
        held = torch.ones_like(W) if keep is None else keep.T.to(W)
        levels: list[Levels] = []
        size = self.group_size or len(W)
        for start in range(0, len(W), size):
            end = min(start + size, len(W))
            levels.append(Levels.of(W[start:end] * held[start:end], self.bits, self.symmetric, dtype))
            for first in range(start, end, self.column_block):
                last = min(first + self.column_block, end)
                E = torch.empty_like(W[first:last])
                _round_columns(W[first:last], U[first:last, first:last], E, (levels[-1], held[first:last]))
                W[last:] -= matmul(U[first:last, last:].T, E)
        return Quantised.of(W, levels)


def _round_columns(
    W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"], to: tuple[Levels, Tensor]
) -> None:
    """Round columns in place and write what it took from them to E: halves, down to a leaf of a few columns. to: their
    levels, and 0 (b, out) where the rounded weight is zero."""
    levels, held = to
    if len(W) > LEAF:
        half = len(W) // 2
        _round_columns(W[:half], U[:half, :half], E[:half], (levels, held[:half]))
        W[half:] -= matmul(U[:half, half:].T, E[:half])
        _round_columns(W[half:], U[half:, half:], E[half:], (levels, held[half:]))
        return

    def round_column(j: int, column: Tensor, error: Tensor) -> None:
        rounded = levels.nearest(column).mul_(held[j])
        torch.sub(column, rounded, out=error)
        column.copy_(rounded)

    eliminate(W, U, E, round_column)
