"""A checkpoint as it lies on the disk: which files hold its tensors, under which names, with which shapes and dtypes.

Only headers are read, and a tensor at a time; no weight is loaded twice. A safetensors file is 8 bytes (the header's
length, little-endian), the header (JSON: name -> dtype, shape, data_offsets), and the tensors' bytes. Which files are
the checkpoint's is decided as transformers decides it: `model.safetensors`, else those that the index names.
"""

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.base.values import UserError, first_line

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PACKED = "packed.json"  # in a folder that `calprune pack` wrote

# of any format
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx*")

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
}  # fmt: skip

PIECE = 2**22  # bytes read at once

FLOATS = ("F64", "F32", "F16", "BF16")  # of weights as they are

_LONGEST_HEADER = 100_000_000  # bytes, as the format's own reader has it


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies."""

    name: str
    file: Path
    dtype: str  # as the header has it: "BF16"
    shape: tuple[int, ...]
    begin: int  # of its bytes, from the file's first
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.begin

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, PIECE at a time. Not mapped: memory that is mapped counts as held."""
        with self.file.open("rb") as file:
            file.seek(self.begin)
            for place in range(self.begin, self.end, PIECE):
                piece = file.read(min(PIECE, self.end - place))
                if len(piece) != min(PIECE, self.end - place):
                    raise UserError(f"{self.file} ends within {self.name}: it was cut short while it was read")
                yield piece

    def bytes(self) -> bytes:
        """All of them."""
        return b"".join(self.pieces())

    def read(self) -> Tensor:
        """The tensor, on the CPU, in its stored dtype. Raises UserError for a dtype that torch does not have."""
        if self.dtype not in TORCH:
            raise UserError(f"{self.file}: {self.name} is stored as {self.dtype}, which torch cannot read")
        found = torch.empty(self.shape, dtype=TORCH[self.dtype])
        held, place = bytes_of(found), 0
        for piece in self.pieces():
            held[place : place + len(piece)] = piece
            place += len(piece)
        return found

    def holds(self, tensor: Tensor) -> bool:
        """Whether it is this tensor, to the bit, when it is read in the tensor's dtype."""
        tensor = tensor.cpu()
        if self.shape != tensor.shape:
            return False
        if TORCH.get(self.dtype) != tensor.dtype:
            return bytes_of(self.read().to(tensor.dtype)).tobytes() == bytes_of(tensor).tobytes()
        held, place = bytes_of(tensor), 0
        for piece in self.pieces():  # what differs mostly does so early
            if held[place : place + len(piece)].tobytes() != piece:  # memory views compare byte by byte
                return False
            place += len(piece)
        return True


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The folder of a model with the files that hold its tensors."""

    folder: Path
    files: tuple[Path, ...]
    config: Mapping[str, Any]

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors of all files, in the files' order. Raises UserError where a name is in two of them."""
        found: dict[str, StoredTensor] = {}
        for file in self.files:
            for tensor in read_header(file):
                if tensor.name in found:
                    raise UserError(f"{self.folder}: {tensor.name} is in {found[tensor.name].file.name} and in "
                                    f"{file.name}, so it is not known which one counts")  # fmt: skip
                found[tensor.name] = tensor
        return found

    def of_file(self, file: Path) -> list[StoredTensor]:
        """In the order of their bytes."""
        return [tensor for tensor in self.tensors.values() if tensor.file == file]

    @property
    def size(self) -> int:
        """Of all tensors, in bytes."""
        return sum(tensor.size for tensor in self.tensors.values())

    def other_files(self) -> tuple[list[Path], list[Path]]:
        """The files beside those of the tensors, as paths within the folder: those that go with the model, and other
        weights (another format's, another version's), which are not of what is loaded. Hidden ones are in neither."""
        beside: list[Path] = []
        weights: list[Path] = []
        for place, folders, files in os.walk(self.folder):  # it follows no links to folders
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for path in sorted(Path(place, name) for name in files if not name.startswith(".")):
                if path.is_file() and path not in self.files:
                    _check_inside(self.folder, path, f"model {self.folder}")
                    inside = path.relative_to(self.folder)
                    (weights if any(path.match(kind) for kind in WEIGHT_FILES) else beside).append(inside)
        return beside, weights


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, not copied where it is contiguous."""
    return memoryview(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]


def open_checkpoint(folder: Path, name: str | None = None) -> Checkpoint:
    """The checkpoint in `folder`; `name` is what messages call it.

    Raises UserError where there is none, it is an adapter, its weights are no safetensors, or its index does not fit
    its files or leads out of the folder.
    """
    where = f"model {name or folder}"
    config = _read_object(folder / "config.json", where, "config.json")
    if adapters := [f for f in ("adapter_config.json", "adapter_model.safetensors") if (folder / f).exists()]:
        raise UserError(f"{where}: it holds an adapter ({adapters[0]}); merge it into its base first (peft: "
                        "merge_and_unload, save_pretrained), then prune the folder that gives")  # fmt: skip
    explicit = config.get("transformers_weights")
    if explicit is not None and not isinstance(explicit, str):
        raise UserError(f"{where}: its config.json has transformers_weights {explicit!r:.60}; expected a file's name")
    if (first := folder / (explicit or WEIGHTS)).is_file() and not str(first).endswith(".json"):
        files, index = [first], None
    elif (index := folder / (explicit or INDEX)).is_file():
        files = _files_of_index(folder, index, where)
    else:
        raise UserError(f"{where}: {_why_no_weights(folder)}")
    for file in files:
        _check_inside(folder, file, where)
    found = Checkpoint(folder, tuple(files), config)
    if index:
        _check_index(found, index, where)
    return found


def read_header(file: Path) -> list[StoredTensor]:
    """The tensors of a safetensors file, in the order of their bytes. Raises UserError where it is damaged."""
    found = list(_entries(file))
    place = 8 + header_length(file)
    for tensor in sorted(found, key=lambda one: one.begin):
        if tensor.begin != place:
            raise UserError(f"{file} is damaged: the bytes of {tensor.name} begin at {tensor.begin}, not at {place}")
        place = tensor.end
    if place != (size := file.stat().st_size):
        raise UserError(f"{file} is damaged: it has {size} bytes, its header speaks of {place}")
    return sorted(found, key=lambda one: (one.begin, one.end))


def header_length(file: Path) -> int:
    """In bytes, without the 8 that hold it."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
    if length > min(_LONGEST_HEADER, file.stat().st_size - 8):
        raise UserError(f"{file} is no safetensors file, or it is cut short")
    return length


