"""From a folder to one whose checkpoint is plain: weights as numbers, in safetensors, that can be pruned in place."""

from dataclasses import dataclass
from pathlib import Path

from calprune.models.checkpoint import open_checkpoint
from calprune.models.dequantise import dequantised_folder
from calprune.models.gguf import gguf_notes
from calprune.models.quantised import refuse_quantised


@dataclass(frozen=True)
class PlainFolder:
    """The folder of a plain checkpoint."""

    folder: Path
    notes: tuple[str, ...] = ()  # what is to be said where its weights come from something else


def plain_folder(folder: Path, name: str, dequantize: bool = False) -> PlainFolder:
    """The folder itself where its checkpoint is plain; with `dequantize`, one made of it in the cache where it is not.

    Raises UserError where it is quantised and may or can not be dequantised, or its headers cannot be read.
    """
    checkpoint = open_checkpoint(folder, name)
    found = refuse_quantised(checkpoint, name, dequantize)
    if found is None:
        return PlainFolder(folder, gguf_notes(folder))
    note = f"the weights were dequantised from {found.kind.name} to bfloat16, so pruning began from rounded weights"
    return PlainFolder(dequantised_folder(checkpoint, found, name), (note,))
