"""GBLM: Wanda's score, and the size of the loss's gradient beside it.

Das, Sun, Ma, Shen, "Beyond Size: How Gradients Shape Pruning Decisions in Large Language Models", 2023,
arXiv:2311.04902. The paper's text was not at hand: checked against the released code, 9e8aea2, and the formula as a
summary of the paper gives it. Over the N sequences of the calibration set:

    score_ij = |w_ij| · (√(Σ x_j² / N) + alpha · ‖g_ij‖_p)

with the sum over all tokens, and the norm over sequences, as the released code has them: √(Σ g²) for p = 2, Σ |g| for
p = 1. So the second term grows with N, and `alpha` weighs it. A row's weights compete. The released code takes its
gradients in half precision; here they are summed in float32.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs
from calprune.methods.contract import check_at_least_0
from calprune.pattern import Pattern, competing, keep_mask, masked


@options
class GBLM:
    alpha: float = 100.0
    norm: Literal["l1", "l2"] = "l2"

    tag: ClassVar[str] = "GBLM"
    needs: ClassVar[Needs] = "gradients"
    version: ClassVar[int] = 1

    def __post_init__(self):
        check_at_least_0(self, "alpha")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        g = stats.gradient("loss")
        size = g.squares.sqrt() if self.norm == "l2" else g.sizes
        inputs = (stats.sum_xx / g.sequences).sqrt()  # (in,)
        return masked(weight, keep_mask(weight.abs().float() * (inputs + self.alpha * size), competing(pattern, "row")))
