"""One writer at a time: claims that the kernel gives back when their holder ends, however it ends.

A claim is a locked file (`flock`). On a shared file system locks must reach across machines (NFS 4 and Lustre's do).
"""

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calprune.base.leftovers import short
from calprune.base.progress import current
from calprune.base.signals import held_back
from calprune.base.values import UserError

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # what a file system without locks answers
LOOKS, LOOK = 10, 0.01  # how often a claim is tried, and seconds between: who looks at it holds it for an instant


class DiskError(UserError):
    """Nothing can be written there: the disk is full, or the folder read-only."""


class NoLocks(DiskError):
    """The file system has no locks."""


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold the file `path` while the block runs; gives False when someone else holds it. Raises DiskError."""
    file = None
    try:
        with held_back():
            file = _lock(path)
        yield file is not None
    finally:
        if file is not None:
            _give_back(path, file)


def is_claimed(path: Path) -> bool:
    """Whether someone holds it now. Where there are no locks, nobody does."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError as e:
        if e.errno not in NO_LOCKS:
            raise
        return False
    finally:
        os.close(file)


def check_locks(path: Path, wanted: str) -> None:
    """Raise UserError where the file system of the file `path` has no locks, which `wanted` needs."""
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError as e:
        if e.errno in NO_LOCKS:
            raise UserError(f"{wanted}: {path.parent} is on a file system without locks, by which workers share trials;"
                            " leave it out, or name a folder on another file system") from None  # fmt: skip
        raise
    finally:
        os.close(file)


@contextmanager
def shared(path: Path) -> Iterator[tuple[bool, Callable[[], None]]]:
    """Hold the file `path` beside others who do. Gives whether there is nobody else, and what is then to be called to
    let others in; until then they wait. Where there are no locks, everybody is alone."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        file = os.open(path, os.O_RDONLY)  # of a folder that may only be read: what is to be written will fail
    try:
        locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            fcntl.flock(file, fcntl.LOCK_SH)
            alone = False
        except OSError:
            alone, locked = True, False
        yield alone, lambda: fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB) if alone and locked else None
    finally:
        os.close(file)


INSIDE = ".claim"  # the claim on a folder beside which nothing can be written


@contextmanager
def sole_writer(folder: str | Path) -> Iterator[None]:
    """Nobody else fills `folder` while the block runs. The claim stands beside it (`.<name>.claim`), or inside where
    nothing can be written beside it. Raises UserError where another command has it, DiskError where none can be made.
    """
    folder = Path(folder).absolute()
    made = [one for one in folder.parents if not one.exists()]
    path = folder.parent / f".{short(folder.name)}.claim"
    if folder.is_dir() and not os.access(folder.parent, os.W_OK):
        path = folder / INSIDE
    file = None
    try:
        try:
            with held_back():
                file = _lock(path)
        except NoLocks as e:
            current().note(f"{e}: take care that no other command writes there")
        else:
            if file is None:
                raise UserError(f"{folder}: another command writes there now{_holder(path)}; let it end, or name "
                                "another folder")  # fmt: skip
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                _give_back(path, file)
        for one in made:  # where nothing came of it
            with suppress(OSError):
                one.rmdir()


def _give_back(path: Path, file: int) -> None:
    """Removed while it is still held: whoever opened it meanwhile sees that it is gone."""
    with held_back():
        try:
            path.unlink(missing_ok=True)
        finally:
            os.close(file)


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        held = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {held['pid']} on {held['host']})"
    return ""


def _lock(path: Path) -> int | None:
    """The open, locked file; None when another process has it. A link that someone put there is not followed."""
    looks = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as e:
            why = "it is a link" if e.errno == errno.ELOOP else e.strerror
            raise DiskError(f"cannot write {path}: {why}; nothing was left there") from e
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise DiskError(f"cannot write {path}: it is no ordinary file")
            if found.st_nlink and os.path.samestat(found, os.stat(path, follow_symlinks=False)):
                os.ftruncate(file, 0)
                os.write(file, json.dumps({"pid": os.getpid(), "host": os.uname().nodename}).encode())
                return file
        except BlockingIOError:
            os.close(file)
            if (looks := looks + 1) == LOOKS:
                return None
            time.sleep(LOOK)
            continue
        except FileNotFoundError:
            pass  # its holder ended and removed it between our opening and our lock: try again
        except OSError as e:
            os.close(file)
            if e.errno in NO_LOCKS:
                with suppress(OSError):
                    path.unlink()  # it claims nothing
                raise NoLocks(f"{path} cannot be locked: the file system has no locks") from e
            raise DiskError(f"cannot lock {path}: {e.strerror}; the folder must be on a file system with locks") from e
        except UserError:
            os.close(file)
            raise
        os.close(file)
