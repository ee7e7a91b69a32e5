"""A checkpoint in few bytes, for a download or to be kept: `calprune pack`, and back to the same bytes.

    PACKED/packed.json             the size and SHA-256 of each file that was packed
    PACKED/NAME.packed.safetensors   for each NAME.safetensors: its header as it was, and the streams of each tensor
    PACKED/...                     all other files as they are

Every file is restored once, and compared, before anything is written under the archive's name. A piece of a tensor and
the packed form of one file are in memory at a time.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from safetensors import SafetensorError, safe_open

from calprune.base.progress import tracking
from calprune.base.store import DamagedError, file_digest, read_json, whole_folder, write_json
from calprune.base.tensors import save_tensors
from calprune.base.values import UserError
from calprune.deployment.bitmask import pack_numbers, streams_of, unpack_numbers
from calprune.models.checkpoint import PACKED, PIECE, StoredTensor, header_length, read_header, unpack_command
from calprune.pages.numbers import percent
from calprune.pages.page import HasPage, Page, Section
from calprune.pages.table import Column, Table

WEIGHTS, SUFFIX = ".safetensors", ".packed.safetensors"
HEADER = "header"  # of the streams: the file's own first bytes; others are "mask:NAME", "byte 0:NAME"
# bytes of a number; of other kinds a byte counts as one
NUMBER = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "U64": 8,
    "U32": 4,
    "U16": 2,
}  # bytes; of others a byte counts as one


@dataclass(frozen=True)
class PackedSizes:
    """Bytes of the packed files."""

    dense: int
    packed: int
    zstd: int  # by zstd -3 on the same bytes
    zipnn: int | None  # None: it is not installed


@dataclass(frozen=True, repr=False)
class PackReport(HasPage):
    """What packing brought."""

    folder: str
    out: str
    files: int  # of weights
    sizes: PackedSizes
    zeros: float  # the share of numbers that are zero to the bit

    def page(self) -> Page:
        """How it is read."""
        heads = (Column("weights"), Column("MB", "number"), Column("of dense", "number", percent=True))
        named = {"dense": "as they were", "zstd": "zstd -3", "zipnn": "zipnn", "packed": "packed"}
        sizes = asdict(self.sizes)
        rows = tuple((words, _mega(sizes[name]), _share(sizes[name], self.sizes.dense))
                     for name, words in named.items() if sizes[name] is not None)  # fmt: skip
        notes = () if self.sizes.zipnn is not None else ("Where zipnn is installed, its size stands here too.",)
        table = Table("sizes", f"{percent(self.zeros)} of the numbers are zeros", heads, rows, notes)
        back = f"back to the same bytes: {unpack_command(self.out)}"
        return Page(f"{self.out}: {self.folder}, packed", (Section("sizes", tables=(table,), notes=(back,)),),
                    "calprune pack")  # fmt: skip

    def record(self) -> dict[str, Any]:
        """Every number."""
        return {"format": 1} | {field.name: getattr(self, field.name) for field in fields(self)} | {
            "sizes": asdict(self.sizes)}  # fmt: skip


def pack(folder: Path, out: Path) -> PackReport:
    """Write the archive of a folder. Raises UserError where it has no *.safetensors, is an archive itself, or holds
    what is neither file nor folder, and where what was packed does not give the same bytes again."""
    if (folder / PACKED).exists():
        raise UserError(f"{folder} is packed already; {unpack_command(folder)} gives the model back")
    paths = _files(folder)
    weights = [path for path in paths if path.name.endswith(WEIGHTS)]
    if not weights:
        raise UserError(f"{folder}: it has no *.safetensors to pack; expected the folder of a model")
    measured = _Measured()
    with whole_folder(out) as beside:
        for path in paths:
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            if path not in weights:
                shutil.copyfile(folder / path, beside / path)
        files = {}
        for path in tracking(weights, len(weights), "packing"):
            files[str(path)] = _pack_file(folder / path, beside / _packed(path), measured)
        write_json(beside / PACKED, {"format": 1, "files": files})
    return PackReport(str(folder), str(out), len(weights), measured.sizes(), measured.zeros / max(1, measured.numbers))


def unpack(packed: Path, out: Path) -> list[Path]:
    """Give an archive's folder back, byte for byte; the files' paths in it. Raises UserError where it is none, and
    DamagedError where a file does not come out with the digest that it had."""
    held = read_json(packed / PACKED, "what calprune pack wrote")["files"]
    inside = [path for path in _files(packed) if path != Path(PACKED)]
    packed_files = {_packed(Path(name)) for name in held}
    if missing := sorted(packed_files - set(inside)):
        raise DamagedError(f"{packed / missing[0]} is missing")
    with whole_folder(out) as beside:
        for path in inside:
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            if path not in packed_files:
                shutil.copyfile(packed / path, beside / path)
        for name, was in tracking(held.items(), len(held), "unpacking"):
            with (beside / name).open("xb") as file:
                for piece in _restored(packed / _packed(Path(name))):
                    file.write(piece)
            if file_digest(beside / name) != was["sha256"]:
                raise DamagedError(f"{packed / _packed(Path(name))} is damaged: {name} does not have its digest")
    return sorted({*inside, *map(Path, held)} - packed_files)


class _Measured:
    """PackedSizes, counted as files are read."""

    def __init__(self) -> None:
        self.dense = self.packed = self.zstd = self.zeros = self.numbers = 0
        self.zipnn: int | None = None if _zipnn("BF16") is None else 0

    def sizes(self) -> PackedSizes:
        return PackedSizes(self.dense, self.packed, self.zstd, self.zipnn)

    def following(self, tensor: StoredTensor, size: int) -> Iterator[bytes]:
        """The tensor's pieces, each counted."""
        stream, other = zstandard.ZstdCompressor(3).compressobj(), _zipnn(tensor.dtype)
        for piece in tensor.pieces():
            numbers = np.frombuffer(piece, f"u{size}")
            self.zeros += len(numbers) - int(np.count_nonzero(numbers))
            self.numbers += len(numbers)
            self.zstd += len(stream.compress(piece))
            if self.zipnn is not None:  # it works on its input in place, so it gets a copy
                self.zipnn += len(other.compress(bytearray(piece))) if other else len(piece)
            yield piece
        self.zstd += len(stream.flush())


