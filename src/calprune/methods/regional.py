"""Regional optimisation: after a block is pruned, a few light steps towards what it gave when it was dense.

Yang and others, "Wanda++: Pruning Large Language Models via Regional Gradients", Findings of ACL 2025,
arXiv:2503.04992. For each of a few sequences x, in `rounds` rounds, a step of RMSprop on ‖f(x; w̄) - f(x; w)‖², with f
the block and w̄ its dense weights. Wanda++ is `regional(start=wanda_plus_plus)`. Unlike the paper, which lets all
weights move and prunes again by its score after every round, only kept weights move and the start's mask stays. The
authors have no public code, and the paper's text was not at hand: this is from public notes on it, and read beside the
reproduction that its third version names, 71e01bb. The error is a mean here, where it is a sum there.
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
class Regional:
    start: Start = None  # the method that prunes: regional(start=wanda_plus_plus)
    learning_rate: float = 3e-7
    rounds: int = 5
    sequences: int = 32  # of each round; fewer where the calibration set has fewer
    seed: int = 0  # of which sequences, and in which order

    tag: ClassVar[str] = "Regional"
    needs: ClassVar[Needs] = with_start("moments")  # data in any case, to train on
    exact_count: ClassVar[bool] = exact_as_start()
    version: ClassVar[int] = 1
    windows: ClassVar[Windows] = "block"
    cross_block: ClassVar[bool] = False
    global_propagation: ClassVar[bool] = False
    batch_size: ClassVar[int] = 1

    def __post_init__(self):
        begin_from(self.start, self)
        check_above_0(self, "learning_rate")
        if self.rounds < 1 or self.sequences < 1:
            raise ConfigError(f"rounds and sequences must be at least 1, got {self.rounds} and {self.sequences}")

    def __call__(
        self, weight: Float[Tensor, "out in"], stats: InputStats | None, pattern: Pattern
    ) -> Float[Tensor, "out in"]:
        return self.start(weight, stats, pattern)

    def refine(self, block: Block, targets: list[Outputs], keep: dict[str, Bool[Tensor, "_ _"]]) -> list[Refined]:
        rmsprop = lambda parameters: torch.optim.RMSprop(parameters, self.learning_rate)  # noqa: E731
        training = Training(rmsprop, self.rounds, self.sequences, decay="none", seed=self.seed)
        return refine_windows(training, block, windows_of(block, self.windows), targets, keep)
