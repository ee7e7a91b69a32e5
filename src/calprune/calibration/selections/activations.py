"""What a model makes of each sequence, as one vector: its mean hidden states, or the second moments at its linears;
and the second moments of a mixture, to compare them with.

Both are projected at random to few numbers (Johnson-Lindenstrauss), block by block, so that nothing as wide as the
model is held for all sequences at once. Padding counts for nothing.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from calprune.base.values import rng
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import Batch, Block, walk


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
            batch.check_plain("clustering by hidden states")
            hidden = batch.hidden.float().cpu()
            real = torch.arange(hidden.shape[1]) < lengths[batch.sequences]
            means[batch.sequences] = (hidden * real[..., None]).sum(1) / lengths[batch.sequences]
        found += normalize(means) @ _projection(width, size, block.name)
    return found


def second_moments(
    model: Any,
    sequences: Sequence[Sequence[int]],
    size: int,
    usual: Mapping[str, Float[Tensor, "_"]] | None = None,
) -> tuple[Float[Tensor, "n size"], Float[Tensor, "size"]]:
    """Of each sequence the mean of x² at each input channel of the linears, over the usual one there, projected; and
    what a sequence would have whose every channel is as usual.

    usual: by the linear's whole name, as `mixed_moments` gives it; None: of all tokens of all sequences. A channel that
    is usually zero gives nothing; nor do inputs that only some tokens reach (experts)."""
    given = CalibrationSet.from_tokens(sequences)
    share = given.lengths / given.lengths.sum()
    found, target = torch.zeros(len(sequences), size), torch.zeros(size)
    for block in walk(model, given, propagate="dense"):
        for name, moments in _of_each_sequence(block, len(sequences)).items():
            whole = f"{block.name}.{name}"
            here = share @ moments if usual is None else usual.get(whole, torch.zeros(moments.shape[1]))
            projection = _projection(moments.shape[1], size, whole)
            found += torch.where(here > 0, moments / here, 0.0) @ projection
            target += (here > 0).float() @ projection
    return found, target


def mixed_moments(model: Any, sets: Sequence[CalibrationSet], shares: Sequence[float]) -> dict[str, Float[Tensor, "_"]]:
    """The mean of x² at each input channel over a mixture of calibration sets, for `second_moments`: Σ λ_t C_t, where
    C_t counts a token of set t by its weight and λ_t is the set's share."""
    found: dict[str, Tensor] = {}
    for given, share in zip(sets, shares, strict=True):
        counted = (given.real if given.weights is None else given.real * given.weights).float().sum(1)
        parts = share / sum(shares) * counted / counted.sum()
        for block in walk(model, given, propagate="dense"):
            for name, moments in _of_each_sequence(block, len(parts)).items():
                whole = f"{block.name}.{name}"
                found[whole] = found.get(whole, 0.0) + parts @ moments
    return found


def _of_each_sequence(block: Block, n: int) -> dict[str, Float[Tensor, "n in"]]:
    """For each input of the block's linears, named by the first that reads it, the mean of x² of each of n sequences
    (0 where none of its tokens counts). Carries the batches through the block."""
    found, seen = dict[str, Tensor](), list[Tensor]()
    batch = block.batches[0]

    def begin(coming: Batch) -> None:
        nonlocal batch
        batch = coming
        seen.clear()

    def look(name: str, x: Float[Tensor, "..."]) -> None:
        b, width = batch.shape
        if any(x is other for other in seen) or x.numel() != b * width * x.shape[-1]:
            return
        seen.append(x)
        counts = batch.counts().to(x.device)
        squares = (x.reshape(b, width, -1).float().square() * counts[..., None]).sum(1)
        own = counts.sum(1, keepdim=True)
        means = found.setdefault(name, torch.zeros(n, x.shape[-1]))
        means[batch.sequences] = torch.where(own > 0, squares / own, 0.0).cpu()

    with ExitStack() as stack:
        for linear in (one for one in block.linears() if not one.part):  # parts see what is routed to them
            hook = linear.module.register_forward_pre_hook(lambda _, args, name=linear.name: look(name, args[0]))
            stack.callback(hook.remove)
        block.run(begin)
    return found


def _projection(width: int, size: int, purpose: str) -> Float[Tensor, "width size"]:
    """Gaussian, such that lengths are kept on average; for one purpose always the same."""
    generator = torch.Generator().manual_seed(rng(0, f"projection/{purpose}").getrandbits(63))
    return torch.randn(width, size, generator=generator) / size**0.5
