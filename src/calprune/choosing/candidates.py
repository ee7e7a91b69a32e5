"""Mixtures judged end to end: by their KL to the dense model, on each capability's held-out text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calprune.choosing.sums import Shares, Sums
from calprune.evaluate.divergence import DenseReference
from calprune.linears import find_blocks
from calprune.methods import Method
from calprune.models import Model
from calprune.pattern import Pattern
from calprune.pruning import Pruning

BUDGETS = (2048, 4096, 8192)  # tokens of each capability's text; a round keeps the better half


@dataclass
class Judged:
    """The dense model, and what it makes of each capability's text to search on."""

    model: Model
    method: Method
    pattern: Pattern
    sources: Sums
    windows: Mapping[str, Tensor]  # (n, T) of each capability
    _references: dict[tuple[str, int], DenseReference] = field(default_factory=dict)

    def windows_within(self, budget: int) -> dict[str, int]:
        """How many windows of each capability are read for so many tokens."""
        return {name: max(1, min(len(rows), budget // rows.shape[1])) for name, rows in self.windows.items()}

    @torch.no_grad()
    def divergence(self, shares: Shares, budget: int) -> dict[str, float]:
        """KL to the dense model, nats a token, of the model pruned by a mixture's sums; its weights are put back."""
        references = {name: self._reference(name, n) for name, n in self.windows_within(budget).items()}
        blocks = find_blocks(self.model.model)[1]
        dense = [p.clone() for p in blocks.parameters()]
        job = Pruning(self.method, self.pattern, propagate="dense")
        try:
            data = self.sources.statistics(shares, self.method.needs)
            for _ in job.blocks(self.model.model, data):
                pass
            return {name: float(one.divergence(self.model.model).nats.mean()) for name, one in references.items()}
        finally:
            for parameter, value in zip(blocks.parameters(), dense, strict=True):
                parameter.copy_(value)

    def _reference(self, name: str, n: int) -> DenseReference:
        if (name, n) not in self._references:  # asked for while the weights are dense
            self._references[name, n] = DenseReference(self.model.model, self.windows[name][:n])
        return self._references[name, n]


@dataclass(frozen=True)
class Round:
    """All candidates of one budget."""

    tokens: int  # of each capability's text, at most
    divergence: dict[str, dict[str, float]]  # candidate -> capability -> KL

    def order(self, weights: Mapping[str, float]) -> list[str]:
        """Candidates by the weighted mean of their KL, the best first."""

        def mean(name: str) -> float:
            return math.fsum(weights[c] * kl for c, kl in self.divergence[name].items())

        return sorted(self.divergence, key=mean)


def budgets(most: int) -> list[int]:
    """The growing numbers of tokens, the last being all there is."""
    return [*(budget for budget in BUDGETS if budget < most), most]
