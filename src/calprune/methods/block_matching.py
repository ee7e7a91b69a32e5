"""Block matching: prune a block by another method, then train all of it that is left to give the dense block's output.

Makni, Meng, Mazumder, "3BASiL: An Algorithmic Framework for Sparse plus Low-Rank Compression of LLMs", NeurIPS 2025,
arXiv:2603.01376, whose last step this is (transformer matching), here for a sparse model alone, as its released code
offers it too. On the inputs x that the pruned blocks before it give, with f the block, w̄ its dense weights and m the
start's mask, it minimises ‖f(x; w̄) - f(x; m ∘ w)‖² over the kept weights and the block's norms and biases: Adam, the
learning rate falling by a cosine to a fifth, 20 passes over the set. It is `block_reconstruction` with these settings
and the norms; batches are of sequences of like length, and the epoch after which the error is least is kept.
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calprune.base.checks import options
from calprune.base.values import ConfigError
from calprune.layers.blocks import Block
from calprune.layers.inputs import InputStats, Needs
from calprune.methods.contract import Start, begin_from, check_above_0, exact_as_start, with_start
from calprune.pattern import Pattern
from calprune.refine.training import Refined, Training, refine_windows
from calprune.refine.windows import Outputs, Windows, windows_of


@options
class BlockMatching:
    start: Start = None  # the method that prunes: block_matching(start=sparsegpt)
    learning_rate: float = 2e-5
    epochs: int = 20
    batch_size: int = 8  # sequences
    seed: int = 0  # of the order of the batches

    tag: ClassVar[str] = "BlockMatching"
    needs: ClassVar[Needs] = with_start("moments")  # data in any case, to train on
    exact_count: ClassVar[bool] = exact_as_start()
    version: ClassVar[int] = 1
    windows: ClassVar[Windows] = "block"
    cross_block: ClassVar[bool] = False
    global_propagation: ClassVar[bool] = False
    norms: ClassVar[bool] = True

    def __post_init__(self):
        begin_from(self.start, self)
        check_above_0(self, "learning_rate")
        if self.epochs < 1 or self.batch_size < 1:
            raise ConfigError(f"epochs and batch_size must be at least 1, got {self.epochs} and {self.batch_size}")

    def __call__(
        self, weight: Float[Tensor, "out in"], stats: InputStats | None, pattern: Pattern
    ) -> Float[Tensor, "out in"]:
        return self.start(weight, stats, pattern)

    def refine(self, block: Block, targets: list[Outputs], keep: dict[str, Bool[Tensor, "_ _"]]) -> list[Refined]:
        adam = lambda parameters: torch.optim.Adam(parameters, self.learning_rate)  # noqa: E731
        training = Training(adam, self.epochs, decay="fifth", seed=self.seed, norms=True)
        return refine_windows(training, block, windows_of(block, self.windows), targets, keep)
