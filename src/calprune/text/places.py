"""Records of a data set on the hub, streamed with `datasets` (extra calprune[hub]).

Where a source's records are read from: the data root if its files are there, else the hub.

The data root is an argument or CALPRUNE_DATA. A user's own source has its files beside its YAML instead.
"""

import hashlib
import os
import socket
from collections.abc import Hashable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlparse

from calprune.base.values import UserError, did_you_mean
from calprune.text.controls import pydoc_file
from calprune.text.read import TextFile, ending_of, find_reader, numbered_lines, read_records
from calprune.text.records import Place, documents_of_lines


def hub_records(place: Place, split: str, otherwise: str) -> Iterator[tuple[str, Iterator[tuple[int, dict]]]]:
    """(name, numbered records) of each part of a split. `otherwise` says how to have the source without the hub."""
    try:
        import datasets  # noqa: F401
    except ImportError:
        raise UserError(f"reading {place.path} from the hub needs: pip install 'calprune[hub]'; {otherwise}") from None
    _reachable(place.path, otherwise)
    return ((f"{place.path}/{part}", _records(place, part, otherwise)) for part in place.files(split))


def _records(place: Place, part: str, otherwise: str) -> Iterator[tuple[int, dict]]:
    import datasets

    try:
        if place.reader:
            file = f"hf://datasets/{place.path}@{place.revision or 'main'}/{part}"
            data = datasets.load_dataset(place.reader, data_files=file, split="train", streaming=True)
        else:
            data = datasets.load_dataset(place.path, place.config, split=part, revision=place.revision, streaming=True)
        yield from enumerate(data, start=1)
    except Exception as e:  # of a dozen kinds: no such repository, gated, the network broke, no such split
        raise UserError(f"the hub does not give {part} of {place.path}: {e}; {otherwise}") from None


def _reachable(path: str, otherwise: str) -> None:
    """Ask for the hub's address before `datasets` does, which tries for half a minute and prints each try."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE and not os.path.isdir(path):
        raise UserError(f"{path} is read from the hub, and not offline (--offline, HF_HUB_OFFLINE); {otherwise}")
    proxies = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    if constants.HF_HUB_OFFLINE or any(os.environ.get(name) for name in proxies):
        return  # from the cache, or the proxy knows
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        raise UserError(f"{path} is on the hub, which cannot be reached from here; {otherwise}") from None


@runtime_checkable
class Located(Protocol):
    """What a source says of where its records are (`text.source.RecordSource`)."""

    @property
    def name(self) -> str: ...
    @property
    def made(self) -> str: ...
    @property
    def endless(self) -> bool: ...
    @property
    def local(self) -> Place | None: ...
    @property
    def hub(self) -> Place | None: ...
    @property
    def distinct(self) -> bool: ...
    @property
    def root(self) -> Path | None: ...


class Part(NamedTuple):
    """One file of a split: its name in document ids, its numbered records, and what is joined to them."""

    name: str
    records: Iterator[tuple[int, dict]]
    place: Place
    joined: dict[Any, dict] | None


def data_folder(data_root: Path | None) -> Path | None:
    """The data root: the argument, else CALPRUNE_DATA, else None. A folder that is not there is an error."""
    given = data_root or (Path(text) if (text := os.environ.get("CALPRUNE_DATA")) else None)
    if given is not None and not os.path.isdir(given):
        raise UserError(f"the data root {given} is not a folder; give --data-root (or CALPRUNE_DATA) one that is")
    return Path(given) if given else None


def local_files(source: Located, split: str, data_root: Path | None) -> list[Path]:
    """The files that the documents of a split depend on: what an identity hashes. Empty if they are not all here."""
    if source.made:
        return [pydoc_file()] if source.made == "pydoc_topics" else []
    if source.local is None:
        return []
    paths = _files(source, source.local.files(split), data_root)
    if paths and source.local.join:
        paths += _files(source, source.local.join.files(split), data_root)
    if paths and source.distinct and split == "calibration":
        paths += _files(source, source.local.files("evaluation"), data_root)
    return paths


def split_files(source: Located, split: str, data_root: Path | None) -> list[Path]:
    """The files that hold the rows of a split, without those that are joined to it or compared with it. Empty if they
    are not all here."""
    return _files(source, source.local.files(split), data_root) if source.local else []


def files_hash(files: list[Path]) -> str:
    """16 characters for the bytes of these files."""
    digest = hashlib.sha256()
    for path in files:
        found = path.stat()
        digest.update(_file_hash(path, found.st_size, found.st_mtime_ns))
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1024)
def _file_hash(path: Path, size: int, changed: int) -> bytes:
    """A study asks for the same files once a cell."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def available(source: Located, data_root: Path | None) -> list[str]:
    """The splits that can be read without a network."""
    if source.made:
        return ["calibration"] if source.endless else ["calibration", "evaluation"]
    return [split for split in (source.local.splits if source.local else ()) if local_files(source, split, data_root)]


