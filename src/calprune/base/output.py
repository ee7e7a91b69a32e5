"""What cannot be written is refused before the work that it would end, not after."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calprune.base.claims import DiskError, sole_writer
from calprune.base.store import is_special, refuse_occupied
from calprune.base.values import UserError

SPARE = 2**20  # bytes beside the weights: configs, reports, the folder itself


@contextmanager
def new_folder(folder: str | Path, option: str = "--out") -> Iterator[None]:
    """The block is the work whose result `folder` will be; meanwhile nobody else makes it. Raises UserError, at once,
    where it cannot be made: it is there and not empty, a link, a mount point, the current folder, below a file, too
    long a name, or in a folder that may not be written to."""
    check_new_folder(folder, option)
    with sole_writer(folder):
        refuse_occupied(folder)  # who held the claim before may have written it
        yield


@contextmanager
def filled_folder(folder: str | Path, option: str = "--out") -> Iterator[None]:
    """The same of a folder that is filled over time: it may be there, be a mount point or the current one."""
    check_place(Path(folder), option)
    with sole_writer(folder):
        yield


def check_new_folder(folder: str | Path, option: str = "--out") -> None:
    """Raise UserError where no new folder can take this name."""
    path = Path(folder)
    check_place(path, option)
    if path.is_symlink():
        raise UserError(f"{option} {folder}: it is a link to {os.readlink(path)}; name the folder itself")
    here = Path.cwd()
    if (real := path.resolve()) == here or real in here.parents:
        raise UserError(f"{option} {folder}: it is the current folder, or holds it; name a new one: {option} pruned")
    if path.is_mount():
        raise UserError(f"{option} {folder}: it is a mount point, which cannot be renamed; name a folder in it: "
                        f"{option} {path / 'pruned'}")  # fmt: skip
    _check_may_write(real.parent, f"{option} {folder}")
    refuse_occupied(path)


def check_place(path: Path, option: str) -> None:
    """Raise UserError where no folder can be at `path`."""
    where = f"{option} {path}"
    if "\0" in str(path):
        raise UserError(f"{option} {str(path)!r}: a name cannot hold a zero byte; name a folder")
    for one in (path, *path.absolute().parents):
        if os.path.exists(one) and not os.path.isdir(one):
            raise UserError(f"{where}: {one} is no folder; name another place")
    _check_names(path, where)


def _check_names(path: Path, where: str) -> None:
    there = _nearest(path)
    longest = os.pathconf(there, "PC_NAME_MAX")
    for name in path.absolute().parts[len(there.parts) :]:
        if len(size := os.fsencode(name)) > longest:
            raise UserError(f"{where}: a name has at most {longest} bytes here; this one has {len(size)}")


def check_new_file(path: str | Path | None, option: str) -> None:
    """Raise UserError where no file can be written as `path`; None is none."""
    if path is None:
        return
    path = Path(path)
    check_place(path.absolute().parent, option)
    if os.path.isdir(path):
        raise UserError(f"{option} {path}: it is a folder; name a file in it")
    _check_names(path, f"{option} {path}")
    if not is_special(path):
        _check_may_write(path.absolute().parent, f"{option} {path}")


def check_apart(resume: str | Path | None, out: str | Path) -> None:
    """Raise UserError where the blocks of a job would be kept in its result, or the other way round."""
    if resume is None:
        return
    kept, made = Path(resume).resolve(), Path(out).resolve()
    if kept == made or made in kept.parents or kept in made.parents:
        raise UserError(f"--resume {resume} and --out {out}: one holds the other; name two folders beside each other")


def check_room(folder: str | Path, size: int) -> None:
    """Raise DiskError where `size` bytes do not fit beside `folder`."""
    need = size + SPARE
    if (free := shutil.disk_usage(_nearest(Path(folder).absolute().parent)).free) < need:
        raise DiskError(f"{folder}: it takes {need / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free there; make room, "
                        "or name a folder on another disk")  # fmt: skip


def _nearest(path: Path) -> Path:
    """The folder that is there: itself or the one above."""
    path = path.absolute()
    return next(one for one in (path, *path.parents) if os.path.isdir(one))


def _check_may_write(folder: Path, where: str) -> None:
    if not os.access(there := _nearest(folder), os.W_OK | os.X_OK):
        raise DiskError(f"{where}: nothing can be written in {there}; name another place")
