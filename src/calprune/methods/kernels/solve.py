"""Prune the columns of one block, each with the updates of all columns before it: by a compiled kernel or by torch.

Letters as in sparsegpt.py. All is done on Wᵀ, so that a column of W is contiguous. Three functions do the same, with
one signature: `solve_columns` here, in kernels/numba.py (CPU) and in kernels/triton.py (GPU); `solve` chooses.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.layers.products import matmul
from calprune.pattern import keep_of_each

LEAF = 8  # columns that are solved one after the other


def solve(
    W: Float[Tensor, "b out"],
    U: Float[Tensor, "b b"],
    E: Float[Tensor, "b out"],
    gone: Float[Tensor, "b out"],
    d: Float[Tensor, "b"],
    rule: tuple[int, int],
) -> None:
    """Prune the columns of a block in place and write what was pruned of each to E.

    U: rows divided by their diagonal. gone: 1.0 where a weight is pruned. rule: (keep, of). With of = 0 `gone` is
    given. With of > 0 its contents are ignored and it may be overwritten: when their turn comes, all but the `keep`
    best of each `of` columns are pruned, by their scores (w_ij / d_j)² as updated so far; of equal ones the first.
    """
    (compiled(W.device.type) or solve_columns)(W, U, E, gone, d, rule)


@lru_cache
def compiled(device: str) -> Callable[..., None] | None:
    """The compiled `solve_columns` for the "cpu" (numba) or "cuda" (Triton), or None where there is none."""
    if (library := {"cpu": "numba", "cuda": "triton"}.get(device)) is None:
        return None
    try:
        kernel = importlib.import_module(f"calprune.methods.kernels.{library}").solve_columns
        W, U = (torch.eye(2, device=device) for _ in range(2))
        kernel(W, U.T, W.clone(), W.clone(), U.diagonal(), (0, 0))  # both compile when they are called
    except ImportError:
        return None
    except Exception as e:  # no compiler, no folder for what is compiled, a GPU that Triton does not know
        warnings.warn(f"SparseGPT runs without its kernel, more slowly: {library} cannot be used ({e})", stacklevel=2)
        return None
    return kernel


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


def solve_columns(
    W: Float[Tensor, "b out"],
    U: Float[Tensor, "b b"],
    E: Float[Tensor, "b out"],
    gone: Float[Tensor, "b out"],
    d: Float[Tensor, "b"],
    rule: tuple[int, int],
) -> None:
    """As `solve`, by torch's operations: more slowly, on any device."""
    leaf = LEAF + (-LEAF % rule[1] if rule[1] else 0)  # whole groups of n:m
    for here, rest in halves(0, len(W), leaf):
        if rest is None:
            _solve_leaf(W[here], U[here, here], E[here], gone[here], d[here], rule)
        else:
            W[rest] -= matmul(U[here, rest].T, E[here])


def _solve_leaf(
    W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"],
    gone: Float[Tensor, "b out"], d: Float[Tensor, "b"], rule: tuple[int, int],
) -> None:  # fmt: skip
    keep, of = rule

    def prune(j: int, column: Tensor, error: Tensor) -> None:
        if of and j % of == 0:
            group = slice(j, j + of)
            gone[group] = ~keep_of_each((W[group] / d[group, None]).square(), keep)
        torch.mul(column, gone[j], out=error)
        column -= error

    eliminate(W, U, E, prune)


def eliminate(
    W: Float[Tensor, "b out"], U: Float[Tensor, "b b"], E: Float[Tensor, "b out"],
    change: Callable[[int, Tensor, Tensor], None],
) -> None:  # fmt: skip
    """A few columns, one at a time: `change(j, column, error)` changes column j in place and writes what it took from
    it to `error`, which is then subtracted from the columns that follow. As few operations as possible: each is small.
    """
    for j, (column, error) in enumerate(zip(W.unbind(0), E.unbind(0), strict=True)):
        change(j, column, error)
        if j + 1 < len(W):
            W[j + 1 :].addr_(U[j, j + 1 :], error, alpha=-1)
