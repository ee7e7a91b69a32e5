"""A command line as a person gives it, in this process: seconds of imports are paid once. What a page documents is run
by the installed program instead."""

import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from subprocess import CompletedProcess

from calprune.cli import main

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)  # which the program handles in its own way


def calprune(*words: str | Path, folder: Path | None = None) -> CompletedProcess:
    """How the command ended, with what it printed. folder: where it is given; None: the current one."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    here, argv, handlers = Path.cwd(), sys.argv, [signal.getsignal(one) for one in SIGNALS]
    sys.argv = ["calprune", *map(str, words)]
    status = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            os.chdir(folder or here)
            main()
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
    finally:
        sys.argv = argv
        os.chdir(here)
        for one, handler in zip(SIGNALS, handlers, strict=True):
            signal.signal(one, handler)
    return CompletedProcess(words, status, *(stream.buffer.getvalue().decode() for stream in (out, err)))
