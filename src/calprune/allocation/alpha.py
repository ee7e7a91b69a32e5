"""AlphaPruning: a block whose eigenvalues have the heavier tail is trained better, and keeps more. Reads no data.

Lu, Zhou, Liu, Wang, Mahoney, Yang, "AlphaPruning: Using Heavy-Tailed Self Regularization Theory for Improved Layer-wise
Pruning of Large Language Models", NeurIPS 2024, arXiv:2410.10912. The paper's text was not at hand: checked against the
released code, 5f0e984. Of each matrix, with λ_1 ≤ ... ≤ λ_N the eigenvalues of WᵀW and λ_min the least that counts as
tail, n eigenvalues being at least that (Hill's estimator):

    alpha = 1 + n / Σ ln(λ_i / λ_min)        over λ_i ≥ λ_min
    sparsity ∝ 1 - epsilon + 2 · epsilon · (alpha - min) / (max - min),  scaled so that the budget is met

λ_min is looked for at the peak of the spectrum, as the paper's code does: of the eigenvalues between 0.95 and 1.5 times
the peak of the histogram of log10 λ, that at which the fitted law is nearest to the tail (Kolmogorov-Smirnov). A block
has the mean alpha of its linears. Unlike the paper's code, the lower bound is 0.95 times the peak; there it is
log10(0.95 · peak), which hardly ever excludes anything. A sparsity above 100 % is refused: the paper's code has no
bound either, empties such a matrix with Wanda's scores and misses the budget unsaid.
"""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.allocation.budget import AllocationError, DenseBlock, Share, meet, share_of, shares_of
from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import Needs
from calprune.pattern import Pattern

BINS = 100  # of the histogram


@options
class Alpha:
    epsilon: float = 0.3  # half of the width of the sparsities, relative; the paper's 0.3 is for Wanda at 70 %
    per: Literal["block", "linear"] = "block"

    tag: ClassVar[str] = "Alpha"
    needs: ClassVar[Needs] = "nothing"
    version: ClassVar[int] = 1

    def __post_init__(self):
        if not 0 <= self.epsilon < 1:
            raise ConfigError(f"epsilon is half the relative width of the sparsities, 0 to below 1, got {self.epsilon}")

    def __call__(self, blocks: Iterable[DenseBlock], pattern: Pattern) -> dict[str, Pattern]:
        rated: list[Share] = []
        for block in blocks:
            alphas = [tail_exponent(linear.weight) for linear in block.linears]
            if self.per == "linear":
                rated += [share_of(linear, alpha) for linear, alpha in zip(block.linears, alphas, strict=True)]
            elif alphas:
                rated += shares_of(block, sum(alphas) / len(alphas))
        return meet(self._scaled(rated, pattern.sparsity), pattern)

    def _scaled(self, rated: list[Share], sparsity: float) -> list[Share]:
        if flat := [s.name for s in rated if not math.isfinite(s.value)]:
            raise AllocationError(f"alpha: the eigenvalues of {flat[0]} have no tail: fewer than two differ")
        low, high = min(s.value for s in rated), max(s.value for s in rated)
        place = [(s.value - low) / (high - low) if high > low else 0.5 for s in rated]
        relative = [1 + self.epsilon * (2 * p - 1) for p in place]
        total = sum(r * s.weights for r, s in zip(relative, rated, strict=True))
        scale = sparsity * sum(s.weights for s in rated) / total
        return [Share(s.name, s.shape, scale * r) for r, s in zip(relative, rated, strict=True)]


def tail_exponent(weight: Float[Tensor, "out in"]) -> float:
    """The exponent of the power law that the tail of the matrix's eigenvalues follows; smaller: heavier tail.

    NaN where there is no tail: fewer than two eigenvalues differ.
    """
    values = torch.linalg.svdvals(weight.float()).square().double().flip(0)
    values = values[values > 0]
    if len(values) < 2 or values[0] == values[-1]:
        return math.nan
    logs = values.log10()
    counts = torch.histc(logs.float(), BINS).to(logs.device)
    peak = 10 ** (logs[0] + (logs[-1] - logs[0]) * counts.argmax() / BINS)
    starts = ((values >= 0.95 * peak) & (values <= 1.5 * peak)).nonzero().flatten().tolist()
    fits = [_fit(values, first) for first in starts if first < len(values) - 1]
    return min(fits)[1] if fits else _fit(values, len(values) // 2)[1]


def _fit(values: Float[Tensor, "n"], first: int) -> tuple[float, float]:
    """(distance between the tail and its law, exponent) of the ascending eigenvalues from `first` on."""
    tail = values[first:] / values[first]
    total = tail.log().sum()
    if total == 0:
        return math.inf, math.nan
    alpha = 1 + len(tail) / total
    empirical = torch.arange(len(tail), dtype=tail.dtype, device=tail.device) / len(tail)
    return (1 - tail ** (1 - alpha) - empirical).abs().max().item(), alpha.item()
