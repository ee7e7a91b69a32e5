"""Sparsity patterns: which weights of a matrix may be nonzero.

A pattern is written as text and parsed once, at the door:

    "50%"          half of the weights are zero; which compete is the method's choice, as in its paper
    "50%/row"      half of each row is zero: a row's weights compete with each other
    "50%/matrix"   half of the matrix is zero: all its weights compete
    "2:4"          at most 2 of every 4 consecutive inputs are nonzero (n is what is kept, not what is zeroed)

The one operation is `keep_mask(score, pattern)`: given a score for each weight (higher = more worth keeping), say
which survive. Counts are exact, also when scores tie: of equal scores the lower index is pruned first.
"""

import re
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import UserError

Within = Literal["row", "matrix"]


class PatternError(UserError):
    """A pattern that cannot be read, or does not fit the matrix it is applied to."""


@options
class Unstructured:
    """Zero the lowest-scored `sparsity` of the weights, rounded to a whole number of them."""

    tag: ClassVar[str] = "Unstructured"

    sparsity: float  # fraction of zeros, 0 <= s < 1
    within: Within | None = None  # which weights compete; None: as the method's paper says

    def __post_init__(self):
        if not 0.0 <= self.sparsity < 1.0:
            raise PatternError(f"sparsity must be at least 0 and below 1 (0% to below 100%), got {self.sparsity:g}")

    def __str__(self) -> str:
        return f"{self.sparsity * 100:.10g}%" + (f"/{self.within}" if self.within else "")


@options
class KeepNofM:
    """At most `keep` nonzero in each run of `of` consecutive inputs: 2:4 is `KeepNofM(2, 4)`."""

    tag: ClassVar[str] = "KeepNofM"

    keep: int
    of: int

    def __post_init__(self):
        if not 0 < self.keep < self.of:
            raise PatternError(f"n:m keeps n of every m weights and needs 0 < n < m, got {self.keep}:{self.of}")

    @property
    def sparsity(self) -> float:
        return 1 - self.keep / self.of

    def __str__(self) -> str:
        return f"{self.keep}:{self.of}"


Pattern = Unstructured | KeepNofM


def parse_pattern(text: str) -> Pattern:
    """Read "50%", "50%/row", "50%/matrix" or "2:4"."""
    if m := re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*%(?:/(row|matrix))?", text.strip()):
        return Unstructured(float(m[1]) / 100, m[2])  # type: ignore[arg-type]
    if m := re.fullmatch(r"(\d+):(\d+)", text.strip()):
        return KeepNofM(int(m[1]), int(m[2]))
    how = 'write it like "50%", "50%/row", "50%/matrix" or "2:4"'
    raise PatternError(f"cannot read pattern {text!r}; {_meant(text.strip()) or how}")


def _meant(text: str) -> str:
    """A question where the sign is missing (50, 0.5) or another (2-4)."""
    if (m := re.fullmatch(r"\d*\.?\d+", text)) and 0 < float(text) < 100:
        return f"did you mean '{float(text) * (100 if float(text) < 1 else 1):.10g}%'?"
    if (m := re.fullmatch(r"(\d+)\s*[-/;,]\s*(\d+)", text)) and 0 < int(m[1]) < int(m[2]):
        return f"did you mean '{m[1]}:{m[2]}'?"
    return ""


def competing(pattern: Pattern, within: Within) -> Pattern:
    """The pattern with what it leaves open decided: `within` is the choice of the method's paper."""
    if isinstance(pattern, Unstructured) and pattern.within is None:
        return replace(pattern, within=within)
    return pattern


def check_width(width: int, pattern: Pattern) -> None:
    """Raise PatternError where a matrix of `width` inputs cannot hold the pattern."""
    if isinstance(pattern, KeepNofM) and width % pattern.of:
        raise PatternError(f"{pattern} needs an input width that is a multiple of {pattern.of}, got {width}")


def keep_mask(score: Float[Tensor, "out in"], pattern: Pattern) -> Bool[Tensor, "out in"]:
    """True where the weight survives: exactly round(s · competing weights) of them do not, or m - n of every m."""
    match pattern:
        case KeepNofM(keep, of):
            check_width(score.shape[1], pattern)
            return keep_of_each(score.reshape(-1, of).T, keep).T.reshape(score.shape)
        case Unstructured(sparsity, "row"):
            return _drop_lowest(score, round(score.shape[1] * sparsity))
        case Unstructured(sparsity, "matrix"):
            return _drop_lowest(score.reshape(1, -1), round(score.numel() * sparsity)).reshape(score.shape)
    raise PatternError(f'{pattern} leaves open which weights compete; write "{pattern}/row" or "{pattern}/matrix"')


def masked(weight: Float[Tensor, "out in"], keep: Bool[Tensor, "out in"]) -> Float[Tensor, "out in"]:
    """The weight with exact zeros (never -0.0) where it does not survive."""
    return torch.where(keep, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))


def _drop_lowest(score: Float[Tensor, "group n"], count: int) -> Bool[Tensor, "group n"]:
    """False for the `count` lowest of each group: a partial selection, no sort."""
    if count == 0:
        return torch.ones_like(score, dtype=torch.bool)
    threshold = _kth_lowest(score, count)
    keep = score > threshold
    surplus = count - (score.shape[1] - keep.sum(1))  # <= 0: how many of the tied ones must stay
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
