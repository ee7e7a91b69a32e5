"""Run a study's missing trials, in this process or in worker processes that share the folder.

Whoever works takes a trial that is missing and free, if it can one that shares what it holds in memory. A trial that
fails is kept with its error and the next is taken; the next run tries it again. A worker process is this module:
python -m calprune.studies.runner FOLDER KNOBS.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from calprune.base.claims import DiskError, NoLocks
from calprune.base.leftovers import sweep
from calprune.base.progress import current
from calprune.base.signals import end_on_signals, is_orphan
from calprune.base.store import read_json, write_json
from calprune.base.values import UserError
from calprune.calibration.build import build
from calprune.calibration.recipe import Recipe
from calprune.calibration.set import CalibrationSet, kept_set
from calprune.evaluation.contract import Evaluation
from calprune.evaluation.evaluation import evaluation_id, parse_evaluation
from calprune.layers.inputs import LADDER, Needs
from calprune.models.load import Model, load
from calprune.pruning.checkpoint import describe, environment
from calprune.pruning.job import Pruned
from calprune.refine import Refinement
from calprune.removal.job import Removed, Removing
from calprune.removal.report import describe_removed
from calprune.studies.bench import Bench, Knobs
from calprune.studies.folder import Runs
from calprune.studies.records import PruneRecord
from calprune.studies.trial import Trial

MOST_WORKERS = 256  # processes on one machine; each has a model
ENDED = 128 + signal.SIGINT  # a worker's exit code after a signal that lets it remove what it was making
MOST_ENDED = 3  # times a worker in which no trial is done
KILLED = "its worker was killed twice (signal {}), perhaps for want of memory: fewer --workers, or dtype: bfloat16"


@dataclass(frozen=True)
class Ended:
    """A trial that ended."""

    trial: Trial
    error: str | None


class Session:
    """Does trials, one after another. Those that follow each other on one model and set share them, and with dense
    propagation one pass collects the sums for every method and sparsity."""

    def __init__(self, runs: Runs, evaluations: Mapping[str, Evaluation], knobs: Knobs) -> None:
        self.runs, self.evaluations, self.knobs = runs, evaluations, knobs
        self._bench: tuple[tuple[str, str | None], Bench] | None = None
        self._set: tuple[str, CalibrationSet] | None = None

    def run(self, trial: Trial, needs: Needs) -> None:
        """Make every file of the trial that is missing. `needs`: the sums to collect for it and those that follow."""
        missing = self.runs.missing(trial.id, list(self.evaluations))
        seconds: dict[str, float] = {}
        bench = self._bench_of(trial, seconds)
        bench.seconds = seconds
        self._judge_dense(trial, bench, missing)
        data = self._set_of(trial.set_id, trial.recipe, bench)
        sums = None
        if data is not None and trial.shares_sums:
            units = trial.job.reads if isinstance(trial.job, Removing) else "nothing"
            sums = bench.sums(data, needs, trial.counting, units=units)
        trained = self._trained_on(trial, data, bench)
        with bench.pruned(trial.job, data if sums is None else sums, refine_on=trained) as pruned:
            self._write(trial, bench, pruned)
            names = [name for name in self.evaluations if name in missing]
            for name, found in zip(names, bench.judge(self.evaluations[name] for name in names), strict=True):
                found.write(self.runs.result(trial.id, name))

    def _write(self, trial: Trial, bench: Bench, pruned: Pruned | Removed) -> None:
        folder = self.runs.trial(trial.id)
        record = PruneRecord(pruned.tokens, bench.seconds | {"prune": pruned.seconds})
        write_json(folder / "environment.json", {"format": 1} | self._made_with(trial))
        if isinstance(pruned, Removed):
            record.write(folder / "prune.json", describe_removed(pruned, bench.model))
        else:
            record.write(folder / "prune.json", describe(pruned.as_needed(), bench.model))

    def _made_with(self, trial: Trial) -> dict[str, str]:
        """The versions of packages and of the user's code, where one changed since the trial's other results were made
        the earlier ones too: "2.12.0, 2.13.0"."""
        now = environment() | trial.own_code(self.evaluations.values())
        path = self.runs.trial(trial.id) / "environment.json"
        kept = any(self.runs.result(trial.id, name).is_file() for name in self.evaluations)
        before = read_json(path, "a trial") if kept and path.is_file() else {}
        earlier = {name: str(versions).split(", ") for name, versions in before.items() if name != "format"}
        names = dict.fromkeys([*now, *earlier])
        return {name: ", ".join(dict.fromkeys([*earlier.get(name, []), *([now[name]] if name in now else [])]))
                for name in names}  # fmt: skip

    def _judge_dense(self, trial: Trial, bench: Bench, names: list[str]) -> None:
        """Read what pruned models will be compared with; the dense model's results are computed once a model."""
        bench.prepare(self.evaluations[name] for name in names)
        for name in names:
            path = self.runs.dense(bench.model.id, trial.dtype, name)
            if not path.is_file():
                bench.dense(self.evaluations[name]).write(path)

    def _bench_of(self, trial: Trial, seconds: dict[str, float]) -> Bench:
        key = (trial.model, trial.dtype)
        if self._bench is None or self._bench[0] != key or not self._bench[1].usable:
            self._bench, started = None, time.perf_counter()
            loaded = load(trial.model, dtype=trial.dtype, device=self.knobs.device)
            seconds["load"] = time.perf_counter() - started
            if loaded.id != trial.model_id:
                raise UserError(f"model {trial.model} is not what it was when the study was planned: run it again")
            self._bench = (key, Bench(loaded, batch_size=self.knobs.batch_size, data_root=self.knobs.data_root))
        return self._bench[1]

    def _trained_on(self, trial: Trial, data: CalibrationSet | None, bench: Bench) -> CalibrationSet | None:
        """What blocks are refined on: sums hold no sequences."""
        if not isinstance(trial.job.method, Refinement):
            return None
        return data if trial.refine_on is None else self._set_of(trial.refine_id, trial.refine_on, bench)

    def _set_of(self, name: str | None, recipe: Recipe | None, bench: Bench) -> CalibrationSet | None:
        if name is None or recipe is None:
            return None
        if self._set is None or self._set[0] != name:
            started = time.perf_counter()
            self._set = (name, self._build(name, recipe, bench.model))
            bench.seconds["build"] = bench.seconds.get("build", 0.0) + time.perf_counter() - started
        return self._set[1]

    def _build(self, name: str, recipe: Recipe, model: Model) -> CalibrationSet:
        folder = self.runs.path / "calibration" / name

        def make() -> CalibrationSet:
            made = build(recipe, model.tokenizer, data_root=self.knobs.data_root, model=model)
            if made.id != name:
                raise UserError("a file that its calibration set is drawn from changed since the study was planned: "
                                "run it again")  # fmt: skip
            return made

        return kept_set(folder, make)


