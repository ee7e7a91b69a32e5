"""Pruner-Zero: keep the largest w² · scaled |gradient|, a score that was found by a search over formulas.

Dong, Li, Tang, Liu, Pan, Chu, "Pruner-Zero: Evolving Symbolic Pruning Metric from Scratch for Large Language Models",
ICML 2024, arXiv:2406.02924. The paper's text was not at hand: checked against the released formula, db70134:

    score_ij = w_ij² · (G_ij - min G) / (max G - min G),   G_ij = √(Σ g_ij²) over sequences, min and max over the matrix

A row's weights compete. The inputs have no part in it. The released code takes the gradients from WikiText-2, on which
the paper then reports perplexity; here they are of the calibration set.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from calprune.base.checks import options
from calprune.layers.inputs import InputStats, Needs
from calprune.pattern import Pattern, competing, keep_mask, masked


@options
class PrunerZero:
    tag: ClassVar[str] = "PrunerZero"
    needs: ClassVar[Needs] = "gradients"
    version: ClassVar[int] = 1

    def __call__(self, weight: Float[Tensor, "out in"], stats: InputStats, pattern: Pattern) -> Float[Tensor, "out in"]:
        G = stats.gradient("loss").squares.sqrt()
        scaled = (G - G.min()) / (G.max() - G.min()).clamp_min(1e-30)  # all gradients alike: all scores are zero
        return masked(weight, keep_mask(weight.float().square() * scaled, competing(pattern, "row")))
