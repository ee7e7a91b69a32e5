"""Linear: the deeper a block, the sparser, by the same step from block to block; no data is read.

Huang, Zhang, Zheng, Chao, Ji, "Determining Layer-wise Sparsity for Large Language Models Through a Theoretical
Perspective", ICML 2025, arXiv:2502.14770. With L blocks and block l from 0 on

    s_l = sparsity + beta · (l - (L - 1) / 2)

The paper finds `beta` in a few trials a model; its text was not at hand (its abstract was), so the default is ours.
"""

from collections.abc import Iterable
from typing import ClassVar

from calprune.allocation.budget import DenseBlock, Share, meet, shares_of, spread
from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.inputs import Needs
from calprune.pattern import Pattern


@options
class LinearInDepth:
    beta: float = 0.005  # how much sparser a block is than the one before it

    tag: ClassVar[str] = "LinearInDepth"
    needs: ClassVar[Needs] = "nothing"
    version: ClassVar[int] = 1

    def __post_init__(self):
        if not -1 < self.beta < 1:
            raise ConfigError(f"beta is a step of sparsity from block to block, -1 to 1, got {self.beta}")

    def __call__(self, blocks: Iterable[DenseBlock], pattern: Pattern) -> dict[str, Pattern]:
        rated: list[Share] = []
        count = 0
        for count, block in enumerate(blocks, 1):
            rated += shares_of(block, -float(count) if self.beta > 0 else float(count))
        return meet(spread(rated, abs(self.beta) * (count - 1), pattern.sparsity), pattern)