def begin(runs: Runs) -> None:
    """Forget the failures of runs before this one, so that they are tried again, and what they left half-written."""
    sweep(runs.path)
    for trial in runs.plan().trials:
        runs.succeed(trial)


def work(runs: Runs, knobs: Knobs) -> Iterator[Ended]:
    """Do the trials that are missing and free, in this process, until there is none; each as it ends."""
    queue = Queue(runs, knobs)
    session = Session(runs, queue.evaluations, knobs)
    while (trial := queue.next()) is not None:
        if (done := attempt(session, trial, queue.needs(trial))) is not None:
            yield done
        queue.leave(trial)


def attempt(session: Session, trial: Trial, needs: Needs) -> Ended | None:
    """Do one trial; None when someone else has it, or had it meanwhile. `needs`: the sums to collect.

    Raises DiskError where nothing can be written: then no other trial can be done either.
    """
    runs = session.runs
    with ExitStack() as held:
        try:
            mine = held.enter_context(runs.claim(trial.id))
        except NoLocks:
            current().note(f"{runs.path} is on a file system without locks: take care that no other command works "
                           "there")  # fmt: skip
            mine = True
        if not mine or runs.whole(trial.id, list(session.evaluations)):
            return None
        try:
            session.run(trial, needs)
            runs.succeed(trial.id)
            error = None
        except DiskError:
            raise
        except Exception as e:
            error = _explained(e)
            runs.fail(trial.id, error)
        return Ended(trial, error)


