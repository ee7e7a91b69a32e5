"""Block reconstruction: prune a block by another method, then train the weights that stay to give the dense output.

Shin, Park, Lee, Lee, "Rethinking Pruning Large Language Models: Benefits and Pitfalls of Reconstruction Error
Minimization", EMNLP 2024, arXiv:2406.15524, eq. 2. With f the block, x its inputs as pruned so far, x̄ those of the
dense model, w the weights and m the start's mask, it minimises over the kept weights

    ‖f(x; w̄) - f(x; m ∘ w)‖²        local: the dense block on the same inputs (the paper's BR)
    ‖f(x̄; w̄) - f(x; m ∘ w)‖²        `global_propagation`: what the dense model gives there (GP), errors before included

With `cross_block` f is two blocks in a row (CR), and pairs overlap: the first block alone, then blocks 0 and 1, 1 and
2, and so on, the last alone. So each block is trained twice, and a pair on the inputs that its first block will see in
the pruned model. The minimum is sought by Adam (β 0.9, 0.95) on batches of sequences; the rate falls linearly to 0.
`windows="sub_block"` compares attention and feed-forward by themselves, each on its own output (Wagner, Roux, Zimmer,
Pokutta, "A Free Lunch in LLM Compression: Revisiting Retraining after Pruning", 2025, arXiv:2510.14444, whose text was
not at hand). Padding does not count in the error. The epoch after which the error is least is kept, the start among
them, so it never ends higher. The paper trains for 10 epochs, its code (4a55ec9) for 5, as here. Unlike in that code,
norms are not trained, batches are of sequences of like length, and an epoch shuffles batches, not sequences. In it a
pair's local target is what the first block, as trained so far, and the second one, dense, give; here both are
dense, as w̄ says. There the start sees a block's inputs with only the block before it still to be trained again; here,
with all before it trained once. A lower error need not mean a better model, the paper finds: judge it on other text
than it was trained on.
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
class BlockReconstruction:
    start: Start = None  # the method that prunes: block_reconstruction(start=wanda)
    global_propagation: bool = False
    cross_block: bool = False
    windows: Windows = "block"
    learning_rate: float = 2e-4
    epochs: int = 5
    batch_size: int = 8  # sequences
    seed: int = 0  # of the order of the batches

    tag: ClassVar[str] = "BlockReconstruction"
    needs: ClassVar[Needs] = with_start("moments")  # data in any case, to train on
    exact_count: ClassVar[bool] = exact_as_start()
    version: ClassVar[int] = 1

    def __post_init__(self):
        begin_from(self.start, self)
        if self.cross_block and self.windows != "block":
            raise ConfigError(f"cross_block compares what two blocks give together, so windows is 'block', got "
                              f"{self.windows!r}")  # fmt: skip
        check_above_0(self, "learning_rate")
        if self.epochs < 1 or self.batch_size < 1:
            raise ConfigError(f"epochs and batch_size must be at least 1, got {self.epochs} and {self.batch_size}")

    def __call__(
        self, weight: Float[Tensor, "out in"], stats: InputStats | None, pattern: Pattern
    ) -> Float[Tensor, "out in"]:
        return self.start(weight, stats, pattern)

    def refine(self, block: Block, targets: list[Outputs], keep: dict[str, Bool[Tensor, "_ _"]]) -> list[Refined]:
        adam = lambda parameters: torch.optim.Adam(parameters, self.learning_rate, (0.9, 0.95))  # noqa: E731
        training = Training(adam, self.epochs, seed=self.seed)
        return refine_windows(training, block, windows_of(block, self.windows), targets, keep)