def _entries(file: Path) -> Iterator[StoredTensor]:
    try:
        length = header_length(file)
        with file.open("rb") as opened:
            opened.seek(8)
            header = json.loads(opened.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = (int(number) + 8 + length for number in entry["data_offsets"])
            shape = tuple(int(number) for number in entry["shape"])
            kind = TORCH.get(entry["dtype"])
            if end < begin or min(shape, default=0) < 0 or (
                kind is not None and torch.Size(shape).numel() * kind.itemsize != end - begin
            ):  # fmt: skip
                raise UserError(f"{file} is damaged: {name} {shape} {entry['dtype']} has {end - begin} bytes")
            yield StoredTensor(name, file, entry["dtype"], shape, begin, end)
    except OSError as e:
        raise UserError(f"{file} cannot be read: {e.strerror or e}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise UserError(f"{file} is no safetensors file, or it is damaged: {type(e).__name__} in its header") from None


def _read_object(path: Path, where: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{where}: the folder has no {what}; expected a folder with config.json and "
                        "*.safetensors") from None  # fmt: skip
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"{where}: its {what} cannot be read: {first_line(e)}") from None
    if not isinstance(found, dict):
        raise UserError(f"{where}: its {what} holds no object")
    return found


def _files_of_index(folder: Path, index: Path, where: str) -> list[Path]:
    weight_map = _read_object(index, where, index.name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(f, str) for f in weight_map.values()):
        raise UserError(f"{where}: its {index.name} has no weight_map from tensors to files")
    names = sorted(set(weight_map.values()))
    for file in names:
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise UserError(f"{where}: its {index.name} names {file!r}, which is not in the folder")
        if len(Path(file).parts) > 1:
            raise UserError(f"{where}: its {index.name} names {file}, in another folder; expected all weights beside "
                            "config.json: move them there, and mend the index")  # fmt: skip
        if not (folder / file).is_file():
            raise UserError(f"{where}: its {index.name} names {file}, which is missing")
        if not file.endswith(".safetensors"):
            raise UserError(f"{where}: its {index.name} names {file}; expected files of safetensors")
    return [folder / file for file in names]


def _check_inside(folder: Path, file: Path, where: str) -> None:
    """A link may lead elsewhere in the folder, or, in the hub's cache, from a snapshot to its own blobs."""
    home, real = folder.resolve(), file.resolve()
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else None
    if not real.is_relative_to(home) and not (blobs and real.is_relative_to(blobs)):
        raise UserError(f"{where}: {file.name} is a link out of the folder; copy the file there")


def _check_index(checkpoint: Checkpoint, index: Path, where: str) -> None:
    """What the index says of a tensor is where it is: other loaders go by the index."""
    for name, file in _read_object(index, where, index.name)["weight_map"].items():
        stored = checkpoint.tensors.get(name)
        if stored is None or stored.file != checkpoint.folder / file:
            really = f"it is in {stored.file.name}" if stored else "it is not there"
            raise UserError(f"{where}: its {index.name} says that {name} is in {file}, but {really}")


def unpack_command(folder: str | Path) -> str:
    """How an archive is made a model again, to be pasted."""
    return f"calprune unpack {shlex.quote(str(folder))} --out FOLDER"


def _why_no_weights(folder: Path) -> str:
    if (folder / PACKED).is_file():
        return f"it is packed; {unpack_command(folder)} gives the model back"
    if [found for kind in ("*.bin", "*.pt", "*.pth") for found in folder.glob(kind)]:
        return ("its weights are a pickle (.bin), which can run any code when it is opened; "
                "expected *.safetensors (save_pretrained writes them)")  # fmt: skip
    if others := sorted(path.name for path in folder.glob("*.safetensors")):
        return f"expected its weights as {WEIGHTS} or with {INDEX}; there is only {others[0]}"
    return "the folder has no weights; expected *.safetensors beside config.json"
