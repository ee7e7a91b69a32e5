"""Run by `apart`, by its path and in a process of its own: a program from standard input that nobody has read.

It runs in namespaces of its own (no network, no other process to be seen), with every file read-only and no device,
without sockets, without privileges, and within limits of time, memory and size. What it starts ends with it. A named
pipe that somebody reads can still be written to, and files be read. Needs Linux 5.12. Imports the standard library
alone.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys

APART = 0x10000000 | 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000  # users, mounts, network, processes, messages
MOUNT_SETATTR, EVERYWHERE, BELOW, READ_ONLY, NO_DEVICES, PRIVATE = 442, -100, 0x8000, 1, 4, 1 << 18
DIES_WITH_PARENT, SECCOMP, NO_NEW_PRIVILEGES = 1, 22, 38  # of prctl
REFUSED = {  # by the processor's name: its number for seccomp, and of socket, connect and io_uring_setup
    "x86_64": (0xC000003E, (41, 42, 425)),
    "aarch64": (0xC00000B7, (198, 203, 425)),
}
CANNOT = 3  # exit status
MEMORY, FILES, PROCESSES = 2 << 30, 64, 64  # of each process
ENDED = b"the program came to its end"


def main() -> None:
    """Write "yes" where the program came to its end within the limits."""
    given = json.load(sys.stdin)
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        _confine()
    except (OSError, AttributeError) as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(CANNOT)
    read, write = os.pipe()
    child = os.fork()  # the first process of the new namespace: with it end all that it has started
    if not child:
        os.close(read)
        _run(given["program"], given["seconds"], nothing, write)
    for sent in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(sent, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(given["wait"])
    os.close(write)
    os.waitpid(child, 0)
    if os.read(read, len(ENDED) + 1) == ENDED:
        sys.stdout.write("yes")


def _run(program: str, seconds: int, nothing: int, write: int) -> None:
    os.setsid()
    for stream in range(3):
        os.dup2(nothing, stream)
    _limit(seconds)
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "program"})
    except BaseException:
        os._exit(1)
    os.write(write, ENDED)
    os._exit(0)


def _confine() -> None:
    system = ctypes.CDLL(None, use_errno=True)
    if (processor := platform.machine()) not in REFUSED:
        raise OSError(f"the processor is {processor}, expected {' or '.join(REFUSED)}")

    def check(name: str, status: int) -> None:
        if status:
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    check("namespaces", system.unshare(APART))
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY | NO_DEVICES, 0, PRIVATE, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    check("read-only files", system.syscall(MOUNT_SETATTR, EVERYWHERE, b"/", BELOW, ctypes.byref(attributes), size))
    check("privileges", system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    steps = ctypes.create_string_buffer(_without_sockets(*REFUSED[processor]))
    check("sockets", system.prctl(SECCOMP, 2, struct.pack("@HP", len(steps) // 8, ctypes.addressof(steps)), 0, 0))


def _without_sockets(processor: int, refused: tuple[int, ...]) -> bytes:
    """A filter of system calls: these are refused as not permitted, those of another processor's numbers end the
    program."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06  # of the filter's language: code, if true, if false, value
    allow, deny, end = (give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050001), (give, 0, 0, 0x80000000)
    n = len(refused)
    steps = [
        (load, 0, 0, 4),
        (equal, 0, n + 4, processor),
        (load, 0, 0, 0),
        (at_least, n + 2, 0, 0x40000000),
        *((equal, n - i, 0, number) for i, number in enumerate(refused)),
        allow,
        deny,
        end,
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


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
        (resource.RLIMIT_NPROC, PROCESSES),  # root's are not counted
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
