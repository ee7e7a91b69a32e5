"""A model as it is seen without its weights: what it is, and what pruning it will take."""

from dataclasses import dataclass

import torch

from calprune.layers.linears import find_blocks
from calprune.layers.readable import positions_of
from calprune.models.checkpoint import open_checkpoint
from calprune.models.load import Model, find_folder, outline
from calprune.pruning.scope import scope_of

PROGRAM = 0.7e9  # bytes of a process with torch and transformers, before a model is there
LOGITS = 3 * 2**24 * 4  # bytes for the logits of a piece of text (models/head), their logarithms and those of the dense


@dataclass(frozen=True)
class Look:
    """What a model is. Sizes are in bytes."""

    model: Model  # its outline: no weights
    parameters: int
    pruned: int  # parameters in the linears that are pruned
    blocks: int
    of_blocks: int  # parameters
    dtype: torch.dtype  # that its blocks are computed in
    hidden: int  # numbers of a hidden state
    sums: int  # of a block, with a Gram matrix a linear
    stored: int  # on the disk
    positions: int | None  # tokens of the longest sequence that it was made for; None: it does not say

    @property
    def family(self) -> str:
        return str(getattr(self.model.model.config, "model_type", "?"))

    @property
    def is_chat(self) -> bool:
        """Whether it has a chat template."""
        return bool(getattr(self.model.tokenizer, "chat_template", None))

    @property
    def summary(self) -> str:
        """In a line."""
        chat = ", with a chat template" if self.is_chat else ""
        can = f"{self.pruned / self.parameters:.0%}".replace("%", " %")
        return (f"{self.model.name} ({self.family}{chat}): {count(self.parameters)} parameters in {self.blocks} "
                f"blocks, {gigabytes(self.stored)} on disk; {can} of them can be pruned")  # fmt: skip

    def memory(self, tokens: int, grams: bool) -> float:
        """Bytes that pruning on `tokens` tokens takes, roughly: the weights, the dense copy of the blocks that trials
        put back, hidden states before and after a block, and a block's sums."""
        each = self.stored / self.parameters
        states = 2 * tokens * self.hidden * each
        return PROGRAM + LOGITS + self.stored + self.of_blocks * each + states + (self.sums if grams else 0)


def look(name: str) -> Look:
    """Look at the model `name`. Raises UserError as `models.load` does: there is none, it is quantised, ..."""
    model = outline(name)
    blocks = find_blocks(model.model)[1]
    chosen = scope_of(model.model, ()).linears.values()
    positions = positions_of(model.model)
    config = model.model.config.get_text_config()
    return Look(
        model,
        parameters=sum(p.numel() for p in model.model.parameters()),
        pruned=sum(site.weight.numel() for site in chosen),
        blocks=len(blocks),
        of_blocks=sum(p.numel() for p in blocks.parameters()),
        dtype=next(blocks.parameters()).dtype,
        hidden=int(config.hidden_size),
        sums=4 * sum(site.weight.shape[1] ** 2 for site in chosen) // len(blocks),
        stored=open_checkpoint(find_folder(name), name).size,
        positions=positions.count if positions else None,
    )


def gigabytes(size: int | float) -> str:
    """ "0.54 GB"."""
    return f"{size / 1e9:.2f} GB" if size < 10e9 else f"{size / 1e9:.0f} GB"


def count(n: int) -> str:
    """ "134.5 million", "7.2 billion"."""
    return f"{n / 1e9:.1f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million"