def _explained(e: Exception) -> str:
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
        self.evaluations: dict[str, Evaluation] = {i: parse_evaluation(text) for i, text in plan.evaluations.items()}
        models = {runs.record(i).model for i in plan.trials}
        changed = [i for i, one in self.evaluations.items() if i != evaluation_id(one, knobs.data_root, models)]
        if changed:
            raise UserError(f"{len(changed)} evaluations are not what they were when the study was planned (a text's "
                            "file or a model's chat template changed, or --data-root is another): run calprune study "
                            "run again")  # fmt: skip
        lacking = [i for i in plan.trials if not runs.whole(i, list(self.evaluations))]
        self.left = [runs.record(i) for i in lacking]
        self.held: tuple | None = None  # what the last trial left in memory

    def next(self) -> Trial | None:
        """The next to try: one that shares what is held, else the first whose set nobody else works on, else any."""
        taken = [trial for trial in self.left if self.runs.claimed(trial.id)]
        free = [trial for trial in self.left if trial not in taken and self.runs.error(trial.id) is None]
        busy = {trial.group for trial in taken}
        shared = [trial for trial in free if trial.group == self.held]
        alone = [trial for trial in free if trial.group not in busy]
        return next(iter(shared or alone or free), None)

    def needs(self, trial: Trial) -> Needs:
        """The sums that this trial reads, and those after it that can share its collection."""
        group = [one for one in self.left if one.group == trial.group and one.shares_sums == trial.shares_sums]
        return max((one.job.needs for one in group), key=LADDER.index)

    def leave(self, trial: Trial) -> None:
        self.left.remove(trial)
        self.held = trial.group


def work_in_processes(runs: Runs, knobs: Knobs, workers: int) -> Iterator[None]:
    """Have `workers` processes do the trials; yields every second while they do. One that is ended from
    outside is started again, and its trial done again; a trial that has killed two of them is kept as failed. Raises
    UserError where one says that it cannot go on, or they are ended again and again and nothing is done."""
    killed: dict[str, int] = {}
    ended: list[int] = []  # how many trials were done when one was asked to end
    running = [_start(runs, knobs, workers) for _ in range(workers)]
    try:
        while running:
            time.sleep(1)
            yield
            for process in [p for p in running if p.poll() is not None]:
                running.remove(process)
                if process.returncode > 0 and process.returncode != ENDED:  # it said why, for example a full disk
                    raise UserError("a worker could not go on (see above); what was done is kept")
                if process.returncode == ENDED:  # it gave its trial back, so who is to blame cannot be known
                    ended.append(_done(runs))
                    if ended.count(ended[-1]) > MOST_ENDED * workers:
                        raise UserError("workers are ended from outside again and again; what was done is kept")
                if process.returncode != 0:
                    sweep(runs.path)
                    _count(runs, process, killed)
                    running.append(_start(runs, knobs, workers))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _done(runs: Runs) -> int:
    plan = runs.plan()
    return sum(runs.whole(trial, list(plan.evaluations)) for trial in plan.trials)


def _count(runs: Runs, process: subprocess.Popen, killed: dict[str, int]) -> None:
    """Find the trial that a killed worker held, and give it up the second time."""
    for trial in runs.plan().trials:
        with suppress(OSError, ValueError):
            if json.loads((runs.trial(trial) / "claim").read_text())["pid"] == process.pid:
                killed[trial] = killed.get(trial, 0) + 1
                if killed[trial] > 1:
                    runs.fail(trial, KILLED.format(-process.returncode))


def _start(runs: Runs, knobs: Knobs, workers: int) -> subprocess.Popen:
    """A worker with its share of the cores."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    root = str(knobs.data_root) if knobs.data_root else None
    given = json.dumps(asdict(knobs) | {"data_root": root, "parent": os.getpid()})
    command = [sys.executable, "-m", "calprune.studies.runner", str(runs.path), given]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": threads})


def main(folder: str, knobs: str) -> int:
    """One worker process."""
    end_on_signals()
    given = json.loads(knobs)
    parent = given.pop("parent")
    given["data_root"] = Path(given["data_root"]) if given["data_root"] else None
    try:
        for _ in work(Runs(Path(folder)), Knobs(**given)):
            if is_orphan(parent):  # nobody waits for it, and whoever runs the study again starts its own
                return 1
    except UserError as e:
        sys.exit(f"calprune: {e}")
    except KeyboardInterrupt:
        return ENDED
    except Exception as e:
        sys.exit(f"calprune: {type(e).__name__}: {' '.join(str(e).split())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
