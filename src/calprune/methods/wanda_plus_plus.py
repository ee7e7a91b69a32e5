"""Wanda++: Wanda's score, and how much the block's own output changes with the weight beside it.

Yang, Zhen, Ganesh, Galstyan, Huybrechts, Müller, Kübler, Swaminathan, Mouchtaris, Bodapati, Susanj, Zhang, FitzGerald,
Kumar, "Wanda++: Pruning Large Language Models via Regional Gradients", Findings of ACL 2025, arXiv:2503.04992. Over the
N sequences of the calibration set, with f the block and g_n the gradient of ‖f(x_n)‖₂ in the weight:

    score_ij = |w_ij| · (alpha · √(Σ_n g_n,ij² / N) + √(Σ x_j² / N))

A row's weights compete. This is the regional gradient score; the paper then alternates it with a regional optimisation
of the block, which is the method `regional`. The authors have no public code, and the paper's text was not at hand:
checked against a public note on it, and against the reproduction that its third version names, 71e01bb, which has in
effect a quarter of this `alpha` (LOG.md, 2026-11-25). The scale of the inputs' norm is Wanda's code's.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs
from calprune.methods.contract import check_at_least_0
from calprune.pattern import Pattern, competing, keep_mask, masked


@options
class WandaPlusPlus:
    alpha: float = 100.0

    tag: ClassVar[str] = "WandaPlusPlus"
    needs: ClassVar[Needs] = "regional"
    version: ClassVar[int] = 1

    def __post_init__(self):
        check_at_least_0(self, "alpha")

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        g = stats.gradient("output")
        inputs = (stats.sum_xx / g.sequences).sqrt()  # (in,)
        score = weight.abs().float() * (self.alpha * (g.squares / g.sequences).sqrt() + inputs)
        return masked(weight, keep_mask(score, competing(pattern, "row")))
