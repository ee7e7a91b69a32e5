"""Two neighbouring blocks refined together, with overlap: the walks that it needs (`beside` has those of one block)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from calprune.layers.arguments import hidden_of
from calprune.layers.blocks import Block, Sequences
from calprune.layers.linears import Linear, find_blocks
from calprune.refine import Refinement
from calprune.refine.beside import Beside
from calprune.refine.windows import Outputs, targets_of


class Overlapping(Beside):
    """Each block is refined twice: together with the one before it, then together with the one after it.

    The first block is refined alone before the first pair, and the last one after the last pair. So the sequences are
    carried through a block one turn later, when its weights change no more.
    """

    def __init__(self, model: nn.Module, on: Sequences, method: Refinement, device: torch.device | str | None):
        super().__init__(model, on, method, device)
        self._left = len(find_blocks(model)[1])
        self._turns: list[_Turn] = []  # the block before, and the block

    def enter(self, sites: list[Linear]) -> None:
        self.block = next(self._pruned)
        self.block.passed = True  # the walk is to leave the inputs as they are: `_carry` does it
        self.targets = [] if self._dense is None else self._reached()
        self._turns.append(_Turn(self.block, sites, keep_dense=self._dense is None))
        self._left -= 1

    def refine(self) -> None:
        self._train()
        if len(self._turns) == 2 and not self._left:
            self._carry()
            self._train()

    def leave(self) -> None:
        if len(self._turns) == 2:
            self._carry()

    def _train(self) -> None:
        with self._joined(self._turns) as joined:
            keep = {f"blocks.{i}.{s.name}": s.weight != 0 for i, turn in enumerate(self._turns) for s in turn.sites}
            self.method.refine(joined, self.targets or self._local(joined), keep)

    def _local(self, joined: Block) -> list[Outputs]:
        """For each batch what the blocks give with their dense weights."""
        dense = {f"blocks.{i}.{name}": w for i, turn in enumerate(self._turns) for name, w in turn.dense.items()}
        return targets_of(joined, "block", dense)

    def _carry(self) -> None:
        """Carry the sequences through the first block: it is done."""
        with self._joined([self._turns.pop(0)]) as first:
            first.run()
            for batch, done in zip(self.block.batches, first.batches, strict=True):
                batch.hidden = done.hidden

    @contextmanager
    def _joined(self, turns: "list[_Turn]") -> Iterator[Block]:
        """The blocks as one where they run, with the inputs that reach the first of them."""
        given = zip(*(turn.given for turn in turns), strict=True)
        batches = [replace(batch, arguments=(each, {})) for batch, each in zip(self.block.batches, given, strict=True)]
        module = _Joined([turn.block.module for turn in turns]).to(self.block.device)
        try:
            yield replace(turns[-1].block, module=module, batches=batches, fitting=None)  # all of a batch at once
        finally:
            for block in (turn.block for turn in turns if turn.block is not self.block):
                block.module.to(block.home)  # its turn in the walk is over


class _Turn:
    """A block that is refined, with what has to be known of it until its second turn is over."""

    def __init__(self, block: Block, sites: list[Linear], keep_dense: bool):
        self.block, self.sites = block, sites
        self.given = [batch.arguments for batch in block.batches]  # the walk gives the batches others at the next block
        self.dense = {n: p.detach().clone() for n, p in block.module.named_parameters()} if keep_dense else {}


class _Joined(nn.Module):
    """Blocks in a row as one module, called with the hidden states and what each of them is given besides."""

    def __init__(self, blocks: list[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, hidden: Tensor, *given: tuple[tuple, dict]) -> Tensor:
        for block, (args, kwargs) in zip(self.blocks, given, strict=True):
            output = block(hidden, *args, **kwargs)
            hidden = hidden_of(output)
        return hidden
