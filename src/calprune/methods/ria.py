"""RIA: relative importance and activations.

Zhang, Bai, Lin, Zhao, Hou, Cannistraci, "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language
Models", ICLR 2024, OpenReview Tr0lPx9woF, eq. 3-4 (no arXiv id is known; an earlier version is Preprints 202310.1487):

    score_ij = (|w_ij| / Σ_i |w_ij| + |w_ij| / Σ_j |w_ij|) · ‖X_j‖₂^power

All weights of the matrix compete, as in the paper's code.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs
from calprune.methods.contract import check_at_least_0
from calprune.pattern import Pattern, competing, keep_mask, masked


@options
class RIA:
    power: float = 0.5  # the paper's a

    tag: ClassVar[str] = "RIA"
    needs: ClassVar[Needs] = "moments"
    version: ClassVar[int] = 1

    def __post_init__(self):
        check_at_least_0(self, "power")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        score = relative_importance(weight) * stats.norm**self.power
        return masked(weight, keep_mask(score, competing(pattern, "matrix")))


def relative_importance(weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
    """|w_ij| / Σ_i |w_ij| + |w_ij| / Σ_j |w_ij|."""
    size = weight.abs().float()
    tiny = 1e-30  # a row or column of zeros has no relative importance, and no NaN
    return size / size.sum(1, keepdim=True).clamp_min(tiny) + size / size.sum(0, keepdim=True).clamp_min(tiny)
