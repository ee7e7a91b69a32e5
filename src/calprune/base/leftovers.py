"""What is in the making, by whom, and what writers left that have ended.

A file or folder is made under the name `.<name>.<host>-<pid>~<since>.<hex>.part` beside its place. `since` is 8
characters for the boot of the machine and the moment that the process began: so another process that has the number
later, after a restart or in a container, is not taken for the writer.
"""

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PART = re.compile(
    r"\.(?P<name>.+)\.(?P<host>[^.]+)-(?P<pid>\d+)(~(?P<since>[0-9a-f]{8}))?\.[0-9a-f]{12}\.part", re.DOTALL
)
PART_WITHOUT_WRITER = re.compile(r"\..+\.[0-9a-f]{12}\.part", re.DOTALL)  # as calprune 0.1 wrote some files
OLD = 24 * 3600.0  # seconds after which nobody can still be writing a file that does not name its writer
LONGEST = 120  # bytes of a name that stand in that of its part, so that the whole is a name too
own: set[str] = set()  # names of parts that this process is writing


def part_of(path: Path) -> Path:
    """A new name beside `path` for what is to be renamed to it."""
    pid = os.getpid()
    owner = f"{host()}-{pid}~{_since(pid)}"
    return path.absolute().parent / f".{short(path.name)}.{owner}.{uuid.uuid4().hex[:12]}.part"


def short(name: str) -> str:
    """A name as it stands in another one: one that is too long is cut, and told from others by its hash."""
    written = os.fsencode(name)
    if len(written) <= LONGEST:
        return name
    return os.fsdecode(written[: LONGEST - 9]).encode("utf-8", "ignore").decode() + f"~{_hash(written)}"


def sweep(folder: str | Path) -> None:
    """Remove what writers left under `folder` that were killed on this machine. Who still writes is not disturbed."""
    remove_dead(Path(folder).rglob(".*.part"))


def remove_dead(parts: Iterable[Path]) -> None:
    """Remove those parts whose writers have ended."""
    for part in list(parts):
        if is_dead(part):
            remove(part)


def is_dead(part: Path) -> bool:
    """Whether its writer is a process of this machine that has ended; where it names none, whether it is old."""
    if (found := PART.fullmatch(part.name)) is None:
        with suppress(OSError):
            old = time.time() - part.lstat().st_mtime > OLD
            return old and part.is_file() and PART_WITHOUT_WRITER.fullmatch(part.name) is not None
        return False
    if found["host"] != host():
        return False
    if (pid := int(found["pid"])) == os.getpid():  # in a container a process often has the id of the one before it
        return part.name not in own
    return not _runs(pid, found["since"])


def _runs(pid: int, since: str | None) -> bool:
    """Whether the process that had this number then is still there."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it runs, as another user's
    now = _since(pid)
    return now != GONE and (since is None or UNKNOWN in (now, since) or now == since)


UNKNOWN, GONE = "00000000", "ended"


def _since(pid: int) -> str:
    """When a process began: the boot and the ticks since; UNKNOWN where the system does not say it (not Linux)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return UNKNOWN
    if state in "ZX":  # it has ended, and its parent has not asked how
        return GONE
    return _hash(f"{boot} {fields[18]}".encode())


def remove(path: Path) -> None:
    """A file or a folder, if it is there and we may."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def host() -> str:
    """This machine's name as it stands in a part's."""
    return os.uname().nodename.replace(".", "_").replace("~", "_")


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:8]
