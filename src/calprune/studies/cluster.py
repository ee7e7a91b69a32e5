"""Do a study's trials on a Ray cluster: one trial a task, a GPU each where there are any, one shared folder.

The folder must be seen under the same path by all machines. Trials claim themselves there as everywhere, so a task that
Ray starts again after its worker or node died does its trial once, and whatever else works on the folder is no danger.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calprune.base.leftovers import sweep
from calprune.base.values import UserError
from calprune.layers.inputs import Needs
from calprune.studies.bench import Knobs
from calprune.studies.folder import Runs
from calprune.studies.runner import Queue, Session, attempt

TRIES = 3  # of a task whose worker died

_sessions: dict[tuple, Session] = {}  # of this worker process: Ray gives a process one task after another


def work_on_ray(runs: Runs, knobs: Knobs, address: str) -> Iterator[None]:
    """Run the missing trials; yields as they end. `address`: "local" starts Ray here, "auto" joins a cluster, or where
    one is. Raises UserError when Ray is not installed or not to be reached."""
    ray = _connect(address)
    try:
        yield from _drive(ray, Runs(runs.path.resolve()), knobs)
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
        raise UserError(f"--ray {address}: {str(e).splitlines()[0]}; start one with ray start --head, or --ray local") \
            from None  # fmt: skip
    return ray


def _drive(ray: Any, runs: Runs, knobs: Knobs) -> Iterator[None]:
    """Keep as many tasks under way as there are places, each time one that shares most with the one that ended."""
    queue = Queue(runs, knobs)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    places = gpus or int(ray.cluster_resources()["CPU"])
    task = ray.remote(_do).options(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=TRIES)
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
                runs.fail(trial.id, f"its worker died {TRIES + 1} times: {str(e).splitlines()[0]}")
        yield


def _do(folder: str, knobs: Knobs, trial: str, needs: Needs) -> None:
    """One task: one trial, in a process that keeps its model and sums for the next."""
    runs = Runs(Path(folder))
    key = (folder, tuple(runs.plan().evaluations))
    if key not in _sessions:
        _sessions.clear()
        _sessions[key] = Session(runs, Queue(runs, knobs).evaluations, knobs)
    attempt(_sessions[key], runs.record(trial), needs)
