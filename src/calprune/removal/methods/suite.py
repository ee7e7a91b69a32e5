"""Experts by the criteria of MC-Suite: what each says of an expert, of which the lowest, or the highest, go.

    similarity           Σ_q cos(W_p, W_q) over the other experts q of the block, of the flattened weights
    router_norm          ‖router row‖₂
    stable_rank          the mean over its matrices of Σ σ² / σ₁²
    weight_norm          ‖W_p‖₂ of all its weights
    usage                how many tokens are sent to it
    collaboration        how many tokens that are sent to it are also sent to another, summed over the others
    activation_entropy   -Σ_c p_c ln p_c with p_c the share of channel c in Σ f², f what it gives
    gradient_entropy     -Σ_w p_w ln p_w with p_w the share of weight w in Σ g², g the gradient of the loss

"Finding Fantastic Experts in MoEs: A Unified Study for Expert Dropping Strategies and Observations", 2025,
arXiv:2504.05586. Its text and code were not at hand: the first six are as a review has them, of the last two the names
are theirs and the formulas ours. It drops at either end (`drop`), a few experts at a time, the model healed in between.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.patterns import UnitKind
from calprune.layers.linears import Linear, ModelError
from calprune.removal.methods.contract import Reads
from calprune.removal.outputs import ExpertSums

Criterion = Literal["similarity", "router_norm", "stable_rank", "weight_norm", "usage", "collaboration",
                    "activation_entropy", "gradient_entropy"]  # fmt: skip
OF_OUTPUTS, OF_GRADIENTS = ("usage", "collaboration", "activation_entropy"), ("gradient_entropy",)


@dataclass(frozen=True)
class ExpertWeights:
    """One bank of experts without data."""

    matrices: list[list[Linear]]  # of each expert
    router: Float[Tensor, "experts hidden"] | None  # None: no matrix of one row for each expert was found
    gradients: list[Float[Tensor, "weights"]] | None = None  # of each expert: Σ g² of every weight


@options
class MCSuite:
    """A criterion of MC-Suite, of which the lowest, or the highest, go."""

    criterion: Criterion = "activation_entropy"
    drop: Literal["lowest", "highest"] = "lowest"

    tag: ClassVar[str] = "MCSuite"
    kinds: ClassVar[tuple[UnitKind, ...]] = ("experts",)
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Reads:
        if self.criterion in OF_OUTPUTS:
            return "experts"
        return "gradients" if self.criterion in OF_GRADIENTS else "nothing"

    def __call__(self, given: ExpertSums | ExpertWeights) -> Float[Tensor, "experts"]:
        found = self._of_sums(given) if isinstance(given, ExpertSums) else self._of_weights(given)
        return found if self.drop == "lowest" else -found

    def _of_sums(self, sums: ExpertSums) -> Float[Tensor, "experts"]:
        if self.criterion == "usage":
            return sums.tokens
        if self.criterion == "collaboration":
            return sums.together.sum(1) - sums.together.diagonal()
        return torch.stack([entropy(one) for one in sums.output_squares])

    def _of_weights(self, bank: ExpertWeights) -> Float[Tensor, "experts"]:
        if self.criterion == "router_norm":
            if bank.router is None:
                raise ModelError("the router has no matrix of one row for each expert; take another criterion")
            return bank.router.double().norm(dim=1)
        if self.criterion == "gradient_entropy":
            assert bank.gradients is not None
            return torch.stack([entropy(one) for one in bank.gradients])
        if self.criterion == "stable_rank":
            return torch.tensor([sum(map(_stable_rank, one)) / len(one) for one in bank.matrices], dtype=torch.double)
        flat = [torch.cat([site.weight.double().flatten() for site in one]) for one in bank.matrices]
        if self.criterion == "weight_norm":
            return torch.stack([one.norm() for one in flat])
        return similarity(flat)


def entropy(squares: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """-Σ p ln p of shares; of nothing 0."""
    shares = squares.double() / squares.double().sum().clamp_min(1e-300)
    return torch.special.entr(shares).sum()


def similarity(flat: list[Float[Tensor, "weights"]]) -> Float[Tensor, "experts"]:
    """The sum of each vector's cosines with the others."""
    unit = torch.stack([one / one.norm().clamp_min(1e-300) for one in flat])
    cosines = unit @ unit.T
    return cosines.sum(1) - cosines.diagonal()


def _stable_rank(site: Linear) -> float:
    """Σ σ² / σ₁²."""
    weight = site.weight.float()
    return float(weight.square().sum() / torch.linalg.matrix_norm(weight, 2).square().clamp_min(1e-30))
