"""Files and folders that are whole or absent, made at most once, and checked by a digest when they are read.

What is written is first written beside its place, as `.<name>.<host>-<pid>.<hex>.part`, and forced to the disk; then it
is renamed, and its folder forced to the disk. So neither a killed process nor a power failure leaves a part under the
name itself. What a killed process left beside it is removed by the next writer of the same name, and by `sweep`.

`write_json` records a digest of the contents in the file, `file_digests` those of a folder's files. What is read with
another digest is named in a `DamagedError`: `once` makes it again, who cannot make it again refuses it.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from calprune.base.values import UserError

T = TypeVar("T")
PART = re.compile(r"\.(?P<name>.+)\.(?P<host>[^.]+)-(?P<pid>\d+)\.[0-9a-f]{12}\.part", re.DOTALL)
PART_WITHOUT_WRITER = re.compile(r"\..+\.[0-9a-f]{12}\.part", re.DOTALL)  # as calprune 0.1 wrote some files
OLD = 24 * 3600.0  # seconds after which nobody can still be writing a file that does not name its writer
_own: set[str] = set()  # parts that this process is writing


class DiskError(UserError):
    """Nothing can be written there: the disk is full, or the folder read-only."""


class DamagedError(UserError):
    """A file of ours is cut short, or its contents are not those that were written."""


def cache_folder() -> Path:
    """Where what can be made again is kept: CALPRUNE_CACHE, else ~/.cache/calprune. It need not exist."""
    return Path(os.environ.get("CALPRUNE_CACHE") or "~/.cache/calprune").expanduser()


# -- whole or absent


def is_free(folder: str | Path) -> bool:
    """Whether `folder` can be made: it is absent or empty, but for what killed writers left, which is removed."""
    folder = Path(folder)
    if folder.is_dir():
        _remove_dead(folder.glob(".*.part"))
        return next(folder.iterdir(), None) is None
    return not folder.exists() and not folder.is_symlink()


def refuse_occupied(folder: str | Path) -> None:
    """Raise UserError unless `folder` is absent or empty. Cheap: to be called before hours of work."""
    if not is_free(folder):
        raise UserError(f"output folder {folder}: it holds something else; name a folder that is absent or empty")


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill; it takes the name `folder` when the block ends well, and is removed when it does not."""
    folder = Path(folder)
    refuse_occupied(folder)
    with _beside(folder) as beside:
        beside.mkdir()
        yield beside
        for inside in [*beside.rglob("*"), beside]:
            force(inside)
        os.rename(beside, folder)


def write_whole(path: str | Path, contents: str | bytes) -> None:
    """Write a file; a reader sees the old one or the new one, never a part."""
    path = Path(path)
    with _beside(path) as beside:
        with beside.open("wb") as file:
            file.write(contents.encode() if isinstance(contents, str) else contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where a file or folder is made. The block renames it to `path`; what is left of it afterwards is removed."""
    place = path.absolute().parent
    beside = place / f".{path.name}.{_host()}-{os.getpid()}.{uuid.uuid4().hex[:12]}.part"
    _own.add(beside.name)
    try:
        _make_folders(place)
        _remove_dead(part for part in place.glob(".*.part") if _name_of(part) == path.name)
        yield beside
        force(place)
    except OSError as e:
        why = "the disk is full" if e.errno in (errno.ENOSPC, errno.EDQUOT) else e.strerror or e
        raise DiskError(f"cannot write {path}: {why}; nothing was left there") from e
    finally:
        _remove(beside)
        _own.discard(beside.name)


def _make_folders(folder: Path) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        force(one.parent)


def force(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk itself, so that a power failure does not undo it."""
    if path.is_symlink():
        return
    is_folder = path.is_dir()
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as e:
        if not is_folder or e.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF):
            raise  # some file systems know no fsync of a folder, some folders may be written but not read


# -- what killed writers leave


def sweep(folder: str | Path) -> None:
    """Remove what writers left under `folder` that were killed on this machine. Who still writes is not disturbed."""
    _remove_dead(Path(folder).rglob(".*.part"))