def places(source: Located, split: str, data_root: Path | None) -> list[Place]:
    """Where the split can be read, the first that is best: the local files if they are all there, then the hub."""
    local = [source.local] if source.local and local_files(source, split, data_root) else []
    return local + ([source.hub] if source.hub and source.hub.files(split) else [])


def comparable(source: Located, data_root: Path | None) -> bool:
    """Whether the evaluation split can be read where the calibration split is: not from the hub for local rows."""
    found = [places(source, split, data_root)[:1] for split in ("calibration", "evaluation")]
    return found[0] == found[1] != []


def parts(source: Located, split: str, data_root: Path | None, joins: bool) -> Iterator[Part]:
    """The files of a split, one after the other. Raises UserError at once where there is none."""
    found = places(source, split, data_root)
    if not found:
        raise _absent(source, split, data_root)
    place = found[0]
    joined = _joined(source, place, split, data_root) if joins and place.join else None
    if place is not source.local:
        read = hub_records(place, split, _bring(source, split))
        return (Part(name, records, place, joined) for name, records in read)
    names = place.files(split)
    paths = _files(source, names, data_root)
    return (_part(name, path, place, joined) for name, path in zip(names, paths, strict=True))


def read_by_lines(place: Place, file: str | Path) -> bool:
    """Whether documents begin at a line of plain text, which else is read in passages."""
    return bool(place.begins) and isinstance(find_reader(place.reader or ending_of(file)), TextFile)


def _part(name: str, path: Path, place: Place, joined: dict[Any, dict] | None) -> Part:
    """A file's. The records of plain text are passages; where documents begin at a line, its lines are read."""
    if read_by_lines(place, path):
        lines = ((number, {"text": line}) for number, line in numbered_lines(path))
        documents = documents_of_lines(lines, place.begins, name, between="\n")
        return Part(name, documents, replace(place, begins=""), joined)
    return Part(name, read_records(path, place.reader), place, joined)


def _absent(source: Located, split: str, data_root: Path | None) -> UserError:
    """The error for a split that the source does not have, or that is only local and not here."""
    known = sorted({s for place in (source.local, source.hub) if place for s in place.splits})
    if split in known:
        looked = f" in {root}" if (root := _root(source, data_root)) else ""
        return UserError(f"the {split} split of {source.name} is not here{looked} nor on the hub; "
                         f"{_bring(source, split)}")  # fmt: skip
    if split == "evaluation":
        return UserError(f"source {source.name} has no evaluation split, it only calibrates; evaluate on another")
    if split == "calibration":
        return UserError(f"source {source.name} has no calibration split, it only evaluates; calibrate on another "
                         "source or allow it with allow_evaluation_split")  # fmt: skip
    return UserError(f"source {source.name} has no split {split!r}{did_you_mean(split, known)}")


def _bring(source: Located, split: str) -> str:
    """How to have the split without the hub."""
    files = source.local.files(split) if source.local else ()
    if files and source.root:
        return f"put {files[0]} into {source.root}"
    if files:
        return f"give --data-root (or CALPRUNE_DATA) a folder with {', '.join(files)}"
    evaluates = split == "calibration" and source.local and source.local.files("evaluation")
    allow = ", or allow its evaluation split with allow_evaluation_split" if evaluates else ""
    return f"use another source, for {source.name} has no local {split} split{allow}"


def _root(source: Located, data_root: Path | None) -> Path | None:
    return source.root or data_folder(data_root)


def _files(source: Located, names: tuple[str, ...], data_root: Path | None) -> list[Path]:
    """The named files under the source's root, or none if one is missing: half a source would pass for it."""
    root = _root(source, data_root)
    paths = [root / name for name in names] if root else []
    return paths if all(os.path.isfile(path) for path in paths) else []


def _joined(source: Located, place: Place, split: str, data_root: Path | None) -> dict[Any, dict]:
    """The fields to add to a record, by the value of the field that is joined on."""
    join = place.join
    assert join is not None
    if place is source.local:
        if not (paths := _files(source, join.files(split), data_root)):
            raise UserError(f"the rationales of {source.name} ({', '.join(join.files(split)) or 'none'}) "
                            f"are not in {_root(source, data_root)}; use a format without them")  # fmt: skip
        records = (record for path in paths for _, record in read_records(path))
    else:
        there = Place(calibration=join.calibration, evaluation=join.evaluation, path=join.path, reader=place.reader)
        records = (record for _, part in hub_records(there, split, _bring(source, split)) for _, record in part)
    found = {}
    for record in records:
        if lacking := [name for name in (join.by, *join.take) if name not in record]:
            raise UserError(f"the rationales of {source.name}: a record has no field {lacking[0]!r}; its fields: "
                            f"{', '.join(map(str, record))}")  # fmt: skip
        if not isinstance(record[join.by], Hashable):
            raise UserError(f"the rationales of {source.name}: field {join.by!r} holds a list or a mapping; join by "
                            "a text or a number")  # fmt: skip
        found[record[join.by]] = {name: record[name] for name in join.take}
    return found
