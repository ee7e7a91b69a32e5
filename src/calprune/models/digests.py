"""The digests of files that are large and seldom change: computed once, known again by size and time."""

import contextlib
import hashlib
import json
from pathlib import Path

from calprune.base.store import cache_folder, file_digest, write_whole
from calprune.base.values import UserError


def known_digest(file: Path) -> str:
    """The SHA-256 of a file's bytes. Raises UserError where it cannot be read."""
    try:
        status = file.stat()
        place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
        seen = [file.name, status.st_size, status.st_mtime_ns]
        cache = cache_folder() / "digests" / f"{place}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(cache.read_text())
            if known["format"] == 1 and known["file"] == seen:
                return str(known["digest"])
        found = file_digest(file)
    except OSError as e:
        raise UserError(f"{file} cannot be read: {e.strerror or e}") from None
    with contextlib.suppress(UserError):  # a cache that cannot be written costs time, nothing else
        write_whole(cache, json.dumps({"format": 1, "file": seen, "digest": found}))
    return found
