"""Programs that a model wrote, each run in a process apart (`confined`), where that was allowed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from calprune.base.progress import current
from calprune.base.values import CODE_ALLOWED, UserError
from calprune.deployment.machine import cores

CONFINED = Path(__file__).with_name("confined.py")
SECONDS = 10  # of a core, for one program
WAIT = 20  # seconds until it is ended: a busy machine starts it late
LATER = 10  # seconds after that in which its process has ended by itself


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
    with ThreadPoolExecutor(cores()) as pool, current().steps("running programs", len(programs)) as steps:
        for ended, _ in pool.map(_run, programs):
            found.append(ended)
            steps.advance()
    return found


def _run(program: str) -> tuple[bool, str]:
    """Whether it came to its end, and what the process says of why it could not begin."""
    given = json.dumps({"program": program, "seconds": SECONDS, "wait": WAIT})
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
            said, wrong = process.communicate(given, timeout=WAIT + LATER)
        except subprocess.TimeoutExpired:
            return False, "it did not end"
        finally:
            process.kill()
    return said == "yes", " ".join(wrong.strip().splitlines()[-1:])


@cache
def _hindrance() -> str:
    """Why no program can be run apart here; "": it can."""
    if sys.platform != "linux":
        return f"this is {sys.platform}"
    ended, wrong = _run("pass")
    return "" if ended else wrong or "it did not end"
