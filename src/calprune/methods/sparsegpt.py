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

import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import InputStats, Needs
from calprune.layers.products import matmul
from calprune.methods.contract import check_damping
from calprune.pattern import KeepNofM, Pattern, PatternError, Unstructured, check_width, keep_mask, keep_of_each

LEAF = 8  # columns that are solved one after the other


@options
class SparseGPT:
    damping: float = 0.01  # fraction of the mean diagonal of H that is added to the diagonal
    column_block: int = 128  # the paper's B = B_s: the unstructured mask is chosen for so many columns at a time

    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 3

    def __post_init__(self):
        check_damping(self.damping)
        if self.column_block < 1:
            raise ConfigError(f"column_block must be at least 1, got {self.column_block}")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        if isinstance(pattern, Unstructured) and pattern.within == "matrix":
            raise PatternError(f'sparsegpt decides a block of columns at a time and cannot honour "{pattern}"')
        factor = stats.factor(self.damping)
        U, d = factor.upper, factor.upper.diagonal()
        W = weight.T.to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # (in, out)
        W[factor.dead] = 0  # inputs that were always zero: their weights do nothing
        step = self.column_block
        if isinstance(pattern, KeepNofM):
            check_width(len(W), pattern)
            step += -step % pattern.of  # whole groups of m
        E = torch.empty_like(W)
        for here, rest in halves(0, len(W), step):
            if rest is None:
                by = d[here, None]
                _solve_block(W[here], U[here, here] / by, E[here], _Choice.of(W[here], d[here], pattern))
                E[here] /= by
            else:
                W[rest] -= matmul(U[here, rest].T, E[here])
        return W.T.contiguous().to(weight.dtype)


@dataclass(frozen=True)
class _Choice:
    """Which weights of some columns go: chosen beforehand, or (n:m) as their turn comes."""

    d: Float[Tensor, "b"]
    pattern: Pattern
    gone: Float[Tensor, "b out"] | None  # 1.0 where the weight goes; None: not chosen yet

    @classmethod
    def of(cls, W: Float[Tensor, "b out"], d: Float[Tensor, "b"], pattern: Pattern) -> "_Choice":
        """Unstructured: the mask of a whole block of columns, by (w_ij / U_jj)²."""
        if isinstance(pattern, KeepNofM):
            return cls(d, pattern, None)
        score = (W / d[:, None]).square()
        if pattern.within == "row":
            return cls(d, pattern, (~keep_mask(score.T.contiguous(), pattern).T).to(W.dtype))
        # the paper's adaptive mask: all rows compete. Unlike the paper's code, exactly s of them go, ties too
        return cls(d, pattern, (~keep_mask(score, replace(pattern, within="matrix"))).to(W.dtype))

    def __getitem__(self, part: slice) -> "_Choice":
        return _Choice(self.d[part], self.pattern, None if self.gone is None else self.gone[part])

    def group(self, W: Float[Tensor, "b out"], first: int) -> Float[Tensor, "m out"]:
        """n:m: the fate of the group of columns that begins at `first`, by its weights as updated so far."""
        assert isinstance(self.pattern, KeepNofM), "an unstructured choice is made beforehand"
        part = slice(first, first + self.pattern.of)
        score = (W[part] / self.d[part, None]).square()
        return (~keep_of_each(score, self.pattern.keep)).to(W.dtype)


def halves(first: int, last: int, size: int) -> Iterator[tuple[slice, slice | None]]:
    """The order of the work: (block, None) to solve a block of `size` columns, (left, right) to update right by left.

    Columns are halved down to blocks, so that most of the updates are of many columns by many: few, large products.
    """
    if last - first <= size:
        yield slice(first, last), None
        return
    middle = first - (first - last) // (2 * size) * size
    yield from halves(first, middle, size)
    yield slice(first, middle), slice(middle, last)
    yield from halves(middle, last, size)


def _solve_block(
    W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"], choice: _Choice
) -> None:
    """Prune a whole block of columns in place and write what went to E: compiled, where that can be."""
    if (solve := compiled(W.device.type)) is None:
        return _solve(W, U, E, choice)
    rule = (choice.pattern.keep, choice.pattern.of) if isinstance(choice.pattern, KeepNofM) else (0, 0)
    solve(W, U, E, torch.empty_like(W) if choice.gone is None else choice.gone, choice.d, rule)


@lru_cache
def compiled(device: str) -> Callable | None:
    """`solve_columns` for the "cpu" (numba) or "cuda" (Triton), or None: `_solve` does the same more slowly."""
    if (library := {"cpu": "numba", "cuda": "triton"}.get(device)) is None:
        return None
    try:
        solve = importlib.import_module(f"calprune.methods.sparsegpt_{library}").solve_columns
        W, U = (torch.eye(2, device=device) for _ in range(2))
        solve(W, U.T, W.clone(), W.clone(), U.diagonal(), (0, 0))  # both compile when they are called
    except ImportError:
        return None
    except Exception as e:  # no compiler, no folder for what is compiled, a GPU that Triton does not know
        warnings.warn(f"SparseGPT runs without its kernel, more slowly: {library} cannot be used ({e})", stacklevel=2)
        return None
    return solve


def _solve(W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"], choice: _Choice) -> None:
    """Prune the columns of a block in place and write what went to E, by torch's operations."""
    leaf = LEAF
    if isinstance(choice.pattern, KeepNofM):
        leaf += -LEAF % choice.pattern.of  # whole groups of m
    for here, rest in halves(0, len(W), leaf):
        if rest is None:
            _solve_leaf(W[here], U[here, here], E[here], choice[here])
        else:
            W[rest] -= matmul(U[here, rest].T, E[here])


def _solve_leaf(W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"], choice: _Choice) -> None:
    """Algorithm 1's inner loop, a column at a time; as few operations as there can be, each is small."""
    m = choice.pattern.of if isinstance(choice.pattern, KeepNofM) else len(W)
    gone = choice.group(W, 0) if choice.gone is None else choice.gone
    for j, (column, error) in enumerate(zip(W.unbind(0), E.unbind(0), strict=True)):
        if choice.gone is None and j > 0 and j % m == 0:
            gone = choice.group(W, j)
        torch.mul(column, gone[j % m], out=error)
        column -= error
        if j + 1 < len(W):
            W[j + 1 :].addr_(U[j, j + 1 :], error, alpha=-1)
