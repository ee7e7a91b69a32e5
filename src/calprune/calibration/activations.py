"""What a model makes of each sequence, as one vector: its mean hidden states, or the second moments at its linears.

Both are projected at random to few numbers (Johnson-Lindenstrauss), block by block, so that nothing as wide as the
model is held for all sequences at once. Padding counts for nothing.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float, Int
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
    projected. A channel that is always zero gives nothing; nor do inputs that only some tokens reach (experts)."""
    given = CalibrationSet.from_tokens(sequences)
    share = given.lengths / given.lengths.sum()
    found = torch.zeros(len(sequences), size)
    for block in walk(model, given, propagate="dense"):
        for name, moments in _of_each_sequence(block, given.lengths).items():
            usual = share @ moments
            ratios = torch.where(usual > 0, moments / usual, 0.0)
            found += ratios @ _projection(moments.shape[1], size, f"{block.name}.{name}")
    return found


def _of_each_sequence(block: Block, lengths: Int[Tensor, "n"]) -> dict[str, Float[Tensor, "n in"]]:
    """For each input of the block's linears, named by the first that reads it, each sequence's mean of x². Carries
    the batches through the block."""
    coming, found, seen = iter(block.batches), dict[str, Tensor](), list[Tensor]()
    batch = block.batches[0]

    def enter(*_: Any) -> None:
        nonlocal batch
        batch = next(coming)
        seen.clear()

    def look(name: str, x: Float[Tensor, "..."]) -> None:
        b, width = len(batch.sequences), batch.hidden.shape[1]
        if any(x is other for other in seen) or x.numel() != b * width * x.shape[-1]:
            return
        seen.append(x)
        own = lengths[batch.sequences].to(x.device)
        real = torch.arange(width, device=x.device) < own[:, None]
        squares = (x.reshape(b, width, -1).float().square() * real[..., None]).sum(1)
        means = found.setdefault(name, torch.zeros(len(lengths), x.shape[-1]))
        means[batch.sequences] = (squares / own[:, None]).cpu()

    with ExitStack() as stack:
        stack.callback(block.module.register_forward_pre_hook(enter).remove)
        for linear in block.linears():
            hook = linear.module.register_forward_pre_hook(lambda _, args, name=linear.name: look(name, args[0]))
            stack.callback(hook.remove)
        block.run()
    return found


def _projection(width: int, size: int, purpose: str) -> Float[Tensor, "width size"]:
    """Gaussian, such that lengths are kept on average; for one purpose always the same."""
    generator = torch.Generator().manual_seed(rng(0, f"projection/{purpose}").getrandbits(63))
    return torch.randn(width, size, generator=generator) / size**0.5
