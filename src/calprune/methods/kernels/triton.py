"""SparseGPT's inner loop as one kernel for a GPU, in Triton, which comes with torch's builds for CUDA.

The same arithmetic as `solve_columns` in solve.py: a program takes a few rows of the matrix through all columns of a
block, held in registers, where torch's operations would start several kernels for every column.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

ROWS = 8  # rows of the matrix that a program takes; 8 in one warp are the fastest on an H200 (LOG.md, 2026-11-26)
WARPS = 1  # what is summed over columns then needs no memory that warps share


def solve_columns(
    W: Float[Tensor, "b out"],
    U: Float[Tensor, "b b"],
    E: Float[Tensor, "b out"],
    gone: Float[Tensor, "b out"],
    d: Float[Tensor, "b"],
    rule: tuple[int, int],
) -> None:
    """As `solve` in solve.py, on a GPU; `gone` is not written."""
    columns, rows = W.shape
    assert W.is_contiguous() and E.is_contiguous(), "they are written in place"
    given = (tensor.contiguous() for tensor in (U, gone, d))
    sizes = (rows, columns, *rule, triton.next_power_of_2(columns), ROWS)
    with torch.cuda.device_of(W):
        _kernel[triton.cdiv(rows, ROWS),](W, E, *given, *sizes, num_warps=WARPS)


@triton.jit
@no_type_check
def _kernel(
    W, E, U, gone, d, rows,
    columns: tl.constexpr, keep: tl.constexpr, of: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    k = tl.arange(0, SIZE)[:, None]  # (b, 1): a column of the block
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[None, :]  # (1, rows)
    inside = (k < columns) & (row < rows)
    w = tl.load(W + k * rows + row, inside, 0.0)
    group: tl.constexpr = of if of > 0 else 1
    if of > 0:
        goes = tl.zeros_like(w)
        scale = tl.load(d + k, k < columns, 1.0)
    else:
        goes = tl.load(gone + k * rows + row, inside, 0.0)
    for first in range(0, columns, group):
        if of > 0:
            score = w / scale
            score *= score
            before = tl.zeros((SIZE, ROWS), tl.int32)  # how many of the group go before this one
            for i in range(first, first + of):
                other = tl.sum(tl.where(k == i, score, 0.0), 0, keep_dims=True)
                before += ((other < score) | ((other == score) & (i < k))).to(tl.int32)
            goes = tl.where((k >= first) & (k < first + of), (before < of - keep).to(tl.float32), goes)
        for j in range(first, first + group):
            e = tl.sum(tl.where(k == j, w * goes, 0.0), 0, keep_dims=True)  # (1, rows)
            tl.store(E + j * rows + row, e, row < rows)
            w -= tl.load(U + j * columns + k, (k >= j) & (k < columns), 0.0) * e
    tl.store(W + k * rows + row, w, inside)