def _remove_dead(parts: Iterator[Path]) -> None:
    for part in list(parts):
        if _is_dead(part):
            _remove(part)


def _is_dead(part: Path) -> bool:
    """Whether its writer is a process of this machine that has ended; where it names none, whether it is old."""
    if (found := PART.fullmatch(part.name)) is None:
        with suppress(OSError):
            old = time.time() - part.stat().st_mtime > OLD
            return old and part.is_file() and PART_WITHOUT_WRITER.fullmatch(part.name) is not None
        return False
    if found["host"] != _host():
        return False
    if (pid := int(found["pid"])) == os.getpid():  # in a container a process often has the id of the one before it
        return part.name not in _own
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # it runs, as another user's
    return False


def _name_of(part: Path) -> str | None:
    """The name of what was being written."""
    found = PART.fullmatch(part.name)
    return found["name"] if found else None


def _remove(path: Path) -> None:
    """A file or a folder, if it is there and we may."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _host() -> str:
    return os.uname().nodename.replace(".", "_")


# -- made at most once


def once(
    path: Path,
    make: Callable[[], T],
    read: Callable[[Path], T | None],
    write: Callable[[Path, T], None],
    report: Callable[[str], None] = warnings.warn,
) -> T:
    """What is at `path`, as `read` gives it; made and written where it is absent, or where `read` gives None.

    `write` must be whole or absent (`whole_folder`, `write_whole`, ...). What `read` finds damaged (DamagedError) is
    named to `report` and made again. Where two processes make the same, the first to write wins.
    """
    if path.exists():
        try:
            if (found := read(path)) is not None:
                return found
        except DamagedError as e:
            report(f"{e}: it is made again")
    to_replace = path.is_dir()
    made = make()
    if to_replace:
        with _beside(path) as beside:  # a folder cannot be replaced at once: out of the way first, then removed
            os.rename(path, beside)
    try:
        write(path, made)
    except UserError:
        if not path.exists() or (found := read(path)) is None:
            raise
        return found  # another process was faster
    return made


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """The digest of each file of a folder, by its name, for the file that is written last."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.is_file()}


def check_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Raise DamagedError unless each of these files is as it was written."""
    for name, digest in digests.items():
        try:
            same = file_digest(folder / name) == digest
        except OSError as e:
            raise DamagedError(f"{folder / name} cannot be read ({e.strerror or e})") from None
        if not same:
            raise DamagedError(f"{folder / name} is damaged or was edited: its contents do not have its digest")


# -- JSON


def write_json(path: str | Path, value: Any, *, sort: bool = True) -> None:
    """Write JSON, whole or not at all; an object with the digest of its contents as `digest`. sort: keys, by name."""
    if isinstance(value, dict):
        value = value | {"digest": _contents_digest(value)}
    write_whole(path, to_json(value, sort=sort))


def to_json(value: Any, *, sort: bool = True) -> str:
    """JSON text that differs only where the value does: keys sorted. NaN is refused, because JSON has none."""
    return json.dumps(value, indent=1, sort_keys=sort, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """Read a file of ours; `what` says what was wanted there.

    Raises UserError where it is missing or not of format 1, DamagedError where it is not as it was written.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing, so {path.parent} does not hold {what}") from None
    except OSError as e:
        raise UserError(f"cannot read {path}: {e}; expected {what}") from None
    except ValueError as e:
        raise DamagedError(f"cannot read {path}: {e}; expected {what}") from None
    if not isinstance(value, dict) or value.get("format") != 1:
        found = value.get("format") if isinstance(value, dict) else None
        raise UserError(f"{path} has format {found}, this calprune reads format 1")
    digest = value.pop("digest", None)  # there is none in what calprune 0.1 wrote
    if digest is not None and digest != _contents_digest(value):
        raise DamagedError(f"{path} is damaged or was edited: its contents do not have its digest; expected {what}")
    return value


def _contents_digest(value: dict[str, Any]) -> str:
    """Of the value as it is read back: whatever the order of its keys in the file."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    return hashlib.sha256(to_json(plain).encode()).hexdigest()
