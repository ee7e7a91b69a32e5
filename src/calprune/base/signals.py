"""What ends a process from outside ends it like Ctrl-C: with what it was making removed."""

import os
import signal
import threading
from types import FrameType


def end_on_signals() -> None:
    """From now on SIGTERM and SIGHUP raise KeyboardInterrupt; a second one ends the process at once. One that whoever
    started the process has it ignore (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def is_orphan(parent: int) -> bool:
    """Whether the process that started this one, `parent`, has ended."""
    return os.getppid() != parent
