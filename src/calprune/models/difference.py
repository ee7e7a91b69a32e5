"""What differs between two checkpoints: tensor by tensor, to the bit, and file by file."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from calprune.base.store import file_digest
from calprune.base.tensors import zeros
from calprune.models.checkpoint import TORCH, Checkpoint, StoredTensor
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table

State = Literal["equal", "changed", "another dtype", "another shape", "only in the first", "only in the second"]


@dataclass(frozen=True)
class TensorDifference:
    """One stored name in both checkpoints."""

    name: str
    state: State
    shape: tuple[int, ...]
    dtype: str
    size: int  # numbers
    changed: int | None = None  # of them, those that differ to the bit; None: they cannot be compared
    zeros: tuple[int, int] | None = None  # before and after; None: the tensor is equal, or is only in one

    @property
    def kind(self) -> str:
        """Its name without the numbers of blocks and experts: "model.layers.*.mlp.down_proj.weight"."""
        return re.sub(r"(?<=\.)\d+(?=\.)", "*", self.name)


@dataclass(frozen=True, repr=False)
class CheckpointDifference(HasPage):
    """Two checkpoints compared."""

    first: str
    second: str
    tensors: tuple[TensorDifference, ...]  # the equal ones too
    files: Mapping[str, State]  # beside the weights: config, tokenizer, code, ...

    def page(self) -> Page:
        states = [one.state for one in self.tensors]
        counts = {state: states.count(state) for state in dict.fromkeys(states)}
        differ = {name: state for name, state in self.files.items() if state != "equal"}
        facts = [("tensors", ", ".join(f"{n:,} {state}" for state, n in counts.items()) or "none")]
        facts += [("files beside", f"{len(self.files) - len(differ)} equal")]
        facts += [(name, state) for name, state in differ.items()]
        section = Section("differences", tables=(self._kinds(),), facts=tuple(facts))
        return Page(f"{self.first} and {self.second}", (section,), "calprune diff")

    def _kinds(self) -> Table:
        """What differs, tensors of one name in all blocks together."""
        kinds: dict[tuple[str, State], list[TensorDifference]] = {}
        for one in self.tensors:
            if one.state != "equal":
                kinds.setdefault((one.kind, one.state), []).append(one)
        heads = (Column("tensors"), Column("state", show="varying"), Column("how many", "number"),
                 Column("numbers changed", "number", percent=True), Column("zeros before", "number", percent=True),
                 Column("zeros after", "number", percent=True))  # fmt: skip
        return Table("kinds", "What differs, by the name without block and expert", heads,
                     tuple((*key, len(those), *_shares(those)) for key, those in kinds.items()))  # fmt: skip

    def record(self) -> dict[str, Any]:
        tensors = {one.name: {"state": one.state, "shape": list(one.shape), "dtype": one.dtype, "changed": one.changed,
                              "zeros": one.zeros and list(one.zeros)} for one in self.tensors}  # fmt: skip
        return {"format": 1, "first": self.first, "second": self.second, "tensors": tensors, "files": dict(self.files)}


def compare(first: Checkpoint, second: Checkpoint) -> CheckpointDifference:
    """Every tensor and every file of two checkpoints; a tensor of each is in memory at a time."""
    names = dict.fromkeys([*first.tensors, *second.tensors])
    tensors = tuple(_tensor(first.tensors.get(name), second.tensors.get(name)) for name in names)
    return CheckpointDifference(str(first.folder), str(second.folder), tensors, dict(_files(first, second)))


def _tensor(old: StoredTensor | None, new: StoredTensor | None) -> TensorDifference:
    one = old or new
    assert one, "the name is of one of them"
    state: State = "equal"
    if old is None or new is None:
        state = "only in the first" if old else "only in the second"
    elif old.shape != new.shape:
        state = "another shape"
    elif old.dtype != new.dtype:
        state = "another dtype"
    elif changed := _changed(old, new):
        return TensorDifference(one.name, "changed", one.shape, one.dtype, one.numel, changed, _zeros(old, new))
    comparable = 0 if state == "equal" else None
    return TensorDifference(one.name, state, one.shape, one.dtype, one.numel, comparable)


def _changed(old: StoredTensor, new: StoredTensor) -> int:
    """How many numbers differ to the bit."""
    whole = f"u{old.size // max(1, old.numel)}"  # numbers of 1, 2, 4 or 8 bytes, as whole numbers
    return sum(
        int(np.count_nonzero(np.frombuffer(before, whole) != np.frombuffer(after, whole)))
        for before, after in zip(old.pieces(), new.pieces(), strict=True)
        if before != after
    )


def _zeros(old: StoredTensor, new: StoredTensor) -> tuple[int, int] | None:
    if old.dtype not in TORCH or not TORCH[old.dtype].is_floating_point or TORCH[old.dtype].itemsize == 1:
        return None
    return zeros(old.read()), zeros(new.read())


def _files(first: Checkpoint, second: Checkpoint) -> Iterator[tuple[str, State]]:
    there = [{str(path) for path in one.other_files()[0]} for one in (first, second)]
    for name in sorted(there[0] | there[1]):
        if name not in there[0] or name not in there[1]:
            yield name, "only in the first" if name in there[0] else "only in the second"
        else:
            equal = file_digest(first.folder / name) == file_digest(second.folder / name)
            yield name, "equal" if equal else "changed"


def _shares(those: list[TensorDifference]) -> tuple[float | None, float | None, float | None]:
    size = sum(one.size for one in those)
    if any(one.changed is None for one in those) or not size:
        return None, None, None
    changed = sum(one.changed or 0 for one in those) / size
    if any(one.zeros is None for one in those):
        return changed, None, None
    return changed, *(sum(one.zeros[i] for one in those if one.zeros) / size for i in (0, 1))  # type: ignore[return-value]
