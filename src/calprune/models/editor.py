"""Write a checkpoint that is another one with exactly the tensors of changed blocks changed.

Every other stored tensor is copied byte for byte, with the header, its metadata, and the names and sizes of the files;
what lies beside the weights (config, tokenizer, code, licence) is copied verbatim. Two blocks at a time are in memory.
"""

import operator
import shutil
from collections.abc import Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path, PurePath
from threading import Lock
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
    blocks, done, checks = _Blocks(origin), Zeros(), []
    with ExitStack() as ending:
        pool = ThreadPoolExecutor(2)  # a block each; a file goes to the disk while they write the next
        ending.callback(pool.shutdown, cancel_futures=True)  # after an error nothing more is written
        new = {file: folder / file.name for file in origin.checkpoint.files}
        parts = {file: blocks.parts(file, new[file]) for file in new}
        writing = {file: [pool.submit(blocks.write, part, new[file]) for part in parts[file]] for file in new}
        for file in tracking(new, len(new), WRITING):
            for one in writing[file]:
                done |= one.result()
            checks += [pool.submit(_wrong, part, new[file], done) for part in parts[file]]
            force(new[file])
        wrong = [name for check in checks for name in check.result()]
    if wrong:
        raise UserError(f"{len(wrong)} tensors on the disk are not what was written ({wrong[0]}): the disk or the "
                        "memory is at fault; nothing was left there")  # fmt: skip
    open_checkpoint(folder)
    return done


class _Blocks:
    """The stored tensors of a changed model, by blocks."""

    def __init__(self, origin: Origin):
        self.origin, self.proved = origin, origin.prove()
        self._block_of = {name: block for block in (REST, *origin.blocks) for name in origin.of(block, "meta")}
        self._one_at_a_time = Lock()  # transformers does not say that two threads may undo what it converted

    def parts(self, file: Path, target: Path) -> list[list[StoredTensor]]:
        """The file's tensors, those of a block together. The new file is begun: its header is there, and its length."""
        with target.open("xb") as new:
            new.write(_header(file))
            new.truncate(file.stat().st_size)
        found = groupby(self.origin.checkpoint.of_file(file), lambda stored: self._block_of.get(stored.name))
        return [list(tensors) for _, tensors in found]

    def write(self, part: list[StoredTensor], target: Path) -> Zeros:
        """Tensors of one block to their places, as they are now."""
        now, done = self._now(part), Zeros()
        with part[0].file.open("rb") as old, target.open("r+b") as new:
            for stored in part:
                new.seek(stored.begin)
                if (tensor := self._changed(stored, now.get(stored.name))) is None:
                    _copy(old, new, stored.begin, stored.end)
                else:
                    done[stored.name] = zeros(tensor)
                    new.write(bytes_of(tensor))
        leave_to_file(now.values())
        return done

    def _now(self, part: list[StoredTensor]) -> dict[str, Tensor]:
        """Those that can be compared and written back, as they are in the model."""
        if (block := self._block_of.get(part[0].name)) is None:
            return {}
        with self._one_at_a_time:
            held = self.origin.of(block)
        return {stored.name: held[stored.name] for stored in part if stored.name in self.proved}

    def _changed(self, stored: StoredTensor, now: Tensor | None) -> Tensor | None:
        """The tensor in its stored dtype; None: it is what it was, to the bit."""
        if now is None or stored.holds(now := now.cpu()):
            return None
        if self._block_of[stored.name] == REST:
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
    """Read a part of a file again: the tensors that are not there as they should be."""
    if _header(file) != _header(before[0].file):
        return [old.name for old in before]
    again = [(old, replace(old, file=file)) for old in before]
    return [
        old.name
        for old, new in again
        if not (zeros(new.read()) == done[old.name] if old.name in done else _equal(new, old))
    ]


def _header(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(8 + header_length(file))
