"""Make what is missing in a study's folder, in this process or in worker processes that share the folder.

Whoever works takes a trial that is missing and free, if it can one that shares what it holds in memory. A trial that
fails is kept with its error and the next is taken; the next run tries it again.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

import torch

from calprune.base.store import DiskError, sweep
from calprune.base.values import UserError
from calprune.evaluation.evaluation import Evaluation, evaluation_id, parse_evaluation
from calprune.layers.inputs import LADDER, Needs
from calprune.studies.folder import Runs
from calprune.studies.session import Knobs, Session
from calprune.studies.trial import Trial, group_of, needs_of, read_trial

KILLED = "its worker was killed twice (signal {}), perhaps for want of memory: fewer --workers, or dtype: bfloat16"


@dataclass(frozen=True)
class Done:
    """A trial that ended."""

    trial: Trial
    error: str | None


def begin(runs: Runs) -> None:
    """Forget the failures of runs before this one, so that they are tried again, and what they left half-written."""
    sweep(runs.path)
    for trial in runs.plan()["trials"]:
        runs.succeed(trial)


def work(runs: Runs, knobs: Knobs) -> Iterator[Done]:
    """Do the trials that are missing and free, in this process, until there is none; each as it ends."""
    queue = Queue(runs, knobs)
    session = Session(runs, queue.evaluations, knobs)
    while (trial := queue.next()) is not None:
        if (done := attempt(session, trial, queue.needs(trial))) is not None:
            yield done
        queue.leave(trial)


def attempt(session: Session, trial: Trial, needs: Needs) -> Done | None:
    """Do one trial; None when someone else has it, or had it meanwhile. `needs`: the sums to collect.

    Raises DiskError where nothing can be written: then no other trial can be done either.
    """
    runs = session.runs
    with runs.claim(trial.id) as mine:
        if not mine or runs.whole(trial.id, list(session.evaluations)):
            return None
        try:
            session.run(trial, needs)
            runs.succeed(trial.id)
            error = None
        except DiskError:
            raise
        except Exception as e:
            error = _told(e)
            runs.fail(trial.id, error)
        return Done(trial, error)


def _told(e: Exception) -> str:
    """What error.txt says: in a line what the user can mend, with its traceback what is our own bug."""
    if isinstance(e, torch.OutOfMemoryError | MemoryError):
        return f"the model does not fit: {e}; write dtype: bfloat16 into the study, or give --device cpu"
    if isinstance(e, UserError):
        return " ".join("; ".join([str(e), *getattr(e, "__notes__", [])]).split())
    return "".join(traceback.format_exception(e))


class Queue:
    """The trials of a folder's plan that one worker still has to look at."""

    def __init__(self, runs: Runs, knobs: Knobs) -> None:
        self.runs, plan = runs, runs.plan()
        self.evaluations: list[Evaluation] = [parse_evaluation(text) for text in plan["evaluations"].values()]
        self.names = list(plan["evaluations"])
        if changed := set(self.names) ^ {evaluation_id(one, knobs.data_root) for one in self.evaluations}:
            raise UserError(f"{len(changed)} evaluations are not what they were when the study was planned (a text's "
                            "file changed, or --data-root is another): run calprune study run again")  # fmt: skip
        lacking = [i for i in plan["trials"] if not runs.whole(i, self.names)]
        self.left = [read_trial(runs.asked(i), f"trials/{i}/trial.json") for i in lacking]
        self.held: tuple | None = None  # what the last trial left in memory

    def next(self) -> Trial | None:
        """The next to try: one that shares what is held, else the first whose set nobody else works on, else any."""
        taken = [trial for trial in self.left if self.runs.claimed(trial.id)]
        free = [trial for trial in self.left if trial not in taken and self.runs.error(trial.id) is None]
        busy = {group_of(trial) for trial in taken}
        shared = [trial for trial in free if group_of(trial) == self.held]
        alone = [trial for trial in free if group_of(trial) not in busy]
        return next(iter(shared or alone or free), None)

    def needs(self, trial: Trial) -> Needs:
        """The sums that this trial reads, and those after it that can share its collection."""
        group = [one for one in self.left if group_of(one) == group_of(trial) and one.shares_sums == trial.shares_sums]
        return max(map(needs_of, group), key=LADDER.index)

    def leave(self, trial: Trial) -> None:
        self.left.remove(trial)
        self.held = group_of(trial)


def work_in_processes(runs: Runs, knobs: Knobs, workers: int) -> Iterator[None]:
    """Have `workers` processes do the trials; yields every second while they do. One that is killed is started again,
    and its trial done again; a trial that has killed two of them is kept as failed."""
    killed: dict[str, int] = {}
    running = [_start(runs, knobs, workers) for _ in range(workers)]
    try:
        while running:
            time.sleep(1)
            yield
            for process in [p for p in running if p.poll() is not None]:
                running.remove(process)
                if process.returncode > 0:  # it said why, for example a full disk
                    raise UserError("a worker could not go on (see above); what was done is kept")
                if process.returncode < 0:
                    sweep(runs.path)
                    _count(runs, process, killed)
                    running.append(_start(runs, knobs, workers))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _count(runs: Runs, process: subprocess.Popen, killed: dict[str, int]) -> None:
    """Find the trial that a killed worker held, and give it up the second time."""
    for trial in runs.plan()["trials"]:
        with suppress(OSError, ValueError):
            if json.loads((runs.trial(trial) / "claim").read_text())["pid"] == process.pid:
                killed[trial] = killed.get(trial, 0) + 1
                if killed[trial] > 1:
                    runs.fail(trial, KILLED.format(-process.returncode))


def _start(runs: Runs, knobs: Knobs, workers: int) -> subprocess.Popen:
    """A worker with its share of the cores."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    given = json.dumps(asdict(knobs) | {"data_root": str(knobs.data_root) if knobs.data_root else None})
    command = [sys.executable, "-m", "calprune.study.worker", str(runs.path), given]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": threads})
