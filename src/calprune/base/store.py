"""Files and folders that are whole or absent, made at most once, and checked by a digest when they are read.

What is written is first written beside its place (`leftovers`), and forced to the disk; then it is renamed, and its
folder forced to the disk. So neither a killed process nor a power failure leaves a part under the name itself. What a
killed process left beside it is removed by the next writer in that folder, and by `sweep`.

`write_json` records a digest of the contents in the file, `file_digests` those of a folder's files. What is read with
another digest is named in a `DamagedError`: `once` makes it again, who cannot make it again refuses it.
"""

import errno
import hashlib
import json
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from calprune.base.claims import INSIDE, DiskError, is_claimed
from calprune.base.leftovers import own, part_of, remove, remove_dead
from calprune.base.signals import held_back
from calprune.base.values import UserError

T = TypeVar("T")


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
        remove_dead(folder.glob(".*.part"))
        if (left := folder / INSIDE).is_file() and not is_claimed(left):
            remove(left)
        return all(one.name == INSIDE for one in folder.iterdir())
    return not folder.exists() and not folder.is_symlink()


def refuse_occupied(folder: str | Path) -> None:
    """Raise UserError unless `folder` is absent or empty. Cheap: to be called before hours of work."""
    if not is_free(folder):
        raise UserError(f"output folder {folder}: it holds something else{_some_of(Path(folder))}; name a folder that "
                        "is absent or empty")  # fmt: skip


def _some_of(folder: Path) -> str:
    """What is in a folder, by the first name: " (config.json and 6 more)"."""
    names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f" ({names[0]}{more})" if names else ""


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill; it takes the name `folder` when the block ends well, and is removed when it does not.

    Its files may be read by whom the umask lets read. Of two that write one folder the first to end wins, whole, and
    the other raises UserError.
    """
    folder = Path(folder)
    refuse_occupied(folder)
    with _beside(folder) as beside:
        beside.mkdir()
        yield beside
        for inside in [*beside.rglob("*"), beside]:
            _open_to_readers(inside)
            force(inside)
        try:
            os.rename(beside, folder)
        except OSError as e:
            if e.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise UserError(f"output folder {folder}: another command wrote it meanwhile; this one wrote nothing"
                                ) from None  # fmt: skip
            raise


@contextmanager
def replaced(folder: Path) -> Iterator[None]:
    """What is at `folder` makes way for what the block writes there, and is removed when the block ends well; when it
    does not, and nothing was written, it is put back."""
    if not folder.is_dir():
        yield
        return
    with _beside(folder) as beside:
        os.rename(folder, beside)
        try:
            yield
        except BaseException:
            if not folder.exists():
                os.rename(beside, folder)
            raise


def write_whole(path: str | Path, contents: str | bytes) -> None:
    """Write a file; a reader sees the old one or the new one, never a part. What is no ordinary file (/dev/stdout, a
    FIFO) is written to and stays what it is; a link is replaced, and what it leads to stays as it is."""
    path = Path(path)
    data = _bytes(contents) if isinstance(contents, str) else contents
    if is_special(path):
        try:
            with path.open("wb", buffering=0) as file:
                file.write(data)
        except OSError as e:
            raise DiskError(f"cannot write {path}: {e.strerror or e}") from e
        return
    with _beside(path) as beside:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


def is_special(path: Path) -> bool:
    """Whether there is something that is neither file nor folder, or a name of a file that is open (/dev/stdout).
    Raises DiskError for a link to such a thing that another user may have put there."""
    try:
        found, link = path.stat(), path.lstat()
    except OSError:
        return False
    streams = str(path.absolute()).startswith(("/dev/", "/proc/"))
    special = streams or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
    if special and stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise DiskError(f"cannot write {path}: it is a link of another user's")
    return special


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where a file or folder is made. The block renames it to `path`; what is left of it afterwards is removed."""
    beside = part_of(path)
    place = beside.parent
    own.add(beside.name)
    try:
        _make_folders(place)
        remove_dead(place.glob(".*.part"))
        yield beside
        force(place)
    except OSError as e:
        why = "the disk is full" if e.errno in (errno.ENOSPC, errno.EDQUOT) else e.strerror or e
        raise DiskError(f"cannot write {path}: {why}; nothing was left there") from e
    finally:
        with held_back():
            remove(beside)
        own.discard(beside.name)


def _open_to_readers(path: Path) -> None:
    """Libraries make files that nobody else may read (safetensors), whatever the umask is."""
    if path.is_file() and not path.is_symlink():
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != (wanted := mode | (0o666 & ~_umask())):
            path.chmod(wanted)


def _umask() -> int:
    for line in Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else ():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    now = os.umask(0o077)  # the only other way to read it is to set it
    os.umask(now)
    return now


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


def _bytes(text: str) -> bytes:
    """UTF-8. A file's name may have bytes that are none: they are written as Python does in a string, which JSON too
    reads as what they were."""
    return text.encode("utf-8", "backslashreplace")


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
        raise UserError(f"cannot read {path}: {e.strerror or e}; expected {what}") from None
    except (ValueError, RecursionError) as e:
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
    return hashlib.sha256(_bytes(to_json(plain))).hexdigest()
