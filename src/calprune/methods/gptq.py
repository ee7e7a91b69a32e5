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
largest inputs first, and groups are of columns in that order; with "static" they are of neighbouring inputs, as codes
are packed, and their scales of the weights as they came (both from the released code, not in the paper). Weights of
inputs that were always zero become zero, as SparseGPT does it here.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
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
    activation_order: bool | Literal["static"] = False

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
        if self.activation_order is not True:
            return self.quantised(weight, stats).weight.to(weight.dtype)
        order, damping = _order(stats), stats.factor(self.damping).damping  # what this matrix takes, in any order
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
        behind it: so a pruned matrix stays pruned. Raises ConfigError with `activation_order=true`.
        """
        if self.activation_order is True:
            raise ConfigError("activation_order: groups are then of no neighbouring inputs, so their codes cannot be "
                              "packed; write gptq(activation_order=static)")  # fmt: skip
        rounded = self._in_static_groups if self.activation_order else self._rounded
        return rounded(weight, stats, stats.factor(self.damping).damping, keep, dtype)

    def _rounded(
        self,
        weight: Float[Tensor, "out in"],
        stats: InputStats,
        damping: float,
        keep: Bool[Tensor, "out in"] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Quantised:
        """Columns in the order that they have; a group's levels are of its weights when its turn comes."""
        factor = stats.factor(damping)
        U = factor.upper / factor.upper.diagonal()[:, None]
        W, held = _transposed(weight, keep)
        W[factor.dead] = 0
        levels: list[Levels] = []
        size = self.group_size or len(W)
        for start in range(0, len(W), size):
            end = min(start + size, len(W))
            levels.append(Levels.of(W[start:end] * held[start:end], self.bits, self.symmetric, dtype))
            self._round(W, U, (start, end), _Goal(levels, [len(levels) - 1] * len(W), held))
        return Quantised.of(W, levels)

    def _in_static_groups(
        self,
        weight: Float[Tensor, "out in"],
        stats: InputStats,
        damping: float,
        keep: Bool[Tensor, "out in"] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Quantised:
        """Columns with the largest inputs first; a group's levels are of its weights as they came."""
        order = _order(stats)
        factor = stats.reordered(order).factor(damping)
        U = factor.upper / factor.upper.diagonal()[:, None]
        W, held = _transposed(weight, keep)
        W[order[factor.dead]] = 0
        size = self.group_size or len(W)
        levels = [Levels.of(group, self.bits, self.symmetric, dtype) for group in (W * held).split(size)]
        ordered = W[order]
        self._round(ordered, U, (0, len(W)), _Goal(levels, (order // size).tolist(), held[order]))
        W[order] = ordered
        return Quantised.of(W, levels)

    def _round(
        self, W: Float[Tensor, "in out"], U: Float[Tensor, "in in"], columns: tuple[int, int], goal: "_Goal"
    ) -> None:
        """Round these columns of the matrix in place, and let those behind them absorb what it took."""
        start, end = columns
        for first in range(start, end, self.column_block):
            last = min(first + self.column_block, end)
            E = torch.empty_like(W[first:last])
            _round_columns(W[first:last], U[first:last, first:last], E, goal.part(first, last))
            W[last:] -= matmul(U[first:last, last:].T, E)


@dataclass(frozen=True, eq=False)
class _Goal:
    """What columns are rounded to."""

    levels: list[Levels]
    group: list[int]  # of each column
    held: Float[Tensor, "columns out"]  # 0 where the rounded weight is zero

    def part(self, start: int, end: int) -> "_Goal":
        """Of some of the columns."""
        return replace(self, group=self.group[start:end], held=self.held[start:end])


def _transposed(
    weight: Float[Tensor, "out in"], keep: Bool[Tensor, "out in"] | None
) -> tuple[Float[Tensor, "in out"], Float[Tensor, "in out"]]:
    """A copy of the weights that is worked on, and 1 where one is kept."""
    W = weight.T.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return W, torch.ones_like(W) if keep is None else keep.T.to(W)


def _order(stats: InputStats) -> Int[Tensor, "in"]:
    """The inputs, the largest first."""
    return stats.sum_xx.argsort(descending=True, stable=True)


def _round_columns(W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"], goal: _Goal) -> None:
    """Round columns in place and write what it took from them to E: halves, down to a leaf of a few columns."""
    if len(W) > LEAF:
        half = len(W) // 2
        _round_columns(W[:half], U[:half, :half], E[:half], goal.part(0, half))
        W[half:] -= matmul(U[:half, half:].T, E[:half])
        _round_columns(W[half:], U[half:, half:], E[half:], goal.part(half, len(W)))
        return
    levels = [goal.levels[i] for i in goal.group]

    def round_column(j: int, column: Tensor, error: Tensor) -> None:
        rounded = levels[j].nearest(column).mul_(goal.held[j])
        torch.sub(column, rounded, out=error)
        column.copy_(rounded)

    eliminate(W, U, E, round_column)
