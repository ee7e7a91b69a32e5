"""Do a study's trials: in this process, in several, or on a Ray cluster.

On a cluster a trial is a task, which takes a GPU or a share of one where there are any.
The folder must be seen under the same path by all machines. Trials claim themselves there as everywhere, so a task that
Ray starts again after its worker or node died does its trial once, and whatever else works on the folder is no danger.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calprune.base.claims import check_locks
from calprune.base.leftovers import sweep
from calprune.base.values import UserError, first_line
from calprune.layers.inputs import Needs
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs
from calprune.studies.runner import Queue, Session, attempt, work, work_in_processes

TRIES = 3  # of a task whose worker died

_sessions: dict[tuple, Session] = {}  # of this worker process: Ray gives a process one task after another


def work_anywhere(runs: Runs, knobs: Knobs, workers: int = 1, ray: str | None = None) -> Iterator[object]:
    """Do the trials that are missing and free: in this process, in so many, or on the Ray cluster of this address.
    Yields as they end, and meanwhile. Raises UserError for a share of GPUs without a cluster, and for what needs locks
    on a file system that has none."""
    check_places(workers, ray)
    if ray is not None or workers > 1:
        check_locks(runs.path / "FORMAT", f"--workers {workers}" if ray is None else f"--ray {ray}")
    if ray is not None:
        return work_on_ray(runs, knobs, ray)
    if knobs.gpus_per_trial is not None:
        raise UserError("--gpus-per-trial is what a task on a Ray cluster takes: give --ray too, or leave it out")
    return work(runs, knobs) if workers == 1 else work_in_processes(runs, knobs, workers)


def check_places(workers: int, ray: str | None) -> None:
    """Raise UserError for processes of this machine and a cluster at once. Cheap: to be called before a plan is made.
    workers: of this machine, 1: this process; ray: the cluster's address."""
    if ray is not None and workers != 1:
        raise UserError(f"--workers {workers} is of processes on this machine, and --ray {ray} runs a task for each "
                        "core or GPU of a cluster: give one of them")  # fmt: skip


def work_on_ray(runs: Runs, knobs: Knobs, address: str) -> Iterator[None]:
    """Run the missing trials; yields as they end. `address`: "local" starts Ray here, "auto" joins a cluster, or where
    one is. Raises UserError when Ray is not installed or not to be reached, or has not the GPUs that are asked for."""
    ray = _connect(address)
    try:
        yield from _drive(ray, Runs(runs.path.resolve()), knobs, _gpus(ray, knobs.gpus_per_trial))
    finally:
        ray.shutdown()
        sweep(runs.path)


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray: pip install 'calprune[ray]'") from None
    dashboard = False if address == "local" else None  # nobody would be told where it is
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (ConnectionError, ValueError, RuntimeError) as e:
        raise UserError(f"--ray {address}: {first_line(e)}; start one with ray start --head, or --ray local") \
            from None  # fmt: skip
    return ray


def _gpus(ray: Any, wanted: float | None) -> float:
    """How much of a GPU a task takes; 0: the cluster has none."""
    there = ray.cluster_resources().get("GPU", 0)
    if wanted is None:
        return 1.0 if there else 0.0
    if not there:
        raise UserError("--gpus-per-trial: the Ray cluster has no GPU; leave it out, and each trial takes a core")
    return wanted


def _drive(ray: Any, runs: Runs, knobs: Knobs, gpus: float) -> Iterator[None]:
    """Keep as many tasks under way as there are places, each time one that shares most with the one that ended."""
    queue = Queue(runs, knobs)
    there = ray.cluster_resources()
    places = min(int(there["CPU"]), int(there["GPU"] / gpus + 1e-6)) if gpus else int(there["CPU"])
    task = ray.remote(_do).options(num_cpus=1, num_gpus=gpus, max_retries=TRIES)
    under_way: dict[Any, Any] = {}
    while True:
        while len(under_way) < places and (trial := queue.next()) is not None:
            reference = task.remote(str(runs.path), knobs, trial.id, queue.needs(trial))
            under_way[reference] = trial
            queue.leave(trial)
        if not under_way:
            return
        ended, _ = ray.wait(list(under_way))
        for reference in ended:
            trial = under_way.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayTaskError as e:
                raise e.cause from None  # a full disk: it ends the study
            except ray.exceptions.RayError as e:
                runs.fail(trial.id, f"its worker died {TRIES + 1} times: {first_line(e)}")
        yield


def _do(folder: str, knobs: Knobs, trial: str, needs: Needs) -> None:
    """One task: one trial, in a process that keeps its model and sums for the next."""
    runs = Runs(Path(folder))
    key = (folder, tuple(runs.plan().evaluations))
    if key not in _sessions:
        _sessions.clear()
        _sessions[key] = Session(runs, Queue(runs, knobs).evaluations, knobs)
    attempt(_sessions[key], runs.record(trial), needs)
