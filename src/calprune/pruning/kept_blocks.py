"""The blocks of a job that is running, kept in the cache, so that the same job goes on after it was stopped.

CACHE/blocks/<name of the job>/ is as `refine/kept` writes it. It is removed when the job has ended well, and by the
next job when nothing was written there for DAYS days.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from calprune.base.claims import DiskError, claim
from calprune.base.leftovers import remove
from calprune.base.output import check_room
from calprune.base.progress import current
from calprune.base.store import cache_folder

DAYS = 7  # after the last block that was written


@contextmanager
def kept_in_cache(name: str, size: int) -> Iterator[Path | None]:
    """The folder for the blocks of the job of this name, `size` bytes in all; removed when the block ends well.

    Gives None, with a note, where nothing can be kept: the cache has no room or cannot be written, or the same job runs
    in another process now.
    """
    home = cache_folder() / "blocks"
    with ExitStack() as claims:
        try:
            remove_old(home)
            check_room(home / name, size)
            held = claims.enter_context(_claim(home / name))
            why = "the same job is running in another process"
        except DiskError as e:
            held, why = False, str(e)
        if not held:
            current().note(f"done blocks are not kept, so if this is stopped, it begins again: {why}")
        yield home / name if held else None
        if held:
            remove(home / name)


def remove_old(home: Path) -> None:
    """Remove what jobs left in the folder `home` that wrote nothing for DAYS days and run no more."""
    for folder in home.iterdir() if home.is_dir() else ():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > DAYS * 24 * 3600:
            with _claim(folder) as mine:
                if mine:
                    remove(folder)


def _claim(folder: Path) -> AbstractContextManager[bool]:
    return claim(folder.with_name(f"{folder.name}.claim"))
