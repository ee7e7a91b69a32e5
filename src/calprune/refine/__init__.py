"""Refining a block after its linears are pruned: windows (what is compared), training (how), kept (resuming); beside
and overlapping (which blocks together, on which inputs)."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor

from calprune.layers.blocks import Block
from calprune.refine.training import Refined
from calprune.refine.windows import Outputs, Windows


@runtime_checkable
class Refinement(Protocol):
    """The second contract of a method: what needs a whole block. `prune` calls it after the block's linears."""

    windows: Windows  # which outputs are compared
    batch_size: int  # sequences of a batch of `block`
    cross_block: bool  # each block is refined with the one before it, then with the one after it
    global_propagation: bool  # targets are of dense blocks on dense inputs, not of the dense block on pruned inputs

    def refine(self, block: Block, targets: list[Outputs], keep: dict[str, Bool[Tensor, "_ _"]]) -> list[Refined]:
        """Change the weights that `keep` names, never one that is pruned, so that the block gives its targets.

        block: the pruned block with the batches that reach it; with `cross_block`, two in a row as one.
        targets: for each batch, what each window should give.
        """
        ...
