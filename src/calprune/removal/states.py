"""Sums over the hidden states before and after each block: what methods that remove blocks read.

    tokens, cosine (L,)              Σ_t cos(x_t before the block, x_t after it), padding left out
    sequences, angle (L+1, L+1)      Σ over sequences of arccos(cos)/π between the last token's states at two depths

Depth l is what reaches block l, depth L what leaves the last one. Sums add, as those of linears' inputs do.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from calprune.layers.blocks import Block, Sequences, walk
from calprune.layers.inputs import StatsError
from calprune.layers.linears import find_blocks


@dataclass
class StateSums:
    """Of one model on one calibration set."""

    tokens: float
    cosine: Float[Tensor, "L"]
    sequences: float
    angle: Float[Tensor, "depth depth"]

    def __add__(self, other: "StateSums") -> "StateSums":
        if len(self.cosine) != len(other.cosine):
            raise StatsError(f"cannot add sums over {len(self.cosine)} and {len(other.cosine)} blocks")
        return StateSums(self.tokens + other.tokens, self.cosine + other.cosine, self.sequences + other.sequences,
                         self.angle + other.angle)  # fmt: skip

    def __rmul__(self, share: float) -> "StateSums":
        return StateSums(share * self.tokens, share * self.cosine, share * self.sequences, share * self.angle)

    @property
    def influence(self) -> Float[Tensor, "L"]:
        """1 - the mean cosine of a block's input and output."""
        return 1 - self.cosine / self.tokens

    @property
    def distance(self) -> Float[Tensor, "depth depth"]:
        """The mean angle between two depths, in half turns."""
        return self.angle / self.sequences


class StateWatch:
    """Collects the sums while a walk over the dense model goes on."""

    def __init__(self, blocks: int) -> None:
        self.cosine = torch.zeros(blocks, dtype=torch.double)
        self.tokens = 0.0
        self.last: list[Float[Tensor, "n hidden"]] = []  # the last token's state at each depth so far

    @torch.no_grad()
    def observe(self, block: Block) -> None:
        """Run the block, and look at what goes in and what comes out."""
        i, before = len(self.last) - 1, []
        for batch in block.batches:
            batch.check_plain("what blocks do to hidden states")
            before.append(batch.hidden)
        if not self.last:
            self._keep(block)
            i = 0
        block.run()
        if i == 0:
            self.tokens = sum(float(batch.counts().sum()) for batch in block.batches)
        for batch, old in zip(block.batches, before, strict=True):
            alike = torch.cosine_similarity(old.float(), batch.hidden.float(), dim=-1)  # (b, T)
            self.cosine[i] += (alike * batch.counts().to(alike.device)).sum().double().cpu()
        self._keep(block)

    def _keep(self, block: Block) -> None:
        ends = []
        for batch in block.batches:
            rows = torch.arange(len(batch.lengths))
            ends.append(batch.hidden[rows, batch.lengths - 1].float().cpu())
        self.last.append(torch.cat(ends))

    def sums(self) -> StateSums:
        """Raises StatsError where no token counted."""
        if self.tokens <= 0:
            raise StatsError("no token counts, so blocks have no statistics")
        depths = torch.nn.functional.normalize(torch.stack(self.last).double(), dim=-1)  # (L+1, n, hidden)
        alike = torch.einsum("anh,bnh->abn", depths, depths).clamp(-1, 1)
        angle = (alike.arccos() / torch.pi).sum(-1)
        return StateSums(self.tokens, self.cosine, float(depths.shape[1]), angle.fill_diagonal_(0))


def state_sums(model: nn.Module, data: Sequences, **knobs: Any) -> StateSums:
    """One dense pass over the data; the keywords are those of `walk`."""
    from calprune.base.progress import tracking

    name, modules = find_blocks(model)
    watch = StateWatch(len(modules))
    blocks = walk(model, data, propagate="dense", **knobs)
    for block in tracking(blocks, len(modules), f"states of {name}"):
        watch.observe(block)
    return watch.sums()