def _zipnn(dtype: str) -> Any:
    """zipnn's compressor of numbers of this kind; None where it has none or is not installed."""
    kind = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}.get(dtype)
    try:
        import zipnn
    except ImportError:
        return None
    return zipnn.ZipNN(input_format="byte", bytearray_dtype=kind) if kind else None


def _files(folder: Path) -> list[Path]:
    """All files of a folder, hidden ones too, as paths in it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    found = []
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if not (path.is_file() or path.is_dir()) or (path.is_dir() and path.is_symlink()):
                raise UserError(f"{path} is neither a file nor a folder of its own; leave it out")
        found += [Path(place, name).relative_to(folder) for name in files]
    return sorted(found)


def _packed(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(WEIGHTS) + SUFFIX)


def _pack_file(source: Path, target: Path, measured: _Measured) -> dict[str, Any]:
    """Write the packed form of a file, and prove that it gives the same bytes; what packed.json says of it."""
    with source.open("rb") as file:
        header = file.read(8 + header_length(source))
    streams = {HEADER: header}
    for tensor in read_header(source):
        size = NUMBER.get(tensor.dtype, 1)
        packed = pack_numbers(measured.following(tensor, size), size)
        streams |= {f"{kind}:{tensor.name}": held for kind, held in packed.items()}
    save_tensors({name: torch.frombuffer(bytearray(held), dtype=torch.uint8) for name, held in streams.items()}, target)
    del streams
    digest = file_digest(source)
    restored = hashlib.sha256()
    for piece in _restored(target):
        restored.update(piece)
    if restored.hexdigest() != digest:
        raise UserError(f"{source}: what was packed does not give the same bytes: the disk or the memory is at fault")
    measured.dense += source.stat().st_size
    measured.packed += target.stat().st_size
    measured.zstd += len(header)
    if measured.zipnn is not None:
        measured.zipnn += len(header)
    return {"sha256": digest, "size": source.stat().st_size}


def _restored(packed: Path) -> Iterator[bytes]:
    """The bytes of the file that was packed, from its first to its last. Raises DamagedError where it cannot be."""
    try:
        with safe_open(packed, framework="np") as held:
            header = held.get_tensor(HEADER).tobytes()
            yield header
            for name, dtype, length in _tensors(header):
                size = NUMBER.get(dtype, 1)
                streams = {kind: held.get_tensor(f"{kind}:{name}").tobytes() for kind in streams_of(size)}
                yield from unpack_numbers(streams, size, length // size, PIECE // size)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, zstandard.ZstdError) as e:
        raise DamagedError(f"{packed} is damaged ({e})") from None


def _tensors(header: bytes) -> list[tuple[str, str, int]]:
    """Name, dtype and bytes of each tensor that a safetensors header speaks of, in the order of their bytes."""
    entries = {name: entry for name, entry in json.loads(header[8:]).items() if name != "__metadata__"}
    ordered = sorted(entries.items(), key=lambda item: tuple(item[1]["data_offsets"]))
    return [(name, entry["dtype"], entry["data_offsets"][1] - entry["data_offsets"][0]) for name, entry in ordered]


def _mega(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def _share(size: int | None, dense: int) -> float | None:
    return None if size is None else size / dense
