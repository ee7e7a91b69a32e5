"""Programs that a model wrote, each run in a process apart (`confined`), where that was allowed."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from calprune.base.progress import current
from calprune.base.values import CODE_ALLOWED, UserError

CONFINED = Path(__file__).with_name("confined.py")
SECONDS = 10  # of one program
WAIT = 20  # seconds until it is ended: a busy machine starts it late


def check_allowed(what: str) -> None:
    """Raise UserError where programs that a model writes may not be run, or where they cannot be run apart."""
    if os.environ.get(CODE_ALLOWED) != "1":
        raise UserError(f"{what} runs the programs that the model writes, each apart from files and network, and only "
                        f"where that is allowed: give --allow-code-execution, or set {CODE_ALLOWED}=1")  # fmt: skip
    if reason := _hindrance():
        raise UserError(f"{what}: programs that a model writes cannot be run apart here ({reason}); it takes Linux "
                        "5.12 with user namespaces, which a container must allow")  # fmt: skip


def run_all(programs: Sequence[str], what: str) -> list[bool]:
    """Of each program whether it came to its end within the limits, without an error."""
    check_allowed(what)
    found = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, current().steps("running programs", len(programs)) as steps:
        for ended in pool.map(lambda program: _run(program)[0], programs):
            found.append(ended)
            steps.advance()
    return found


def _run(program: str) -> tuple[bool, str]:
    """Whether it came to its end, and what the process says of why it could not begin."""
    word = secrets.token_hex(16)  # the program cannot know it, so `sys.exit(0)` is not taken for the end
    given = json.dumps({"program": program, "word": word, "seconds": SECONDS})
    with tempfile.TemporaryDirectory() as empty:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CONFINED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=empty,
            env={"PATH": os.defpath, "PYTHONHASHSEED": "0"},
            start_new_session=True,
            text=True,
        )
        try:
            written, wrong = process.communicate(given, timeout=WAIT)
        except subprocess.TimeoutExpired:
            return False, ""
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    return written == word, wrong.strip()


@cache
def _hindrance() -> str:
    """Why no program can be run apart here; "": it can."""
    ended, wrong = _run("pass")
    return "" if ended else wrong or "it did not end"
