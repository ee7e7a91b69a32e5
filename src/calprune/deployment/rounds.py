"""Several models timed in turns, so that what else goes on in the machine comes upon all of them alike."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from calprune.base.progress import current
from calprune.base.values import UserError
from calprune.deployment.machine import Others
from calprune.deployment.worker import Loaded, Work


@dataclass(frozen=True)
class Timed:
    """One model with its times."""

    name: str  # as given; a number follows it where the same is given again
    about: Loaded
    seconds: dict[Work, list[float]]  # one a round; none where it cannot read as much
    memory: int | None = None  # bytes; None: the system does not say


class Process:
    """A worker with its model; what it answers."""

    def __init__(self, name: str, process: "subprocess.Popen[str]") -> None:
        self.name, self.process = name, process
        self.own, self.memory = 0.0, None  # seconds of processor time so far, and the most memory

    def answer(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """What it says to a line. Raises UserError where it could not do it, or has ended."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(wanted) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            why = "there was not enough memory" if status == -9 else f"its process ended with {status}"
            raise UserError(f"model {self.name}: it could not be run: {why}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise UserError(f"{'' if self.name in found['error'] else f'model {self.name}: '}{found['error']}")
        return found

    def seconds(self, work: Work) -> float:
        """How long the work takes it."""
        found = self.answer(asdict(work))
        self.own += found["own"]
        self.memory = found["memory"]
        return float(found["seconds"])


def take_turns(
    models: Sequence[str], works: Sequence[Work], rounds: int, options: dict[str, Any]
) -> tuple[list[Timed], float | None]:
    """Time each model on each work, once a round and, before the first, once that does not count; every other round in
    the opposite order. Gives the models, and the share of the cores that other programs took meanwhile.

    options: `dtype`, `device` and `dequantize` of all of them. Raises UserError where a model cannot be loaded or run.
    """
    with ExitStack() as stack:
        processes, timed = [], []
        for name, label in zip(models, _labels(models), strict=True):
            with current().waiting(f"loading {name}"):
                process = stack.enter_context(_process(name))
                about = Loaded(**process.answer({"name": name} | options))
            timed.append(Timed(label, about, {work: [] for work in works}))
            processes.append(process)
        others = Others()
        turns = [*_turns(len(models), works, rounds)]
        for i, work, counts in current().track(turns, len(turns), "timing"):
            longest = timed[i].about.longest
            if longest is None or work.longest <= longest:
                seconds = processes[i].seconds(work)
                if counts:
                    timed[i].seconds[work].append(seconds)
        share = others.share(sum(process.own for process in processes))
        found = [replace(one, memory=process.memory) for one, process in zip(timed, processes, strict=True)]
    return found, share


def _turns(models: int, works: Sequence[Work], rounds: int) -> Iterator[tuple[int, Work, bool]]:
    """Which model does what next, and whether its time counts."""
    for n in range(rounds + 1):
        order = range(models) if n % 2 else range(models - 1, -1, -1)
        yield from ((i, work, n > 0) for work in works for i in order)


def _labels(models: Sequence[str]) -> list[str]:
    """The names; the second of the same is "name (2)"."""
    before = [models[:i].count(name) for i, name in enumerate(models)]
    return [name if not n else f"{name} ({n + 1})" for name, n in zip(models, before, strict=True)]


@contextmanager
def _process(name: str) -> Iterator[Process]:
    """A worker that has ended when the block has."""
    command = [sys.executable, "-m", "calprune.deployment.worker"]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, encoding="utf-8")  # fmt: skip
    try:
        yield Process(name, started)
    finally:
        started.kill()
        started.communicate()
