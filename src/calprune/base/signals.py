"""What ends a process from outside ends it like Ctrl-C: with what it was making removed."""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_on_signals() -> None:
    """From now on SIGTERM and SIGHUP raise KeyboardInterrupt; a second one ends the process at once. One that whoever
    started the process has it ignore (nohup) stays ignored. One that comes where Python ignores what is raised (a
    `__del__`, a callback of C) is raised again afterwards."""
    if threading.current_thread() is not threading.main_thread():
        return
    if sys.unraisablehook is not _raise_again:
        sys.unraisablehook = _raise_again
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def _raise_again(ignored: Any) -> None:
    """In place of `sys.unraisablehook`. What is raised in here is ignored too, so a thread does it a moment later."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, _end)  # SIGINT may be one that this process ignores
        again = threading.Timer(0.01, _thread.interrupt_main, [signal.SIGTERM])
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)


@contextmanager
def held_back() -> Iterator[None]:
    """What ends this process waits until the block has ended: for a few system calls between which something would be
    left that nobody knows of. Handlers run in the main thread alone, so elsewhere there is nothing to hold."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Any] = {number: handler for number in ENDING if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            before[came[0]](came[0], None)


def is_orphan(parent: int) -> bool:
    """Whether the process that started this one, `parent`, has ended."""
    return os.getppid() != parent
