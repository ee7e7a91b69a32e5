"""Folders and files that are whole or absent: written beside their place, then renamed."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calprune.base.values import UserError


class DiskError(UserError):
    """Nothing can be written there: the disk is full, or the folder read-only."""


def cache_folder() -> Path:
    """Where what can be made again is kept: CALPRUNE_CACHE, else ~/.cache/calprune. It need not exist."""
    return Path(os.environ.get("CALPRUNE_CACHE") or "~/.cache/calprune").expanduser()


def refuse_occupied(folder: str | Path) -> None:
    """Raise UserError unless `folder` can be made: it must be absent or empty. Cheap, so ask before hours of work."""
    folder = Path(folder)
    if folder.is_dir() and next(folder.iterdir(), None) is None:
        return
    if folder.exists() or folder.is_symlink():
        raise UserError(f"output folder {folder}: it holds something else; name a folder that is absent or empty")


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill; it takes the name `folder` when the block ends well, and is removed when it does not."""
    folder = Path(folder)
    refuse_occupied(folder)
    beside = _beside(folder)
    try:
        beside.mkdir(parents=True)
        yield beside
        os.rename(beside, folder)
    except OSError as e:
        raise _unwritable(folder, e) from e
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file; a reader sees the old one or the new one, never a part."""
    path = Path(path)
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as e:
        raise _unwritable(path, e) from e
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, to_json(value))


def to_json(value: Any) -> str:
    """JSON text that differs only where the value does: keys sorted. NaN is refused, because JSON has none."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """Read a file of ours; `what` says what was wanted there. Raises UserError unless it is whole and of format 1."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing, so {Path(path).parent} does not hold {what}") from None
    except (OSError, ValueError) as e:
        raise UserError(f"cannot read {path}: {e}; expected {what}") from None
    if not isinstance(value, dict) or value.get("format") != 1:
        found = value.get("format") if isinstance(value, dict) else None
        raise UserError(f"{path} has format {found}, this calprune reads format 1")
    return value


def sweep(folder: str | Path) -> None:
    """Remove what writers left under `folder` that were killed on this machine. Who still writes is not disturbed."""
    for path in Path(folder).rglob(".*.part"):
        host, _, pid = path.name.removesuffix(".part").rsplit(".", 2)[1].rpartition("-")
        if host == _host() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Where the file or folder is made; its name says by whom, for `sweep`."""
    return path.absolute().parent / f".{path.name}.{_host()}-{os.getpid()}.{uuid.uuid4().hex[:12]}.part"


def _host() -> str:
    return os.uname().nodename.replace(".", "_")


def _unwritable(path: Path, error: OSError) -> DiskError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(f"cannot write {path}: the disk is full; nothing was left there")
    return DiskError(f"cannot write {path}: {error.strerror or error}; nothing was left there")
