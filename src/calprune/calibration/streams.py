"""The bytes of a file, decompressed as they are needed, and where reading was if it fails."""

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zstandard

from calprune.config import UserError

PACKED_BYTES = 1 << 16  # taken from the file at once
UNPACKED_BYTES = 1 << 18  # made of them at once
BUFFER_BYTES = 1 << 20  # Python's own 8 KiB makes reading lines a third slower


class Position:
    """Where reading is, for the message if it fails."""

    def __init__(self, path: Path, line: int = 0) -> None:
        self.path, self.line = path, line

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@contextmanager
def opened(path: Path, at: Position) -> Iterator[Any]:
    """The file's bytes, without their compression (.gz, .zst). What fails inside is told with the place that `at` has
    reached; all that came before a broken place was given out."""
    with path.open("rb") as raw:
        try:
            unpack = _UNPACK.get(path.suffix.lower())
            yield io.BufferedReader(_Unpacked(raw, unpack), BUFFER_BYTES) if unpack else raw
        except json.JSONDecodeError as e:
            line = at.line + min(e.lineno - 1, e.doc.strip().count("\n"))
            raise UserError(f"{path}:{line}: broken JSON: {e.msg} at column {e.colno}") from None
        except UnicodeDecodeError as e:
            raise UserError(f"{path}:{max(at.line, 1)}: not UTF-8 text: byte 0x{e.object[e.start]:02x}") from None
        except csv.Error as e:
            raise UserError(f"{path}:{at.line + 1}: broken CSV: {e}") from None
        except (EOFError, zlib.error, zstandard.ZstdError) as e:
            raise UserError(f"{path}:{at.line + 1}: broken compression: {e}") from e
        except OSError as e:
            raise UserError(f"{path}: cannot be read: {e.strerror or e}") from e


class _Zstd:
    """zstandard's decompressor with the interface of zlib's."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()

    def decompress(self, packed: bytes, most: int) -> bytes:
        """Up to 4 KiB at once, for what comes of it is not bounded (128 KiB of text may be packed into 10 bytes)."""
        data = self._inner.decompress(packed[:4096])
        self.unconsumed_tail = b"" if self._inner.eof else packed[4096:]
        self.eof = self._inner.eof
        self.unused_data = self._inner.unused_data + packed[4096:] if self.eof else b""
        return data


_UNPACK: dict[str, Callable[[], Any]] = {".gz": lambda: zlib.decompressobj(wbits=31), ".zst": _Zstd}


class _Unpacked(io.RawIOBase):
    """A compressed stream, of one member or several. Unlike gzip.GzipFile, it gives all that can be read before it
    fails, so that the line of the failure is known; and it notices a zstd stream that was cut."""

    def __init__(self, raw: io.BufferedIOBase, unpack: Callable[[], Any]) -> None:
        self._raw, self._new, self._unpack = raw, unpack, unpack()
        self._packed, self._ready = b"", memoryview(b"")
        self._begun = False  # whether the current member has had any bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._raw.read(PACKED_BYTES)
            if not self._packed:
                if self._begun:
                    raise EOFError("the file ends within its compressed data")
                return 0
            self._begun = True
            self._ready = memoryview(self._unpack.decompress(self._packed, UNPACKED_BYTES))
            self._packed = self._unpack.unconsumed_tail
            if self._unpack.eof:
                self._packed = self._unpack.unused_data.lstrip(b"\0")  # some writers pad with zeros
                self._unpack, self._begun = self._new(), False
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size
