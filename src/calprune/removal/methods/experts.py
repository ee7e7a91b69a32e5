"""Experts: which of a block's go, the same number in every block.

With n tokens sent to an expert, g the router's weight of it for a token and f what it gives before that weight:

    frequency        n
    soft_frequency   Σ g
    ean              Σ ‖f‖         "expert activation norm": `ean_sum` of REAP's released code
    man              Σ ‖f‖ / n     its mean, `ean_mean` there: MAN of arXiv:2606.15716, whose text was not at hand
    msan             Σ ‖f‖² / n    MSAN of the same, read from its name
    reap             Σ g‖f‖ / n    Lasby et al., "REAP the Experts", 2025, arXiv:2510.13999
    reap_l2          Σ g‖f‖² / n   of REAP's released code
    aimer            rms(w) / mean|w| over an expert's weights: reads no data. arXiv:2603.18492, which prunes what has
                     the highest mean|w| / rms(w) first; its text was not at hand
    random           drawn

Experts that read the states times the router's weight (Llama 4) have it in f: g is 1, so reap is man and reap_l2 is
msan there, and soft_frequency is refused.

The lowest go. Of a router that first chooses among groups of experts, each group loses as many.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import Count, options
from calprune.base.patterns import UnitKind
from calprune.layers.linears import Linear
from calprune.removal.methods.contract import Reads
from calprune.removal.methods.suite import ExpertWeights
from calprune.removal.outputs import ExpertSums

EXPERTS: tuple[UnitKind, ...] = ("experts",)
EXTREME, SHARE, EARLY = 0.995, 0.1, 0.75  # super experts: quantile of all largest outputs, share of the largest, blocks


@options
class _OfSums:
    """What scores of sums have in common."""

    protect_super: bool = False  # keep experts with extreme outputs

    kinds: ClassVar[tuple[UnitKind, ...]] = EXPERTS

    @property
    def needs(self) -> Reads:
        return "experts"


@options
class Frequency(_OfSums):
    """n: how many tokens are sent to it."""

    tag: ClassVar[str] = "Frequency"
    version: ClassVar[int] = 1

    def __call__(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        return sums.tokens


@options
class SoftFrequency(_OfSums):
    """Σ g: the router's weights of it."""

    tag: ClassVar[str] = "SoftFrequency"
    version: ClassVar[int] = 1

    def __call__(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        return sums.gates


@options
class ActivationNorm(_OfSums):
    """Σ ‖f‖: how much it gives in all."""

    tag: ClassVar[str] = "ActivationNorm"
    version: ClassVar[int] = 1

    def __call__(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        return sums.norms


@options
class MeanActivationNorm(_OfSums):
    """Σ ‖f‖ / n: how much it gives a token."""

    tag: ClassVar[str] = "MeanActivationNorm"
    version: ClassVar[int] = 1

    def __call__(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        return sums.norms / sums.sent


@options
class MeanSquaredActivationNorm(_OfSums):
    """Σ ‖f‖² / n."""

    tag: ClassVar[str] = "MeanSquaredActivationNorm"
    version: ClassVar[int] = 1

    def __call__(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        return sums.squared_norms / sums.sent


@options
class REAP(_OfSums):
    """Σ g‖f‖ / n: how much of it reaches a token's state."""

    tag: ClassVar[str] = "REAP"
    version: ClassVar[int] = 1

    def __call__(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        return sums.weighted / sums.sent


@options
class SquaredREAP(_OfSums):
    """Σ g‖f‖² / n."""

    tag: ClassVar[str] = "SquaredREAP"
    version: ClassVar[int] = 1

    def __call__(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        return sums.weighted_squares / sums.sent


@options
class Condensing:
    """How early an expert is added where few with constant gates stand for all: CD-MoE's ranking (`condensing`)."""

    sequences: Count = 4  # of the calibration set, the longest

    tag: ClassVar[str] = "Condensing"
    kinds: ClassVar[tuple[UnitKind, ...]] = EXPERTS
    version: ClassVar[int] = 2  # 1 let experts that it had not ranked fill a group

    @property
    def needs(self) -> Reads:
        return "model"

    def __call__(self, ranks: Float[Tensor, "experts"]) -> Float[Tensor, "experts"]:
        return ranks


@options
class AIMER:
    """rms(w) / mean|w| over an expert's weights: what the data buy is seen beside it."""

    tag: ClassVar[str] = "AIMER"
    kinds: ClassVar[tuple[UnitKind, ...]] = EXPERTS
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        return "nothing"

    def __call__(self, bank: ExpertWeights) -> Float[Tensor, "experts"]:
        return torch.tensor([self._one(one) for one in bank.matrices], dtype=torch.double)

    def _one(self, matrices: list[Linear]) -> float:
        count = sum(site.weight.numel() for site in matrices)
        square = sum(float(site.weight.float().square().sum(dtype=torch.double)) for site in matrices)
        size = sum(float(site.weight.float().abs().sum(dtype=torch.double)) for site in matrices)
        return (square / count) ** 0.5 / max(size / count, 1e-30)


def super_experts(largest: list[Float[Tensor, "experts"]]) -> list[Tensor]:
    """Which experts of each bank give extreme outputs: above the quantile 0.995 of all experts' largest ones and above
    a tenth of the largest of all, in the first three quarters of the banks, as REAP's released code has it
    (`get_super_expert_indices`); Su et al., "Unveiling Super Experts", 2025, arXiv:2507.23279.
    """
    every = torch.cat([one.double() for one in largest])
    least = max(float(torch.quantile(every, EXTREME)), SHARE * float(every.max()))
    early = int(EARLY * len(largest))
    return [(one.double() > least) & (i < early) for i, one in enumerate(largest)]


def in_groups(scores: Float[Tensor, "experts"], stay: int, groups: int) -> Tensor:
    """The experts with the highest scores, as many of each group, rising."""
    each = scores.double().cpu().reshape(groups, -1)
    order = each.argsort(dim=1, stable=True)[:, each.shape[1] - stay // groups :]
    return (order + each.shape[1] * torch.arange(groups)[:, None]).flatten().sort().values
