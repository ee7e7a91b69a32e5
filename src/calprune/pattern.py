"""Masks by sparsity patterns: which weights of a matrix survive.

The patterns themselves, as text and as data, are `calprune.base.patterns`, and can be imported from here too.

The one operation is `keep_mask(score, pattern)`: given a score for each weight (higher = more worth keeping), say
which survive. Counts are exact, also when scores tie: of equal scores the lower index is pruned first.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.patterns import (
    KeepNofM,
    Pattern,
    PatternError,
    Unstructured,
    Within,
    check_width,
    competing,
    parse_pattern,
)
from calprune.base.tensors import bits_of

__all__ = [
    "KeepNofM",
    "Pattern",
    "PatternError",
    "Unstructured",
    "Within",
    "check_width",
    "competing",
    "drop_lowest",
    "keep_mask",
    "keep_of_each",
    "masked",
    "parse_pattern",
]


def keep_mask(score: Float[Tensor, "out in"], pattern: Pattern) -> Bool[Tensor, "out in"]:
    """True where the weight survives: exactly round(s · competing weights) of them do not, or m - n of every m."""
    match pattern:
        case KeepNofM(keep, of):
            check_width(score.shape[1], pattern)
            return keep_of_each(score.reshape(-1, of).T, keep).T.reshape(score.shape)
        case Unstructured(sparsity, "row"):
            return drop_lowest(score, round(score.shape[1] * sparsity))
        case Unstructured(sparsity, "matrix"):
            return drop_lowest(score.reshape(1, -1), round(score.numel() * sparsity)).reshape(score.shape)
    raise PatternError(f'{pattern} leaves open which weights compete; write "{pattern}/row" or "{pattern}/matrix"')


def masked(weight: Float[Tensor, "out in"], keep: Bool[Tensor, "out in"]) -> Float[Tensor, "out in"]:
    """The weight with exact zeros (never -0.0) where it does not survive."""
    if (bits := bits_of(weight)) and keep.shape == weight.shape and not weight.requires_grad:
        # all bits of what stays or none: 4 to 20 times as fast as torch.where (LOG.md, 2026-11-29)
        return keep.view(torch.int8).neg().to(bits).bitwise_and_(weight.view(bits)).view(weight.dtype)
    return torch.where(keep, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))


def drop_lowest(score: Float[Tensor, "group n"], count: int) -> Bool[Tensor, "group n"]:
    """False for the `count` lowest of each group (a row), 0 to n: a partial selection, no sort."""
    if count == 0:
        return torch.ones_like(score, dtype=torch.bool)
    threshold = _kth_lowest(score, count)
    keep = score > threshold
    stay = keep.view(torch.uint8).sum(1, dtype=torch.int32)  # of truths the sum takes two to six times as long
    surplus = count - (score.shape[1] - stay)  # <= 0: how many of the tied ones must stay
    for group in surplus.nonzero().flatten().tolist():
        tied = (score[group] == threshold[group]).nonzero().flatten()
        keep[group, tied[len(tied) + surplus[group] :]] = True
    return keep


def _kth_lowest(score: Float[Tensor, "group n"], k: int) -> Float[Tensor, "group 1"]:
    if score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        # numpy's selection is three to six times faster than torch.kthvalue on a CPU (LOG.md, 2026-11-22)
        return torch.from_numpy(np.partition(score.detach().numpy(), k - 1, axis=1)[:, k - 1 : k].copy())
    if score.device.type == "cuda":
        # its kthvalue takes 317 ms for the 45 million of one matrix, its topk 1 (LOG.md, 2026-11-26)
        above = score.shape[1] - k + 1
        if k <= above:
            return score.topk(k, dim=1, largest=False, sorted=False).values.amax(1, keepdim=True)
        return score.topk(above, dim=1, sorted=False).values.amin(1, keepdim=True)
    return score.kthvalue(k, dim=1, keepdim=True).values


def keep_of_each(score: Float[Tensor, "of groups"], keep: int) -> Bool[Tensor, "of groups"]:
    """True for the `keep` highest of each group (a column), by each one's rank among the few others: no sort."""
    of = len(score)
    if of > 16:  # comparisons grow with of²
        order = score.argsort(dim=0, stable=True)
        return torch.ones_like(score, dtype=torch.bool).scatter_(0, order[: of - keep], False)
    rows = score.unbind(0)
    # how many of the group go before each one: at first, all that come later
    rank = [torch.full_like(row, of - 1 - i, dtype=torch.int8) for i, row in enumerate(rows)]
    for later in range(of):
        for earlier in range(later):
            first = (rows[earlier] <= rows[later]).view(torch.int8)  # 1 where the earlier one goes first
            rank[later] += first
            rank[earlier] -= first
    return torch.stack(rank) >= of - keep
