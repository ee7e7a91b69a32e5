"""What one process holds between trials: the model, the set, its sums, and what the dense model makes of each text.

Trials that follow each other on one model and set share them: the model is loaded once and its weights put back, the
set is built once, and with dense propagation one pass collects the sums for every method and sparsity.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.base.store import write_json
from calprune.base.values import UserError
from calprune.calibration.build import build, open_source
from calprune.calibration.recipe import Recipe
from calprune.calibration.set import CalibrationSet, is_set
from calprune.evaluation.divergence import DenseReference
from calprune.evaluation.evaluation import EVALUATIONS, Evaluation, OnText, evaluation_id
from calprune.evaluation.perplexity import Perplexity
from calprune.evaluation.tasks import Task
from calprune.evaluation.windows import windows_of
from calprune.layers.collect import Counting
from calprune.layers.inputs import LADDER, Needs
from calprune.layers.linears import find_blocks
from calprune.layers.saved import Statistics
from calprune.models.load import Model, load
from calprune.pruning.checkpoint import describe, environment
from calprune.refine import Refinement
from calprune.studies.folder import Runs
from calprune.studies.trial import Trial, needs_of
from calprune.text.given import Given


@dataclass(frozen=True)
class Knobs:
    """How to run, never what to compute."""

    device: str = "auto"
    batch_size: int | None = None
    data_root: Path | None = None


@dataclass
class _OneModel:
    """A loaded model, its blocks' dense weights, and its references."""

    loaded: Model
    dense: list[Tensor]
    references: dict[tuple[str, int, int, int], DenseReference] = field(default_factory=dict)

    def restore(self) -> None:
        with torch.no_grad():
            for parameter, value in zip(find_blocks(self.loaded.model)[1].parameters(), self.dense, strict=True):
                parameter.copy_(value)


