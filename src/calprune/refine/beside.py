"""The walks that a refinement needs beside the one that its start's statistics come from."""

from collections.abc import Iterator

import torch
from torch import nn

from calprune.blocks import Block, Sequences, walk
from calprune.refine.windows import WHOLE, Outputs, Windows, targets_of


class Beside:
    """The sequences that a block is refined on, carried along as pruned so far; and through the dense model too.

    The second walk is only there where targets are the dense model's (`global_propagation`).
    """

    def __init__(
        self, model: nn.Module, on: Sequences, windows: Windows, *, dense: bool, batch_size: int,
        device: torch.device | str | None,
    ):  # fmt: skip
        self.windows = windows
        self._pruned = walk(model, on, batch_size=batch_size, device=device)
        self._dense: Iterator[Block] | None = None
        if dense:
            self._dense = walk(model, on, batch_size=batch_size, device=device, propagate="dense")

    def enter(self) -> tuple[Block, list[Outputs]]:
        """The next block, to be called before its weights change; and for each batch what its windows should give."""
        block = next(self._pruned)
        if self._dense is None:
            return block, targets_of(block, self.windows)
        reference = next(self._dense)
        targets = targets_of(reference, self.windows)
        for batch, target in zip(reference.batches, targets, strict=True):
            batch.hidden = target[WHOLE]
        reference.passed = True
        return block, targets

    def leave(self, block: Block) -> None:
        """Carry the sequences through the block as it now is, while it is where it runs."""
        block.run()
