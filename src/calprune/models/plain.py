"""From a checkpoint to one that is plain: weights as numbers, in safetensors, that can be pruned in place."""

from dataclasses import dataclass

from calprune.models.checkpoint import Checkpoint, open_checkpoint
from calprune.models.dequantise import dequantised_folder
from calprune.models.gguf import gguf_notes
from calprune.models.quantised import refuse_quantised


@dataclass(frozen=True)
class PlainCheckpoint:
    """A checkpoint whose tensors are weights, not codes."""

    checkpoint: Checkpoint
    notes: tuple[str, ...] = ()  # what is to be said where its weights come from something that was not plain


def plain_checkpoint(checkpoint: Checkpoint, name: str, dequantize: bool = False) -> PlainCheckpoint:
    """The checkpoint itself; with `dequantize`, one made of it in the cache where it is quantised.

    Raises UserError where it is quantised and may or can not be dequantised, or it is damaged.
    """
    found = refuse_quantised(checkpoint, name, dequantize)
    if found is None:
        return PlainCheckpoint(checkpoint, gguf_notes(checkpoint.folder))
    note = f"the weights were dequantised from {found.kind.name} to bfloat16, so pruning began from rounded weights"
    return PlainCheckpoint(open_checkpoint(dequantised_folder(checkpoint, found, name), name), (note,))