class Session:
    """Does trials, one after another."""

    def __init__(self, runs: Runs, evaluations: Iterable[Evaluation], knobs: Knobs) -> None:
        self.runs, self.knobs = runs, knobs
        self.evaluations = {evaluation_id(one, knobs.data_root): one for one in evaluations}
        self._model: tuple[Any, _OneModel] | None = None
        self._set: tuple[str, CalibrationSet] | None = None
        self._sums: tuple[tuple[str, str, Counting], Statistics] | None = None
        self.seconds: dict[str, float] = {}

    def run(self, trial: Trial, needs: Needs) -> None:
        """Make every file of the trial that is missing. `needs`: the sums to collect for it and those that follow."""
        self.seconds = {}
        missing = self.runs.missing(trial.id, list(self.evaluations))
        one = self._model_of(trial)
        one.restore()
        for name in missing:
            self._judge_dense(one, name)
        started = time.perf_counter()
        data = self._data(trial, one, needs)
        trained = self._trained_on(trial, one) if isinstance(trial.method, Refinement) else None
        before = sum(self.seconds.get(part, 0.0) for part in ("build", "collect"))
        with torch.no_grad():
            job = trial.job()
            blocks = job.blocks(one.loaded.model, data, refine_on=trained, **self._walking())
            reports = [r for block in blocks for r in block]
        if LADDER.index(needs_of(trial)) < LADDER.index("gram"):  # no trial says more where another needed more sums
            reports = [replace(report, relative_error=None, damping=None) for report in reports]
        self._took("prune", time.perf_counter() - started - before)
        told = describe(job, one.loaded, reports, self.seconds["prune"])
        folder = self.runs.trial(trial.id)
        tokens = max((r.tokens for r in reports if r.tokens is not None), default=None)
        write_json(folder / "environment.json", {"format": 1} | environment())
        write_json(folder / "prune.json", told | {"tokens": tokens, "seconds": self.seconds})
        self._judge(trial, one, missing)

    def _took(self, part: str, seconds: float) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def _timed(self, part: str, make: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        made = make()
        self._took(part, time.perf_counter() - started)
        return made

    def _walking(self) -> dict[str, Any]:
        return {"batch_size": self.knobs.batch_size}

    def _model_of(self, trial: Trial) -> _OneModel:
        key = (trial.model, trial.dtype)
        if self._model is None or self._model[0] != key:
            self._model = self._sums = None
            loaded = self._timed("load", lambda: load(trial.model, dtype=trial.dtype, device=self.knobs.device))
            if loaded.id != trial.model_id:
                raise UserError(f"model {trial.model} is not what it was when the study was planned: run it again")
            dense = [p.detach().clone() for p in find_blocks(loaded.model)[1].parameters()]
            self._model = (key, _OneModel(loaded, dense))
        return self._model[1]

    def _data(self, trial: Trial, one: _OneModel, needs: Needs) -> CalibrationSet | Statistics | None:
        """What the trial prunes by: nothing, the set, or the sums of the dense model on it."""
        if trial.recipe is None:
            return None
        made = self._set_of(trial.set_id, trial.recipe, one)
        if not trial.shares_sums:
            return made
        key = (one.loaded.id, made.id, trial.counting)
        if self._sums is None or self._sums[0] != key or LADDER.index(self._sums[1].needs) < LADDER.index(needs):
            self._sums = None
            knobs = self._walking() | {"counting": trial.counting}
            collect = lambda: Statistics.collect(one.loaded.model, made, needs, **knobs)  # noqa: E731
            self._sums = (key, self._timed("collect", collect))
        return self._sums[1]

    def _trained_on(self, trial: Trial, one: _OneModel) -> CalibrationSet:
        """What blocks are refined on: sums hold no sequences."""
        if trial.refine_on is not None:
            return self._set_of(trial.refine_id, trial.refine_on, one)
        return self._set_of(trial.set_id, trial.recipe, one)

    def _set_of(self, name: str | None, recipe: Recipe | None, one: _OneModel) -> CalibrationSet:
        assert name is not None and recipe is not None
        if self._set is None or self._set[0] != name:
            self._set = (name, self._timed("build", lambda: self._build(name, recipe, one.loaded)))
        return self._set[1]

    def _build(self, name: str, recipe: Recipe, model: Model) -> CalibrationSet:
        folder = self.runs.path / "calibration" / name
        if is_set(folder):
            return CalibrationSet.load(folder)
        made = build(recipe, model.tokenizer, data_root=self.knobs.data_root, model=model)
        if made.id != name:
            raise UserError("a file that its calibration set is drawn from changed since the study was planned: "
                            "run it again")  # fmt: skip
        try:
            made.save(folder)
        except UserError:
            if not is_set(folder):  # else another worker wrote the same set meanwhile
                raise
        return made

    def _reference(self, one: _OneModel, text: tuple[str, int, int, int]) -> DenseReference:
        if text not in one.references:
            of, tokens, length, skip = text
            found = open_source(of, Given(one.loaded, data_root=self.knobs.data_root), "evaluation")
            windows = windows_of(found.documents(), one.loaded.tokenizer, length, tokens, skip)
            one.references[text] = self._timed("dense", lambda: DenseReference(one.loaded.model, windows))
        return one.references[text]

    def _judge_dense(self, one: _OneModel, name: str) -> None:
        """The dense model's result, computed once a model; and its reference, while its weights are there."""
        evaluation, path = self.evaluations[name], self.runs.dense(one.loaded.id, name)
        if isinstance(evaluation, OnText):
            reference = self._reference(one, evaluation.text)
        if path.is_file():
            return
        if not isinstance(evaluation, OnText):
            found = self._timed("dense", lambda: _on_task(evaluation, one.loaded, self.knobs))
        elif evaluation.metric == "kl":
            found = _kl([0.0] * sum(len(batch) for batch, _ in reference.batches))
        else:
            found = _perplexity(reference.perplexity())
        head = {"format": 1, "evaluation": EVALUATIONS.write(evaluation), "capability": evaluation.capability}
        write_json(path, head | found)

    def _judge(self, trial: Trial, one: _OneModel, names: list[str]) -> None:
        """Write the pruned model's results; perplexity and KL on one text share a pass."""
        compared: dict[tuple[str, int, int, int], Any] = {}
        for name in names:
            evaluation, started = self.evaluations[name], time.perf_counter()
            if isinstance(evaluation, OnText):
                if evaluation.text not in compared:
                    compared[evaluation.text] = self._reference(one, evaluation.text).compare(one.loaded.model)
                kl, perplexity = compared[evaluation.text]
                found = _perplexity(perplexity) if evaluation.metric == "perplexity" else _kl(kl.nats.tolist())
            else:
                found = _on_task(evaluation, one.loaded, self.knobs)
            head = {"format": 1, "evaluation": EVALUATIONS.write(evaluation), "capability": evaluation.capability}
            write_json(self.runs.result(trial.id, name), head | found | {"seconds": time.perf_counter() - started})


def _perplexity(found: Perplexity) -> dict[str, Any]:
    value = found.estimate().value
    return {"metric": "perplexity", "value": value if math.isfinite(value) else None, "items": found.nats.tolist()}


def _kl(nats: list[float]) -> dict[str, Any]:
    return {"metric": "kl", "value": math.fsum(nats) / len(nats), "items": nats}


def _on_task(task: Task, model: Model, knobs: Knobs) -> dict[str, Any]:
    found = task.run(model, knobs.data_root)
    return {"metric": found.metric, "value": found.value, "items": list(found.items), "chance": found.chance}
