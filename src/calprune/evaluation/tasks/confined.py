"""Run by `apart`, by its path and in a process of its own: a program from standard input that nobody has read.

Nothing of it reaches other programs, files or the network: it runs in namespaces of its own (no network, no other
process to be seen, every file read-only), without privileges, and within limits of time, memory and size. What it
starts ends with it. Needs Linux 5.12. Imports the standard library alone.
"""

import ctypes
import json
import os
import resource
import signal
import sys

APART = 0x10000000 | 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000  # users, mounts, network, processes, messages
MOUNT_SETATTR, EVERYWHERE, BELOW, READ_ONLY = 442, -100, 0x8000, 1
DIES_WITH_PARENT, NO_NEW_PRIVILEGES = 1, 38  # of prctl
CANNOT = 3  # exit status
MEMORY, FILES, PROCESSES = 2 << 30, 64, 64


def main() -> None:
    """Write the word that was given where the program came to its end."""
    given = json.load(sys.stdin)
    said = os.dup(1)
    try:
        _confine()
    except OSError as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(CANNOT)
    child = os.fork()  # the first process of the new namespace: with it end all that it has started
    if child:
        os.waitpid(child, 0)
        return
    _limit(given["seconds"])
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    try:
        exec(compile(given["program"], "<program>", "exec"), {"__name__": "__main__"})
    except BaseException:
        os._exit(1)
    os.write(said, given["word"].encode())
    os._exit(0)


def _confine() -> None:
    system = ctypes.CDLL(None, use_errno=True)

    def check(name: str, status: int) -> None:
        if status:
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    check("namespaces", system.unshare(APART))
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    check("read-only files", system.syscall(MOUNT_SETATTR, EVERYWHERE, b"/", BELOW, ctypes.byref(attributes), size))
    check("privileges", system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def _limit(seconds: int) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    version, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if system.capset(ctypes.byref(version), ctypes.byref(none)):  # or it could make files writable again
        os._exit(CANNOT)
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_NPROC, PROCESSES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
