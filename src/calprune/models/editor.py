"""Write a checkpoint that is another one with exactly the tensors of changed blocks changed.

Every other stored tensor is copied byte for byte, with the header, its metadata, and the names and sizes of the files;
what lies beside the weights (config, tokenizer, code, licence) is copied verbatim. A block at a time is in memory.
"""

import operator
import shutil
from collections.abc import Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import BinaryIO

from torch import Tensor

from calprune.base.memory import leave_to_file
from calprune.base.progress import tracking
from calprune.base.store import force
from calprune.base.tensors import zeros
from calprune.base.values import UserError
from calprune.models.checkpoint import (
    PIECE,
    TORCH,
    Checkpoint,
    StoredTensor,
    bytes_of,
    header_length,
    open_checkpoint,
    read_header,
)
from calprune.models.origin import REST, Origin

Zeros = dict[str, int]  # of each tensor that was changed, by its stored name

WRITING = "writing the checkpoint"  # what the progress calls it


def edit(origin: Origin, folder: Path, files: Mapping[str, str]) -> Zeros:
    """Fill an empty folder with the checkpoint of a changed model, and with `files`, texts by their name.

    A file of the input that has the name of one of these is kept beside it ("README.base.md"). Gives the zeros of each
    tensor that was changed. Raises UserError where what was written, read again, is not what should be there.
    """
    copy_beside(origin.checkpoint, folder, files)
    blocks, done = _Blocks(origin), Zeros()
    with ThreadPoolExecutor(2) as beside:  # a file goes to the disk, and is read again, while the next one is written
        forced, checks = [], []
        for file in tracking(origin.checkpoint.files, len(origin.checkpoint.files), WRITING):
            _write(blocks, file, folder / file.name, done)
            forced.append(beside.submit(force, folder / file.name))
            checks.append(beside.submit(_wrong, origin.checkpoint.of_file(file), folder / file.name, done))
    for one in forced:
        one.result()  # an error of the disk is told once
    if wrong := [name for check in checks for name in check.result()]:
        raise UserError(f"{len(wrong)} tensors on the disk are not what was written ({wrong[0]}): the disk or the "
                        "memory is at fault; nothing was left there")  # fmt: skip
    open_checkpoint(folder)
    return done


def _write(blocks: "_Blocks", file: Path, target: Path, done: Zeros) -> None:
    """One file, with the changed tensors in their places."""
    with file.open("rb") as old, target.open("xb") as new:
        _copy(old, new, 0, 8 + header_length(file))
        for stored in blocks.origin.checkpoint.of_file(file):
            if (tensor := blocks.changed(stored)) is None:
                _copy(old, new, stored.begin, stored.end)
            else:
                done[stored.name] = zeros(tensor)
                new.write(bytes_of(tensor))


class _Blocks:
    """The stored form of one block at a time."""

    def __init__(self, origin: Origin):
        self.origin, self.proved = origin, origin.prove()
        self._block_of = {name: block for block in (REST, *origin.blocks) for name in origin.of(block, "meta")}
        self._current: tuple[str, dict[str, Tensor]] | None = None

    def changed(self, stored: StoredTensor) -> Tensor | None:
        """What the tensor now is, in its stored dtype; None: what it was, to the bit."""
        if stored.name not in self.proved:
            return None
        block = self._block_of[stored.name]
        if self._current is None or self._current[0] != block:
            if self._current:
                leave_to_file(self._current[1].values())
            self._current = None  # never two at once
            self._current = (block, self.origin.of(block))
        now = self._current[1][stored.name].cpu()
        if stored.holds(now):
            return None
        if block == REST:
            raise UserError(f"{stored.name} was changed since the model was loaded, and it is in no block: only what "
                            "pruning changes is written; save the model by save_pretrained")  # fmt: skip
        return now.to(TORCH[stored.dtype]).contiguous()


def _copy(old: BinaryIO, new: BinaryIO, begin: int, end: int) -> None:
    old.seek(begin)
    while begin < end:
        if not (read := old.read(min(PIECE, end - begin))):
            raise UserError(f"{old.name} was cut short while it was copied")
        new.write(read)
        begin += len(read)


def copy_beside(checkpoint: Checkpoint, folder: Path, files: Mapping[str, str], instead: Container[str] = ()) -> None:
    """Fill an empty folder with what lies beside the weights and with `files`, texts by their names. What had the name
    of one of these is kept under another; what is named in `instead` is not."""
    beside = [path for path in checkpoint.other_files()[0] if str(path) not in instead]
    taken = {str(path) for path in beside} | set(files)
    for path in beside:
        name = str(path)
        if name in files:
            while name in taken:
                name = str(PurePath(name).with_suffix(f".base{path.suffix}"))
            taken.add(name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkpoint.folder / path, folder / name)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _equal(a: StoredTensor, b: StoredTensor) -> bool:
    """Whether two tensors have the same bytes."""
    return a.size == b.size and all(map(operator.eq, a.pieces(), b.pieces()))


def _wrong(before: list[StoredTensor], file: Path, done: Zeros) -> list[str]:
    """Read a file again: the tensors that are not there as they should be."""
    after = {tensor.name: tensor for tensor in read_header(file)}
    wrong = list(after.keys() ^ {old.name for old in before})
    for old in before:
        if (new := after.get(old.name)) is None:
            continue
        placed = (new.begin, new.end, new.dtype, new.shape) == (old.begin, old.end, old.dtype, old.shape)
        if not placed or not (zeros(new.read()) == done[old.name] if old.name in done else _equal(new, old)):
            wrong.append(old.name)
    return wrong
