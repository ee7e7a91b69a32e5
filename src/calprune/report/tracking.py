"""A mirror of a study's results in a tracker: one run of its for each trial. Off unless asked for; nothing comes back.

trackio has wandb's interface, so the two are one; mlflow has its own. Where they send to is their own setting
(TRACKIO_DIR, WANDB_MODE, MLFLOW_TRACKING_URI, ...).
"""

import importlib
from collections.abc import Iterator
from itertools import groupby
from types import ModuleType
from typing import Any

from calprune.base.values import UserError, did_you_mean
from calprune.studies.folder import Runs
from calprune.studies.results import Result, read

TRACKERS = ("mlflow", "trackio", "wandb")


def find_tracker(name: str) -> ModuleType:
    """The tracker's package. Raises UserError for one that is not known or not installed."""
    if name not in TRACKERS:
        raise UserError(f"unknown tracker {name!r}{did_you_mean(name, TRACKERS)}")
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"--track {name} needs it: pip install 'calprune[{name}]'") from None


def send(runs: Runs, name: str) -> None:
    """Send every result that the folder holds."""
    tracker, results = find_tracker(name), read(runs.path)
    for trial, settings, values in _trials(results.rows):
        if name == "mlflow":
            tracker.set_experiment(results.title)
            with tracker.start_run(run_name=trial):
                tracker.log_params(settings)
                tracker.log_metrics({_plain(key): value for key, value in values.items()})
        else:
            tracker.init(project=_plain(results.title), name=trial, config=settings)
            tracker.log(values)
            tracker.finish()


def _trials(rows: tuple[Result, ...]) -> Iterator[tuple[str, dict[str, Any], dict[str, float]]]:
    for trial, group in groupby(rows, key=lambda row: row.trial):
        found = list(group)
        row = found[0]
        settings = {**row.axes, "num_samples": row.num_samples, "draw": row.draw}
        settings = {key: value for key, value in settings.items() if value is not None}
        yield trial, settings, {row.evaluation: row.value for row in found}


def _plain(name: str) -> str:
    """Letters, digits, points, slashes, spaces and hyphens: all that mlflow allows in a metric's name."""
    return "".join(c if c.isalnum() or c in "_-. /" else "-" for c in name)
