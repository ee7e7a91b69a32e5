"""What a model makes of each sequence, as one vector: its mean hidden states, or the second moments at its linears.

Both are projected at random to few numbers (Johnson-Lindenstrauss), block by block, so that nothing as wide as the
model is held for all sequences at once. Padding counts for nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calprune.blocks import Block, walk
from calprune.calibration.set import CalibrationSet
from calprune.config import rng


def mean_states(model: Any, sequences: Sequence[Sequence[int]], size: int) -> Float[Tensor, "n size"]:
    """Of each sequence the mean over its tokens of what leaves each block, of length 1 for each block, projected."""
    given = CalibrationSet.from_tokens(sequences)
    lengths = given.lengths[:, None]
    found = torch.zeros(len(sequences), size)
    for block in walk(model, given, propagate="dense"):
        block.run()
        width = block.batches[0].hidden.shape[-1]
        means = torch.zeros(len(sequences), width)
        for batch in block.batches:
            hidden = batch.hidden.float().cpu()
            real = torch.arange(hidden.shape[1]) < lengths[batch.sequences]
            means[batch.sequences] = (hidden * real[..., None]).sum(1) / lengths[batch.sequences]
        found += normalize(means) @ _projection(width, size, block.name)
    return found


def second_moments(model: Any, sequences: Sequence[Sequence[int]], size: int) -> Float[Tensor, "n size"]:
    """Of each sequence the mean of x² at each input channel of the linears, over that of all tokens of all sequences,
    projected. A channel that is always zero gives nothing."""
    given = CalibrationSet.from_tokens(sequences)
    share = given.lengths / given.lengths.sum()
    found = torch.zeros(len(sequences), size)
    for block in walk(model, given, batch_size=1, propagate="dense"):
        for name, moments in _of_each_sequence(block, len(sequences)).items():
            usual = share @ moments
            ratios = torch.where(usual > 0, moments / usual, 0.0)
            found += ratios @ _projection(moments.shape[1], size, f"{block.name}.{name}")
    return found


def _of_each_sequence(block: Block, n: int) -> dict[str, Float[Tensor, "n in"]]:
    """For each input of the block's linears, named by the first that reads it, each sequence's mean of x²."""
    batches, found = block.batches, dict[str, Tensor]()
    for batch in batches:
        block.batches = [batch]
        seen = set()  # linears that read the same tensor share one InputStats
        for name, stats in block.collect("moments").items():
            if id(stats) not in seen:
                seen.add(id(stats))
                row = (stats.sum_xx / stats.tokens).cpu()
                found.setdefault(name, torch.zeros(n, len(row)))[batch.sequences] = row
    block.batches = batches
    return found


def _projection(width: int, size: int, purpose: str) -> Float[Tensor, "width size"]:
    """Gaussian, such that lengths are kept on average; for one purpose always the same."""
    generator = torch.Generator().manual_seed(rng(0, f"projection/{purpose}").getrandbits(63))
    return torch.randn(width, size, generator=generator) / size**0.5
