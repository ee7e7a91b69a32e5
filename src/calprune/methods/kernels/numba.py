"""SparseGPT's inner loop as one compiled kernel for a CPU, where numba is installed (`pip install 'calprune[fast]'`).

The same arithmetic as `solve_columns` in solve.py, in another order: a column gathers the errors of all columns before
it, four at a time, instead of each column being subtracted from all that follow. A tile of rows stays in the cache.
"""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float
from torch import Tensor

TILE = 128  # rows of the matrix that are taken through all columns of a block before the next


def solve_columns(
    W: Float[Tensor, "b out"],
    U: Float[Tensor, "b b"],
    E: Float[Tensor, "b out"],
    gone: Float[Tensor, "b out"],
    d: Float[Tensor, "b"],
    rule: tuple[int, int],
) -> None:
    """As `solve` in solve.py, on a CPU."""
    _solve_columns(W.numpy(), U.numpy(), E.numpy(), gone.numpy(), d.numpy(), rule)


# numba reads a function's own code, so nothing may be wrapped round it: no annotations, and no checks of them


@numba.njit(cache=True)
@no_type_check
def _absorb(w, u, E, span, tile):
    """w -= Σ_i u_i E_i over the columns i of a span, four at a time."""
    (start, end), (first, last) = span, tile
    fours = end - (end - start) % 4
    for i in range(start, fours, 4):
        u0, u1, u2, u3 = u[i], u[i + 1], u[i + 2], u[i + 3]
        # slices of contiguous rows: the compiler sees that they are, and uses vector instructions
        e0, e1, e2, e3 = E[i, first:last], E[i + 1, first:last], E[i + 2, first:last], E[i + 3, first:last]
        for r in range(len(w)):
            w[r] -= u0 * e0[r] + u1 * e1[r] + u2 * e2[r] + u3 * e3[r]
    for i in range(fours, end):
        ui, ei = u[i], E[i, first:last]
        for r in range(len(w)):
            w[r] -= ui * ei[r]


@numba.njit(cache=True)
@no_type_check
def _choose(W, d, gone, span, tile, keep):
    """1.0 in `gone` for all but the `keep` highest (w / d)² of each row's group: by the rank among the few others."""
    (start, end), (first, last) = span, tile
    score = np.empty((end - start, last - first), np.float32)
    for i in range(start, end):
        w, s, scale = W[i, first:last], score[i - start], d[i]
        for r in range(len(w)):
            s[r] = (w[r] / scale) * (w[r] / scale)
    before = np.empty(last - first, np.int32)  # how many of the group go before this one
    for i in range(end - start):
        mine = score[i]
        before[:] = 0
        for j in range(end - start):
            other = score[j]
            for r in range(len(mine)):
                before[r] += other[r] < mine[r] or (other[r] == mine[r] and j < i)
        g = gone[start + i, first:last]
        for r in range(len(mine)):
            g[r] = before[r] < end - start - keep


@numba.njit(cache=True)
@no_type_check
def _solve_columns(W, U, E, gone, d, rule):
    (columns, rows), (keep, of) = W.shape, rule
    group = max(of, 1)
    for first in range(0, rows, TILE):
        last = min(first + TILE, rows)
        tile = (first, last)
        for start in range(0, columns, group):
            end = start + group
            for j in range(start, end):
                _absorb(W[j, first:last], U[:, j], E, (0, start), tile)
            if of > 0:
                _choose(W, d, gone, (start, end), tile, keep)
            for j in range(start, end):
                w, e, g = W[j, first:last], E[j, first:last], gone[j, first:last]
                _absorb(w, U[:, j], E, (start, j), tile)
                for r in range(len(w)):
                    e[r] = w[r] * g[r]
                for r in range(len(w)):
                    w[r] -= e[r]
