"""DLP: a block whose median score is higher is redundant, and keeps less.

Chen, Cheng, Han, Zhang, Li, Zhang, "DLP: Dynamic Layerwise Pruning in Large Language Models", ICML 2025,
arXiv:2505.23807:

    A_ij = ‖X_j‖₂ · |w_ij|        over all linears of a block
    D    = median(A),  I = 1 - D / Σ D        (the sum over blocks)
    keep = 1 - sparsity + r - mean(r),  with r the I of all blocks, mapped onto [0, 2 · alpha]

The paper's text was not at hand: checked against a public note on it, and against the released code, 31d480f, which
takes the mean of the scores where the pattern is unstructured, and the median for n:m.
"""

from collections.abc import Iterable
from typing import ClassVar

import torch

from calprune.allocation.budget import DenseBlock, Share, meet, shares_of, spread
from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import Needs
from calprune.pattern import Pattern


@options
class DLP:
    alpha: float = 0.15  # half of the width of the sparsities

    tag: ClassVar[str] = "DLP"
    needs: ClassVar[Needs] = "moments"
    version: ClassVar[int] = 1

    def __post_init__(self):
        if not 0 <= self.alpha <= 0.5:
            raise ConfigError(f"alpha is half the width of the sparsities, 0 to 0.5, got {self.alpha}")

    def __call__(self, blocks: Iterable[DenseBlock], pattern: Pattern) -> dict[str, Pattern]:
        rated: list[Share] = []
        for block in blocks:
            if block.linears:
                median = torch.cat([linear.score.flatten() for linear in block.linears]).median().item()
                # I falls as D rises, and only its place between the least and the most counts: that of -D is the same
                rated += shares_of(block, -median)
        return meet(spread(rated, 2 * self.alpha, pattern.sparsity), pattern)
