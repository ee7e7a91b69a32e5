"""Programs in processes of their own, for what is about how a process ends, or about several at once.

Each is forked from a process that has imported the libraries and done nothing else: seconds of imports are paid once a
session. It has its own folder, environment, signals and end, as if it were started anew; only what the libraries read
of the environment as they are imported is of the session. What a page documents is run by the installed program.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

IMPORTED = ("calprune.cli", "calprune.api.arguments", "calprune.studies.runner", "calprune.starting.run",
            "transformers.models.llama.modeling_llama")  # fmt: skip


class Program:
    """One of them, as `subprocess.Popen` has it."""

    def __init__(self, programs: "Programs", pid: int, place: Path) -> None:
        self.programs, self.pid, self.place = programs, pid, place
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.programs.ask({"of": self.pid})
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        deadline = time.monotonic() + timeout
        while (ended := self.poll()) is None:
            assert time.monotonic() < deadline, f"it did not end in {timeout} s"
            time.sleep(0.01)
        return ended

    def wait_for(self, words: str, timeout: float = 600) -> None:
        """Until it has printed these words on stdout."""
        deadline = time.monotonic() + timeout
        out, printed = self.place / "out", ""
        while words not in printed:
            ended = self.poll() is not None
            printed = out.read_text(encoding="utf-8") if out.exists() else ""
            assert words in printed or (not ended and time.monotonic() < deadline), printed
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """What it printed on stdout and stderr, when it has ended."""
        self.wait(timeout)
        out, err = ((self.place / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


class Programs:
    """Starts them. environment: what the libraries find as they are imported; None: this process's, offline."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ | {"HF_HUB_OFFLINE": "1"} if environment is None else environment
        self._places = tempfile.TemporaryDirectory(prefix="calprune-programs-")
        self._server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=dict(given), text=True)  # fmt: skip
        self._started: list[Program] = []

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._started:
            with suppress(OSError):  # a test that failed may have left it
                one.send_signal(signal.SIGKILL)
        self._server.kill()  # it holds nothing that is wanted
        self._server.communicate()
        self._places.cleanup()

    def ask(self, wanted: dict[str, Any]) -> Any:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(f"{json.dumps(wanted)}\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, *words: object, folder: Path | None = None, input: str = "",
              env: Mapping[str, str] | None = None, anew: bool = False) -> Program:  # fmt: skip
        """Python with these words: -m MODULE, -c CODE or a file, with what these take. folder, env: this process's.
        anew: nothing of calprune is imported yet, only the libraries."""
        place = Path(self._places.name, str(len(self._started)))
        place.mkdir()
        (place / "in").write_text(input, encoding="utf-8")
        given = {"words": [*map(str, words)], "folder": str(folder or Path.cwd()), "env": dict(env or os.environ)}
        self._started.append(Program(self, self.ask(given | {"place": str(place), "anew": anew}), place))
        return self._started[-1]

    def run(self, *words: object, **how: Any) -> CompletedProcess:
        """Its end: exit code, stdout and stderr."""
        started = self.start(*words, **how)
        out, err = started.communicate()
        return CompletedProcess(words, started.wait(), out, err)


def _serve() -> dict[str, Any] | None:
    """Start what is wanted and say how it ended, as long as somebody asks. In what is started: what is wanted of it."""
    for line in iter(sys.stdin.readline, ""):
        wanted = json.loads(line)
        if "words" in wanted:
            answer = os.fork()
            if answer == 0:
                return wanted
        else:
            pid, status = os.waitpid(wanted["of"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)
    return None


def _become(wanted: dict[str, Any]) -> None:
    import runpy

    for number, name in enumerate(("in", "out", "err")):
        opened = os.open(Path(wanted["place"], name), os.O_RDONLY if name == "in" else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    for name in [name for name in sys.modules if wanted["anew"] and name.partition(".")[0] == "calprune"]:
        del sys.modules[name]
    first, *more = wanted["words"]
    if first in ("-m", "-c"):
        sys.path.insert(0, "" if first == "-c" else os.getcwd())
        sys.argv = [first if first == "-c" else more[0], *more[1:]]
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
        sys.argv = [first, *more]
    if first == "-m":
        runpy.run_module(more[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        exec(compile(more[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    import gc
    import importlib

    del sys.path[0]  # the folder of this file
    for _name in IMPORTED:
        importlib.import_module(_name)
    gc.freeze()  # else each program would look through, and so copy, all that was imported
    if (_wanted := _serve()) is not None:
        _become(_wanted)
