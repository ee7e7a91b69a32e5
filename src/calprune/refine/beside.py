"""The walks that a refinement needs beside the one that its start's statistics come from.

For each block: `enter`, prune its linears, `refine`, `leave`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from calprune.layers.blocks import Block, Sequences, walk
from calprune.layers.linears import Linear
from calprune.refine import Refinement
from calprune.refine.windows import WHOLE, Outputs, targets_of


class Beside:
    """The sequences that a block is refined on, carried along as pruned so far; and through the dense model too.

    The second walk is only there where targets are the dense model's (`global_propagation`).
    """

    def __init__(self, model: nn.Module, on: Sequences, method: Refinement, device: torch.device | str | None):
        self.method = method
        self._pruned = walk(model, on, batch_size=method.batch_size, device=device)
        self._dense: Iterator[Block] | None = None
        if method.global_propagation:
            self._dense = walk(model, on, batch_size=method.batch_size, device=device, propagate="dense")

    def enter(self, sites: list[Linear]) -> None:
        """Go to the next block, before its weights change, and see what its windows should give.

        sites: those of its linears that will be pruned.
        """
        self.block, self.sites = next(self._pruned), sites
        self.targets = targets_of(self.block, self.method.windows) if self._dense is None else self._reached()

    def _reached(self) -> list[Outputs]:
        """For each batch what the windows of the next block give in the dense model."""
        assert self._dense is not None
        reference = next(self._dense)
        targets = targets_of(reference, self.method.windows)
        for batch, target in zip(reference.batches, targets, strict=True):
            batch.hidden = target[WHOLE]
        reference.passed = True
        return targets

    def refine(self) -> None:
        """Train what is left of the block's linears, now that they are pruned."""
        self.method.refine(self.block, self.targets, {site.name: site.weight != 0 for site in self.sites})

    def norms(self) -> dict[str, Tensor]:
        """The tensors of the block beside its linears' that the method trains, by their names in it."""
        own = self.block.module.named_parameters() if getattr(self.method, "norms", False) else ()
        return {name: p.data for name, p in own if p.dim() == 1}

    def leave(self) -> None:
        """Carry the sequences through the block as it now is, while it is where it runs."""
        self.block.run()
