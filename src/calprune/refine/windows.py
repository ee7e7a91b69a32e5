"""The parts of a block whose outputs are compared: the block, or its attention and its feed-forward by themselves."""

from contextlib import ExitStack
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from calprune.layers.arguments import hidden_of
from calprune.layers.blocks import Batch, Block
from calprune.layers.linears import Linear

Windows = Literal["block", "sub_block"]
WHOLE = ""  # the window that is the block
Outputs = dict[str, Float[Tensor, "_ _ _"]]  # window -> what it gives for one batch: (b, T, hidden)


def windows_of(block: Block, windows: Windows) -> dict[str, list[Linear]]:
    """Each window's linears, in the order in which the block holds them.

    Sub-blocks are the block's children that hold linears: attention and feed-forward in most families; where a linear
    is itself a child (OPT's fc1 and fc2), it is a window of its own.
    """
    if windows == "block":
        return {WHOLE: block.linears()}
    found: dict[str, list[Linear]] = {}
    for site in block.linears():
        found.setdefault(site.name.split(".")[0], []).append(site)
    return found


def outputs_of(block: Block, batch: Batch, windows: list[str], weights: dict[str, Tensor] | None = None) -> Outputs:
    """What the block and the named windows give for a batch; `weights`: parameters by name, instead of the block's."""
    caught: Outputs = {}
    batch.check_plain("training blocks")

    def catch(window: str):
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            caught[window] = hidden_of(output)

        return hook

    with ExitStack() as hooks:
        for window in windows:
            if window != WHOLE:
                module = block.module.get_submodule(window)
                hooks.callback(module.register_forward_hook(catch(window)).remove)
        args, kwargs = batch.arguments
        given = functional_call(block.module, weights or {}, (batch.hidden.to(block.device), *args), kwargs)
    caught[WHOLE] = hidden_of(given)
    # (b·T, hidden) in OPT's feed-forward
    return {window: output.reshape(*batch.hidden.shape[:2], -1) for window, output in caught.items()}


@torch.no_grad()
def targets_of(block: Block, windows: Windows, weights: dict[str, Tensor] | None = None) -> list[Outputs]:
    """What the block gives for each batch, window by window; `weights`: parameters by name, instead of the block's."""
    names = list(windows_of(block, windows))
    given = [outputs_of(block, batch, names, weights) for batch in block.batches]
    homes = [batch.hidden.device for batch in block.batches]
    return [{n: t.to(home) for n, t in outputs.items()} for outputs, home in zip(given, homes, strict=True)]
