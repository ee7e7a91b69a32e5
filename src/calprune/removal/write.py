"""The smaller model as a checkpoint: the dense one's files, with the names and precisions that its tensors are stored
in, and config.json changed where it says how many units there are.

What transformers does to tensors as it loads them is undone for one block at a time, as for a pruned checkpoint
(`models/origin`), so that another program finds them under the names that it knows.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.base.progress import tracking
from calprune.base.store import force
from calprune.base.tensors import save_tensors
from calprune.base.values import UserError
from calprune.layers.linears import find_blocks
from calprune.models.checkpoint import INDEX, TORCH, StoredTensor, open_checkpoint
from calprune.models.editor import WRITING, copy_beside
from calprune.models.load import read_config
from calprune.models.origin import Origin
from calprune.removal.config import PREDICTING, Field, holder, text_config, written
from calprune.removal.job import Removed

CONFIG = "config.json"


def write_smaller(origin: Origin, done: Removed, folder: Path, files: dict[str, str]) -> None:
    """Fill an empty folder with the smaller model's checkpoint and with `files`, texts by their names.

    Raises UserError where what was written is not what should be there.
    """
    checkpoint, stored = origin.checkpoint, _Stored(origin, done)
    changes = [*done.outline.changes]
    if getattr(text_config(done.smaller.config), PREDICTING, 0):
        changes.append(Field("", PREDICTING, 0))
    config = written(checkpoint.config, done.smaller.config, changes)
    homes: dict[str, list[str]] = {}  # file -> the names of its tensors
    for name in stored.names:
        homes.setdefault(stored.home(name), []).append(name)
    texts = {**files, CONFIG: config}
    if len(homes) > 1 or (checkpoint.folder / INDEX).is_file():
        places = {name: file for file, names in homes.items() for name in names}
        texts[INDEX] = json.dumps({"metadata": {"total_size": stored.size}, "weight_map": dict(sorted(places.items()))})
    copy_beside(checkpoint, folder, texts, instead=(CONFIG, INDEX))
    for file, names in tracking(iter(homes.items()), len(homes), WRITING):
        save_tensors(stored.tensors(set(names)), folder / file, {"format": "pt"})  # older readers ask for it
        force(folder / file)
    _check(folder, stored, changes)


class _Stored:
    """The smaller model's tensors as they are stored: each as its source in the dense model is.

    A block has another number than its source, and the dense model's block of that number may be of another kind, with
    other tensors. So what a tensor is called, how precise it is and where it lies is read of its source's block.
    """

    def __init__(self, origin: Origin, done: Removed) -> None:
        self.origin, self.smaller, self.known = origin, done.smaller, origin.checkpoint.tensors
        name, modules = find_blocks(done.smaller)
        self.prefixes = tuple(f"{name}.{i}." for i in range(len(modules)))
        first = done.choices[0]
        self.sources = range(len(modules)) if first.place else first.stay
        self._part: dict[str, str] = {}  # stored name -> the block that it is of; "": none
        self._source: dict[str, str] = {}  # stored name -> what the dense checkpoint calls its source
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._read_names()
        self.names = [name for name in self.known if name in self._part]
        self.names += [name for name in self._part if name not in self.known]

    def _read_names(self) -> None:
        """Raises UserError where a block holds what the dense checkpoint has no name for: it would be lost."""
        empty: dict[int, Tensor] = {}  # tied parameters are one object, and stay one
        nameless: dict[str, Tensor] = {}
        written: set[int] = set()
        for prefix in ("", *self.prefixes):
            held = {name: empty.setdefault(id(t), t.to("meta")) for name, t in self._held(prefix).items()}
            for raw, tensor in self.origin.undone(held, self.smaller).items():
                stored, source = self._named(raw, prefix)
                if source in self.known or source.endswith(".bias"):
                    self._part[stored], self._source[stored] = prefix, source
                    self.shapes[stored] = tuple(tensor.shape)
                    written.add(id(tensor))
                elif prefix:
                    nameless[stored] = tensor
        if lost := [name for name, tensor in nameless.items() if id(tensor) not in written]:
            raise UserError(f"{len(lost)} tensors of the smaller model have no name in {self.origin.checkpoint.folder} "
                            f"({lost[0]}), so it could not be written whole; take another pattern")  # fmt: skip

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(torch.Size(self.shapes[name]).numel() * self._dtype(name).itemsize for name in self.names)

    def home(self, name: str) -> str:
        """The file of the dense checkpoint in which its source, or else its neighbour, is."""
        return self._like(name).file.name

    def tensors(self, names: set[str]) -> dict[str, Tensor]:
        """These, on the CPU, in the precision in which the dense model's are stored."""
        found = {}
        for prefix in dict.fromkeys(self._part[name] for name in names):
            for raw, tensor in self.origin.undone(self._held(prefix), self.smaller).items():
                if (name := self._named(raw, prefix)[0]) in names:
                    found[name] = tensor.detach().cpu().to(self._dtype(name)).contiguous()
        return found

    def _held(self, prefix: str) -> dict[str, Tensor]:
        """The parameters and buffers of a block or of what is in none."""
        return {
            name: tensor
            for name, tensor in self.smaller.state_dict(keep_vars=True).items()
            if (name.startswith(prefix) if prefix else not name.startswith(self.prefixes))
        }

    def _named(self, raw: str, prefix: str) -> tuple[str, str]:
        """What a tensor is called in the smaller checkpoint, and what its source is called in the dense one."""
        if not prefix:
            return (self._dense_name(raw),) * 2
        i, before = self.prefixes.index(prefix), self.origin.stored_prefix()
        here = f"{before}{i}."
        for one in self.origin.names_of(raw):
            if one.startswith(here):
                source = self._dense_name(f"{before}{self.sources[i]}.{one.removeprefix(here)}")
                return here + source.removeprefix(f"{before}{self.sources[i]}."), source
        return raw, raw

    def _dense_name(self, name: str) -> str:
        """A new bias is called as its matrix is."""
        found = self.origin.stored_name(name)
        if found not in self.known and name.endswith(".bias"):
            matrix = self.origin.stored_name(f"{name.removesuffix('bias')}weight")
            return f"{matrix.removesuffix('weight')}bias" if matrix in self.known else found
        return found

    def _like(self, name: str) -> StoredTensor:
        source = self._source[name]
        if source in self.known:
            return self.known[source]
        matrix = self.known.get(f"{source.removesuffix('bias')}weight")
        return matrix or next(iter(self.known.values()))

    def _dtype(self, name: str) -> torch.dtype:
        return TORCH[self._like(name).dtype]


def _check(folder: Path, stored: _Stored, changes: list[Field]) -> None:
    """What is on the disk has the names and shapes that the config will ask for, and the config the numbers."""
    found = open_checkpoint(folder).tensors
    wrong = [n for n in found.keys() ^ set(stored.names)]
    wrong += [n for n in stored.names if n in found and found[n].shape != stored.shapes[n]]
    if wrong:
        raise UserError(f"{len(wrong)} tensors of the smaller model are not on the disk as they should be ({wrong[0]})")
    config = read_config(folder, str(folder))
    for change in changes:
        now = getattr(holder(config, change), change.name, None)
        if _plain(now) != _plain(change.value):
            raise UserError(f"the smaller model's config.json gives {change.name} {now}, and should give "
                            f"{change.value}: its family reads it in another way; nothing was left there")  # fmt: skip


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def left_out(origin: Origin, done: Removed) -> Iterator[str]:
    """Notes on what the dense checkpoint stores and the smaller one does not."""
    carried = list(origin.carried())
    if carried:
        yield f"left out, for the model does not load it: {carried[0].partition(': ')[2]}"
