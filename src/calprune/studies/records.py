"""What the files of a study's folder hold, typed: plan.json, prune.json and eval/<id>.json (trial.json: `trial.Trial`).

Each is read and written here alone; the JSON is of format 1. No torch is imported.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from calprune.base.store import read_json, write_json
from calprune.base.values import ConfigError, UserError
from calprune.evaluation.metric import METRICS, Metric, metric_of

FORMAT = 1


@dataclass(frozen=True)
class PlanRecord:
    """plan.json: what the folder's study means."""

    title: str
    question: str
    trials: tuple[str, ...]  # ids, in order
    evaluations: dict[str, str]  # id -> as the study writes it
    similarity: tuple[str, ...] = ()  # names of files

    def write(self, path: Path) -> None:
        evaluations = [{"id": name, "asked": text} for name, text in self.evaluations.items()]
        write_json(path, {"format": FORMAT, "title": self.title, "question": self.question, "trials": list(self.trials),
                          "evaluations": evaluations, "similarity": list(self.similarity)})  # fmt: skip


def read_plan(path: Path) -> PlanRecord:
    """Raises UserError where it is not there, damaged, or of another format."""
    found = read_json(path, "a study's plan")
    with_ids = {one["id"]: one["asked"] for one in _wanted(found, "evaluations", path)}
    return PlanRecord(_wanted(found, "title", path), found.get("question", ""), tuple(_wanted(found, "trials", path)),
                      with_ids, tuple(found.get("similarity", ())))  # fmt: skip


@dataclass(frozen=True)
class PruneRecord:
    """The part of prune.json that results read; beside it stands what calprune.json of a checkpoint holds."""

    tokens: float | None  # of the set that count in the statistics
    seconds: dict[str, float] = field(default_factory=dict)  # by part: load, build, collect, dense, prune

    def write(self, path: Path, description: dict[str, Any]) -> None:
        write_json(path, description | {"tokens": self.tokens, "seconds": self.seconds})


def read_pruned(path: Path) -> PruneRecord | None:
    """None: the trial is not pruned yet."""
    if not path.is_file():
        return None
    found = read_json(path, "a trial")
    return PruneRecord(_wanted(found, "tokens", path), _wanted(found, "seconds", path))


@dataclass(frozen=True)
class EvaluationRecord:
    """eval/<id>.json: one model judged by one evaluation."""

    evaluation: str  # as the study writes it
    capability: str
    measures: Metric
    value: float
    items: tuple[float, ...]  # nats a token of each window; 1 or 0 of each question
    chance: float | None = None  # the value of guessing, of a task
    seconds: float | None = None  # None: of the dense model
    by_token: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # of KL: a token's number and mean

    @property
    def metric(self) -> str:
        """Its metric's name."""
        return self.measures.name

    def write(self, path: Path) -> None:
        """A value beyond what a number can hold is null. A metric of the user's own is described beside its name."""
        own = None if METRICS.get(self.metric) == self.measures else asdict(self.measures)
        tokens = {token: [times, round(nats, 5)] for token, (times, nats) in self.by_token.items()} or None
        given = (("measures", own), ("chance", self.chance), ("seconds", self.seconds), ("by_token", tokens))
        optional = {name: value for name, value in given if value is not None}
        value = self.value if math.isfinite(self.value) else None
        write_json(path, {"format": FORMAT, "evaluation": self.evaluation, "capability": self.capability,
                          "metric": self.metric, "value": value, "items": list(self.items)} | optional)  # fmt: skip


def read_evaluation(path: Path) -> EvaluationRecord:
    """Raises UserError where it is not there, damaged, or of another format."""
    found = read_json(path, "a result")
    value = _wanted(found, "value", path)
    evaluation, capability, metric, items = (
        _wanted(found, name, path) for name in ("evaluation", "capability", "metric", "items")
    )
    value = math.inf if value is None else value
    try:
        measures = metric_of(metric, found.get("measures"))
    except ConfigError as e:
        raise UserError(f"{path}: {e}") from None
    by_token = {token: (times, nats) for token, (times, nats) in found.get("by_token", {}).items()}
    return EvaluationRecord(evaluation, capability, measures, value, tuple(items), found.get("chance"),
                            found.get("seconds"), by_token)  # fmt: skip


def _wanted(found: dict[str, Any], name: str, path: Path) -> Any:
    if name not in found:
        raise UserError(
            f"{path} lacks {name!r}: it is damaged, or another program's; delete it and run the study again"
        )
    return found[name]
